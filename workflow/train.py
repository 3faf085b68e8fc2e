"""Train several runs one after another in one process: a short run is mostly start-up otherwise.

python workflow/train.py planted/paper/1111 planted/paper/1112

Each run is the one that 01_train.ipynb makes of the same data set, variant and seed, and writes the same folder. One
that fails is named with its error, the others go on, and the exit status is 1.
"""

import os
import sys
import traceback

os.environ.setdefault("TQDM_DISABLE", "1")  # a line a run is enough

from msa_core import paths, run
from msa_core.config import resolve
from msa_core.progress import Interrupted


def main(names: list[str]) -> int:
    """The number of runs that failed."""
    failed = 0
    for name in names:
        dataset, variant, seed = name.split("/")
        try:
            result = run.train(resolve(dataset, variant, int(seed)), paths.run_folder(dataset, variant, seed))
        except Interrupted as stopped:
            sys.exit(str(stopped))
        except Exception:
            traceback.print_exc()
            failed += 1
            print(f"{name}: failed, see above", flush=True)
        else:
            print(f"{name}: best epoch {result.provenance['best_epoch']}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
