"""The recipes of CONTRIBUTING.md are patches that work: each adds its part, and nothing else need be touched."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from msa_core import paths

TEXT = (paths.ROOT / "CONTRIBUTING.md").read_text()
RECIPES = dict(re.findall(r"### How to add a ([a-z ]+)\n.*?```diff\n(.*?)```", TEXT, re.DOTALL))
VARIANTS = {"fusion": "addition", "model": "pooled", "label source": "shrunk_labels", "distance": "distance_mean"}
PLACES = {
    "fusion": ["msa_core/parts/", "msa_core/config/model.py"],
    "model": ["msa_core/hosts/", "msa_core/config/model.py"],
    "label source": ["msa_core/parts/", "msa_core/config/objective.py"],
    "distance": ["msa_core/parts/", "msa_core/config/distances.py", "msa_core/parts/distances.py"],
}
EVERY_PART = ["msa_core/build.py", "config/variants.yaml", "config/study.yaml", "tests/"]
TRAIN = """
import json, sys
import msa_core
from pathlib import Path
from msa_core import run
from msa_core.config import families, resolve
planted = {"num_train": 20, "num_valid": 10, "num_test": 10}
families()
config = resolve("planted", sys.argv[1], overrides={"dataset.planted": planted, "training.max_epochs": 2})
result = run.train(config, Path("run"))
print(json.dumps([msa_core.__file__, len(result.history), bool(result.history["loss_total"].notna().all())]))
"""


def test_there_is_a_recipe_for_each_kind_of_part():
    assert set(RECIPES) == {*VARIANTS, "data set"}


@pytest.fixture
def patched(tmp_path):
    """`patched(recipe)`: a copy of the sources with the recipe applied."""

    def copy(recipe):
        for part in ("msa_core", "config", "tests", "figures"):
            ignored = shutil.ignore_patterns("__pycache__", "*.png", "*.svg")
            shutil.copytree(paths.ROOT / part, tmp_path / part, ignore=ignored)
        patch = subprocess.run(
            ["git", "apply", "-"], input=RECIPES[recipe], cwd=tmp_path, capture_output=True, text=True
        )
        assert patch.returncode == 0, patch.stderr
        return tmp_path

    return copy


@pytest.mark.slow
@pytest.mark.parametrize("recipe", VARIANTS)
def test_a_part_is_added_at_its_places_and_trains(recipe, patched):
    folder = patched(recipe)
    files = re.findall(r"^\+\+\+ b/(.*)$", RECIPES[recipe], re.MULTILINE)
    assert len(files) == len(PLACES[recipe] + EVERY_PART)
    assert all(any(name.startswith(place) for name in files) for place in PLACES[recipe] + EVERY_PART)
    environment = {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", TRAIN, VARIANTS[recipe]]
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    source, epochs, finite = json.loads(process.stdout.splitlines()[-1])
    assert source.startswith(str(folder)) and epochs == 2 and finite
    tests = [name for name in files if name.startswith("tests/")]
    if recipe == "distance":
        tests.append("tests/parts/test_distances.py")  # holds for every distance; the recipe adds a row to its table
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), *tests]
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout


def test_a_data_set_is_one_file(patched):
    folder = patched("data set")
    code = "from msa_core.config import resolve; print(resolve('my_reviews').dataset.title)"
    environment = {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"}
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "My reviews"
