"""What does each part of the paper cost in time, memory and parameters?

    python benchmarks/parts.py                        # planted data: MiniLM and the tiny text encoder
    python benchmarks/parts.py --text-encoders tiny

Planted data have all three modalities, and English words for a pretrained text encoder. The models differ by one part
each. They take turns at every batch, with the same samples in the same order, so that whatever else the machine does
falls on all of them: a part's cost is the median over batches of a step's time minus that of the model without the
part, and its interval is a bootstrap over batches. Peak memory is that of a process which trains one model alone.

Writes parts.csv and parts.md to results/benchmarks.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import RESULTS, last_line, local_text_encoder, whole_number, write
from scipy.stats import bootstrap

from msa_core import build, provenance
from msa_core.config import RunConfig, resolve
from msa_core.data import FeatureSet
from msa_core.precision import fast_products
from msa_core.training import TrainingLoop

NONE = {"objective.alignment.pairs": {}}
COPIED = {"objective.labels": {"kind": "copied"}, "objective.weight_adjustment": False}
PAIRS = ("text-audio", "text-vision", "audio-vision")
PAPERS_PAIR = {"objective.alignment.pairs": {"audio-vision": 1.0}}
# part -> (the same model without it, what makes the model)
PARTS: dict[str, tuple[str | None, dict[str, Any]]] = {
    "multimodal task alone": (None, NONE | {"objective.labels": {"kind": "none"}}),
    "+ unimodal tasks": ("multimodal task alone", NONE | COPIED),
    "+ label generation": ("+ unimodal tasks", NONE),
    **{f"+ alignment, {pair}": ("+ label generation", {"objective.alignment.pairs": {pair: 1.0}}) for pair in PAIRS},
    **{
        f"+ alignment, audio-vision, {distance}": (
            "+ label generation",
            PAPERS_PAIR | {"objective.alignment.distance": {"kind": distance}},
        )
        for distance in ("correlation", "cka", "cmd", "mean_and_covariance")
    },
    "label generation + one pair (the paper)": ("+ unimodal tasks", PAPERS_PAIR),
}


def settings(part: str, text_encoder: str, samples: int) -> RunConfig:
    """The planted preset with one part."""
    changes = {
        "text.encoder": text_encoder,
        "dataset.planted": {"num_train": samples, "num_valid": 2, "num_test": 2},
    }
    return resolve("planted", overrides=changes | PARTS[part][1])


def loop(part: str, text_encoder: str, train: FeatureSet) -> TrainingLoop:
    config = settings(part, text_encoder, len(train))
    torch.manual_seed(config.seed)
    return TrainingLoop(build.parts(config, train), train, config.training, seed=config.seed)


def data(text_encoder: str, batches: int) -> FeatureSet:
    config = settings("+ label generation", text_encoder, 2)
    samples = batches * config.training.batch_size
    return build.dataset(settings("+ label generation", text_encoder, samples))["train"]


def measure_steps(text_encoder: str, batches: int, epochs: int) -> dict[str, list[float]]:
    """Seconds of each step of each model; the first epoch warms up and fills the label generators."""
    train = data(text_encoder, batches)
    loops = {part: loop(part, text_encoder, train) for part in PARTS}
    seconds: dict[str, list[float]] = {part: [] for part in PARTS}
    with fast_products():
        for epoch in range(1, epochs + 2):
            steps = {part: one.steps(epoch) for part, one in loops.items()}
            for batch in range(batches):
                names = list(PARTS)
                for part in [*names[batch % len(names) :], *names[: batch % len(names)]]:
                    started = time.perf_counter()
                    next(steps[part])
                    if epoch > 1:
                        seconds[part].append(time.perf_counter() - started)
    return seconds


def measure_memory(text_encoder: str, part: str, batches: int) -> dict[str, int]:
    """Peak resident memory (on a GPU: its peak allocated memory) after two epochs, and trained parameters."""
    one = loop(part, text_encoder, data(text_encoder, batches))
    with fast_products():
        for epoch in (1, 2):
            for _ in one.steps(epoch):
                pass
    found = provenance.provenance(provenance.start(), {})
    parameters = sum(parameter.numel() for group in one.optimizer.param_groups for parameter in group["params"])
    return {"peak": found["peak_device_memory"] or found["peak_memory"], "parameters": parameters}


def table_of(text_encoder: str, seconds: dict[str, list[float]], memory: dict[str, dict[str, int]]) -> pd.DataFrame:
    """A row a model: what it takes, and what its part adds to the model without it."""
    rows = []
    for part, (without, _) in PARTS.items():
        milliseconds = 1e3 * np.array(seconds[part])
        row = {"text_encoder": text_encoder, "part": part, "without": without or "", "step_ms": np.median(milliseconds)}
        if without is not None:
            percent = 100 * (milliseconds / (1e3 * np.array(seconds[without])) - 1)
            interval = bootstrap(
                (percent,), np.median, n_resamples=2000, rng=0, method="percentile"
            ).confidence_interval
            row |= {"added_ms": np.median(milliseconds - 1e3 * np.array(seconds[without]))}
            row |= {"added_percent": np.median(percent), "low": interval.low, "high": interval.high}
        row |= {"peak_mb": memory[part]["peak"] / 1e6, "parameters": memory[part]["parameters"], "n": len(milliseconds)}
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--text-encoders", type=local_text_encoder, nargs="+", default=["minilm", "tiny"], help="default: minilm tiny"
    )
    # Two or more: an interval over one batch is none.
    parser.add_argument("--batches", type=whole_number(2), default=20, help="of 32 samples in an epoch (default: 20)")
    parser.add_argument("--epochs", type=whole_number(), default=3, help="that are timed (default: 3)")
    parser.add_argument("--threads", type=whole_number(), default=2, help="of each process (default: 2)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the two tables")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)  # what a child does: text encoder, part
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.measure:
        text_encoder, *part = options.measure
        found: dict[str, Any] = (
            measure_memory(text_encoder, part[0], options.batches)
            if part
            else measure_steps(text_encoder, options.batches, options.epochs)
        )
        print(json.dumps(found))
        return
    tables = []
    for text_encoder in options.text_encoders:
        sizes = ["--batches", str(options.batches), "--epochs", str(options.epochs), "--threads", str(options.threads)]
        child = [sys.executable, __file__, *sizes, "--measure", text_encoder]
        memory = {part: last_line([*child, part]) for part in PARTS}
        tables.append(table_of(text_encoder, last_line(child), memory))
    notes = (
        f"Planted data, batches of 32, {options.threads} threads. `added`: the median over n batches of a step minus "
        "the same batch's step `without` the part, in ms and in percent of the latter; low and high: the 95% interval "
        "of the percent."
    )
    write(pd.concat(tables), options.results / "parts", "Cost of the paper's parts", notes)


if __name__ == "__main__":
    main()
