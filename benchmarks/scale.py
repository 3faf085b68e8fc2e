"""Does reading, opening, training and labelling stand a data set of MOSEI's size?

    python benchmarks/scale.py                                   # from the top folder; about 10 GB of disk
    python benchmarks/scale.py --mmsa-python path/to/bin/python  # and the memory of MMSA's own loader beside it
    python benchmarks/scale.py --share 0.01 --results results/trial  # a hundredth of the samples

Draws a feature file of MOSEI's exact shape in the layout that thuiar/MMSA shares (random numbers, lengths skewed
short), then measures, each in a process of its own: the first read, a later opening, one epoch of training at two
numbers of samples, MMSA's loader. Two more measures compare numbers of samples with each other and therefore take
turns within one process: training speed, and the cost of a step of label generation. Writes scale.csv (every number)
and scale.md (the same with the machine's description) to results/benchmarks, and removes the file and its cache.
"""

import argparse
import gc
import itertools
import json
import pickle
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from common import RESULTS, existing_folder, fraction, last_line, python_with_mmsa, quartiles, row, whole_number, write
from mmsa_loader import peak_memory
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from msa_core import build
from msa_core.config import RunConfig, resolve
from msa_core.data import FeatureSet, Ragged, load_features, planted_tokenizer
from msa_core.data.features import number_of_batches
from msa_core.labels import UnimodalLabelGenerator
from msa_core.training import TrainingLoop
from msa_core.vocabulary import VOCABULARY

SAMPLES = {"train": 16326, "valid": 1871, "test": 4659}
SHAPES = {"audio": (500, 74), "vision": (375, 35), "text": (50, 768)}  # T, D
FEW = 1024  # samples that all of them are compared with
PIECE = 256  # samples drawn at once
LABEL_SAMPLES = (1_000, 1_000_000)
SPECIAL_TOKENS = 2


# --- a feature file of MOSEI's shape --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawn:
    """A float32 array (N, T, D) of standard normal numbers, zero behind each sample's length, not made yet."""

    generator: Generator
    lengths: NDArray
    shape: tuple[int, int]

    def pieces(self) -> Iterator[NDArray]:
        """The array, some samples at a time."""
        for start in range(0, len(self.lengths), PIECE):
            lengths = self.lengths[start : start + PIECE]
            piece = self.generator.standard_normal((len(lengths), *self.shape), dtype=np.float32)
            piece[np.arange(self.shape[0]) >= lengths[:, None]] = 0
            yield piece


class DrawingPickler(pickle._Pickler):
    """Writes `Drawn` arrays as numpy arrays, of which only a piece is ever in memory."""

    write: Callable[[bytes], None]
    framer: Any

    def save_drawn(self, drawn: Drawn) -> None:
        rebuild, arguments, (version, _, dtype, fortran_order, _) = np.empty(0, np.float32).__reduce__()
        shape = len(drawn.lengths), *drawn.shape
        self.save_reduce(rebuild, arguments)
        self.write(pickle.MARK)
        for part in (version, shape, dtype, fortran_order):
            self.save(part)
        header = pickle.BINBYTES8 + struct.pack("<Q", 4 * int(np.prod(shape)))
        for piece in drawn.pieces():
            self.framer.write_large_bytes(header, piece.data)
            header = b""
        self.write(pickle.TUPLE + pickle.BUILD)

    dispatch: ClassVar[dict[type, Any]] = pickle._Pickler.dispatch | {Drawn: save_drawn}


def draw_file(path: Path, share: float = 1.0, seed: int = 0) -> None:
    """Write the feature file, piece by piece.

    Args:
        path: the pickle.
        share: of MOSEI's samples in each split, at least 2.
        seed: of everything in it.
    """
    generator = np.random.default_rng(seed)
    content = {split: draw_split(generator, split, max(2, round(size * share))) for split, size in SAMPLES.items()}
    with path.open("wb") as file:
        DrawingPickler(file, protocol=4).dump(content)


def draw_split(generator: Generator, split: str, size: int) -> dict[str, Any]:
    """One split's fields; an utterance's length is about the same share of the longest in all modalities."""
    share = generator.beta(1.3, 2.8, size)  # median 0.30
    lengths = {name: np.ceil(share * longest).astype(int) for name, (longest, _) in SHAPES.items()}
    longest_text = SHAPES["text"][0]
    tokens = lengths["text"].clip(SPECIAL_TOKENS + 1, longest_text)
    words = [generator.integers(4, len(VOCABULARY), count - SPECIAL_TOKENS) for count in tokens]
    text_bert = np.zeros((size, 3, longest_text), np.float32)
    for sample, text in zip(text_bert, words, strict=True):
        ids = [VOCABULARY.index("[CLS]"), *text, VOCABULARY.index("[SEP]")]
        sample[0, : len(ids)], sample[1, : len(ids)] = ids, 1
    labels = (np.rint(generator.normal(0, 1.1, size) * 3) / 3).clip(-3, 3).astype(np.float32)
    return {
        "raw_text": [" ".join(VOCABULARY[word] for word in text) for text in words],
        "audio": Drawn(generator, lengths["audio"], SHAPES["audio"]),
        "vision": Drawn(generator, lengths["vision"], SHAPES["vision"]),
        "id": [f"{split}-video-{i // 8}$_${i % 8}" for i in range(size)],
        "text": Drawn(generator, tokens, SHAPES["text"]),
        "text_bert": text_bert,
        "audio_lengths": lengths["audio"].tolist(),
        "vision_lengths": lengths["vision"].tolist(),
        "annotations": [("Negative", "Neutral", "Positive")[int(sign) + 1] for sign in np.sign(labels)],
        "regression_labels": labels,
    }


# --- what is measured, each in a fresh process ----------------------------------------------------------------------


def resident(of: str = "VmRSS") -> int:
    """Bytes of this process in memory; "RssFile": those that are mapped files', which the system may take back."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(of))


def measure_open(path: Path) -> dict[str, float]:
    """One `load_features`, with what it adds to the memory of an interpreter that has imported everything."""
    tokenizer = planted_tokenizer()
    gc.collect()
    before, started = resident(), time.perf_counter()
    features = load_features(path, tokenizer)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak": peak_memory(), "increase": resident() - before, "splits": len(features)}


def mosei(path: Path) -> RunConfig:
    """MOSEI's preset with the tiny text encoder."""
    return resolve("mosei", features=str(path), overrides={"text.encoder": "tiny"})


def some(features: FeatureSet, size: int) -> FeatureSet:
    """So many samples drawn at random, so that all lengths are among them as often as in the whole."""
    if size >= len(features):
        return features
    index = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))[:size]
    return replace(
        features,
        ids=[features.ids[i] for i in index.tolist()],
        labels=features.labels[index],
        sequences={m: Ragged.from_lengths(*ragged.rows(index)) for m, ragged in features.sequences.items()},
        raw_text=None,
    )


def training_loop(path: Path, samples: int) -> TrainingLoop:
    """MOSEI's preset with the tiny text encoder, on so many samples of the file."""
    config = mosei(path)
    torch.manual_seed(0)
    train = some(load_features(path, planted_tokenizer())["train"], samples)
    return TrainingLoop(build.parts(config, train), train, config.training)


def measure_epoch(path: Path, samples: int) -> dict[str, float]:
    """One epoch of training, without validation; its peak alone, not that of choosing the samples."""
    loop = training_loop(path, samples)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is counted from here
    started = time.perf_counter()
    done = sum(size for size, _ in loop.steps(1))
    seconds = time.perf_counter() - started
    return {"peak": peak_memory(), "mapped": resident("RssFile"), "seconds": seconds, "samples": done}


def measure_speed(path: Path, blocks: int) -> dict[str, Any]:
    """Samples a second with few and with all samples, in blocks of batches that take turns."""
    loops = {size: training_loop(path, size) for size in (FEW, sys.maxsize)}
    runs = {size: chain.from_iterable(map(loop.steps, itertools.count(1))) for size, loop in loops.items()}
    # Of few samples, one epoch is one block, so that all lengths are in it.
    batches_a_block = number_of_batches(loops[FEW].train, loops[FEW].config.batch_size)
    speeds: dict[int, list[float]] = {size: [] for size in runs}
    for block in range(blocks + 1):
        for size in sorted(runs, reverse=bool(block % 2)):
            started = time.perf_counter()
            samples = sum(done for done, _ in islice(runs[size], batches_a_block))
            if block:  # the first warms up
                speeds[size].append(samples / (time.perf_counter() - started))
    found = [(len(loops[size].train), values) for size, values in speeds.items()]
    return {"speeds": found, "batches": batches_a_block * blocks}


def measure_labels(path: Path, repetitions: int, sizes: tuple[int, int] = LABEL_SAMPLES) -> dict[str, Any]:
    """Seconds of `update` and `labels` with few and with many samples, step by step in turn, per batch size."""
    preset = mosei(path).model
    widths = {"multimodal": preset.fusion.width} | {m: getattr(preset.unimodal, m).width for m in SHAPES}
    random = torch.Generator().manual_seed(0)
    generators = {}
    for size in sizes:
        generators[size] = UnimodalLabelGenerator(size, widths, label_bound=3)
        generators[size].initialise(torch.arange(size), torch.rand(size, generator=random) * 6 - 3)
        whole = {task: torch.randn(size, width, generator=random) for task, width in widths.items()}
        generators[size].update(whole, torch.arange(size), epoch=1)
        del whole
    seconds: dict[int, dict[int, list[float]]] = {}
    for batch_size in (16, 32):
        seconds[batch_size] = {size: [] for size in sizes}
        orders: dict[int, Iterator[Tensor]] = {size: iter(()) for size in sizes}
        for repetition in range(repetitions + 100):
            features = {task: torch.randn(batch_size, width, generator=random) for task, width in widths.items()}
            for size in sorted(sizes, reverse=bool(repetition % 2)):
                index = next(orders[size], None)
                if index is None or len(index) < batch_size:
                    orders[size] = iter(torch.randperm(size, generator=random).split(batch_size))
                    index = next(orders[size])
                started = time.perf_counter()
                generators[size].update(features, index, epoch=3)
                for task in widths:
                    generators[size].labels(task, index)
                if repetition >= 100:  # those before warm up
                    seconds[batch_size][size].append(time.perf_counter() - started)
    return {"seconds": [(batch_size, list(found.items())) for batch_size, found in seconds.items()]}


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "open": measure_open,
    "epoch": measure_epoch,
    "speed": measure_speed,
    "labels": measure_labels,
}


def in_fresh_process(measure: str, path: Path, *arguments: int) -> dict[str, Any]:
    """What `MEASURES[measure](path, *arguments)` returns, from a Python of its own."""
    return last_line([sys.executable, __file__, "--measure", measure, str(path), *map(str, arguments)])


# --- the table ------------------------------------------------------------------------------------------------------


def compared(few: list[float], many: list[float]) -> NDArray:
    """Ratios of many to few, turn by turn."""
    return np.array(many) / np.array(few)


def measure_all(path: Path, mmsa_python: str | None, blocks: int, repetitions: int, share: float) -> pd.DataFrame:
    """Every measure, a row each."""
    largest = 4 * max(round(SAMPLES["train"] * share) * time * width for time, width in SHAPES.values())
    rows = [
        row("feature file", path.stat().st_size, "bytes"),
        row("largest array of the file", largest, "bytes"),
    ]
    first, later = in_fresh_process("open", path), [in_fresh_process("open", path) for _ in range(5)]
    rows += [
        row("first read: peak resident memory", first["peak"], "bytes"),
        row("first read: peak resident memory / largest array", first["peak"] / largest, "ratio"),
        row("first read", first["seconds"], "seconds"),
        quartiles("later opening", np.array([opening["seconds"] for opening in later]), "seconds"),
        quartiles("later opening: added memory", np.array([opening["increase"] for opening in later]), "bytes"),
    ]
    every = max(2, round(SAMPLES["train"] * share))
    epochs = {}
    for samples in (FEW, every):
        epochs[samples] = found = in_fresh_process("epoch", path, samples)
        rows += [
            row(f"one epoch, {samples} samples: peak resident memory", found["peak"], "bytes"),
            row(f"one epoch, {samples} samples: of it mapped files, at the end", found["mapped"], "bytes"),
            row(f"one epoch, {samples} samples", found["samples"] / found["seconds"], "samples/second"),
        ]
    found = in_fresh_process("speed", path, blocks)
    (few, few_speeds), (_, every_speeds) = found["speeds"]
    rows += [
        quartiles(
            f"training, {samples} samples, {found['batches']} batches in turn", np.array(speeds), "samples/second"
        )
        for samples, speeds in found["speeds"]
    ]
    rows.append(quartiles(f"training speed, {every} / {few} samples", compared(few_speeds, every_speeds), "ratio"))
    for batch_size, found in in_fresh_process("labels", path, repetitions)["seconds"]:
        (few, few_seconds), (many, many_seconds) = found
        name = f"label generation, batch of {batch_size}"
        rows += [
            quartiles(f"{name}, {samples} samples", np.array(seconds), "seconds/step") for samples, seconds in found
        ]
        rows.append(quartiles(f"{name}, {many} / {few} samples", compared(few_seconds, many_seconds), "ratio"))
    if mmsa_python is not None:
        found = last_line([mmsa_python, str(Path(__file__).with_name("mmsa_loader.py")), str(path)])
        rows += [
            row(f"MMSA {found['version']} loader: peak resident memory", found["peak"], "bytes"),
            row(f"MMSA {found['version']} loader: until it stands", found["seconds"], "seconds"),
            row("MMSA's peak / our first read's", found["peak"] / first["peak"], "ratio"),
            row(
                "MMSA's peak / our epoch's, model and training included", found["peak"] / epochs[every]["peak"], "ratio"
            ),
        ]
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=existing_folder, help="of the file, until the end; default: a temporary one")
    parser.add_argument(
        "--mmsa-python", type=python_with_mmsa, help="of an environment with MMSA 2.2.1; default: without MMSA"
    )
    parser.add_argument("--share", type=fraction, default=1.0, help="of MOSEI's samples (default: 1)")
    parser.add_argument("--blocks", type=whole_number(), default=8, help="turns of 32 batches of training (default: 8)")
    parser.add_argument(
        "--repetitions", type=whole_number(), default=5000, help="timed label steps a size (default: 5000)"
    )
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of the data (default: 0)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the two tables")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)  # name, file, arguments: what a child does
    options = parser.parse_args()
    if options.measure:
        name, path, *arguments = options.measure
        print(json.dumps(MEASURES[name](Path(path), *map(int, arguments))))
        return
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="scale-") as folder:
        path = Path(folder) / "mosei.pkl"
        draw_file(path, options.share, options.seed)
        table = measure_all(path, options.mmsa_python, options.blocks, options.repetitions, options.share)
    notes = (
        f"{options.share:.0%} of MOSEI's samples, random numbers of seed {options.seed}, lengths with a median of 30% "
        f"of the longest; threads: {torch.get_num_threads()}. Value: the median where n is above 1, with quartiles; "
        "those of a ratio are of the turn-by-turn ratios within one process, so that what else the machine does falls "
        "on both sides. Resident memory includes mapped files, which the system may take back."
    )
    if options.mmsa_python is None:
        notes += " MMSA's loader was not measured: no --mmsa-python was given."
    write(table, options.results / "scale", "Scale", notes)


if __name__ == "__main__":
    main()
