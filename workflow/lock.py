"""Write requirements.lock: an exact version and the hashes of everything in pyproject.toml, for Linux and macOS.

torch goes to requirements-torch.lock, without a hash: its CPU and its CUDA build have the same version.
Versions that are already locked stay as they are; `--upgrade` resolves the newest ones that pyproject.toml allows.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

LOCK = Path("requirements.lock")
TORCH = Path("requirements-torch.lock")
HEADER = """\
# Made by `make lock`, never edited by hand: exact versions and hashes of everything but torch, for Linux and macOS,
# Python 3.11 and newer. torch is installed first, from requirements-torch.lock, in its CPU or its CUDA build; then
# `pip install --require-hashes --requirement requirements.lock`.
"""
TORCH_HEADER = """\
# Made by `make lock`, never edited by hand. torch pins the CUDA libraries of its default Linux build itself.
"""
# With extras: pip takes `coverage[toml]` for a package of its own, and would choose its newest version.
RESOLVE = (
    "uv pip compile --quiet --all-extras --universal --python-version 3.11 --fork-strategy fewest --generate-hashes "
    "--no-strip-extras --no-header --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml --output-file"
)
ANYWHERE = "sys_platform == 'darwin' or sys_platform == 'linux'"

with tempfile.TemporaryDirectory() as folder:
    resolved = Path(folder) / LOCK
    resolved.write_text(TORCH.read_text() + LOCK.read_text())  # uv keeps the versions that it finds here
    subprocess.run([sys.executable, "-m", *RESOLVE.split(), resolved, *sys.argv[1:]], check=True)
    lock = resolved.read_text()
lock = lock.replace(f" ; {ANYWHERE} \\\n", " \\\n").replace(f" and ({ANYWHERE})", "")
lock = re.sub(r"; \((.*)\) \\$", r"; \1 \\", lock, flags=re.MULTILINE)
packages = re.split(r"\n(?=\w)", lock.rstrip("\n"))  # each with the lines of its hashes
(torch,) = (package.split()[0] for package in packages if package.startswith("torch=="))
own_libraries = ("torch==", "nvidia-", "cuda-", "triton")
locked = [package for package in packages if not package.startswith(own_libraries)]
LOCK.write_text(HEADER + "\n".join(locked) + "\n")
TORCH.write_text(f"{TORCH_HEADER}{torch}\n")
