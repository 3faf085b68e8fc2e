"""Fixtures for every test."""

import os
import shutil
from functools import cache
from pathlib import Path

import pytest
import yaml
from hypothesis import settings
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = (ROOT.parent / "shared" / "data", ROOT / "data")  # never committed

os.environ["HF_HUB_OFFLINE"] = "1"  # for the processes that tests start, whose sockets pytest does not block

settings.register_profile("msa_core", deadline=None, derandomize=True)  # no timing, the same examples in every run
settings.load_profile("msa_core")


@pytest.fixture(scope="session")
def real_data(tmp_path_factory):
    """`real_data("mosi_text_audio")`: a session's copy of a real feature file, in a folder of its own; skips if absent.

    The copy is shared by the session's tests, its cache too: do not change it.
    """

    @cache
    def copy(name):
        for folder in REAL_DATA:
            if (folder / f"{name}.pkl").is_file():
                return Path(shutil.copyfile(folder / f"{name}.pkl", tmp_path_factory.mktemp(name) / f"{name}.pkl"))
        return None

    def path(name):
        return copy(name) or pytest.skip(f"data/{name}.pkl is not there; docs/running.md says what it is")

    return path


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the sources as a fresh clone has them, for the tests of one module; leave it as it is."""
    folder = tmp_path_factory.mktemp("checkout")
    for part in ("msa_core", "config", "workflow", "notebooks", "figures", "reference"):
        ignored = shutil.ignore_patterns("__pycache__", "*.png", "*.svg")
        shutil.copytree(ROOT / part, folder / part, ignore=ignored)
    for part in ("benchmarks", "records"):
        shutil.copytree(ROOT / "results" / part, folder / "results" / part, ignore=shutil.ignore_patterns("parts"))
    return folder


@pytest.fixture(scope="module")
def small_checkout(checkout, tmp_path_factory):
    """Another copy, with little planted data and two epochs, under a name that must be quoted."""
    folder = shutil.copytree(checkout, tmp_path_factory.mktemp("small") / "mein übriger Ordner")
    preset = folder / "config" / "datasets" / "planted.yaml"
    settings = yaml.safe_load(preset.read_text())
    settings["dataset"]["planted"] = {"num_train": 40, "num_valid": 20, "num_test": 20}
    settings["training"]["max_epochs"] = 2
    preset.write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium, headless; skips if there is none."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium: install chromium or google-chrome to run the tests in a browser")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()
