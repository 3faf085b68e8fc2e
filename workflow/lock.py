"""Write requirements.lock: an exact version of everything in pyproject.toml, for Linux and macOS.

Versions that are already locked stay as they are; `--upgrade` resolves the newest ones that pyproject.toml allows.
"""

import re
import subprocess
import sys
from pathlib import Path

LOCK = Path("requirements.lock")
HEADER = """\
# Exact versions of everything, for Linux and macOS, Python 3.11 and newer. Made by `make lock`; never edited by hand.
# The CUDA libraries of torch's default Linux build are pinned, each exactly, by torch itself and so are not listed.
"""
RESOLVE = (
    "uv pip compile --quiet --all-extras --universal --python-version 3.11 --fork-strategy fewest "
    f"--no-header --no-annotate --output-file {LOCK} pyproject.toml"
)
ANYWHERE = "sys_platform == 'darwin' or sys_platform == 'linux'"

subprocess.run([sys.executable, "-m", *RESOLVE.split(), *sys.argv[1:]], check=True)
lock = LOCK.read_text().replace(f" ; {ANYWHERE}\n", "\n").replace(f" and ({ANYWHERE})", "")
lock = re.sub(r"; \((.*)\)$", r"; \1", lock, flags=re.MULTILINE)
lock = re.sub(r"^(nvidia-|cuda-|triton).*\n", "", lock, flags=re.MULTILINE)
LOCK.write_text(HEADER + lock)
