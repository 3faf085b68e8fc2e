"""workflow/weights.py. Oracle: means by hand, and the runs that the same settings give."""

import os
import runpy
import subprocess
import sys

import pandas as pd
import psutil
import pytest

from msa_core import build, paths
from msa_core.config import resolve

WEIGHTS = runpy.run_path(str(paths.ROOT / "workflow" / "weights.py"))


def test_the_best_weight_has_the_lowest_mean_over_the_seeds_that_all_have():
    """Seed 3 lacks weight 10. Means 2 and 1.5; differences 1 and 0, so 0.5 with a standard deviation of sqrt(0.5)."""
    runs = pd.DataFrame({"weight": [1.0, 1.0, 10.0, 10.0, 1.0], "seed": [1, 2, 1, 2, 3]})
    table = WEIGHTS["summary"](runs.assign(valid_mae=[2.0, 2.0, 1.0, 2.0, 0.0]))
    assert table["weight"].tolist() == [10.0, 1.0]
    assert table["mean"].tolist() == [1.5, 2.0]
    assert table["above_best"].tolist() == [0.0, 0.5]
    assert table["sd_difference"][1] == pytest.approx(0.5**0.5)
    assert table["seeds"].tolist() == [2, 2]


def test_the_weight_keeps_the_variants_sign_and_distance():
    alignment = WEIGHTS["settings"]("planted", "private_correlation", 3.0, 1).objective.alignment
    assert alignment.pairs == {("audio", "vision"): -3.0}
    assert alignment.distance.kind == "correlation"


def test_the_train_and_validation_splits_are_those_of_the_preset():
    """The test split, drawn last, is cut: nothing is chosen by it."""
    fewer = build.dataset(WEIGHTS["settings"]("planted", "paper", 1.0, 1))
    whole = build.dataset(resolve("planted", "paper", 1))
    assert len(fewer["test"].labels) == 2
    for split in ("train", "valid"):
        assert fewer[split].raw_text == whole[split].raw_text
        assert fewer[split].labels.equal(whole[split].labels)


def test_a_variant_without_alignment_is_refused():
    with pytest.raises(ValueError, match="got no aligned pair"):
        WEIGHTS["settings"]("planted", "no_alignment", 1.0, 1)


@pytest.mark.slow
def test_runs_are_recorded_and_not_run_again(small_checkout):
    command = [sys.executable, "workflow/weights.py", "--dataset", "planted", "--weights", "1", "10", "--seeds", "1"]
    environment = os.environ | {"PYTHONPATH": str(small_checkout)}
    outputs = []
    for _ in range(2):
        done = subprocess.run(command, cwd=small_checkout, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    rows = pd.read_csv(small_checkout / "results" / "records" / "weights" / "planted-paper.csv")
    assert rows["weight"].tolist() == [1.0, 10.0]
    best = rows.sort_values("valid_mae")["weight"].iloc[0]
    for text in outputs:
        assert text.endswith(f"objective.alignment.pairs: {{'audio-vision': {best}}}\n")
    assert outputs[0].count("'valid_mae'") == 2
    assert outputs[1].count("'valid_mae'") == 0


def test_a_worker_ends_when_its_parent_is_killed():
    """One at work and one that waits; without the watch, both stay."""
    code = (
        "import os, sys, time; sys.path.insert(0, 'workflow'); from weights import workers\n"
        "if __name__ == '__main__':\n"
        "    pool = workers(2); jobs = [pool.submit(time.sleep, each) for each in (0.5, 600)]\n"
        "    jobs[0].result(); print('busy', flush=True); time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=paths.ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "busy\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.kill()
    process.wait()
    assert psutil.wait_procs(children, timeout=60)[1] == []
