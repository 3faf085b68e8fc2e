"""Fixtures for every test."""

import shutil
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = (ROOT.parent / "shared" / "data", ROOT / "data")  # never committed

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
        return copy(name) or pytest.skip(f"data/{name}.pkl is not there; README.md, 'Running it', says what it is")

    return path
