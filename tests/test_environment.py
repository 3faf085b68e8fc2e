"""pyproject.toml, requirements.lock and environment.yml say the same."""

import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from msa_core import paths

PROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
LOCK = [
    Requirement(line)
    for line in (paths.ROOT / "requirements.lock").read_text().splitlines()
    if line and not line.startswith("#")
]
CONDA = yaml.safe_load((paths.ROOT / "environment.yml").read_text())
WANTED = [
    Requirement(text)
    for text in [
        *PROJECT["dependencies"],
        *(text for extra in PROJECT["optional-dependencies"].values() for text in extra),
    ]
]


@pytest.mark.parametrize("locked", LOCK, ids=str)
def test_every_version_is_exact(locked):
    assert [specifier.operator for specifier in locked.specifier] == ["=="]
    assert locked.url is None


@pytest.mark.parametrize("wanted", WANTED, ids=str)
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_every_dependency_is_locked_once_to_a_version_it_allows(wanted, python, system):
    place = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": system}
    locked = [
        r for r in LOCK if r.name.lower() == wanted.name.lower() and (r.marker is None or r.marker.evaluate(place))
    ]
    assert len(locked) == 1
    (version,) = (specifier.version for specifier in locked[0].specifier)
    assert wanted.specifier.contains(version)


def test_conda_installs_the_same_lock_and_the_package():
    (pip,) = (entry["pip"] for entry in CONDA["dependencies"] if isinstance(entry, dict))
    assert pip == ["--requirement requirements.lock", "--editable ."]


def test_conda_has_a_python_that_the_project_allows():
    (python,) = (entry for entry in CONDA["dependencies"] if str(entry).startswith("python"))
    version = python.split("=")[-1]
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)
