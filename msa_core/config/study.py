"""The study's grids of runs, its primary comparisons, its sweeps, its searches and its families of comparisons."""

from collections.abc import Collection
from itertools import combinations
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, ValidationError

from msa_core import paths
from msa_core.config.base import Count, Name, Number, Seed, Seeds, Settings, Text, require_known
from msa_core.config.files import load_preset, load_variants, load_yaml
from msa_core.config.problems import problems
from msa_core.config.run import resolve
from msa_core.config.searches import Search
from msa_core.config.sweeps import Sweep

LABELS_COMPARED = ("paper", "copied_labels")


class GridRun(Settings):
    """One run of a grid."""

    dataset: Name
    variant: Name
    seed: Seed


class GridEntry(Settings):
    """Runs of a grid: every variant with every seed on one data set."""

    dataset: Name
    variants: Annotated[list[Name], Field(min_length=1)]
    seeds: Seeds = Field(description="a list, or the first and the last: 1111-1115")
    runs_per_job: Count = Field(1, description="trained by one process; 1: each by a notebook of its own")
    threads: Count = Field(1, description="of a process; in float32, another number rounds otherwise")
    minutes: Count = Field(60, description="for a run, where a cluster limits the time")
    memory_mb: Count | None = Field(None, description="of a process; None: estimated (msa_core.requirements.memory)")

    def runs(self) -> list[GridRun]:
        """Variant by variant, every seed."""
        return [
            GridRun(dataset=self.dataset, variant=variant, seed=seed)
            for variant in self.variants
            for seed in self.seeds
        ]


class Job(NamedTuple):
    """Runs of a grid that one process trains.

    Attributes:
        name: stays the same when some of its runs are finished: each node of a cluster reads the plan anew.
        runs: those that are still to be trained.
        entry: of the grid, for what the process needs.
    """

    name: str
    runs: list[GridRun]
    entry: GridEntry


class PrimaryComparison(Settings):
    """A variant against another one, run by run; a lower error is a gain."""

    question: int = Field(ge=1, le=8, description="of the study, which it answers")
    claim: Text = Field(description="a sentence that is true if there is a gain")
    metric: Literal["mae", "averaged_mae", "label_mae"] = Field(
        description="test MAE; that of the averaged weights; of labels, against the true unimodal ones (train split)"
    )
    variant: Name
    reference: Name


class Primary(Settings):
    """The comparisons that were fixed before the runs; Holm's correction counts them all."""

    dataset: Name = Field(description="whose runs each draw their own data")
    smallest: Annotated[Number, Field(gt=0)] = Field(description="gain in MAE that matters, in label units")
    comparisons: Annotated[list[PrimaryComparison], Field(min_length=1, max_length=5)]


class Study(Settings):
    """`config/study.yaml`."""

    grids: dict[Name, list[GridEntry]]
    primary: Primary
    sweeps: dict[Name, Sweep]
    searches: dict[Name, Search] = Field({}, description="random searches; none is needed")
    families: dict[Name, list[Name]]
    in_no_family: list[Name]


def load_study() -> Study:
    """The study's grids and families.

    Raises:
        ValueError: the file cannot be read, or an entry has another form; names the place.
    """
    try:
        return Study(**load_yaml(paths.CONFIG / "study.yaml"))
    except ValidationError as error:
        raise ValueError(f"config/study.yaml: {problems(error, Study)}") from None


def grid(name: str, dataset: str | None = None, variants: list[str] | None = None) -> list[GridRun]:
    """The runs of a grid of `config/study.yaml`: every variant with every seed, data set by data set.

    Args:
        name: of the grid.
        dataset: only its runs; None: those of all.
        variants: only theirs, of which the grid may lack some; None: those of all.

    Raises:
        ValueError: an unknown grid, data set or variant, no run that is asked for, or one that is there twice.

    >>> len(grid("small")), len(grid("small", variants=["paper"]))
    (18, 3)
    """
    grids, known = load_study().grids, load_variants()
    require_known("grid", name, grids, "config/study.yaml")
    for variant in [*(variant for entry in grids[name] for variant in entry.variants), *(variants or [])]:
        require_known(f"variant of {name}", variant, known, "config/variants.yaml")
    for asked in [*(entry.dataset for entry in grids[name]), *([] if dataset is None else [dataset])]:
        load_preset(asked)
    runs = [run for entry in grids[name] for run in entry.runs()]
    if twice := [run for number, run in enumerate(runs) if run in runs[:number]]:
        raise ValueError(f"config/study.yaml, grid {name}: got {twice[0]!r} twice, expected each run once")
    chosen = [run for run in runs if dataset in (None, run.dataset) and (variants is None or run.variant in variants)]
    if not chosen:
        raise ValueError(
            f"grid {name}: got no run of dataset {dataset} and variants {variants}, expected some of "
            f"{sorted({(run.dataset, run.variant) for run in runs})}"
        )
    return chosen


def jobs(name: str, unfinished: Collection[GridRun]) -> list[Job]:
    """The processes that train runs of a grid, those that have something to train.

    Args:
        name: of the grid.
        unfinished: the runs to be trained.

    >>> runs = grid("full", dataset="mmmo_audio_vision", variants=["paper"])
    >>> [(job.name, len(job.runs)) for job in jobs("full", runs)][0]
    ('mmmo_audio_vision_paper_1111', 10)
    """
    chosen = []
    for entry in load_study().grids[name]:
        runs, size = entry.runs(), entry.runs_per_job
        for start in range(0, len(runs), size):
            first = runs[start]
            left = [run for run in runs[start : start + size] if run in unfinished]
            chosen.append(Job(f"{first.dataset}_{first.variant}_{first.seed}", left, entry))
    return [job for job in chosen if job.runs]


def primary() -> Primary:
    """The primary comparisons of `config/study.yaml`.

    Raises:
        ValueError: a variant is unknown, or has no recorded labels to be compared.

    >>> primary().dataset, len(primary().comparisons)
    ('planted_draws', 5)
    """
    found, variants = load_study().primary, load_variants()
    for comparison in found.comparisons:
        for variant in (comparison.variant, comparison.reference):
            require_known("variant of primary", variant, variants, "config/variants.yaml")
        pair = (comparison.variant, comparison.reference)
        if comparison.metric == "label_mae" and pair != LABELS_COMPARED:
            raise ValueError(
                f"config/study.yaml, primary: got label_mae of {pair}, expected {LABELS_COMPARED}: of other runs no "
                "labels of single samples are recorded"
            )
    return found


def sweep(name: str) -> Sweep:
    """A sweep of `config/study.yaml`.

    Raises:
        ValueError: an unknown sweep or variant, or two cells with the same settings, whose runs would count twice.

    >>> len(sweep("phase").cells), sweep("phase").cells[0].levels
    (18, (0.25, 0.1, 0.0))
    """
    found, variants = load_study().sweeps, load_variants()
    require_known("sweep", name, found, "config/study.yaml")
    levels = [each for factor in found[name].factors.values() for each in factor.values() if isinstance(each, str)]
    for variant in [*levels, *(each for pair in found[name].pairs for each in pair)]:
        require_known(f"variant of {name}", variant, variants, "config/variants.yaml")
    settings = [(cell, resolve(found[name].dataset, overrides=cell.overrides)) for cell in found[name].cells]
    for (cell, own), (other, others) in combinations(settings, 2):
        if own == others:
            raise ValueError(
                f"config/study.yaml, sweep {name}: got the same settings for {cell.levels} and {other.levels}, "
                "expected cells that differ; name one of them under excluded"
            )
    return found[name]


def sweeps() -> list[str]:
    """The names of the sweeps of `config/study.yaml`."""
    return list(load_study().sweeps)


def search(name: str) -> Search:
    """A random search of `config/study.yaml`.

    Raises:
        ValueError: an unknown search or variant.

    >>> search("alignment").trials, search("alignment").variants
    (30, ('paper', 'no_alignment'))
    """
    found, variants = load_study().searches, load_variants()
    require_known("search", name, found, "config/study.yaml")
    for variant in found[name].variants:
        require_known(f"variant of {name}", variant, variants, "config/variants.yaml")
    return found[name]


def searches() -> list[str]:
    """The names of the searches of `config/study.yaml`."""
    return list(load_study().searches)


def families() -> dict[str, list[str]]:
    """Families of comparisons of `config/study.yaml`: name -> its variants.

    Raises:
        ValueError: a variant is unknown, is in no family and not listed under `in_no_family`, or is in both.
    """
    study, variants = load_study(), load_variants()
    for group, members in {**study.families, "in_no_family": study.in_no_family}.items():
        for member in members:
            require_known(f"variant of {group}", member, variants, "config/variants.yaml")
    in_a_family = {variant for members in study.families.values() for variant in members}
    if absent := sorted(set(variants) - in_a_family - set(study.in_no_family)):
        raise ValueError(
            f"config/study.yaml: got no family for variants {absent} of config/variants.yaml; add each to a family "
            "whose claims are tested together, or to in_no_family with a reason"
        )
    if both := sorted(in_a_family & set(study.in_no_family)):
        raise ValueError(
            f"config/study.yaml: got variants {both} in a family and in in_no_family; remove them from one"
        )
    return study.families
