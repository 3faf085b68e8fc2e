"""Notebooks are thin, without outputs, and run as a user would run them: by papermill, in a process of its own."""

import ast
import os
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import pytest

from msa_core import paths, predict, records, run, write_features
from msa_core.analysis import probes
from msa_core.config import grid, resolve
from msa_core.training import encodings

NOTEBOOKS = sorted((paths.ROOT / "notebooks").glob("*.ipynb"))
SMALL = "{dataset.planted: {num_train: 40, num_valid: 20, num_test: 20}, training.max_epochs: 2}"


def papermill(notebook, out, *parameters, project=paths.ROOT):
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", project / "notebooks" / notebook, out]
    environment = os.environ | ({} if project == paths.ROOT else {"PYTHONPATH": str(project)})
    return subprocess.run(
        [*command, *parameters], capture_output=True, text=True, cwd=project, env=environment, timeout=280
    )


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


@pytest.mark.slow
def test_data_notebook(tmp_path):
    process = papermill("00_data.ipynb", tmp_path / "out.ipynb")
    assert process.returncode == 0, process.stderr
    shown = [output for cell in code_cells(tmp_path / "out.ipynb") for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 2


@pytest.mark.slow
def test_data_notebook_on_real_features(tmp_path, real_data):
    path = real_data("mmmo_audio_vision")
    process = papermill(
        "00_data.ipynb", tmp_path / "out.ipynb", "-p", "dataset", "mmmo_audio_vision", "-p", "features", str(path)
    )
    assert process.returncode == 0, process.stderr
    text = nbformat.writes(nbformat.read(tmp_path / "out.ipynb", as_version=4))
    assert "has no unimodal labels" in text
    assert "mmmo_audio_vision" in text


@pytest.mark.slow
def test_train_notebook(tmp_path):
    runs = str(tmp_path / "runs")
    process = papermill("01_train.ipynb", tmp_path / "out.ipynb", "-p", "runs", runs, "-y", f"{{overrides: {SMALL}}}")
    assert process.returncode == 0, process.stderr
    assert len(records.read_run(paths.run_folder("planted", "paper", 1111, runs)).history) == 2
    shown = [output for cell in code_cells(tmp_path / "out.ipynb") for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 5


@pytest.mark.slow
def test_predict_notebook(tmp_path):
    """With its example and with a file; an output that is there is refused before anything is done."""
    folder, output = tmp_path / "seed-1111", tmp_path / "predictions.csv"
    sizes = {"dataset.planted": {"num_train": 40, "num_valid": 20, "num_test": 20}}
    run.train(resolve("planted", overrides=sizes | {"training.max_epochs": 1}), folder)
    process = papermill("11_predict.ipynb", tmp_path / "out.ipynb", "-p", "run", folder, "-p", "output", output)
    assert process.returncode == 0, process.stderr
    assert len(pd.read_csv(output)) == 20
    shown = [output for cell in code_cells(tmp_path / "out.ipynb") for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in shown) == 1
    frame = pd.DataFrame({"id": ["007", "8"], "text": ["the plot was good", "the plot was bad"]})
    frames = [np.ones((4, 5)), None], [np.ones((3, 20)), np.ones((2, 20))]
    write_features(frame, *frames, tmp_path / "own.pkl")
    arguments = ["-p", "run", folder, "-p", "features", tmp_path / "own.pkl", "-p", "output"]
    process = papermill("11_predict.ipynb", tmp_path / "out.ipynb", *arguments, tmp_path / "own.csv")
    assert process.returncode == 0, process.stderr
    written = pd.read_csv(tmp_path / "own.csv", dtype={"id": str})
    pd.testing.assert_frame_equal(written, predict(folder, tmp_path / "own.pkl"))
    process = papermill("11_predict.ipynb", tmp_path / "out.ipynb", *arguments, output)
    assert "predictions.csv: is there already and is not overwritten" in process.stderr
    assert len(pd.read_csv(output)) == 20


ANALYSES = [path for path in NOTEBOOKS if path.stem[:2] >= "02" and path.stem != "11_predict"]


@pytest.mark.parametrize("path", ANALYSES, ids=lambda path: path.stem)
def test_an_analysis_writes_only_if_told_to(path):
    """Nothing is written by default, and by `Outputs` alone, which a test of its own holds to it."""
    parameters, *cells = (cell.source for cell in code_cells(path))
    assert "save: bool = False" in parameters
    calls = [node for source in cells for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = {call.func.attr for call in calls if isinstance(call.func, ast.Attribute)}
    assert not names & {"write_table", "write_figure", "to_csv", "to_parquet", "savefig", "write_text", "mkdir"}
    assert "save" in {
        argument.id
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "Outputs"
        for argument in call.args
        if isinstance(argument, ast.Name)
    }


@pytest.fixture(scope="module")
def small_grid(small_checkout):
    """The settings of the small grid's runs, with little data and two epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "CONFIG", small_checkout / "config")
        return [resolve(run.dataset, run.variant, run.seed) for run in grid("small")]


@pytest.fixture(scope="module")
def tiny_runs(small_checkout, small_grid):
    """A folder with two of the three seeds of the small grid, trained for two epochs."""
    runs = small_checkout / "results" / "runs"
    for config in small_grid:
        if config.seed < 1113:
            run.train(config, paths.run_folder("planted", config.variant, config.seed, runs))
    return runs


def analyse(notebook, project, runs, folder, *parameters):
    """Run a notebook that reads runs; its tables and figures go to `folder`."""
    folder.mkdir(exist_ok=True)
    process = papermill(
        notebook, folder / "out.ipynb", "-p", "save", "True", "-p", "runs", runs,
        "-p", "tables_folder", folder / "t", "-p", "figures_folder", folder / "f", *parameters, project=project,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr


@pytest.mark.slow
def test_results_ablations_and_claims_notebooks(small_checkout, tiny_runs, tmp_path):
    unsaved = tmp_path / "unsaved.ipynb"
    folders = ["-p", "tables_folder", tmp_path / "no", "-p", "figures_folder", tmp_path / "no"]
    process = papermill("02_results.ipynb", unsaved, "-p", "runs", tiny_runs, *folders, project=small_checkout)
    assert process.returncode == 0, process.stderr
    assert not (tmp_path / "no").exists()
    analyse("02_results.ipynb", small_checkout, tiny_runs, tmp_path)
    others = {f"small-{what}.{ending}" for what in ("published", "reproduced") for ending in ("csv", "md")}
    assert {path.name for path in (tmp_path / "t").iterdir()} == {"small.csv", "small.md", "small.tex", *others}
    assert {path.name for path in (tmp_path / "f").iterdir()} == {"small.png", "small.svg"}
    markdown = (tmp_path / "t" / "small.md").read_text()
    assert "| Planted, averaged weights | paper " in markdown
    assert "| Planted, averaged weights | vision_only " in markdown
    assert "is to be chosen anew" in markdown

    # Besides, one run has other settings: it is named too, and the others are analysed.
    runs = shutil.copytree(tiny_runs, tmp_path / "runs")
    other = paths.run_folder("planted", "no_label_generation", 1112, runs) / "config.yaml"
    other.write_text(other.read_text().replace("max_epochs: 2", "max_epochs: 1"))
    note = (
        "Missing runs (7): planted/paper/seed-1113, planted/no_alignment/seed-1113, "
        "planted/no_label_generation/seed-1112 (other settings: training.max_epochs is 1, expected 2), "
        "planted/no_label_generation/seed-1113, planted/text_only/seed-1113, planted/audio_only/seed-1113, "
        "planted/vision_only/seed-1113."
    )
    analyse("03_ablations.ipynb", small_checkout, runs, tmp_path / "3")
    assert {path.name for path in (tmp_path / "3" / "t").iterdir()} == {
        *(f"small-ablations.{ending}" for ending in ("csv", "md", "tex")),
        *(f"small-{what}.{ending}" for what in ("unimodal-labels", "label-worth", "runs") for ending in ("csv", "md")),
    }
    assert {path.name for path in (tmp_path / "3" / "f").iterdir()} == {"small-ablations.png", "small-ablations.svg"}
    table = pd.read_csv(tmp_path / "3" / "t" / "small-ablations.csv").query("metric == 'mae'")
    table = table.set_index(["title", "variant"])
    for title in ("Planted", "Planted, averaged weights"):
        assert table.loc[(title, "no_alignment"), ["seeds", "missing"]].tolist() == ["1111 1112", "1113"]
        assert table.loc[(title, "no_label_generation"), ["seeds", "missing"]].tolist() == ["1111", "1112 1113"]
    assert note in (tmp_path / "3" / "t" / "small-ablations.md").read_text()

    process = papermill(
        "10_claims.ipynb", tmp_path / "out10.ipynb", "-p", "save", "True",
        "-p", "runs", runs, "-p", "tables_folder", tmp_path / "3" / "t", project=small_checkout,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert note in (tmp_path / "3" / "t" / "small-claims.md").read_text()
    table = pd.read_csv(tmp_path / "3" / "t" / "small-claims.csv").set_index("claim")
    expected = [shared_factor_in_audio("paper", seed, runs) for seed in (1111, 1112)]
    expected = np.subtract(expected, [shared_factor_in_audio("no_alignment", seed, runs) for seed in (1111, 1112)])
    assert table.loc["The alignment raises the shared factor in audio", "estimate"] == pytest.approx(expected.mean())
    assert table.loc["`paper`, with alignment, has a lower test MAE than `no_alignment`", "n_runs"] == 2
    gains = []
    for seed in (1111, 1112):
        finished, _, data = run.load(paths.run_folder("planted", "paper", seed, runs))
        best = finished.labels[finished.labels["epoch"] == finished.provenance["best_epoch"]]
        true = np.asarray(data["train"].unimodal_labels["text"])
        assert best["id"].tolist() == data["train"].ids
        gains.append(np.abs(best["multimodal"] - true).mean() - np.abs(best["text"] - true).mean())
    claim = "Generated text labels are nearer to the true ones than copies of y, at the best epoch"
    assert table.loc[claim, "estimate"] == pytest.approx(np.mean(gains), abs=1e-6)


def shared_factor_in_audio(variant, seed, runs):
    """R2 of the linear probe."""
    _, model, data = run.load(paths.run_folder("planted", variant, seed, runs))
    encoded, factor = encodings(model, data["test"])["audio"], data["test"].factors["shared"]
    return probes.linear_probe(encoded, np.asarray(factor)[:, None]).item()


def read_results(notebook, runs, folder):
    """Run a notebook that reads runs; its tables by name, and the names of its figures."""
    analyse(notebook, runs.parent.parent, runs, folder)
    text = nbformat.writes(nbformat.read(folder / "out.ipynb", as_version=4))
    assert "paper/seed-1113" in text, "a missing run is named"
    figures = {path.name for path in (folder / "f").iterdir()}
    assert {name.replace(".png", ".svg") for name in figures} == {name for name in figures if name.endswith(".svg")}
    results = {path.stem: pd.read_csv(path) for path in (folder / "t").glob("*.csv")}
    assert {path.stem for path in (folder / "t").glob("*.md")} == set(results)
    return results, {name.removesuffix(".png") for name in figures if name.endswith(".png")}


@pytest.mark.slow
def test_covariance_notebook(tiny_runs, tmp_path):
    results, figures = read_results("04_covariance.ipynb", tiny_runs, tmp_path)
    assert figures == {"small-planted-covariance", "small-planted-spectra", "small-planted-distance"}
    table = results["small-planted-covariance"].set_index(["variant", "modality", "when", "measure"])
    runs = [records.read_run(paths.run_folder("planted", "paper", seed, tiny_runs)) for seed in (1111, 1112)]
    traces = [np.trace(run.covariances["audio/covariance/after"]) for run in runs]
    row = table.loc[("paper", "audio", "after", "total variance")]
    assert row["mean"] == pytest.approx(np.mean(traces))
    assert row["std"] == pytest.approx(np.std(traces, ddof=1))
    assert row["seeds"] == "1111 1112"
    assert table.loc[("no_alignment", "audio-vision", "after", "correlation distance"), "difference_n"] == 2


@pytest.mark.slow
def test_label_trajectories_notebook(tiny_runs, tmp_path):
    results, figures = read_results("05_label_trajectories.ipynb", tiny_runs, tmp_path)
    names = ("agreement", "distributions", "movement", "paths")
    assert figures == {f"small-planted-label-{name}" for name in names}
    table = results["small-planted-labels"].set_index(["variant", "modality", "measure"])["mean"]
    assert set(table.index.levels[0]) == {"paper", "no_alignment"}
    runs = [records.read_run(paths.run_folder("planted", "paper", seed, tiny_runs)) for seed in (1111, 1112)]
    last = [run.labels[run.labels["epoch"] == 2] for run in runs]
    before = [run.labels[run.labels["epoch"] == 1] for run in runs]
    moves = [np.abs(a["vision"].values - b["vision"].values).mean() for a, b in zip(last, before, strict=True)]
    assert table["paper", "vision", "moved_last"] == pytest.approx(np.mean(moves))
    difference = table["paper", "text", "mae_best"] - table["paper", "text", "mae_copy"]
    assert table["paper", "text", "mae_difference"] == pytest.approx(difference)


@pytest.mark.slow
def test_shared_and_private_notebook(tiny_runs, tmp_path):
    results, figures = read_results("06_shared_and_private.ipynb", tiny_runs, tmp_path)
    assert figures == {"small-planted-probes", "small-planted-crossmodal"}
    variants = {"untrained", "paper", "no_alignment", "no_label_generation"}
    factor_r2, modality_r2 = results["small-planted-probes"], results["small-planted-crossmodal"]
    assert list(factor_r2.columns) == ["dataset", "variant", "seed", "modality", "factor", "r2"]
    assert list(modality_r2.columns) == ["dataset", "variant", "seed", "source", "target", "r2"]
    assert len(factor_r2) == len(variants) * 2 * 3 * 4  # seeds, modalities, factors
    assert len(modality_r2) == len(variants) * 2 * 6
    assert set(factor_r2["variant"]) == set(modality_r2["variant"]) == variants
    assert set(factor_r2["factor"]) == {"shared", "text", "audio", "vision"}
    assert (factor_r2["r2"] <= 1).all()
    _, model, data = run.load(paths.run_folder("planted", "paper", 1112, tiny_runs))
    expected = probes.cross_modal(encodings(model, data["test"])).set_index(["source", "target"])["r2"]
    rows = modality_r2.query("variant == 'paper' and seed == 1112").set_index(["source", "target"])["r2"]
    np.testing.assert_allclose(rows[expected.index], expected, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_an_unknown_parameter_is_an_error(tmp_path):
    """One notebook in a kernel; that each other one asks for the same check is tested above."""
    process = papermill("02_results.ipynb", tmp_path / "out.ipynb", "-p", "sede", "1112")
    assert process.returncode != 0
    assert "got unknown parameter sede, expected one of" in process.stderr


@pytest.mark.slow
def test_a_wrong_parameter_leaves_nothing(tmp_path):
    process = papermill(
        "01_train.ipynb", tmp_path / "out.ipynb", "-p", "runs", str(tmp_path / "runs"), "-p", "variant", "papr"
    )
    assert process.returncode != 0
    assert "got variant 'papr', expected one of" in process.stderr
    assert not (tmp_path / "runs").exists()
