"""What importing a module loads, and how large modules and functions may be; `make check` holds the import order."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from msa_core import paths

MODULES = {str(path.relative_to(paths.ROOT)): path for path in sorted(Path(paths.ROOT, "msa_core").rglob("*.py"))}


def loaded_by(statement, after="pass"):
    """The packages beside the standard library that a statement loads in a new process, after another one."""
    code = f"import sys; {after}; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    process = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=paths.ROOT)
    return {name.split(".")[0] for name in process.stdout.split()} - sys.stdlib_module_names


def test_the_method_loads_torch_and_numpy_and_nothing_else():
    method = "import msa_core.alignment, msa_core.labels, msa_core.metrics, msa_core.objective"
    assert loaded_by(method) <= loaded_by("import torch, numpy") | {"msa_core"}


def test_settings_are_read_without_torch():
    assert "torch" not in loaded_by("import msa_core.config")


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_a_module_is_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= 350


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_a_function_fits_a_screen_and_has_few_parameters(path):
    """At most 55 lines of body without the docstring; at most 9 parameters, `self` included."""
    too_large = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[ast.get_docstring(node) is not None :]
            lines = node.end_lineno - body[0].lineno + 1 if body else 0
            arguments = node.args
            several = [
                *arguments.posonlyargs,
                *arguments.args,
                *arguments.kwonlyargs,
                arguments.vararg,
                arguments.kwarg,
            ]
            parameters = len([argument for argument in several if argument is not None])
            if lines > 55 or parameters > 9:
                too_large[node.name] = {"lines": lines, "parameters": parameters}
    assert too_large == {}
