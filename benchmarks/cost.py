"""What one utterance costs, and what ten million of them would: storage, memory, network, arithmetic.

    python benchmarks/cost.py  # from the top folder; under a minute, 200 MB of disk

Measures, on a hundredth of a file of MOSEI's shape (see scale.py): bytes of the feature file and of its cache, batches
made without training, the state of label generation, and the floating-point operations of a BERT of base size, with
random weights, on texts of that length. The second table multiplies. What a GPU does in a second was not measured: it
is assumed, by --tflops. Writes cost.csv, cost.md and cost-extrapolated.csv, .md to results/benchmarks.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from common import RESULTS, fraction, positive, quartiles, row, write
from scale import draw_file, mosei
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

from msa_core import build
from msa_core.data import load_features, planted_tokenizer
from msa_core.data.features import batches
from msa_core.interfaces import LabelSource

SAMPLES = 10_000_000
GPUS = (1, 8, 64)
TURNS = 50  # over all train samples, after one that warms up
BATCH = 32  # samples of each GPU in a step
BACKWARD = 3  # a training step's operations over those of its forward pass: two products for each


def bytes_per_sample(module: nn.Module, samples: int) -> float:
    """Of the buffers with a row for each sample; what the others take, such as sums, does not grow with N."""
    return sum(buffer.nbytes for buffer in module.buffers() if buffer.shape[:1] == (samples,)) / samples


def bert(tokens: int) -> tuple[int, int]:
    """Parameters of BERT base, and operations of its forward pass on one text of so many tokens."""
    model = BertModel(BertConfig())
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(torch.ones(1, tokens, dtype=torch.long))
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops()


def measure(path: Path) -> pd.DataFrame:
    """What one sample costs, a row each."""
    config = mosei(path)
    data = load_features(path, planted_tokenizer())
    samples, train = sum(map(len, data.values())), data["train"]
    tokens = round(train.lengths("text").float().mean().item())
    torch.manual_seed(0)
    parts = build.parts(config, train)
    speeds = []
    for turn in range(TURNS + 1):
        started = time.process_time()
        for _ in batches(train, BATCH, shuffle_seed=turn):
            pass
        speeds.append(len(train) / (time.process_time() - started))
    parameters, operations = bert(tokens)
    others = sum(p.numel() for name, p in parts.model.named_parameters() if not name.startswith("encoders.text"))
    labels: LabelSource = parts.labels
    widths = sum(parts.model.encoding_widths.values())
    cache = path.with_name(f"{path.name}.cache")
    return pd.DataFrame(
        [
            row("feature file", path.stat().st_size / samples, "bytes/sample"),
            row("its cache", cache.stat().st_size / samples, "bytes/sample"),
            quartiles("batches made, without training, one process", speeds[1:], "samples/CPU-second"),
            row("state of label generation", bytes_per_sample(labels, len(train)), "bytes/sample"),
            row("of it labels alone", 4 * len(labels.tasks), "bytes/sample"),
            row("tokens of a text", tokens, "tokens/sample"),
            row("BERT base: operations of a training step", BACKWARD * operations, "operations/sample"),
            row("BERT base: parameters", parameters, "parameters"),
            row("everything else: parameters", others, "parameters"),
            row("encodings that the alignment and the centres gather", 4 * widths, "bytes/sample"),
        ]
    )


def extrapolate(measured: pd.Series, tflops: float) -> pd.DataFrame:
    """Ten million samples, by multiplication.

    Args:
        measured: measure -> value.
        tflops: what a GPU is assumed to do of BERT's products, 10^12 operations a second.
    """
    per_second = tflops * 1e12 / measured["BERT base: operations of a training step"]  # samples, of one GPU
    parameters = measured["BERT base: parameters"] + measured["everything else: parameters"]
    rows = []
    for gpus in GPUS:
        epoch = SAMPLES / (gpus * per_second)
        steps = SAMPLES / (gpus * BATCH)
        # A ring sends and receives each gradient twice, but for one part of as many as there are GPUs.
        gradients = 2 * (gpus - 1) / gpus * 4 * parameters
        gathered = (gpus - 1) * BATCH * measured["encodings that the alignment and the centres gather"]
        rows.append(
            {
                "GPUs": gpus,
                "hours an epoch": epoch / 3600,
                "batches to be made (samples/second)": SAMPLES / epoch,
                "processes that make them": SAMPLES / epoch / measured["batches made, without training, one process"],
                "gradients (GB/second of each GPU)": gradients * steps / epoch / 1e9,
                "encodings (GB/second of each GPU)": gathered * steps / epoch / 1e9,
                "label generation, replicated (GB of each GPU)": SAMPLES * measured["state of label generation"] / 1e9,
                "the same, sharded (GB of each GPU)": SAMPLES * measured["state of label generation"] / gpus / 1e9,
                "feature files (TB)": SAMPLES * measured["feature file"] / 1e12,
                "caches (TB)": SAMPLES * measured["its cache"] / 1e12,
            }
        )
    return (
        pd.DataFrame(rows)
        .set_index("GPUs")
        .T.rename(columns=lambda gpus: f"{gpus} GPUs")
        .rename_axis("what")
        .reset_index()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tflops", type=positive, default=200.0, help="assumed of a GPU, 10^12 operations a second")
    parser.add_argument(
        "--share", type=fraction, default=0.01, help="of MOSEI's samples that are drawn (default: 0.01)"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the tables")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="cost-") as folder:
        path = Path(folder) / "mosei.pkl"
        draw_file(path, options.share)
        measured = measure(path)
    shape = (
        "A file of MOSEI's shape, random numbers, lengths with a median of 30% of the longest; one thread. Batches: "
        f"median and quartiles of {TURNS} turns in processor time; the file lies in the system's page cache, no disk "
        "is waited for."
    )
    write(measured, options.results / "cost", "What one utterance costs", shape)
    assumed = (
        f"{SAMPLES:,} utterances: the numbers of [one](cost.md), multiplied. Not measured, but assumed: a GPU does "
        f"{options.tflops:g} x 10^12 operations a second of BERT's products, and waits for nothing; each has {BATCH} "
        "samples of a step; gradients and encodings are sent as float32, gradients around a ring. The operations of "
        "the LSTMs and the heads are left out."
    )
    table = extrapolate(measured.set_index("measure")["value"], options.tflops)
    write(table, options.results / "cost-extrapolated", "What ten million utterances would cost", assumed)


if __name__ == "__main__":
    main()
