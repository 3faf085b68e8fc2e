"""Readers of many runs: which runs of a grid are there, and what was measured of them, as one frame each."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import yaml
from pydantic import ValidationError

from msa_core import paths
from msa_core.analysis.summary import KEYS, FinishedRun, rows
from msa_core.config import GridRun, RunConfig, problems, resolve
from msa_core.config import grid as config_grid
from msa_core.paths import from_root
from msa_core.records import is_finished

NOT_FINISHED = "not finished"
SHOWN = 3  # differences named for one run; of more, their number
OF_THE_RUN = [
    "title",
    "draw",
    "test_to_train",
    "scheme",
    "label_bound",
    "best_epoch",
]  # what every frame says of its run
CHOSEN_IN_FLOAT32 = "planted"  # the preset whose alignment weight is to be chosen anew


@dataclass(frozen=True)
class Records:
    """What was measured of the runs of a grid: `records["metrics"]` and every other frame of `summary.FRAMES`.

    A frame has a row a measurement, in the order of the grid: dataset, variant, seed, title, draw ("shared": all runs
    of the data set have the same test samples; "own": each draws data of its own; "split": a split of its own),
    test_to_train (samples; 0 but for splits: see `comparisons.run_interval`), scheme, label_bound, best_epoch, then its
    own columns (`summary` says which). One without a row may lack its own columns.

    Attributes:
        runs: a row a run: what every frame has, then precision, config (YAML), provenance (JSON).
        missing: a row for each run that is not there: dataset, title, scheme, variant, seed, and the reason: "not
            finished", or how its settings differ, as in "other settings: training.max_epochs is 2, expected 50".
        outdated: dataset, variant, seed, difference: where `make verify` found that the code gives other numbers now.
    """

    runs: pd.DataFrame
    missing: pd.DataFrame
    outdated: pd.DataFrame
    _read: Callable[[str], pd.DataFrame] = field(repr=False)

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name == "runs":
            return self.runs
        frame = self._read(name)
        if frame.empty:
            return self.runs[[*KEYS, *OF_THE_RUN]].iloc[:0]
        frame = self.runs[[*KEYS, *OF_THE_RUN]].merge(frame, on=KEYS)
        return frame.astype(dict.fromkeys(frame.select_dtypes("float32"), "float64"))

    @property
    def note(self) -> str:
        """What a reader of any table must know: of the data, of missing or outdated runs, of mixed arithmetics."""
        named = (missing_note(self.missing), _outdated_note(self.outdated), _arithmetic_note(self.runs))
        return _remarks(self.runs) + "".join(named)

    @property
    def weights_note(self) -> str:
        """On the alignment's weights, for tables that compare variants."""
        if not self.runs["dataset"].eq(CHOSEN_IN_FLOAT32).any():
            return ""
        return (
            "\nThe alignment's weight of the data set Planted was chosen in float32, on differences below its "
            "rounding, and is to be chosen anew.\n"
        )


def records(chosen: list[GridRun], grid: str, runs: str = "") -> Records:
    """What was measured of a grid's runs, as far as they have the settings that the grid has now.

    Args:
        chosen: as `config.grid` gives them.
        grid: their grid, of config/study.yaml.
        runs: a folder of runs that is read instead of the committed records; probes are then computed when they are
            asked for (seconds a run).

    Raises:
        FileNotFoundError: all runs are missing.
    """
    return of_runs(chosen, from_root(runs)) if runs else of_files(chosen, paths.RECORDS / grid)


def if_recorded(grid: str) -> Records | None:
    """The committed records of a grid; None, and said so, if none has the settings that it has now."""
    try:
        return records(config_grid(grid), grid)
    except (FileNotFoundError, ValueError):  # no run, no such grid
        print(f"The grid {grid} is not recorded; make study GRID={grid} trains its runs.")
        return None


def of_dataset(grid: str, dataset: str, variants: list[str], runs: str = "") -> Records:
    """`records` of some variants on one data set, as notebooks 04 to 06 read them; prints how many, and their note.

    Args:
        grid: of config/study.yaml.
        dataset: a preset's name.
        variants: keys of config/variants.yaml.
        runs: see `records`.
    """
    recorded = records(config_grid(grid, dataset, variants), grid, runs)
    print(len(recorded.runs), "runs", recorded.note)
    return recorded


def of_files(grid: list[GridRun], folder: Path) -> Records:
    """`records` from a folder of recorded frames.

    Args:
        grid: runs.
        folder: `results/records/<grid>`.
    """
    file, outdated = folder / "runs.parquet", folder / "outdated.csv"
    stored = pd.read_parquet(file) if file.is_file() else pd.DataFrame(columns=[*KEYS, "config"])
    texts = dict(zip(stored[KEYS].itertuples(index=False, name=None), stored["config"], strict=True))
    found, missing = _split(grid, lambda run: texts.get((run.dataset, run.variant, run.seed)))
    _refuse_nothing(found, missing, folder)
    runs = pd.DataFrame([vars(run) for run in found]).merge(stored, on=KEYS)
    known = pd.read_csv(outdated) if outdated.is_file() else pd.DataFrame(columns=[*KEYS, "difference"])
    known = known.merge(runs[["dataset", "variant"]].drop_duplicates())

    def read(name: str) -> pd.DataFrame:
        file = folder / f"{name}.parquet"  # of an older record, a frame may be missing
        return pd.read_parquet(file) if file.is_file() else pd.DataFrame()

    return Records(_titled(runs), missing, known, read)


def of_runs(grid: list[GridRun], folder: Path) -> Records:
    """`records` from a folder of runs.

    Args:
        grid: runs.
        folder: of runs.
    """
    found, missing = _split(grid, lambda run: finished_settings(run_folder(run, folder)))
    _refuse_nothing(found, missing, folder)
    shown = first_of_each_variant(found)

    def read(name: str) -> pd.DataFrame:
        frames = [rows(FinishedRun(run_folder(run, folder), run in shown), name) for run in found]
        return pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)

    return Records(_titled(read("runs")), missing, pd.DataFrame(columns=[*KEYS, "difference"]), read)


def run_folder(run: GridRun, runs: Path) -> Path:
    """Of one run."""
    return paths.run_folder(run.dataset, run.variant, run.seed, runs)


def first_of_each_variant(grid: list[GridRun]) -> list[GridRun]:
    """The first run of each data set and variant: the one that pictures of single runs show."""
    return list({(run.dataset, run.variant): run for run in reversed(grid)}.values())


def finished_settings(folder: Path) -> str | None:
    """The text of a finished run's settings; None: not finished.

    Raises:
        OSError: it is finished and has none.
    """
    return (folder / "config.yaml").read_text() if is_finished(folder) else None


def reason_to_leave_out(read: Callable[[], str | None], expected: RunConfig) -> str:
    """Why a run does not count as this one; empty if it does.

    Args:
        read: gives the text of its settings, None: there is no such run.
        expected: the settings that it must have.
    """
    try:
        text = read()
        if text is None:
            return NOT_FINISHED
        settings = RunConfig(**yaml.safe_load(text))
    except ValidationError as error:
        return f"settings of another version: {problems(error, RunConfig)}"
    except (OSError, TypeError, yaml.YAMLError) as error:
        return f"config.yaml cannot be read: {' '.join(str(error).split())}"
    here, there = settings.differences(expected), expected.differences(settings)
    differences = [
        f"{name} is {here.get(name)!r}, expected {there.get(name)!r}"
        for name in dict.fromkeys([*there, *here])
        if {} not in (here.get(name), there.get(name))  # the other side names what is in it
    ]
    return f"other settings: {_shortened(differences)}" if differences else ""


def missing_note(missing: pd.DataFrame) -> str:
    """A line that names the missing runs, and why if they are finished; nothing if none is missing.

    Args:
        missing: see `Records`.
    """
    runs = [
        f"{row.dataset}/{row.variant}/seed-{row.seed}" + ("" if row.reason == NOT_FINISHED else f" ({row.reason})")
        for row in missing.itertuples()
    ]
    return f"\nMissing runs ({len(runs)}): {', '.join(runs)}.\n" if runs else ""


def _split(grid: list[GridRun], settings: Callable[[GridRun], str | None]) -> tuple[list[GridRun], pd.DataFrame]:
    """The runs that are there with the settings that the grid has now, and `Records.missing`."""
    found, missing = [], []
    for run in grid:
        expected = resolve(run.dataset, run.variant, run.seed)
        if reason := reason_to_leave_out(lambda run=run: settings(run), expected):  # type: ignore[misc]
            preset = expected.dataset
            missing.append([run.dataset, preset.title, preset.metrics, run.variant, run.seed, reason])
        else:
            found.append(run)
    return found, pd.DataFrame(missing, columns=["dataset", "title", "scheme", "variant", "seed", "reason"])


def _titled(runs: pd.DataFrame) -> pd.DataFrame:
    """With the titles and remarks that the presets have now (no part of a run), and how each data set is drawn."""
    presets = [resolve(name).dataset for name in runs["dataset"].unique()]
    named = {name: {each.name: getattr(each, name) for each in presets} for name in ("title", "remark", "draw")}
    ratios = runs["test_to_train"].fillna(0) if "test_to_train" in runs else 0.0
    return runs.assign(test_to_train=ratios, **{name: runs["dataset"].map(of) for name, of in named.items()})


def _remarks(runs: pd.DataFrame) -> str:
    """What the presets say of their data."""
    said = runs.dropna(subset="remark").drop_duplicates("dataset")
    return "".join(f"\n{run.title}: {run.remark}\n" for run in said.itertuples())


def _refuse_nothing(found: list[GridRun], missing: pd.DataFrame, folder: Path) -> None:
    if not found:
        named = missing_note(missing[missing["reason"] != NOT_FINISHED])
        raise FileNotFoundError(
            f"{folder}: none of the {len(missing)} runs asked for is there with the grid's settings; run `make study` "
            f"first, or give a folder of runs{named}"
        )


def _shortened(texts: list[str]) -> str:
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return "; ".join([*texts[:SHOWN], *more])


def _outdated_note(outdated: pd.DataFrame) -> str:
    variants = [f"{row.dataset}/{row.variant} ({row.difference:.1e})" for row in outdated.itertuples()]
    return (
        f"\nOutdated variants ({len(variants)}): {', '.join(variants)}. The code gives other numbers now (in brackets: "
        "the largest difference, relative to its column's largest value; `make verify`).\n"
        if variants
        else ""
    )


def _arithmetic_note(runs: pd.DataFrame) -> str:
    """Names the arithmetics of each data set whose runs below float64 were computed in several."""
    lines = []
    for title, below in runs[runs["precision"] != "float64"].groupby("title", sort=False):
        counts = below["provenance"].map(_arithmetic).value_counts()
        if len(counts) > 1:
            named = "; ".join(f"{words} ({number} runs)" for words, number in counts.items())
            lines.append(
                f"\nMixed arithmetic: the runs of {title} were computed in several ways, which move numbers of "
                f"float32 and bf16 as another seed does: {named}.\n"
            )
    return "".join(lines)


def _arithmetic(provenance: str) -> str:
    """What decides the last digits of a run, in words."""
    content = json.loads(provenance)
    ways = content.get("arithmetic") or {"arithmetic": "not recorded"}
    chosen = (
        value if name in ("cpu_capability", "float32_products") else f"{name}={value}" for name, value in ways.items()
    )
    return ", ".join([str(content.get("device")), f"threads: {content.get('threads')}", *chosen])
