"""Notebooks are thin, without outputs, and run as a user would run them: by papermill, in a process of its own."""

import ast
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest

from msa_core import paths, probes, records, study, tables
from msa_core.config import grid, load_yaml, resolve
from msa_core.training import encodings

NOTEBOOKS = sorted((paths.ROOT / "notebooks").glob("*.ipynb"))
SMALL = "{dataset.planted: {num_train: 40, num_valid: 20, num_test: 20}, training.max_epochs: 2}"


def papermill(notebook, out, *parameters):
    command = [
        sys.executable,
        "-m",
        "papermill",
        "--no-progress-bar",
        str(paths.ROOT / "notebooks" / notebook),
        str(out),
    ]
    return subprocess.run([*command, *parameters], capture_output=True, text=True, cwd=paths.ROOT, timeout=280)


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_thin_and_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].source.splitlines()[0].rstrip().endswith("?"), (
        "the first line says which question it answers"
    )
    cells = code_cells(path)
    assert len(cells) <= 15
    for cell in cells:
        assert len(cell.source.splitlines()) <= 15
        assert not cell.outputs
        assert cell.execution_count is None
        tree = ast.parse(cell.source)
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_typed_and_checked(path):
    first, second = code_cells(path)[:2]
    assert first.metadata["tags"] == ["parameters"]
    assert all(isinstance(statement, ast.AnnAssign) for statement in ast.parse(first.source).body)
    assert "refuse_unknown_parameters(In)" in second.source


def test_data_notebook(tmp_path):
    done = papermill("00_data.ipynb", tmp_path / "out.ipynb")
    assert done.returncode == 0, done.stderr
    shown = [output for cell in code_cells(tmp_path / "out.ipynb") for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2


def test_data_notebook_on_real_features(tmp_path, real_data):
    path = real_data("mmmo_audio_vision")
    done = papermill(
        "00_data.ipynb", tmp_path / "out.ipynb", "-p", "dataset", "mmmo_audio_vision", "-p", "features", str(path)
    )
    assert done.returncode == 0, done.stderr
    text = nbformat.writes(nbformat.read(tmp_path / "out.ipynb", as_version=4))
    assert "has no unimodal labels" in text
    assert "mmmo_audio_vision" in text


def test_train_and_results_notebooks(tmp_path):
    """One small run a variant and seed of the small grid, by the notebook itself for one and the package for others."""
    runs = str(tmp_path / "runs")
    done = papermill("01_train.ipynb", tmp_path / "out.ipynb", "-p", "runs", runs, "-y", f"{{overrides: {SMALL}}}")
    assert done.returncode == 0, done.stderr
    folder = paths.run_folder("planted", "paper", 1111, runs)
    run = records.read_run(folder)
    assert len(run.history) == 2
    shown = [output for cell in code_cells(tmp_path / "out.ipynb") for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 5

    (entry,) = load_yaml(paths.CONFIG / "study.yaml")["small"]
    for variant in entry["variants"]:
        for seed in entry["seeds"]:
            there = paths.run_folder("planted", variant, seed, runs)
            if there != folder:
                config = run.config.model_copy(update={"variant": variant, "seed": seed})
                records.write_run(there, records.Run(**{**vars(run), "config": config}), _NoWeights())
    done = papermill(
        "02_results.ipynb", tmp_path / "out2.ipynb",
        "-p", "runs", runs, "-p", "tables_folder", str(tmp_path / "t"), "-p", "figures_folder", str(tmp_path / "f"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    published = {"small-published.csv", "small-published.md"}
    assert {path.name for path in (tmp_path / "t").iterdir()} == {"small.csv", "small.md", "small.tex", *published}
    assert {path.name for path in (tmp_path / "f").iterdir()} == {"small.png", "small.svg"}
    assert "1111–1113" in (tmp_path / "t" / "small.md").read_text()

    shutil.rmtree(paths.run_folder("planted", "no_alignment", 1112, runs))  # the others are looked at all the same
    done = papermill(
        "03_ablations.ipynb", tmp_path / "out3.ipynb",
        "-p", "runs", runs, "-p", "tables_folder", str(tmp_path / "t3"), "-p", "figures_folder", str(tmp_path / "f3"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "t3").iterdir()} == {
        *(f"small-ablations.{ending}" for ending in ("csv", "md", "tex")),
        *(f"small-runs.{ending}" for ending in ("csv", "md")),
        "small-errors.parquet",
    }
    assert {path.name for path in (tmp_path / "f3").iterdir()} == {"small-ablations.png", "small-ablations.svg"}
    table = pd.read_csv(tmp_path / "t3" / "small-ablations.csv").query("metric == 'mae'").set_index("variant")
    assert table.loc["no_alignment", ["seeds", "missing"]].tolist() == ["1111 1113", 1112]
    assert (table["difference"] == 0).all()  # copies of one run

    probed = {"dataset": "planted", "modality": "audio", "factor": "shared", "r2": [0.5, 0.6, 0.4, 0.3]}
    variants = {"variant": ["paper", "paper", "no_alignment", "no_alignment"], "seed": [1111, 1113, 1111, 1113]}
    pd.DataFrame(probed | variants).to_csv(tmp_path / "t3" / "small-planted-probes.csv")
    done = papermill(
        "10_claims.ipynb", tmp_path / "out10.ipynb",
        "-p", "runs", runs, "-p", "tables_folder", str(tmp_path / "t3"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Missing runs (1): planted/no_alignment/seed-1112." in (tmp_path / "t3" / "small-claims.md").read_text()
    table = pd.read_csv(tmp_path / "t3" / "small-claims.csv").set_index("claim")
    assert table.loc["The alignment raises the shared factor in audio", "estimate"] == pytest.approx(0.2)
    assert table.loc["`paper`, with alignment, has a lower test MAE than `no_alignment`", "n_seeds"] == 2
    truth = study.true_labels(run.config)
    gain = tables.label_agreement(run.labels, truth).query("modality == 'text'").set_index("epoch")["mae"]
    claim = "Generated text labels are nearer to the true ones than copies of y, at the best epoch"
    assert table.loc[claim, "estimate"] == pytest.approx(gain[0] - gain[run.provenance["best_epoch"]], abs=1e-6)


@pytest.fixture(scope="session")
def tiny_runs(tmp_path_factory):
    """A folder with two of the three seeds of the small grid, trained for three epochs."""
    runs = tmp_path_factory.mktemp("tiny") / "runs"
    small = {"dataset.planted": {"num_train": 40, "num_valid": 20, "num_test": 20}, "training.max_epochs": 3}
    for run in grid("small"):
        if run.seed < 1113:
            config = resolve(run.dataset, run.variant, run.seed, overrides=small)
            study.run(config, paths.run_folder(run.dataset, run.variant, run.seed, runs))
    return runs


def read_results(notebook, runs, folder):
    """Run a notebook that reads runs; its tables by name, and the names of its figures."""
    done = papermill(
        notebook, folder / "out.ipynb",
        "-p", "runs", str(runs), "-p", "tables_folder", str(folder / "t"), "-p", "figures_folder", str(folder / "f"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = nbformat.writes(nbformat.read(folder / "out.ipynb", as_version=4))
    assert "paper/seed-1113" in text, "a missing run is named"
    figures = {path.name for path in (folder / "f").iterdir()}
    assert {name.replace(".png", ".svg") for name in figures} == {name for name in figures if name.endswith(".svg")}
    found = {path.stem: pd.read_csv(path) for path in (folder / "t").glob("*.csv")}
    assert {path.stem for path in (folder / "t").glob("*.md")} == set(found)
    return found, {name.removesuffix(".png") for name in figures if name.endswith(".png")}


def test_covariance_notebook(tiny_runs, tmp_path):
    found, figures = read_results("04_covariance.ipynb", tiny_runs, tmp_path)
    assert figures == {"small-planted-covariance", "small-planted-spectra", "small-planted-distance"}
    table = found["small-planted-covariance"].set_index(["variant", "modality", "when", "measure"])
    runs = [records.read_run(paths.run_folder("planted", "paper", seed, tiny_runs)) for seed in (1111, 1112)]
    traces = [np.trace(run.alignment["audio/covariance/after"]) for run in runs]
    row = table.loc[("paper", "audio", "after", "total variance")]
    assert row["mean"] == pytest.approx(np.mean(traces))
    assert row["std"] == pytest.approx(np.std(traces, ddof=1))
    assert row["seeds"] == "1111 1112"
    assert table.loc[("no_alignment", "audio-vision", "after", "correlation distance"), "difference_n"] == 2


def test_label_trajectories_notebook(tiny_runs, tmp_path):
    found, figures = read_results("05_label_trajectories.ipynb", tiny_runs, tmp_path)
    names = ("agreement", "distributions", "movement", "paths")
    assert figures == {f"small-planted-label-{name}" for name in names}
    table = found["small-planted-labels"].set_index(["variant", "modality", "measure"])["mean"]
    assert set(table.index.levels[0]) == {"paper", "no_alignment"}
    runs = [records.read_run(paths.run_folder("planted", "paper", seed, tiny_runs)) for seed in (1111, 1112)]
    last = [run.labels[run.labels["epoch"] == 3] for run in runs]
    before = [run.labels[run.labels["epoch"] == 2] for run in runs]
    moves = [np.abs(a["vision"].values - b["vision"].values).mean() for a, b in zip(last, before, strict=True)]
    assert table["paper", "vision", "moved_last"] == pytest.approx(np.mean(moves))
    difference = table["paper", "text", "mae_best"] - table["paper", "text", "mae_copy"]
    assert table["paper", "text", "mae_difference"] == pytest.approx(difference)


def test_shared_and_private_notebook(tiny_runs, tmp_path):
    found, figures = read_results("06_shared_and_private.ipynb", tiny_runs, tmp_path)
    assert figures == {"small-planted-probes", "small-planted-crossmodal"}
    variants = {"untrained", "paper", "no_alignment", "no_label_generation"}
    probed, crossed = found["small-planted-probes"], found["small-planted-crossmodal"]
    assert list(probed.columns) == ["dataset", "variant", "seed", "modality", "factor", "r2"]
    assert list(crossed.columns) == ["dataset", "variant", "seed", "source", "target", "r2"]
    assert len(probed) == len(variants) * 2 * 3 * 4  # seeds, modalities, factors
    assert len(crossed) == len(variants) * 2 * 6
    assert set(probed["variant"]) == set(crossed["variant"]) == variants
    assert set(probed["factor"]) == {"shared", "text", "audio", "vision"}
    assert (probed["r2"] <= 1).all()
    _, model, data = study.load_run(paths.run_folder("planted", "paper", 1112, tiny_runs))
    expected = probes.cross_modal(encodings(model, data["test"])).set_index(["source", "target"])["r2"]
    rows = crossed.query("variant == 'paper' and seed == 1112").set_index(["source", "target"])["r2"]
    np.testing.assert_allclose(rows[expected.index], expected, rtol=1e-3, atol=1e-5)


class _NoWeights:
    def state_dict(self):
        return {}


@pytest.mark.parametrize("notebook", [path.name for path in NOTEBOOKS])
def test_an_unknown_parameter_is_an_error(notebook, tmp_path):
    done = papermill(notebook, tmp_path / "out.ipynb", "-p", "sede", "1112")
    assert done.returncode != 0
    assert "got unknown parameter sede, expected one of" in done.stderr


def test_a_wrong_parameter_leaves_nothing(tmp_path):
    done = papermill(
        "01_train.ipynb", tmp_path / "out.ipynb", "-p", "runs", str(tmp_path / "runs"), "-p", "variant", "papr"
    )
    assert done.returncode != 0
    assert "got variant 'papr', expected one of" in done.stderr
    assert not (tmp_path / "runs").exists()
