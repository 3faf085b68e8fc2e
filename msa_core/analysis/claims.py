"""The study's questions, each with an estimate, a 95% interval and a verdict: frames in, frame out."""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from msa_core import MODALITIES
from msa_core.analysis.claims_features import BASELINE, information, nearness, private_information, shrinking
from msa_core.analysis.claims_labels import nearer_labels, settled_labels, settling
from msa_core.analysis.claims_primary import primary_claims
from msa_core.analysis.claims_rule import COLUMNS, LIMIT_RULE, RULE, SMALLEST_MAE, Claim, corrected, verdict
from msa_core.analysis.collect import Records
from msa_core.analysis.comparisons import Interval, compare, run_interval, spread_interval
from msa_core.config import Primary, resolve

__all__ = [
    "BASELINE",
    "RULE",
    "Measurements",
    "claims_markdown",
    "claims_table",
    "measured_text",
    "measurements",
    "verdict",
]

LARGEST_SHARE = 0.5  # of the loss
LARGEST_ROUNDING = 0.1  # share of the variance over seeds that would not matter: 5% of the standard deviation
LARGEST_COST = 5  # percent of a training step: the goal of benchmarks/parts.py
PARTS = {  # of benchmarks/parts.py that the paper has
    "+ label generation": "Label generation",
    "+ alignment, audio-vision": "The alignment",
    "label generation + one pair (the paper)": "Label generation with the alignment",
}
ALIGNMENT = f"`paper`, with alignment, has a lower test MAE than `{BASELINE}`"
ADJUSTMENT = "The weight adjustment lowers test MAE: `paper` against `no_weight_adjustment`"
COST = "% of a step"


@dataclass(frozen=True)
class Measurements:
    """What the runs of a grid, and the analyses of them, measured.

    Attributes:
        metrics, predictions, histories: frames of `collect.Records`.
        variances: title, variant, seed, modality, total_variance (after training).
        gains: of the runs of `paper`, as `label_gains` gives it, with title and seed; None: no true labels.
        settled: of the runs of `paper`, as `settling` gives it; None: no labels.
        pairs: `tables.second_order` of the pairs that a run aligns, with title, variant and seed; None: not measured.
        probes: dataset, variant, seed, modality, factor, r2; None: not measured.
        crossmodal: dataset, variant, seed, source, target, r2; read for data sets without probes; None: not measured.
        costs: as benchmarks/parts.py writes them: text_encoder, part, added_percent, low, high, n; None: not measured.
        rounding: of float32 runs, as `variance.variance_components` gives it; None: not measured.
    """

    metrics: pd.DataFrame
    predictions: pd.DataFrame
    histories: pd.DataFrame
    variances: pd.DataFrame
    gains: pd.DataFrame | None = None
    settled: pd.DataFrame | None = None
    pairs: pd.DataFrame | None = None
    probes: pd.DataFrame | None = None
    crossmodal: pd.DataFrame | None = None
    costs: pd.DataFrame | None = None
    rounding: pd.DataFrame | None = None


def measurements(
    recorded: Records, costs: pd.DataFrame | None = None, rounding: pd.DataFrame | None = None
) -> Measurements:
    """What the claims need, from what was recorded of a grid's runs.

    Args:
        recorded: the grid's.
        costs, rounding: see `Measurements`.
    """
    movement = _rows(recorded["label_movement"], "variant == 'paper'")
    second_order = recorded["second_order"]
    after = second_order.query("when == 'after' and measure == 'total variance'")
    return Measurements(
        recorded["metrics"],
        recorded["predictions"],
        recorded["history"],
        after.rename(columns={"value": "total_variance"}),
        gains=_rows(recorded["label_gains"], "variant == 'paper'"),
        settled=None if movement is None else settling(movement),
        pairs=_rows(second_order, f"aligned and variant in ['paper', '{BASELINE}']"),
        probes=_rows(recorded["probes"], "trained"),
        crossmodal=_rows(recorded["crossmodal"], "trained"),
        costs=costs,
        rounding=rounding,
    )


def _rows(frame: pd.DataFrame, condition: str) -> pd.DataFrame | None:
    """The rows that fulfil a condition; None if there are none."""
    rows = frame.query(condition) if len(frame) else frame
    return rows if len(rows) else None


def claims_table(
    measured: Measurements,
    families: Mapping[str, Collection[str]],
    primary: Primary | None = None,
    swept: Iterable[Claim] = (),
) -> pd.DataFrame:
    """The primary claims, then every question, in order.

    Args:
        measured: what the claims are judged by.
        families: as `config.families` gives them.
        primary: as `config.primary` gives it; a grid without runs of its data set has exploratory claims alone.
        swept: claims that belong to no grid, as `claims_sweeps.sweep_claims` gives them.

    Returns:
        A row per claim and data set (its title), as `claims_rule.Claim` says it: `claims_rule.COLUMNS`.
    """
    predictions, metrics = measured.predictions, measured.metrics
    titles = dict(zip(predictions["dataset"], predictions["title"], strict=True))
    ratios = dict(zip(predictions["title"], predictions["test_to_train"], strict=True))
    bounds = dict(zip(predictions["title"], predictions["label_bound"], strict=True))
    alignments = {
        variant: f"`{variant}` lowers test MAE, against `{BASELINE}`"
        for variant in predictions["variant"].unique()
        if variant in families["alignment"]
    }
    alignment, adjustment = {"paper": ALIGNMENT}, {"paper": ADJUSTMENT}
    parts = {
        (1, "The paper's alignment lowers test MAE"): _lower_mae(1, measured, BASELINE, bounds, alignment),
        (1, "Another alignment lowers test MAE"): corrected(_lower_mae(1, measured, BASELINE, bounds, alignments)),
        (2, "The alignment brings shared information into the features"): corrected(
            information(measured.probes, measured.crossmodal, titles, ratios)
        ),
        (2, "The alignment brings its pair nearer to each other"): nearness(measured.pairs, ratios),
        (2, "The alignment shrinks the features"): corrected(shrinking(measured.variances, ratios)),
        (3, "Label generation brings private information into the features"): corrected(
            private_information(measured.probes, titles, ratios)
        ),
        (3, "Generated labels are nearer to the true ones than copies of y"): corrected(
            nearer_labels(measured.gains, bounds)
        ),
        (3, "Generated labels settle"): settled_labels(measured.settled, bounds, ratios),
        (4, ADJUSTMENT): _lower_mae(4, measured, "no_weight_adjustment", bounds, adjustment),
        (4, "No term takes over the loss"): _shares(measured.histories),
        (6, f"The method adds less than {LARGEST_COST}% to a training step"): _costs(measured.costs),
        (7, "One seed is enough"): _seeds(metrics, bounds),
        (7, "Rounding hardly counts in the spread over seeds"): _rounding(measured.rounding),
        (7, "The alignment's weight hardly matters"): _weights(metrics, bounds, families["weight"]),
    }
    claims = primary_claims(primary, metrics, measured.gains) if primary else []
    answered = {claim.dataset for claim in claims}  # by a primary claim
    for (question, claim), part in parts.items():
        exploratory = list(part) or [Claim(question, claim)]
        claims += [each for each in exploratory if each.claim != ALIGNMENT or each.dataset not in answered]
    claims += swept
    table = pd.DataFrame([claim.row() for claim in claims], columns=COLUMNS)
    return table.sort_values(["primary", "question"], ascending=[False, True], kind="stable", ignore_index=True)


def claims_markdown(table: pd.DataFrame) -> str:
    """`claims_table` for reading: primary claims apart, and those that name a limit."""
    primary, limited = table["primary"], table["limit"].notna()
    no_primary = "" if primary.any() else " This grid has no runs of the primary claims."
    sections = [
        ("Primary claims", f"Fixed before the runs; Holm p counts all {primary.sum()}.", primary),
        ("Exploratory claims", f"Not fixed before the runs.{no_primary}", ~primary & ~limited),
        ("Exploratory claims that name a limit", LIMIT_RULE, limited),
    ]
    parts = [f"### {title}\n\n{about}\n\n{_cells(table[rows])}" for title, about, rows in sections if rows.any()]
    return "\n\n".join([RULE, *parts]) + "\n"


def _cells(table: pd.DataFrame) -> str:
    """Each claim's gain; of a claim with a limit, what was measured. Columns without a cell are left out."""
    cells = pd.DataFrame(
        {
            "Verdict": table["verdict"],
            "Question": table["question"],
            "Claim": table["claim"],
            "Data": table["dataset"],
            "Measured [95%]": [measured_text(row) for row in table.to_dict("records")],
            "Limit": table["limit"].map("{:.3g}".format, na_action="ignore"),
            "Matters from": table["smallest"].where(table["smallest"] > 0).map("{:.3g}".format, na_action="ignore"),
            "Holm p": table["p_holm"].map("{:.3f}".format, na_action="ignore"),
            "Runs": table["n_runs"].map("{:.0f}".format, na_action="ignore"),
            "Samples": table["n_samples"].map("{:.0f}".format, na_action="ignore"),
            "Runs that would decide": table["runs_to_decide"].map("{:.0f}".format, na_action="ignore"),
            "Note": table["note"],
        }
    )
    cells = cells.replace("", np.nan).dropna(axis="columns", how="all").fillna("")
    return cells.to_markdown(index=False, disable_numparse=True)


def measured_text(row: dict[Hashable, Any]) -> str:
    """A gain with its sign, what is held against a limit without one, a cost in words."""
    estimate, low, high, form = row["estimate"], row["low"], row["high"], "{:+.4f}"
    if pd.isna(estimate):
        return ""
    if pd.notna(row["limit"]):
        estimate, low, high, form = row["limit"] - estimate, row["limit"] - high, row["limit"] - low, "{:.4f}"
    if row["unit"] == COST:
        return f"adds {estimate:.1f}% [{low:.1f}, {high:.1f}]"
    interval = "(no interval)" if pd.isna(low) else f"[{form.format(low)}, {form.format(high)}]"
    return f"{form.format(estimate)} {interval} {row['unit']}"


def _lower_mae(
    question: int, measured: Measurements, reference: str, bounds: dict[str, float], claims: dict[str, str]
) -> Iterator[Claim]:
    """A lower test MAE of each variant than of the reference.

    Args:
        question: of the claims.
        measured: of all variants.
        reference: variant compared with.
        bounds: H of each data set, by title.
        claims: variant -> its claim.
    """
    predictions = measured.predictions[measured.predictions["variant"].isin([reference, *claims])]
    table = compare(predictions, measured.metrics[measured.metrics["variant"].isin([reference, *claims])], reference)
    for row in table[(table["metric"] == "mae") & (table["n_seeds"] > 0)].to_dict("records"):
        gain = Interval(-row["difference"], -row["high"], -row["low"], row["p"])
        smallest, counts = SMALLEST_MAE * bounds[row["title"]], (row["n_seeds"], row["n_samples"])
        yield Claim(question, claims[row["variant"]], row["title"], gain, "test MAE", smallest, *counts)


def _shares(histories: pd.DataFrame) -> Iterator[Claim]:
    """Each term's share of the loss of `paper` at the best epoch; the alignment's is what the tasks leave."""
    best = histories[(histories["variant"] == "paper") & (histories["epoch"] == histories["best_epoch"])]
    for title, runs in best.groupby("title", sort=False):
        tasks = [f"loss_{task}" for task in ("multimodal", *MODALITIES) if f"loss_{task}" in runs]
        terms = runs[tasks].fillna(0)  # of a modality that this data set lacks
        terms = terms.assign(loss_alignment=runs["loss_total"] - terms.sum(axis="columns")).abs()
        shares = terms.div(terms.sum(axis="columns"), axis="index")
        largest = str(shares.mean().idxmax())
        note = f"the largest is {largest.removeprefix('loss_')}"
        claim = "No term takes over the loss: at the best epoch the largest is below one half of it"
        gain = run_interval(LARGEST_SHARE - shares[largest], float(runs["test_to_train"].iloc[0]))
        yield Claim(4, claim, str(title), gain, "of the loss", n_runs=len(runs), limit=LARGEST_SHARE, note=note)


def _costs(costs: pd.DataFrame | None) -> Iterator[Claim]:
    if costs is None:
        return
    for part in costs[costs["part"].isin(PARTS)].to_dict("records"):
        added, low, high = part["added_percent"], part["low"], part["high"]
        gain = Interval(LARGEST_COST - added, LARGEST_COST - high, LARGEST_COST - low)
        claim = f"{PARTS[part['part']]} adds less than {LARGEST_COST}% to a training step"
        title, note = f"Planted, text encoder {part['text_encoder']}", f"median of {part['n']} batches"
        yield Claim(6, claim, title, gain, COST, limit=LARGEST_COST, note=note)


def _test_mae(metrics: pd.DataFrame) -> pd.DataFrame:
    """A row per title and seed, a column per variant."""
    test = metrics.query("split == 'test' and task == 'multimodal' and metric == 'mae'")
    return test.pivot(index=["title", "seed"], columns="variant", values="value")


def _seeds(metrics: pd.DataFrame, bounds: dict[str, float]) -> Iterator[Claim]:
    """The standard deviation over seeds, with its chi-squared interval, against the gain that would matter."""
    mae = _test_mae(metrics).reindex(columns=["paper", BASELINE])
    for title, runs in mae.groupby("title", sort=False):
        values = runs["paper"].dropna()
        if len(values):
            smallest, spread = SMALLEST_MAE * bounds[str(title)], float(values.std(ddof=1))
            low, high = spread_interval(spread, len(values))
            gain = Interval(smallest - spread, smallest - high, smallest - low)
            alignment = (runs[BASELINE] - runs["paper"]).mean()
            note = f"the alignment's gain is {alignment:+.4f}"
            claim = "One seed is enough: seeds move `paper` by less than the smallest gain that matters"
            unit = "standard deviation of test MAE"
            yield Claim(7, claim, str(title), gain, unit, n_runs=len(values), limit=smallest, note=note)


def _rounding(components: pd.DataFrame | None) -> Iterator[Claim]:
    """The share of rounding in the variance over seeds in one arithmetic, float32."""
    if components is None:
        return
    for row in components.to_dict("records"):
        share, low, high = (row[name] for name in ("share_rounding", "share_low", "share_high"))
        gain = Interval(LARGEST_ROUNDING - share, LARGEST_ROUNDING - high, LARGEST_ROUNDING - low)
        of_variance = f"{LARGEST_ROUNDING:.0%} of the variance of `{row['variant']}` over seeds, in float32"
        claim = f"Rounding hardly counts: it is less than {of_variance}"
        note = f"{row['n_arithmetics']} arithmetics; standard deviation within a seed {row['sd_rounding']:.4f}"
        title, runs = resolve(row["dataset"]).dataset.title, row["n_seeds"]
        yield Claim(7, claim, title, gain, "of the variance", n_runs=runs, limit=LARGEST_ROUNDING, note=note)


def _weights(metrics: pd.DataFrame, bounds: dict[str, float], family: Collection[str]) -> Iterator[Claim]:
    """No interval: the range of noisy means is wider than that of the true ones."""
    mae = _test_mae(metrics).filter(list(family))
    for title, runs in mae.groupby("title", sort=False):
        complete = runs.dropna(axis="columns", how="all").dropna()  # seeds that all weights have
        means = complete.mean()
        if len(means) > 1:
            smallest, spread = SMALLEST_MAE * bounds[str(title)], float(means.max() - means.min())
            claim = "The alignment's weight hardly matters: the best and the worst are nearer than the smallest gain"
            note, gain = f"{len(means)} weights; a range has no interval", Interval(smallest - spread)
            yield Claim(7, claim, str(title), gain, "test MAE", n_runs=len(complete), limit=smallest, note=note)
