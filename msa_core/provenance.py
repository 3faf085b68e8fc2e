"""Where a run's numbers come from: code, packages, device and data."""

import ast
import hashlib
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from typing import Any

import pandas as pd
import torch

from msa_core import processes
from msa_core.paths import INSTALLED, PACKAGE
from msa_core.precision import products_by_onednn

PACKAGES = (
    "accelerate",
    "numpy",
    "pandas",
    "safetensors",
    "scikit-learn",
    "tokenizers",
    "torch",
    "transformers",
)
CODE_PATHS = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_fingerprint() -> str:
    """SHA-256 over the package's sources: tells two states of the code apart, committed or not."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        digest.update(file.relative_to(PACKAGE.parent).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def code_identity() -> str:
    """SHA-256 over the parsed code that a run may depend on: the package without `analysis`.

    Comments, docstrings and the layout of the text do not count.
    """
    digest = hashlib.sha256()
    for file in sorted(PACKAGE.rglob("*.py")):
        name = file.relative_to(PACKAGE)
        if name.parts[0] != "analysis":
            tree = ast.parse(file.read_bytes())
            for node in ast.walk(tree):
                if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
                    del node.body[0]
            digest.update(f"{name.as_posix()}\0{ast.dump(tree)}\0".encode())
    return digest.hexdigest()


def start() -> dict[str, Any]:
    """The part of the provenance that must be taken before a run, while the code on disk is the code that runs.

    "started" (UTC; a resumed run counts from its last start), "commit" and whether the tree was "clean" (None outside
    a git checkout; tables and figures, which a study rewrites and no run reads, do not count), "code_sha256".
    """
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", ".", ":!results", ":!figures")
    return {
        "started": pd.Timestamp.now("UTC").isoformat(timespec="seconds"),
        "commit": commit,
        "clean": None if changes is None else not changes,
        "code_sha256": code_fingerprint(),
    }


def provenance(started: dict[str, Any], source: dict[str, Any], device: str = "cpu") -> dict[str, Any]:
    """Where a run's numbers come from: code, packages, device, arithmetic, data, seconds and peak memory in bytes.

    Of several processes, threads and memory are those of the one that writes this.

    Args:
        started: what `start` returned before the run.
        source: the data's, `FeatureSet.source`.
        device: type of the one that the run used, "cpu" or "cuda".
    """
    cuda = device == "cuda"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        **started,
        "seconds": (pd.Timestamp.now("UTC") - pd.Timestamp(started["started"])).total_seconds(),
        "python": platform.python_version(),
        "packages": {package: _version(package) for package in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": processes.count(),
        "arithmetic": arithmetic(),
        "peak_memory": peak if sys.platform == "darwin" else peak * 1024,  # Linux counts in KiB
        "peak_device_memory": torch.cuda.max_memory_allocated() if cuda else None,
        "data": source,
    }


def this_process() -> str:
    """Its number, its computer and, on a cluster under SLURM, its job, for another process that waits for it."""
    job = f", SLURM job {os.environ['SLURM_JOB_ID']}" if "SLURM_JOB_ID" in os.environ else ""
    return f"process {os.getpid()} of {platform.node()}{job}"


def arithmetic() -> dict[str, Any]:
    """What decides the last digits of a sum on this machine: two float32 runs with other ones part after some epochs.

    "cpu_capability", the instruction set that torch uses; "float32_products", who multiplies float32 matrices; and the
    environment variables that choose other code paths, those that are set.
    """
    return {
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "float32_products": "oneDNN" if products_by_onednn() else "MKL",
        **{name: os.environ[name] for name in CODE_PATHS if name in os.environ},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None  # scikit-learn, where training alone is installed


def _git(*arguments: str) -> str | None:
    if INSTALLED:
        return None  # a checkout around an installed package is another project's
    try:
        process = subprocess.run(["git", *arguments], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None  # not a checkout, or no git: the fingerprint of the code still tells
    return process.stdout.strip()
