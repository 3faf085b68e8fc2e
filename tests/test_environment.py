"""pyproject.toml, the two lock files and environment.yml say the same."""

import re
import sys
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import pytest
import yaml
from grimp import build_graph
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import msa_core
from msa_core import paths

PYPROJECT = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
PYTHONS = ["3.11", "3.12", "3.13"]
TORCH_LOCK = (paths.ROOT / "requirements-torch.lock").read_text()
HASHED_LOCK = (paths.ROOT / "requirements.lock").read_text()
HASHES = {
    Requirement(line): re.findall(r"--hash=sha256:([0-9a-f]{64})(?: \\)?$", hashes, re.MULTILINE)
    for line, hashes in re.findall(r"^(\w\S*==.*?) \\\n((?: .*\n)+)", HASHED_LOCK, re.MULTILINE)
}
TORCH = [Requirement(line) for line in TORCH_LOCK.splitlines() if not line.startswith("#")]
LOCK = [*TORCH, *HASHES]
CONDA = yaml.safe_load((paths.ROOT / "environment.yml").read_text())
EXTRAS = PROJECT["optional-dependencies"]
IMPORTS = build_graph("msa_core", include_external_packages=True, cache_dir=None)


def installed_with(*extras):
    """What pip installs for the package with these extras, and with the extras that they include."""
    requirements = {Requirement(text) for text in PROJECT["dependencies"]}
    for requirement in (Requirement(text) for extra in extras for text in EXTRAS[extra]):
        requirements |= installed_with(*requirement.extras) if requirement.name == PROJECT["name"] else {requirement}
    return requirements


@pytest.mark.parametrize("locked", LOCK, ids=str)
def test_every_version_is_exact(locked):
    assert [specifier.operator for specifier in locked.specifier] == ["=="]
    assert locked.url is None


def test_extras_are_locked_with_their_package():
    """pip takes `coverage[toml]` for a package of its own: locked without the extra, it chooses the newest version."""
    locked = {canonicalize_name(package.name): package.extras for package in LOCK}
    wanted = set()
    for name in locked:
        with suppress(PackageNotFoundError):  # of another system
            wanted |= {Requirement(text) for text in requires(name) or []}
    wanted = {each for each in wanted if each.extras and (each.marker is None or each.marker.evaluate({"extra": ""}))}
    assert {each.name for each in wanted} >= {"coverage", "bleach"}
    assert not [str(each) for each in wanted if not each.extras <= locked.get(canonicalize_name(each.name), set())]


@pytest.mark.parametrize("dependency", sorted(installed_with(*EXTRAS), key=str), ids=str)
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_every_dependency_is_locked_once_to_a_version_it_allows(dependency, python, system):
    place = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": system}
    locked = [
        r for r in LOCK if r.name.lower() == dependency.name.lower() and (r.marker is None or r.marker.evaluate(place))
    ]
    assert len(locked) == 1
    (version,) = (specifier.version for specifier in locked[0].specifier)
    assert dependency.specifier.contains(version)


@pytest.mark.parametrize(
    ("modules", "extras"),
    [
        (["alignment", "labels", "metrics", "objective"], []),
        (["run"], ["models"]),
        (["analysis"], ["study"]),
    ],
    ids=["base", "models", "study"],
)
def test_an_installation_brings_what_its_modules_import(modules, extras):
    names = {f"msa_core.{module}" for module in modules}
    names = names.union(*map(IMPORTS.find_descendants, names))
    imported = names.union(*map(IMPORTS.find_upstream_modules, names))
    packages = {name.split(".")[0] for name in imported} - sys.stdlib_module_names - {"msa_core"}
    distributions = packages_distributions()
    needed = {canonicalize_name(distributions[package][0]) for package in packages}
    assert needed <= {canonicalize_name(requirement.name) for requirement in installed_with(*extras)}


def test_everything_but_torch_has_hashes():
    assert [requirement.name for requirement in TORCH] == ["torch"]
    lines = [line for line in HASHED_LOCK.splitlines() if not line.startswith("#")]
    assert len(lines) == sum(1 + len(hashes) for hashes in HASHES.values())  # every line was understood
    assert all(HASHES.values())
    assert "torch" not in {requirement.name for requirement in HASHES}


def test_no_lock_names_an_index_or_a_place_of_one_machine():
    assert not re.search(r"://|--(extra-)?index|--find-links|^-", TORCH_LOCK + HASHED_LOCK, re.MULTILINE)


def test_make_installs_torch_first_and_then_the_hashed_lock():
    makefile = (paths.ROOT / "Makefile").read_text()
    installations = re.findall(r"pip install (.*--requirement .*)", makefile)
    assert installations == [
        "$(PIPFLAGS) --requirement requirements-torch.lock",
        "--require-hashes --requirement requirements.lock",
    ]


def test_the_wheel_is_built_without_network_by_the_locked_backend():
    (backend,) = PYPROJECT["build-system"]["requires"]
    assert backend in EXTRAS["dev"]


def test_the_citation_names_this_version():
    assert yaml.safe_load((paths.ROOT / "CITATION.cff").read_text())["version"] == msa_core.__version__


def test_hosted_ci_calls_make_alone_on_every_supported_python():
    job = yaml.safe_load((paths.ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == PYTHONS
    targets = re.findall(r"^([\w-]+):", (paths.ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert {"make check", "make coverage"} <= set(commands) <= {f"make {target}" for target in targets}


def test_conda_has_a_python_that_the_project_allows():
    (python,) = (entry for entry in CONDA["dependencies"] if str(entry).startswith("python"))
    version = python.split("=")[-1]
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)
