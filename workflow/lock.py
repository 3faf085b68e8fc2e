"""Write requirements.lock: the newest exact versions that pyproject.toml allows, for Linux and macOS."""

import re
import subprocess
import sys
from pathlib import Path

HEADER = """\
# Exact versions of everything, for Linux and macOS, Python 3.11 and newer. Made by `make lock`; never edited by hand.
# The CUDA libraries of torch's default Linux build are pinned, each exactly, by torch itself and so are not listed.
"""
RESOLVE = (
    "uv pip compile --quiet --upgrade --all-extras --universal --python-version 3.11 --fork-strategy fewest "
    "--no-header --no-annotate pyproject.toml"
)
ANYWHERE = "sys_platform == 'darwin' or sys_platform == 'linux'"

lock = (
    subprocess.run([sys.executable, "-m", *RESOLVE.split()], check=True, capture_output=True, text=True)
    .stdout.replace(f" ; {ANYWHERE}\n", "\n")
    .replace(f" and ({ANYWHERE})", "")
)
lock = re.sub(r"; \((.*)\)$", r"; \1", lock, flags=re.MULTILINE)
lock = re.sub(r"^(nvidia-|cuda-|triton).*\n", "", lock, flags=re.MULTILINE)
Path("requirements.lock").write_text(HEADER + lock)
