"""Does a run take the memory that is estimated for it, and asked for on a cluster?

python benchmarks/memory.py    # from the top folder; a gigabyte of disk

Trains whole runs of one epoch, each in a process of its own: on planted data, on a tenth of a feature file of MOSEI's
shape, and on a small one with each kind of text encoder. The encoder of BERT's size has random weights, which need no
network. Writes memory.csv and memory.md to results/benchmarks. A cluster counts the processes around a run, too.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from common import RESULTS, last_line, write
from scale import draw_file
from transformers import BertConfig, BertModel

from msa_core import run
from msa_core.config import RunConfig, resolve
from msa_core.requirements import encoder_folder, memory

ONE_EPOCH = {"training.max_epochs": 1}
SMALL, TENTH = 0.004, 0.1  # of MOSEI's samples


def measure(config: RunConfig, folder: Path) -> dict[str, int]:
    """Bytes that were estimated once the caches were there, and bytes that the run took at its peak."""
    result = run.train(config, folder / "run")
    return {"estimated": memory(config), "taken": result.provenance["peak_memory"]}


def draw(folder: Path) -> dict[str, int]:
    """Two feature files, and BERT base, uncased, with random weights."""
    draw_file(folder / "small.pkl", SMALL)
    draw_file(folder / "tenth.pkl", TENTH)
    BertModel(BertConfig()).save_pretrained(folder / "base")
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(encoder_folder("minilm") / name, folder / "base")
    return {}


def cases(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Title -> arguments of `resolve`."""
    base, small = str(folder / "base"), str(folder / "small.pkl")
    return {
        "planted data": ("planted", None, {}),
        "planted data, 6,000 test samples": ("planted_draws", None, {}),
        "a tenth of MOSEI": ("mosei", str(folder / "tenth.pkl"), {"text.encoder": "tiny"}),
        "the same, float64": (
            "mosei",
            str(folder / "tenth.pkl"),
            {"text.encoder": "tiny", "training.precision": "float64"},
        ),
        "MiniLM, frozen": ("mosei", small, {"text.encoder": "minilm", "text.frozen": True}),
        "MiniLM, trained": ("mosei", small, {"text.encoder": "minilm"}),
        "MiniLM, trained, averaged weights": ("mosei", small, {"text.encoder": "minilm", "training.average": True}),
        "BERT base, frozen": ("mosei", small, {"text.encoder": base, "text.frozen": True}),
        "BERT base, trained": ("mosei", small, {"text.encoder": base}),
        "BERT base, trained, averaged weights": ("mosei", small, {"text.encoder": base, "training.average": True}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the two tables")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)  # what a child does: arguments, folder
    options = parser.parse_args()
    if options.measure and options.measure[0] == "draw":
        print(json.dumps(draw(Path(options.measure[1]))))
        return
    if options.measure:
        (dataset, features, overrides), folder = json.loads(options.measure[0]), Path(options.measure[1])
        print(json.dumps(measure(resolve(dataset, features=features, overrides=overrides | ONE_EPOCH), folder)))
        return
    rows = []
    with tempfile.TemporaryDirectory(prefix="memory-") as name:
        folder = Path(name)
        # In a process of its own: the peak of a process counts for those that it starts.
        last_line([sys.executable, __file__, "--measure", "draw", name])
        for title, arguments in cases(folder).items():
            found = last_line([sys.executable, __file__, "--measure", json.dumps(arguments), name])
            shutil.rmtree(folder / "run")
            megabytes = {f"{what} (MB)": value / 1e6 for what, value in found.items()}
            rows.append({"run": title, **megabytes, "taken / estimated": found["taken"] / found["estimated"]})
    notes = (
        "Peak resident memory of whole runs of one epoch, mapped files included, beside `msa_core.requirements.memory`."
    )
    write(pd.DataFrame(rows), options.results / "memory", "Memory of a run", notes)


if __name__ == "__main__":
    main()
