"""What float64 costs: processor seconds of an epoch on planted data, float64 against float32, turn by turn.

    python benchmarks/precision.py --turns 7

Both train the paper's model with the same samples in the same order, one epoch each in turn, in one process with one
thread. Writes precision.csv and precision.md to results/benchmarks.
"""

import argparse
import time

import pandas as pd
import torch
from common import RESULTS, quartiles, whole_number, write

from msa_core import build
from msa_core.config import resolve
from msa_core.precision import fast_products
from msa_core.training import TrainingLoop

PRECISIONS = ("float64", "float32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=whole_number(), default=7, help="epochs of each, after one that warms up")
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    loops = {}
    for precision in PRECISIONS:
        config = resolve("planted", overrides={"training.precision": precision, "training.average": False})
        train = build.dataset(config)["train"]
        torch.manual_seed(config.seed)
        loops[precision] = TrainingLoop(build.parts(config, train), train, config.training, config.seed)
    seconds: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    with fast_products():
        for epoch in range(1, turns + 2):
            for precision, loop in loops.items():
                started = time.process_time()
                for _ in loop.steps(epoch):
                    pass
                seconds[precision].append(time.process_time() - started)
    measured = pd.DataFrame(seconds).iloc[1:]  # the first epoch warms up
    rows = [quartiles(f"an epoch, {precision}", measured[precision], "CPU s") for precision in PRECISIONS]
    rows.append(quartiles("float64 / float32", measured["float64"] / measured["float32"], "ratio"))
    notes = "Median and quartiles of the turns; 1,200 samples, batches of 32, one thread."
    write(pd.DataFrame(rows), RESULTS / "precision", "What float64 costs", notes)


if __name__ == "__main__":
    main()
