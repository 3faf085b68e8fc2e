"""Compact files of what was measured of the finished runs of a grid: they stay when the runs' folders are gone."""

import json
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from msa_core import paths
from msa_core.analysis.collect import finished_settings, first_of_each_variant, reason_to_leave_out, run_folder
from msa_core.analysis.outputs import difference, name_difference
from msa_core.analysis.summary import FRAMES, KEYS, PICTURED, summarise
from msa_core.config import GridRun, RunConfig, grid, resolve
from msa_core.disk import put

Frames = dict[str, pd.DataFrame]
WRITE_EVERY = 5  # runs: what a session that ends loses


def record(name: str, runs: Path = paths.RUNS, folder: Path | None = None, anew: bool = False) -> int:
    """Bring the records of a grid up to date with its finished runs.

    A run is summarised if its record is missing or has another provenance. A record that has its settings and agrees
    with it to `outputs.TOLERANCE` stays as it is, its provenance too; else it is replaced and the difference named. The
    record of a run whose folder is gone, or has other settings, stays until the grid no longer names the run.

    Args:
        name: of the grid.
        runs: folder of runs.
        folder: of the records; None: `results/records/<name>`.
        anew: summarise every finished run, for a change of what is recorded.

    Returns:
        The number of runs whose records were added or replaced.

    Raises:
        FileNotFoundError: nothing is recorded, and no run is finished.
    """
    folder = folder or paths.RECORDS / name
    chosen = grid(name)
    pictured = [run for run in first_of_each_variant(chosen) if run.variant in PICTURED]
    recorded = _read(folder)
    changed, unwritten = 0, set(recorded) - set(chosen)
    for run in tqdm(chosen, desc=f"grid {name}", disable=None):
        place = run_folder(run, runs)
        expected = resolve(run.dataset, run.variant, run.seed)
        if reason_to_leave_out(lambda place=place: finished_settings(place), expected):  # type: ignore[misc]
            continue
        old = recorded.get(run)
        if old and not anew and _provenance(old) == json.loads((place / "provenance.json").read_text()):
            continue
        new = summarise(place, run in pictured)
        disagreement = (_other_settings(old, expected) or _disagreement(old, new)) if old else "new"
        if disagreement:
            if old:
                name_difference(folder / "runs.parquet", f"{run.dataset}/{run.variant}/seed-{run.seed}, {disagreement}")
            recorded[run] = new
            unwritten.add(run)
            changed += 1
        if len(unwritten) >= WRITE_EVERY:
            _write(folder, chosen, recorded)
            unwritten.clear()
    if unwritten:
        _write(folder, chosen, recorded)
    if not recorded:
        raise FileNotFoundError(f"grid {name}: nothing is recorded in {folder}, and no run in {runs} is finished")
    (folder / "runs.parquet").touch()  # up to date
    return changed


def _provenance(frames: Frames) -> dict:
    return json.loads(frames["runs"]["provenance"].item())


def _other_settings(old: Frames, expected: RunConfig) -> str:
    """Numbers can agree all the same: a weight that is off, say."""
    return reason_to_leave_out(lambda: old["runs"]["config"].item(), expected)


def _disagreement(old: Frames, new: Frames) -> str:
    """The first frame in which two summaries of a run differ, and where; empty: they agree."""
    for name in FRAMES:
        frames = []
        for frame in (old[name], new[name]):
            known = frame.drop(columns=["config", "provenance"], errors="ignore").dropna(axis="columns", how="all")
            frames.append(known.reset_index(drop=True).sort_index(axis="columns"))
        if words := difference(*frames):
            return f"{name}: {words}"
    return ""


def _read(folder: Path) -> dict[GridRun, Frames]:
    """Each recorded run's frames."""
    recorded: dict[GridRun, Frames] = {}
    if not (folder / "runs.parquet").is_file():
        return recorded
    for name in FRAMES:
        file = folder / f"{name}.parquet"
        frame = pd.read_parquet(file) if file.is_file() else pd.DataFrame()
        if name == "runs":
            recorded = {GridRun.model_validate(row): {} for row in frame[KEYS].to_dict("records")}
        groups = dict(list(frame.groupby(KEYS, sort=False))) if len(frame) else {}
        for run, frames in recorded.items():
            frames[name] = groups.get((run.dataset, run.variant, run.seed), frame.iloc[:0])
    return recorded


def _write(folder: Path, order: list[GridRun], recorded: dict[GridRun, Frames]) -> None:
    """Every frame whose rows changed, each at once; the list of runs comes last and names what the others hold."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in reversed(FRAMES):
        parts = [recorded[run][name] for run in order if run in recorded]
        frame = pd.concat([part for part in parts if len(part)] or [pd.DataFrame(columns=KEYS)], ignore_index=True)
        file = folder / f"{name}.parquet"
        if not (file.is_file() and pd.read_parquet(file).equals(frame)):
            partial = file.with_name(f".{file.name}.partial")
            frame.to_parquet(partial, index=False, compression="zstd")
            put(partial, file)
