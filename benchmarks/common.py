"""What the benchmarks share: a Python of its own for each measure, and tables that say where they are from."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike

from msa_core import provenance
from msa_core.analysis.outputs import write_table
from msa_core.paths import ROOT

RESULTS = ROOT / "results" / "benchmarks"
STARTED = provenance.start()  # before anything is written, which would make the tree unclean


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
    write_table(table, text, file)
    print(text)
