"""Fixtures for the tests of reading."""

import os
import pickle

import pytest


@pytest.fixture
def folder(tmp_path):
    """Where the feature file lies, with nothing beside it."""
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


@pytest.fixture
def save(folder):
    """Write a file's content (or bytes) as `features.pkl`; a second writing is a second later on the file's clock."""

    def write(content, protocol=4):
        path = folder / "features.pkl"
        later = path.stat().st_mtime_ns + 10**9 if path.exists() else None
        path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
        if later:
            os.utime(path, ns=(later, later))
        return path

    return write


@pytest.fixture
def elsewhere(tmp_path):
    (tmp_path / "caches").mkdir()
    return tmp_path / "caches"
