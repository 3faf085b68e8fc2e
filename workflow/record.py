"""Record what was measured of the finished runs of a grid, in results/records/<grid>.

python workflow/record.py --grid full

May be called again whenever more runs are finished: those that are recorded are not summarised again.
"""

import argparse
import sys

from msa_core.analysis.recording import record

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", default="small", help="of config/study.yaml")
    parser.add_argument("--anew", action="store_true", help="every finished run, for a change of what is recorded")
    options = parser.parse_args()
    try:
        changed = record(options.grid, anew=options.anew)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"grid {options.grid}: {error}")
    print(f"grid {options.grid}: {changed} runs recorded")
