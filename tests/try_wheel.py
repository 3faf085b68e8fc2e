"""Build the wheel into dist/, install it in a new environment, extra by extra, and use it there: `make wheel`.

python tests/try_wheel.py [options of pip install, such as the index of torch's CPU build]

Prints how many packages each extra brings and how large they are. torch has the locked version, everything else the
newest one that pyproject.toml allows, as a user of the wheel gets it.
"""

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRESET = """\
like: planted
dataset: {name: mine, title: Mine, planted: {num_train: 20, num_valid: 10, num_test: 10}}
training: {max_epochs: 2}
"""
LOSSES = """
import sys
import numpy, torch
loaded = {name.partition(".")[0] for name in sys.modules}

class TorchAndNumpyAlone:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in loaded | sys.stdlib_module_names | {"msa_core"}:
            raise ModuleNotFoundError(f"{name} is not to be imported", name=name)

sys.meta_path.insert(0, TorchAndNumpyAlone)
from msa_core.alignment import AlignmentLoss
from msa_core.labels import UnimodalLabelGenerator
from msa_core.metrics import regression_metrics
from msa_core.objective import MultiTaskLoss

y = torch.linspace(-3, 3, 8)
features = {task: torch.outer(y, torch.arange(1.0, 5)) for task in ("multimodal", "audio", "vision")}
AlignmentLoss({("audio", "vision"): 1.0})(features)
labels = UnimodalLabelGenerator(8, dict.fromkeys(features, 4), label_bound=3)
labels.initialise(torch.arange(8), y)
labels.update(features, torch.arange(8), epoch=1)
result = {"mae": regression_metrics(y.numpy() + 0.5, y.numpy(), "mosi")["mae"]}
"""
TRAINING = """
import importlib.metadata
import msa_core
from msa_core import paths, run
from msa_core.config import load_variants, resolve
presets = sorted(path.stem for path in (paths.CONFIG / "datasets").glob("*.yaml"))
for variant in load_variants():
    resolve("planted", variant)
for preset in presets:
    resolve(preset)
try:
    resolve("plan")
except ValueError as error:
    refusal = str(error)
folder = paths.run_folder("mine", "paper", 1111)
trained = run.train(resolve("mine"), folder)
result = {
    "version": importlib.metadata.version("msa_core"),
    "package": msa_core.__file__,
    "presets": presets,
    "refusal": refusal,
    "folder": str(folder),
    "epochs": len(trained.history),
    "provenance": trained.provenance,
    "changes": trained.config.changes(),
}
"""
ANALYSIS = """
from msa_core import paths
from msa_core.analysis import claims, plots, probes, tables
from msa_core.config import families
result = {"families": list(families())}
"""
SIZES = """
from importlib.metadata import distributions
found = [each for each in distributions() if each.name != "pip"]
files = [path for each in found for file in each.files or [] if (path := each.locate_file(file)).is_file()]
result = {"packages": len(found), "bytes": sum(path.stat().st_size for path in files)}
"""


def build_wheel(folder: Path) -> Path:
    """The wheel of these sources, built by the environment's own hatchling, without the network."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", folder, ROOT], check=True)
    return max(folder.glob("msa_core-*.whl"), key=lambda wheel: wheel.stat().st_mtime)


def use(python: str | Path, code: str, folder: Path, **environment: str) -> dict:
    """What `code` leaves as `result` in a process of its own, in a folder that holds one preset and nothing else."""
    preset = folder / "config" / "datasets" / "mine.yaml"
    preset.parent.mkdir(parents=True, exist_ok=True)
    preset.write_text(PRESET)
    code = f"{code}\nimport json\nprint(json.dumps(result))"
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"TQDM_DISABLE": "1"}
    process = subprocess.run(
        [python, "-c", code], cwd=folder, env=inherited | environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(process.stdout.splitlines()[-1])


def main(*options: str) -> None:
    wheel = build_wheel(ROOT / "dist")
    with tempfile.TemporaryDirectory() as folder:
        venv.create(Path(folder) / "venv", with_pip=True)
        python = Path(folder) / "venv" / "bin" / "python"
        install = [python, "-I", "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, *options, "--requirement", ROOT / "requirements-torch.lock"], check=True)
        for extra, code in {"": LOSSES, "[models]": TRAINING, "[study]": ANALYSIS}.items():
            subprocess.run([*install, f"{wheel}{extra}"], check=True)
            project = Path(folder) / f"project{extra}"
            size = use(python, SIZES, project)
            use(python, code, project)
            print(f"{wheel.name}{extra}: {size['packages']} packages, {size['bytes'] / 1e9:.2f} GB; works", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
