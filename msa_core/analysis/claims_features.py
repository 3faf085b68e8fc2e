"""Claims about features: shared and private information, the aligned pair's nearness, shrinking."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from msa_core.analysis.claims_rule import SMALLEST_DISTANCE, SMALLEST_R2, SMALLEST_SHRINKING, Claim
from msa_core.analysis.comparisons import run_interval

BASELINE = "no_alignment"


def information(
    probes: pd.DataFrame | None, crossmodal: pd.DataFrame | None, titles: dict[str, str], ratios: Mapping[str, float]
) -> Iterator[Claim]:
    """What alignment does to planted factors; where none are known, to how well modalities predict one another.

    Args:
        probes, crossmodal: see `claims.Measurements`.
        titles: of the data sets, by name.
        ratios: test samples over training samples where runs have splits of their own, else 0; by title.
    """
    datasets_with_factors = set()
    for (dataset, modality, factor), gain in _r2_gains(probes, ["dataset", "modality", "factor"], BASELINE):
        datasets_with_factors.add(dataset)
        if factor == "shared":
            claim = f"The alignment raises the shared factor in {modality}"
            yield _r2_claim(2, claim, titles.get(dataset, dataset), gain, ratios)
        elif factor == modality:
            claim = f"The alignment lowers {modality}'s private factor in it"
            yield _r2_claim(2, claim, titles.get(dataset, dataset), -gain, ratios)
    for (dataset, source, target), gain in _r2_gains(crossmodal, ["dataset", "source", "target"], BASELINE):
        if dataset not in datasets_with_factors:
            claim = f"The alignment makes {target} easier to predict from {source}"
            yield _r2_claim(2, claim, titles.get(dataset, dataset), gain, ratios)


def private_information(
    probes: pd.DataFrame | None, titles: dict[str, str], ratios: Mapping[str, float]
) -> Iterator[Claim]:
    """What the unimodal tasks on generated labels do to each modality's private factor."""
    names = ["dataset", "modality", "factor"]
    for (dataset, modality, factor), gain in _r2_gains(probes, names, "no_label_generation"):
        if factor == modality:
            claim = f"Label generation raises {modality}'s private factor in it"
            yield _r2_claim(3, claim, titles.get(dataset, dataset), gain, ratios)


def _r2_gains(
    measured: pd.DataFrame | None, names: list[str], without: str
) -> Iterator[tuple[tuple[str, ...], pd.Series]]:
    """For each combination of the named columns: R2 of `paper` less that of a variant, of each seed that has both."""
    if measured is None:
        return
    wide = measured.pivot(index=[*names, "seed"], columns="variant", values="r2")
    if {"paper", without} <= set(wide):
        gains = (wide["paper"] - wide[without]).dropna()
        yield from gains.groupby(names, sort=False)  # type: ignore[misc]  # keys are tuples: there are several names


def _r2_claim(question: int, claim: str, title: str, gain: pd.Series, ratios: Mapping[str, float]) -> Claim:
    return Claim(
        question, claim, title, run_interval(gain, ratios.get(title, 0)), "R² of a linear map", SMALLEST_R2, len(gain)
    )


def nearness(pairs: pd.DataFrame | None, ratios: Mapping[str, float]) -> Iterator[Claim]:
    """The scale-free distance of the aligned pair after training, without alignment less with it."""
    if pairs is None:
        return
    after = pairs[(pairs["when"] == "after") & (pairs["measure"] == "correlation distance")]
    wide = after.pivot(index=["title", "modality", "seed"], columns="variant", values="value")
    if {"paper", BASELINE} <= set(wide):
        nearer = (wide[BASELINE] - wide["paper"]).dropna()
        for (title, pair), gain in nearer.groupby(["title", "modality"], sort=False):
            claim = f"The alignment leaves the correlations of {str(pair).replace('-', ' and ')} nearer to each other"
            interval = run_interval(gain, ratios.get(str(title), 0))
            yield Claim(2, claim, str(title), interval, "correlation distance", SMALLEST_DISTANCE, len(gain))


def shrinking(variances: pd.DataFrame, ratios: Mapping[str, float]) -> Iterator[Claim]:
    """Total variance of the encodings without alignment over that with it, as a log ratio."""
    wide = variances.pivot(index=["title", "modality", "seed"], columns="variant", values="total_variance")
    if not {"paper", BASELINE} <= set(wide):
        return
    log_ratios = (wide[BASELINE] / wide["paper"]).dropna().map(np.log)
    for (title, modality), gain in log_ratios.groupby(["title", "modality"], sort=False):
        claim = f"The alignment shrinks the features of {modality}"
        unit = "log of total variance without / with"
        interval = run_interval(gain, ratios.get(str(title), 0))
        yield Claim(2, claim, str(title), interval, unit, SMALLEST_SHRINKING, len(gain))
