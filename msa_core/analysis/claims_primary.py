"""The primary claims: fixed before the runs, on data that each run draws anew."""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import quantile_test

from msa_core.analysis.claims_rule import UNDECIDED, Claim, corrected, runs_to_decide
from msa_core.analysis.comparisons import run_interval
from msa_core.config import Primary

TASKS = {"mae": "multimodal", "averaged_mae": "multimodal_averaged"}  # of the frame of metrics


def primary_claims(primary: Primary, metrics: pd.DataFrame, gains: pd.DataFrame | None) -> list[Claim]:
    """Each primary comparison, corrected for all of them, and the median of its gains as a note.

    None if the grid has no runs of their data set.

    Args:
        primary: as `config.primary` gives it.
        metrics: of `collect.Records`.
        gains: `label_gains` of each run of `paper`, with dataset and seed; None: no true labels.

    Raises:
        ValueError: the runs of the data set share their samples: another draw would move the answer, and no interval
            over runs alone shows by how much.
    """
    metrics = metrics[metrics["dataset"] == primary.dataset]
    if metrics.empty:
        return []
    if (metrics["draw"] != "own").any():
        raise ValueError(
            f"primary comparisons: got runs of {primary.dataset} that share their samples, expected runs that each "
            "draw their own; set dataset.planted.seed to null in the preset, or name another data set in "
            "config/study.yaml"
        )
    claims = []
    for comparison in primary.comparisons:
        if comparison.metric == "label_mae":
            of_runs = _label_gains(gains, primary.dataset)
        else:
            of_runs = _test_gains(metrics, TASKS[comparison.metric], comparison.variant, comparison.reference)
        claim = Claim(
            comparison.question,
            f"{comparison.claim}: `{comparison.variant}` against `{comparison.reference}`",
            str(metrics["title"].iloc[0]),
            run_interval(of_runs),
            "MAE of labels, train split" if comparison.metric == "label_mae" else "test MAE",
            primary.smallest,
            n_runs=len(of_runs),
            primary=True,
            note=_median(of_runs),
        )
        claims.append((claim, float(of_runs.std())))
    tested = corrected(claim for claim, _ in claims)
    return [_with_runs_to_decide(claim, spread, len(claims)) for claim, (_, spread) in zip(tested, claims, strict=True)]


def _test_gains(metrics: pd.DataFrame, task: str, variant: str, reference: str) -> pd.Series:
    """Test MAE of the reference less that of the variant, of each run that both have."""
    mae = metrics[(metrics["split"] == "test") & (metrics["metric"] == "mae") & (metrics["task"] == task)]
    table = mae.pivot(index="seed", columns="variant", values="value").reindex(columns=[variant, reference])
    return (table[reference] - table[variant]).dropna()


def _label_gains(gains: pd.DataFrame | None, dataset: str) -> pd.Series:
    """Mean over samples and modalities, of each run."""
    if gains is None:
        return pd.Series(dtype=float)
    return gains[gains["dataset"] == dataset].groupby("seed")["gain"].mean()


def _median(gains: pd.Series) -> str:
    """One run that learns nothing widens the mean's interval and hardly the median's, which order statistics give."""
    if gains.empty:
        return ""
    interval = quantile_test(gains, q=0, p=0.5).confidence_interval(0.95)
    known = not np.isnan([interval.low, interval.high]).any()  # six runs or more
    return f"median {gains.median():+.4f}" + (f" [{interval.low:+.4f}, {interval.high:+.4f}]" if known else "")


def _with_runs_to_decide(claim: Claim, spread: float, tests: int) -> Claim:
    if claim.verdict != UNDECIDED or np.isnan(spread):
        return claim
    return replace(claim, runs_to_decide=runs_to_decide(claim.gain.estimate, spread, claim.smallest, tests))
