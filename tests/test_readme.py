"""What README and the pages under docs say is what the files hold and what the code does."""

import re

import pandas as pd
import papermill
import pytest
import torch
from torch import nn

from msa_core import build, paths
from msa_core.analysis import probes
from msa_core.config import load_variants, load_yaml, resolve

STUDY = load_yaml(paths.ROOT / "config" / "study.yaml")
README = (paths.ROOT / "README.md").read_text()
PAGES = {str(file.relative_to(paths.ROOT)): file.read_text() for file in sorted(paths.ROOT.glob("docs/*.md"))}
PAGES["README.md"] = README


@pytest.mark.parametrize(
    ("page", "name"), [("results", "primary.md"), ("results", "mosi.md"), ("speed", "efficiency.md")]
)
def test_its_tables_are_the_generated_ones(page, name):
    shown = re.search(rf"<!-- results/tables/{name} -->\n(.*?)<!-- end -->", PAGES[f"docs/{page}.md"], re.DOTALL)
    assert shown is not None
    assert shown[1].strip() == (paths.TABLES / name).read_text().strip()


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_its_primary_claims_are_the_measured_ones(page):
    """In README they are the rows with 40 draws; on the page the first table with a median."""
    claims = pd.read_csv(paths.TABLES / "primary-claims.csv").query("primary")
    end = r" 40 draws" if page == "README.md" else r" \S+ \(\S+ to \S+\) \|$"
    verdicts = "gains.*?|no gain that matters|harms|undecided"
    row = rf"\| ({verdicts}) \| (\S+) \((\S+) to (\S+)\) \|{end}"
    shown = re.findall(row, PAGES[page], re.MULTILINE)
    assert [row[0] for row in shown] == claims["verdict"].tolist()
    assert [list(row[1:]) for row in shown] == [
        [f"{value:+.4f}" for value in row] for row in claims[["estimate", "low", "high"]].to_numpy()
    ]


@pytest.mark.parametrize("page", PAGES)
def test_every_place_it_points_to_is_there(page):
    """Files, and the headings within a page, as GitHub names them."""
    targets = re.findall(r"\]\((?!https?:)([^)]+)\)", PAGES[page])
    assert targets or page != "README.md"
    for target in targets:
        name, _, heading = target.partition("#")
        file = (paths.ROOT / page).parent / name if name else paths.ROOT / page
        assert file.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles], target


def test_the_example_for_other_models_runs_and_is_short():
    """Run as printed, with a small model of the reader's own: it trains, and the labels leave y."""
    (example,) = re.findall(r"```python\n(.*?)```", PAGES["docs/losses.md"], re.DOTALL)
    assert (
        len([line for line in example.splitlines() if line.strip() and not line.startswith(("import", "from"))]) <= 10
    )
    torch.manual_seed(0)
    y = torch.linspace(-3, 3, 64)
    x = {"audio": y[:, None] + torch.randn(64, 6), "vision": y[:, None] + torch.randn(64, 6)}
    encoders = nn.ModuleDict({name: nn.Linear(6, 8) for name in x})
    heads = nn.ModuleDict({name: nn.Linear(8 if name in x else 16, 1) for name in ("multimodal", *x)})

    def model(index):
        features = {name: encoders[name](x[name][index]).tanh() for name in x}
        features["multimodal"] = torch.cat(list(features.values()), dim=1)
        return features, {name: heads[name](feature).squeeze(1) for name, feature in features.items()}

    optimizer = torch.optim.Adam([*encoders.parameters(), *heads.parameters()], lr=0.01)
    losses = []

    class Recorder:
        zero_grad = staticmethod(optimizer.zero_grad)

        @staticmethod
        def step():
            optimizer.step()
            losses.append(names["loss"].item())

    names = {"y": y, "model": model, "optimizer": Recorder, "epochs": 8}
    exec(example, names)
    everyone = torch.arange(64)
    assert not torch.allclose(names["labels"].labels("audio", everyone), y)
    torch.testing.assert_close(names["labels"].labels("multimodal", everyone), y)
    assert sum(losses[-4:]) < sum(losses[:4])


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_it_names_can_be_typed(page):
    """Targets of make, with grids, sweeps and data sets that there are, or that the page tells its reader to write."""
    text = PAGES[page]
    targets = re.findall(r"^([a-z-]+): ", (paths.ROOT / "Makefile").read_text(), re.MULTILINE)
    known = {"GRID": STUDY["grids"], "SWEEP": STUDY["sweeps"], "VARIANT": load_variants()}
    commands = re.findall(r"(?:^|`)make ([a-z-]+)((?: [A-Z]+=[^\s`]+)*)", text, re.MULTILINE)
    assert commands or page not in ("README.md", "docs/running.md")
    known["DATASET"] = [file.stem for file in (paths.ROOT / "config" / "datasets").glob("*.yaml")]
    for target, assignments in commands:
        assert target in targets
        for name, value in re.findall(r"([A-Z]+)=(\w+)", assignments):
            written = f"config/datasets/{value}.yaml" in text  # by the reader
            assert written or value in known.get(name, [value]), f"{name}={value}"


def test_the_notebook_it_runs_has_the_parameters_that_it_gives():
    (notebook, given) = re.findall(r"papermill (\S+) \S+((?: -p \w+ \w+)+)", PAGES["docs/running.md"])[0]
    parameters = dict(re.findall(r"-p (\w+) (\w+)", given))
    assert set(parameters) <= set(papermill.inspect_notebook(paths.ROOT / notebook))
    resolve(parameters["dataset"], parameters["variant"], int(parameters["seed"]))


def test_the_api_page_has_every_module_of_the_method_its_parts_and_hosts():
    modules = [
        file.relative_to(paths.ROOT)
        for name in ("*", "parts/*", "hosts/*")
        for file in (paths.ROOT / "msa_core").glob(f"{name}.py")
    ]
    names = {".".join(module.with_suffix("").parts) for module in modules if module.stem != "__init__"}
    assert names <= set(re.findall(r"automodule:: (\S+)", PAGES["docs/api.md"]))


@pytest.mark.parametrize("name", ["mosi_text_audio", "mmmo_audio_vision"])
def test_what_it_says_of_one_modality_alone_is_measured(name, real_data):
    config = resolve(name, features=str(real_data(name)))
    table = probes.label_probes(build.dataset(config))
    for modality, rows in table.groupby("modality"):
        corr = [f"{row.corr:.2f} ({row.corr_low:.2f} to {row.corr_high:.2f})" for row in rows.itertuples()]
        first = rows.iloc[0]
        cells = [config.dataset.title, modality, str(first["n"]), f"{first['mae']:.4f}", f"{first['mae_median']:.4f}"]
        assert f"| {' | '.join([*cells, *corr])} |" in PAGES["docs/running.md"]
