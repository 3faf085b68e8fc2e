"""What commands refuse: one line on stderr and an exit status, in this process. Bugs keep their traceback."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys

import pytest

from msa_core import __main__, build, paths
from msa_core.data import messages

SMALL = "{dataset.planted: {num_train: 20, num_valid: 10, num_test: 10}, training.max_epochs: 1}"


def refused(capsys, status, *arguments):
    """The only line that a command leaves on stderr."""
    with pytest.raises(SystemExit) as ended:
        __main__.main([*map(str, arguments)])
    assert ended.value.code == status
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plantd"], r"got dataset 'plantd', .*; did you mean 'planted'\?"),
        (["planted", "papr"], r"got variant 'papr', .*; did you mean 'paper'\?"),
        (["planted", "--seed", "-1"], r"settings of planted / paper: seed: got -1"),
        (["planted", "--overrides", "{training.max_epoch: 3}"], r".*did you mean 'max_epochs'\?"),
        (["planted", "--overrides", "{training.device: cuda}"], r".*training\.device: got 'cuda', expected 'auto' or"),
        (["planted", "--overrides", "training.max_epochs=3"], r'--overrides: got .*: --overrides "{training.max_ep'),
        (["planted", "--overrides", "{a: [1"], r"--overrides, line .: got no valid YAML .*: --overrides"),
    ],
)
def test_wrong_settings_are_one_line(arguments, message, capsys):
    line = refused(capsys, 2, *arguments)
    assert re.match(message, line) and "papermill" not in line


def test_what_stops_a_run_is_one_line(tmp_path, capsys):
    message = refused(capsys, 1, "planted", "--features", "nope.pkl", "--runs", tmp_path)
    assert "nope.pkl: no such feature file" in message
    (tmp_path / "file").touch()
    message = refused(capsys, 1, "planted", "--runs", tmp_path / "file")
    assert message == f"{tmp_path}/file/planted/paper: cannot be made (Not a directory); choose another folder"


def test_a_finished_run_of_other_settings_and_a_damaged_one_are_one_line(tmp_path, capsys):
    __main__.main(["planted", "multimodal_only", "--runs", str(tmp_path), "--overrides", SMALL])
    capsys.readouterr()
    assert "other settings" in refused(capsys, 1, "planted", "multimodal_only", "--runs", tmp_path)
    (folder,) = (tmp_path / "planted" / "multimodal_only").glob("seed-*")
    (folder / "history.csv").unlink()
    command = ("planted", "multimodal_only", "--runs", tmp_path, "--overrides", SMALL)
    assert "history.csv: got no file" in refused(capsys, 1, *command)


def test_every_problem_of_a_feature_file_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "dataset", lambda _: messages.refuse_any("first", "second"))
    with pytest.raises(SystemExit):
        __main__.main(["planted", "--runs", str(tmp_path)])
    assert capsys.readouterr().err == "first\nsecond\n"


def test_of_several_processes_that_fail_alike_the_first_says_it(monkeypatch, capsys):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert "got dataset 'plantd'" in refused(capsys, 2, "plantd")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit):
        __main__.main(["plantd"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("bug", [[].index, json.loads], ids=["a call of msa_core fails", "a library raises"])
def test_a_bug_keeps_its_traceback(bug, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "dataset", bug)
    with pytest.raises((ValueError, TypeError)):
        __main__.main(["planted", "--runs", str(tmp_path)])


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("batch", ["--grid", "nope"], "got grid 'nope', expected one of config/study.yaml: .*small"),
        ("batch", ["--grid", "nope", "--recorded-only"], "got grid 'nope', expected one of"),
        ("verify", ["--grid", "nope"], "got grid 'nope', expected one of config/study.yaml: .*small"),
        ("search", ["nope"], "got search 'nope', expected one of config/study.yaml: alignment"),
        ("sweep", ["nope"], "got sweep 'nope', expected one of config/study.yaml"),
        (
            "weights",
            ["--dataset", "planted", "--variant", "no_alignment"],
            "planted / no_alignment: got no aligned pair",
        ),
        ("weights", ["--dataset", "plantd"], "got dataset 'plantd', .*; did you mean 'planted'"),
    ],
)
def test_an_unknown_name_is_one_line(script, arguments, message, monkeypatch, capsys):
    file = paths.ROOT / "workflow" / f"{script}.py"
    monkeypatch.syspath_prepend(file.parent)
    monkeypatch.setattr(sys, "argv", [str(file), *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(file), run_name="__main__")
    assert ended.value.code in (1, 2)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(message, line)


def make(*arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *arguments], cwd=paths.ROOT, env=environment, capture_output=True, text=True)


def test_make_lists_its_targets_and_asks_for_the_data_set():
    targets = re.findall(r"^([a-z-]+): ", (paths.ROOT / "Makefile").read_text(), re.MULTILINE)
    lines = make("help").stdout.splitlines()
    assert [line.split()[0] for line in lines] == targets and all(len(line.split()) > 1 for line in lines)
    assert "*** give DATASET=..., the name of a file of config/datasets" in make("--dry-run", "weights").stderr
