"""Does an epoch over many feature files cost more a sample, or more memory, than one over a tenth of the samples?

    python benchmarks/stream.py                                    # from the top folder; about 2 GB of disk
    python benchmarks/stream.py --share 0.01 --results results/trial  # a hundredth of the samples

Draws stores of small frames: 20,000 samples in one file and in ten, 200,000 in ten. Loading alone and training steps
take turns between the stores, within one process; memory is measured in a process for each store. Writes stream.csv
(every number) and stream.md (the same with the machine's description) to results/benchmarks, and removes the stores.
"""

import argparse
import gc
import itertools
import json
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from common import RESULTS, existing_folder, fraction, last_line, quartiles, row, whole_number, write
from scale import compared, mosei, resident

from msa_core import build
from msa_core.data import batches, load_features, planted_tokenizer
from msa_core.training import TrainingLoop
from msa_core.vocabulary import VOCABULARY

STORES = {"20,000 samples, 1 file": (1, 20_000), "20,000 samples, 10 files": (10, 2_000)}
STORES |= {"200,000 samples, 10 files": (10, 20_000)}  # the number of files, train samples of each
HELD_OUT = 64  # samples of valid and of test, in each file
FRAMES, WIDTH, WORDS = 20, 16, 18  # the most frames and words of a sample
BATCH_SIZE = 32
LOADED, TRAINED = 125, 10  # batches of a turn


def draw_store(folder: Path, files: int, samples: int) -> list[Path]:
    """Write a store: random frames, words and labels."""
    folder.mkdir()
    paths = [folder / f"{number}.pkl" for number in range(files)]
    for number, path in enumerate(paths):
        generator = np.random.default_rng(number)
        content = {}
        for split, size in {"train": samples, "valid": HELD_OUT, "test": HELD_OUT}.items():
            words = generator.choice(VOCABULARY[4:], (size, WORDS))
            fields: dict[str, Any] = {
                "id": [f"{path.stem}-{split}-{i}" for i in range(size)],
                "raw_text": [
                    " ".join(text[:n]) for text, n in zip(words, generator.integers(1, WORDS + 1, size), strict=True)
                ],
                "regression_labels": generator.uniform(-3, 3, size).astype(np.float32),
            }
            for modality in ("audio", "vision"):
                fields[modality] = generator.standard_normal((size, FRAMES, WIDTH), dtype=np.float32)
                fields[f"{modality}_lengths"] = generator.integers(1, FRAMES + 1, size)
            content[split] = fields
        with path.open("wb") as file:
            pickle.dump(content, file, protocol=4)
    return paths


def measure_memory(paths: list[Path]) -> dict[str, float]:
    """Anonymous memory that opening and one epoch of batches add, and the largest size of mapped files in memory."""
    tokenizer = planted_tokenizer()
    gc.collect()
    before, started = resident("RssAnon"), time.process_time()
    train = load_features(paths, tokenizer)["train"]
    seconds, opened = time.process_time() - started, resident("RssAnon") - before
    found = [
        (resident("RssAnon") - before, resident("RssFile"))
        for number, _ in enumerate(batches(train, BATCH_SIZE, shuffle_seed=1))
        if number % 20 == 0
    ]
    anonymous, mapped = (max(values) for values in zip(*found, strict=True))
    return {"seconds": seconds, "opened": opened, "epoch": anonymous, "mapped": mapped, "samples": len(train)}


def loading(paths: list[Path]) -> Iterator[int]:
    """The sizes of loaded batches, epoch after epoch."""
    train = load_features(paths, planted_tokenizer())["train"]
    for epoch in itertools.count(1):
        yield from map(len, batches(train, BATCH_SIZE, shuffle_seed=epoch))


def training(paths: list[Path]) -> Iterator[int]:
    """The same of batches that are trained on."""
    config = mosei(paths[0].parent / "*.pkl")
    torch.manual_seed(0)
    train = load_features(paths, planted_tokenizer())["train"]
    loop = TrainingLoop(build.parts(config, train), train, config.training)
    yield from (size for size, _ in chain.from_iterable(map(loop.steps, itertools.count(1))))


def in_turns(runs: Mapping[str, Iterator[int]], turns: int, length: int) -> dict[str, list[float]]:
    """Processor seconds per sample of each turn of so many batches; a first turn warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(turns + 1):
        for name in sorted(runs, reverse=bool(turn % 2)):
            started = time.process_time()
            samples = sum(islice(runs[name], length))
            if turn:
                seconds[name].append((time.process_time() - started) / samples)
    return seconds


def measure_all(stores: Mapping[str, list[Path]], turns: Mapping[str, int]) -> pd.DataFrame:
    """Every measure, a row each."""
    rows, found = [], {}
    for name, paths in stores.items():
        load_features(paths, planted_tokenizer())  # writes the caches
        found[name] = memory = last_line([sys.executable, __file__, "--measure", *map(str, paths)])
        rows += [
            row(f"{name}: opening", memory["seconds"], "seconds"),
            row(f"{name}: anonymous memory of opening", memory["opened"], "bytes"),
            row(f"{name}: anonymous memory, largest in an epoch", memory["epoch"], "bytes"),
            row(f"{name}: mapped files in memory, largest in an epoch", memory["mapped"], "bytes"),
        ]
    first, *_, last = stores
    added = found[last]["epoch"] - found[first]["epoch"], found[last]["samples"] - found[first]["samples"]
    rows.append(row("anonymous memory for each more sample", added[0] / added[1], "B"))
    for what, runs, length in (("loading", loading, LOADED), ("training", training, TRAINED)):
        seconds = in_turns({name: runs(paths) for name, paths in stores.items()}, turns[what], length)
        rows += [quartiles(f"{what}, {name}", each, "CPU-seconds/sample") for name, each in seconds.items()]
        rows += [
            quartiles(f"{what}: {last} / {name}", compared(seconds[name], seconds[last]), "ratio")
            for name in list(stores)[:-1]
        ]
        rows.append(row(f"{what}: {last} / {first}, all turns", sum(seconds[last]) / sum(seconds[first]), "ratio"))
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=existing_folder, help="for the stores (default: the system's folder for such)")
    parser.add_argument("--share", type=fraction, default=1.0, help="of the samples (default: 1)")
    parser.add_argument(
        "--loading", type=whole_number(), default=50, help="timed turns of loading (default: 50, an epoch)"
    )
    parser.add_argument("--training", type=whole_number(), default=30, help="timed turns of training (default: 30)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the two tables")
    parser.add_argument("--measure", nargs="+", type=Path, help=argparse.SUPPRESS)  # files: what a child does
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure_memory(options.measure)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="stream-") as folder:
        stores = {
            name: draw_store(Path(folder) / str(place), files, max(2, round(samples * options.share)))
            for place, (name, (files, samples)) in enumerate(STORES.items())
        }
        table = measure_all(stores, {"loading": options.loading, "training": options.training})
    notes = (
        f"{options.share:.0%} of the samples; frames of width {WIDTH} with 1 to {FRAMES} a sample, 1 to {WORDS} words; "
        f"batches of {BATCH_SIZE} for loading, of the MOSEI preset (tiny text encoder) for training; threads: "
        f"{torch.get_num_threads()}. The stores take turns within one process ({LOADED} batches of loading, {TRAINED} "
        "of training): median and quartiles over turns. Processor time: the files lie in the system's page cache, no "
        "disk is waited for. Anonymous memory is what a process has beside mapped files, which the system may take "
        "back; it is that beyond an interpreter that has imported everything."
    )
    write(table, options.results / "stream", "Many feature files", notes)


if __name__ == "__main__":
    main()
