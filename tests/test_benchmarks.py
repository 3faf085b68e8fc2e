"""Oracles: `pickle` and `load_features` on the file that is drawn; intervals whose coverage is known."""

import importlib
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from msa_core.data import load_features, planted_tokenizer
from msa_core.paths import ROOT


@pytest.fixture(scope="module")
def scale():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
        import scale

        yield scale


@pytest.fixture(scope="module")
def drawn(scale, tmp_path_factory):
    path = tmp_path_factory.mktemp("scale") / "mosei.pkl"
    scale.draw_file(path, share=0.004, seed=1)
    return path


def test_the_file_is_a_pickle_of_moseis_layout(scale, drawn):
    content = pickle.loads(drawn.read_bytes())
    assert {split: len(fields["id"]) for split, fields in content.items()} == {"train": 65, "valid": 7, "test": 19}
    train = content["train"]
    for name, shape in scale.SHAPES.items():
        assert train[name].shape == (65, *shape)
        assert train[name].dtype == np.float32
    for name in ("audio", "vision"):
        for frames, length in zip(train[name], train[f"{name}_lengths"], strict=True):
            assert np.all(frames[:length] != 0)
            assert not frames[length:].any()
    assert 0.2 < np.median(train["audio_lengths"]) / 500 < 0.4
    assert {len(train[name]) for name in ("raw_text", "annotations", "regression_labels", "text_bert")} == {65}


def test_the_file_is_read_and_its_two_texts_are_one(drawn):
    content = pickle.loads(drawn.read_bytes())
    for split, features in load_features(drawn, planted_tokenizer()).items():
        assert features.modalities == ("text", "audio", "vision")
        for i, (ids, mask, _) in enumerate(content[split]["text_bert"]):
            np.testing.assert_array_equal(features.sequences["text"][i], ids[mask == 1])


def test_the_file_is_made_from_the_seed(scale, drawn, tmp_path):
    again = tmp_path / "again.pkl"
    scale.draw_file(again, share=0.004, seed=1)
    assert again.read_bytes() == drawn.read_bytes()


def test_every_measure_makes_its_rows(scale, drawn, monkeypatch):
    """The table, with each measure made in this process and on few samples."""
    sizes = {"labels": lambda path, repetitions: scale.measure_labels(path, repetitions, (40, 80))}
    monkeypatch.setattr(scale, "FEW", 32)
    monkeypatch.setattr(scale, "in_fresh_process", lambda name, *rest: (scale.MEASURES | sizes)[name](*rest))
    table = scale.measure_all(drawn, mmsa_python=None, blocks=2, repetitions=3, share=0.004)
    assert (table["value"] > 0).sum() >= len(table) - 1  # the second opening in one process may add no memory
    ratios = table[table["unit"] == "ratio"].set_index("measure")
    assert list(ratios["n"]) == [1, 2, 3, 3]
    assert (ratios["quartile_1"].dropna() <= ratios["value"][1:]).all()
    assert "MMSA" not in " ".join(table["measure"])


@pytest.mark.usefixtures("scale")  # the folder of the benchmarks is on the path
def test_every_measure_of_many_files_makes_its_rows(tmp_path, monkeypatch):
    import stream

    monkeypatch.setattr(stream, "HELD_OUT", 2)
    monkeypatch.setattr(stream, "last_line", lambda command: stream.measure_memory([*map(Path, command[3:])]))
    stores = {
        name: stream.draw_store(tmp_path / name, *sizes) for name, sizes in {"few": (1, 40), "many": (5, 40)}.items()
    }
    table = stream.measure_all(stores, {"loading": 2, "training": 1}).set_index("measure")
    assert list(table["n"][table["unit"] == "ratio"]) == [2, 1, 1, 1]
    assert (table["value"][table["unit"].isin(["ratio", "seconds", "CPU-seconds/sample"])] > 0).all()


@pytest.fixture(scope="module")
def coverage():
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
        monkeypatch.delitem(sys.modules, "coverage", raising=False)  # the package of this name, which counts lines
        import coverage

        yield coverage


def test_coverage_is_that_of_a_known_case(coverage):
    """Where samples add nothing and nothing depends on both, every candidate is the t-interval over runs: 95%."""
    table = pd.DataFrame(coverage.normal("runs alone", np.array([1.0, 0.0, 1e-12]), 20_000, np.random.default_rng(0)))
    assert len(table) == len(coverage.RUNS) * len(coverage.SAMPLES)
    assert table["runs_part"].min() > 99.9
    for name in coverage.CANDIDATES:
        np.testing.assert_allclose(table[name], 95, atol=4 * table["error"].max())


def test_coverage_misses_where_an_interval_is_too_narrow(coverage, monkeypatch):
    """Half of the width covers 67 to 80%, whatever the design: the simulations can tell."""
    halved = {name: lambda *a, f=f: f(*a) / 2 for name, f in coverage.CANDIDATES.items()}
    monkeypatch.setattr(coverage, "CANDIDATES", halved)
    monkeypatch.setattr(coverage, "RUNS", (10,))
    monkeypatch.setattr(coverage, "SAMPLES", (80, 80))
    first, second, true = coverage.recorded(*coverage.DETAILED)
    gaps = ((second - true).abs() - (first - true).abs()).to_numpy()
    rng = np.random.default_rng(0)
    rows = [*coverage.resampled("d", gaps, 400, rng), *coverage.from_predictions(*coverage.DETAILED, 200, rng)]
    table = pd.DataFrame(rows)
    assert table["weighted"].between(55, 85).all()
    assert (table["outside"] == ", ".join(coverage.CANDIDATES)).all()


@pytest.mark.usefixtures("scale")
def test_a_table_is_written_anew_whatever_its_largest_number(tmp_path):
    import common

    for seconds in (1.0, 2.0):
        table = pd.DataFrame([common.row("file", 1e10, "bytes"), common.row("reading", seconds, "seconds")])
        common.write(table, tmp_path / "table", "Title", "Notes.")
    assert list(pd.read_csv(tmp_path / "table.csv")["value"]) == [1e10, 2.0]
    assert "| reading   | 2       | seconds |" in (tmp_path / "table.md").read_text()


def test_what_many_utterances_cost_is_one_times_many(monkeypatch):
    """By hand: at 1e9 operations a sample and 1e12 a second, a GPU takes 1,000 samples a second."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import cost

    one = {
        "feature file": 1e5,
        "its cache": 1e4,
        "batches made, without training, one process": 500.0,
        "state of label generation": 800.0,
        "BERT base: operations of a training step": 1e9,
        "BERT base: parameters": 9e7,
        "everything else: parameters": 1e7,
        "encodings that the alignment and the centres gather": 100.0,
    }
    table = cost.extrapolate(pd.Series(one), tflops=1).set_index("what")
    expected = {
        "hours an epoch": [1e4 / 3600, 1e4 / 8 / 3600, 1e4 / 64 / 3600],
        "batches to be made (samples/second)": [1e3, 8e3, 64e3],
        "processes that make them": [2, 16, 128],
        # 31.25 steps a second; a GPU sends 2 (K - 1) / K of 0.4 GB in each, and hears (K - 1) x 32 samples' encodings
        "gradients (GB/second of each GPU)": [0, 31.25 * 0.7, 31.25 * 0.7875],
        "encodings (GB/second of each GPU)": [0, 31.25 * 7 * 3200 / 1e9, 31.25 * 63 * 3200 / 1e9],
        "label generation, replicated (GB of each GPU)": [8, 8, 8],
        "the same, sharded (GB of each GPU)": [8, 1, 0.125],
        "feature files (TB)": [1, 1, 1],
        "caches (TB)": [0.1, 0.1, 0.1],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(table.loc[name].to_numpy(float), values, err_msg=name)
    assert set(table.index) == set(expected)


def test_every_cost_of_one_utterance_is_measured(scale, drawn, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import cost

    monkeypatch.setattr(cost, "bert", lambda tokens: (100, 1000 * tokens))
    found = cost.measure(drawn).set_index("measure")["value"]
    assert found["feature file"] == pytest.approx(drawn.stat().st_size / 91)
    assert found["BERT base: operations of a training step"] == 3000 * found["tokens of a text"]
    preset = scale.mosei(drawn).model
    widths = [preset.fusion.width, *(getattr(preset.unimodal, modality).width for modality in scale.SHAPES)]
    # The formula of docs/running.md in float32: of each task, its features, a label and two flags.
    assert found["state of label generation"] == sum(4 * (width + 1) + 2 for width in widths) == 856
    assert (found > 0).all()


WHOLE = "a whole number of"
NO_MMSA = "in which there is no MMSA, .*pip install mmsa==2.2.1"
ALONE = "without --mmsa-python, expected both or none"


@pytest.mark.usefixtures("scale")  # the folder of the benchmarks is on the path
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("precision --turns 0", f"--turns: got 0, expected {WHOLE} 1 or more"),
        ("parts --batches 0", f"--batches: got 0, expected {WHOLE} 2 or more"),
        ("parts --text-encoders tiny nope", "--text-encoders: got nope, expected minilm, tiny, or a model"),
        ("stream --share 0", "--share: got 0, expected a share within"),
        ("stream --folder nope", "--folder: got nope, expected an existing folder"),
        ("scale --share 1.1", "--share: got 1.1, expected a share within"),
        ("scale --mmsa-python nope", f"--mmsa-python: got nope, {NO_MMSA}"),
        ("cost --share -1", "--share: got -1, expected a share within"),
        ("cost --tflops nan", "--tflops: got nan, expected a positive number"),
        ("runs --reference nope", "--reference: got nope, expected a commit"),
        ("runs --datasets nope", "--datasets: .*nope"),
        (f"rivals --mmsa-python {sys.executable}", f"--mmsa-python: got .*, {NO_MMSA}"),
        ("rivals --models lmf --time-alone", f"got --models, --time-alone {ALONE}"),
        ("training --epochs 1", f"--epochs: got 1, expected {WHOLE} 2 or more"),
        ("training --turns 0", "--turns: got 0 and no --seeds, expected one of them"),
        ("training --seeds 1", f"got --seeds {ALONE}"),
        ("training --mmsa-python nope", f"--mmsa-python: got nope, {NO_MMSA}"),
        ("training --features nope.pkl", "--features: got nope.pkl, where there is no file"),
        ("training --features nope.pkl --drawn", "--features: got --drawn too, expected one of them"),
        ("training --encoder nope", "--encoder: got nope, expected minilm, tiny, or a model"),
    ],
)
def test_a_benchmark_refuses_what_it_cannot_do(monkeypatch, tmp_path, capsys, command, message):
    name, *arguments = command.split()
    script = importlib.import_module(name)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    monkeypatch.delattr("tempfile.TemporaryDirectory")  # hardly anything runs where the refusal is missing
    with pytest.raises(SystemExit, match="2"):
        script.main()
    assert re.search(f"error: (argument )?{message}", capsys.readouterr().err)


@pytest.mark.usefixtures("scale")
@pytest.mark.parametrize("command", ["mmsa_loader f.pkl", "mmsa_training f.pkl bert --text-width 1"])
def test_a_script_of_mmsas_environment_says_that_mmsa_is_missing(monkeypatch, command):
    name, *arguments = command.split()
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    with pytest.raises(SystemExit, match=f"MMSA: not installed for {sys.executable}, .*pip install mmsa==2.2.1"):
        importlib.import_module(name).main()


@pytest.mark.usefixtures("scale")
def test_training_without_mmsa_leaves_the_ratios_to_mmsa_alone(monkeypatch, tmp_path, drawn):
    import training

    written = []
    monkeypatch.setattr(training, "write", lambda table, file, *texts: written.append(file.name))  # noqa: ARG005
    monkeypatch.setattr(training, "speeds", lambda options, mmsa: pd.DataFrame())  # noqa: ARG005
    monkeypatch.setattr(training, "last_line", lambda command: {"rows": []})  # noqa: ARG005
    monkeypatch.setattr(sys, "argv", ["training.py", "--features", str(drawn)])
    monkeypatch.setattr(training, "ROOT", tmp_path)  # of the default of --work
    training.main()
    assert written == ["training-ours", "training-ours-profile"]
