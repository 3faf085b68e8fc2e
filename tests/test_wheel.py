"""The wheel works outside a clone; `make wheel` tries it in an environment of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
from try_wheel import ANALYSIS, LOSSES, TRAINING, build_wheel, use

import msa_core
from msa_core import paths, provenance

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which pip has installed the wheel, and nothing else."""
    folder = tmp_path_factory.mktemp("site")
    wheel = build_wheel(tmp_path_factory.mktemp("dist"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel]
    subprocess.run(command, check=True)
    return folder


def contents(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_the_losses_and_metrics_need_torch_and_numpy_alone(site, tmp_path):
    assert use(sys.executable, LOSSES, tmp_path, PYTHONPATH=str(site)) == {"mae": 0.5}


def test_it_trains_on_a_preset_of_the_user_s_and_writes_into_the_current_folder_alone(site, tmp_path):
    before = contents(site)
    found = use(sys.executable, TRAINING, tmp_path, PYTHONPATH=str(site))
    assert Path(found["package"]) == site / "msa_core" / "__init__.py"
    assert found["version"] == msa_core.__version__
    assert found["presets"] == sorted(path.stem for path in (paths.CONFIG / "datasets").glob("*.yaml"))
    assert f"got dataset 'plan', expected one of the package's presets and {tmp_path}/config/data" in found["refusal"]
    assert Path(found["folder"]) == tmp_path / "results" / "runs" / "mine" / "paper" / "seed-1111"
    assert (tmp_path / "results/runs/mine/paper/seed-1111/metrics.json").is_file()
    assert found["epochs"] == 2 and found["changes"] == {}
    assert found["provenance"]["code_sha256"] == provenance.code_fingerprint()  # all of the code is in the wheel
    assert found["provenance"]["commit"] is None
    assert contents(site) == before
    assert {path.name for path in tmp_path.iterdir()} == {"config", "results"}


def test_finished_runs_are_analysed_with_its_own_study_and_style(site, tmp_path):
    assert use(sys.executable, ANALYSIS, tmp_path, PYTHONPATH=str(site))["families"]
