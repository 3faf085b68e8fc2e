"""What the benchmarks share: checked arguments, a Python for each measure, and tables that say where they are from."""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from mmsa_loader import INSTALL
from numpy.typing import ArrayLike

from msa_core import provenance
from msa_core.paths import ROOT
from msa_core.requirements import encoder_folder

RESULTS = ROOT / "results" / "benchmarks"
STARTED = provenance.start()  # before anything is written, which would make the tree unclean
T = TypeVar("T")


def accepted(kind: Callable[[str], T], condition: Callable[[T], bool], expected: str) -> Callable[[str], T]:
    """An argparse type: what `kind` makes of the text, if the condition holds for it."""

    def read(text: str) -> T:
        with suppress(ValueError):
            if condition(value := kind(text)):
                return value
        raise argparse.ArgumentTypeError(f"got {text}, expected {expected}")

    return read


def whole_number(least: int = 1) -> Callable[[str], int]:
    """An argparse type: an integer, `least` or more."""
    return accepted(int, lambda value: value >= least, f"a whole number of {least} or more")


fraction = accepted(float, lambda value: 0 < value <= 1, "a share within (0, 1]")
positive = accepted(float, lambda value: 0 < value < math.inf, "a positive number")
existing_folder = accepted(Path, Path.is_dir, "an existing folder")


def local_text_encoder(name: str) -> str:
    """An argparse type: a text encoder whose files are on this machine."""
    try:
        there = name == "tiny" or (encoder_folder(name) / "config.json").is_file()
    except ModuleNotFoundError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not there:
        raise argparse.ArgumentTypeError(
            f"got {name}, expected minilm, tiny, or a model on this machine: its folder, or its name after "
            f"`hf download {name}`"
        )
    return name


def python_with_mmsa(python: str) -> str:
    """An argparse type: the Python of an environment in which MMSA is installed."""
    search = "import importlib.util as u, sys; sys.exit(u.find_spec('MMSA') is None)"
    with suppress(OSError):
        if subprocess.run([python, "-c", search], capture_output=True).returncode == 0:
            return python
    raise argparse.ArgumentTypeError(
        f"got {python}, in which there is no MMSA, expected the Python of an environment that has it; {INSTALL}, and "
        "give mmsa-venv/bin/python"
    )


def require_features(parser: argparse.ArgumentParser, option: str, path: Path) -> None:
    """End with the parser's error where there is no such feature file."""
    if not path.is_file():
        parser.error(
            f"{option}: got {path}, where there is no file, expected a feature file (docs/running.md says where they "
            f"come from); put it there, or change {option}"
        )


def refuse_without_mmsa(parser: argparse.ArgumentParser, options: argparse.Namespace, *names: str) -> None:
    """End with the parser's error where one of these was given, which nothing reads without --mmsa-python."""
    changed = [name for name in names if getattr(options, name) != parser.get_default(name)]
    if changed and not options.mmsa_python:
        given = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
        parser.error(
            f"got {given} without --mmsa-python, expected both or none; add --mmsa-python, or leave {given} out"
        )


def last_line(command: list[str], **environment: str) -> dict[str, Any]:
    """Run a command and read its last line of output as JSON."""
    print("*", *command[1:], file=sys.stderr, flush=True)
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    variables = os.environ | {"PYTHONPATH": path} | environment
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stderr}\n{' '.join(command)}: failed with exit status {done.returncode}")
    return json.loads(done.stdout.splitlines()[-1])


def row(measure: str, value: float, unit: str, spread: tuple[float, float] | None = None, n: int = 1) -> dict[str, Any]:
    """One row of a table: a value with the quartiles of the n that it is the median of."""
    low, high = spread or (np.nan, np.nan)
    return {"measure": measure, "value": value, "unit": unit, "quartile_1": low, "quartile_3": high, "n": n}


def quartiles(measure: str, values: ArrayLike, unit: str) -> dict[str, Any]:
    """The row of many values: median and quartiles."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return row(measure, middle, unit, (low, high), np.size(values))


def write(table: pd.DataFrame, file: Path, title: str, notes: str) -> None:
    """Write `<file>.csv` (every digit) and `<file>.md` (bytes as MB, four digits, where it is from); print it."""
    cpu = [line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    packages = ", ".join(
        f"{name} {version}" for name, version in provenance.provenance(STARTED, {})["packages"].items()
    )
    arguments = ["..." if os.sep in argument else argument for argument in sys.argv[1:]]  # a path is the machine's own
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])
    shown = table.copy()
    numbers = shown.select_dtypes("float").columns
    if "unit" in shown:
        in_bytes = shown["unit"] == "bytes"
        shown.loc[in_bytes, numbers] = shown.loc[in_bytes, numbers] / 1e6
        shown.loc[in_bytes, "unit"] = "MB"
    for name in numbers:
        shown[name] = [f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}" for value in shown[name]]
    text = (
        f"# {title}\n\n"
        f"`{command}`; commit {STARTED['commit']}, clean tree: {STARTED['clean']}.\n\n"
        f"{platform.system()} {platform.machine()}, {cpu[0] if cpu else 'processor unknown'}, {os.cpu_count()} cores, "
        f"{memory:.0f} GB of memory, "
        f"{torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'}; "
        f"Python {platform.python_version()}, {packages}.\n\n"
        f"{notes}\n\n{shown.replace('nan', '').to_markdown(index=False, disable_numparse=True)}\n"
    )
    # Not `write_table`, which keeps numbers that agree to a share of their column's largest: a column has many units.
    file.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(file.with_suffix(".csv"), index=False)
    file.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
