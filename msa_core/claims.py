"""The study's questions (design, section 8), each with an estimate, a 95% interval and a verdict: frames in, frame out.

Every claim is put as a gain that is above 0 if the claim holds, and judged by the one rule of `verdict`.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import chi2

from msa_core import MODALITIES
from msa_core.comparisons import Interval, compare, holm, mean_interval, seed_interval
from msa_core.tables import SETTLED, label_movement

# A gain in MAE that would interest anybody, as a part of H: 0.01 on [-3, 3]. The best and the third best published MAE
# on MOSI are 0.0174 apart (reference/published.csv): half of that would hardly change a ranking.
SMALLEST_MAE = 1 / 300
SMALLEST_R2 = 0.01  # a hundredth of a factor's variance
SMALLEST_SHRINKING = float(np.log(1.1))  # a tenth of the total variance, as a log ratio
LARGEST_COST = 5  # percent of a training step: the goal of benchmarks/parts.py
PARTS = {  # of benchmarks/parts.py that the paper has
    "+ label generation": "Label generation",
    "+ alignment, audio-vision": "The alignment",
    "label generation + one pair (the paper)": "Label generation with the alignment",
}
ALIGNMENTS = ("paper", "align_", "weight_", "shared_", "private_", "distance_")  # variants that differ in it alone
COLUMNS = [
    *("question", "claim", "dataset", "estimate", "low", "high", "unit", "smallest", "p_holm"),
    *("n_samples", "n_seeds", "verdict", "note"),
]
BASELINE = "no_alignment"
ALIGNMENT = f"`paper`, with alignment, has a lower test MAE than `{BASELINE}`"
ADJUSTMENT = "The weight adjustment lowers test MAE: `paper` against `no_weight_adjustment`"
RULE = (
    "Every claim is put as a gain that is above 0 if it holds. Supported: all of the 95% interval is above 0 and, "
    "where several claims of one kind were tested together on a data set, Holm's p is below 0.05. Not supported: all "
    "of the interval is below 0, or below the smallest gain that would matter (MAE: H/300, that is 0.01 on [-3, 3]; "
    "R²: 0.01; shrinking: a tenth of the variance; else 0). Cannot tell: everything else, and whatever was "
    "not measured."
)
OPEN = {
    5: "The alignment is plug-and-play: it helps other models",
    8: "Another fusion or label generator does better; the method stands a missing label or modality",
}


def verdict(low: float, high: float, smallest: float = 0.0, p_holm: float = float("nan")) -> str:
    """The rule: what a gain's 95% interval says of the claim that there is one.

    "supported" if all of it is above 0 and, where the claim is one of several that were tested together, Holm's p is
    below 0.05; "not supported" if all of it is below 0 or below the smallest gain that would matter; otherwise, and
    where nothing was measured, "cannot tell".

    Args:
        low, high: the interval; nan: not known.
        smallest: the smallest gain that would matter.
        p_holm: nan: the claim was tested by itself.

    >>> verdict(0.01, 0.03), verdict(0.01, 0.03, p_holm=0.2), verdict(-0.02, 0.004, 0.01), verdict(-0.02, 0.02, 0.01)
    ('supported', 'cannot tell', 'not supported', 'cannot tell')
    """
    if low > 0 and not p_holm >= 0.05:
        return "supported"
    return "not supported" if high < max(smallest, 0) else "cannot tell"


def claims_table(
    metrics: pd.DataFrame,
    predictions: pd.DataFrame,
    histories: pd.DataFrame,
    variances: pd.DataFrame,
    gains: pd.DataFrame | None = None,
    settled: pd.DataFrame | None = None,
    pairs: pd.DataFrame | None = None,
    probes: pd.DataFrame | None = None,
    crossmodal: pd.DataFrame | None = None,
    costs: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Every question, in the order of the design.

    Args:
        metrics, predictions, histories, variances: as the readers of `records` give them.
        gains: of the runs of `paper`, as `label_gains` gives it, with title and seed; None: no true labels.
        settled: of the runs of `paper`, as `settling` gives it, with title and seed; None: no labels.
        pairs: `tables.second_order` of the pair that `paper` aligns, with title, variant and seed; None: not measured.
        probes: dataset, variant, seed, modality, factor, r2; None: not measured.
        crossmodal: dataset, variant, seed, source, target, r2; read for data sets without probes; None: not measured.
        costs: as benchmarks/parts.py writes them: text_encoder, part, added_percent, low, high, n; None: not measured.

    Returns:
        A row per question, claim and data set (its title): estimate of the gain, low, high, its unit; smallest, the
        gain that would matter; p_holm, nan for a claim tested by itself; n_samples, n_seeds (nan: not of samples or
        seeds); verdict; note.
    """
    titles = dict(zip(predictions["dataset"], predictions["title"], strict=True))
    bounds = dict(zip(predictions["title"], predictions["label_bound"], strict=True))
    others = [v for v in predictions["variant"].unique() if v.startswith(ALIGNMENTS) and v != "paper"]
    each = {variant: f"`{variant}` lowers test MAE, against `{BASELINE}`" for variant in others}
    parts = {
        (1, "The paper's alignment lowers test MAE"): _mae(1, predictions, BASELINE, bounds, {"paper": ALIGNMENT}),
        (1, "Another alignment lowers test MAE"): _mae(1, predictions, BASELINE, bounds, each),
        (2, "The alignment brings shared information into the features"): _information(probes, crossmodal, titles),
        (2, "The alignment brings its pair nearer to each other"): _nearness(pairs),
        (2, "The alignment shrinks the features"): _shrinking(variances),
        (3, "Label generation brings private information into the features"): _private(probes, titles),
        (3, "Generated labels are nearer to the true ones than copies of y"): _nearer(gains, bounds),
        (3, "Generated labels settle"): _settle(settled),
        (4, ADJUSTMENT): _mae(4, predictions, "no_weight_adjustment", bounds, {"paper": ADJUSTMENT}),
        (4, "No term takes over the loss"): _shares(histories),
        (6, f"The method adds less than {LARGEST_COST}% to a training step"): _costs(costs),
        (7, "One seed is enough"): _seeds(metrics, bounds),
        (7, "The alignment's weight hardly matters"): _weights(metrics, bounds),
    }
    rows = []
    for (question, claim), found in parts.items():
        rows += list(found) or [_row(question, claim, "all", "", note="not measured")]
    rows += [_row(question, claim, "all", "", note="not answered yet") for question, claim in OPEN.items()]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values("question", kind="stable", ignore_index=True)


def label_gains(labels: pd.DataFrame, true: pd.DataFrame, epoch: int) -> pd.DataFrame:
    """How much nearer to the true unimodal label each generated one is than a copy of y: negative if farther.

    Args:
        labels: `Run.labels`.
        true: id and a column of true labels per modality.
        epoch: at which to look.

    Returns:
        A row per id and modality: gain, in label units.
    """
    at = labels[labels["epoch"] == epoch].merge(true, on="id", suffixes=("", "_true"))
    frames = []
    for modality in true.columns.drop("id"):
        right = at[f"{modality}_true"]
        gain = (at["multimodal"] - right).abs() - (at[modality] - right).abs()
        frames.append(pd.DataFrame({"id": at["id"], "modality": modality, "gain": gain}))
    return pd.concat(frames, ignore_index=True)


def settling(labels: pd.DataFrame, label_bound: float, best_epoch: int) -> pd.DataFrame:
    """Whether one run's generated labels have settled by its best epoch.

    Args:
        labels: `Run.labels`.
        label_bound: H.
        best_epoch: the run's, chosen by validation MAE.

    Returns:
        A row per modality: moved, the largest mean absolute move of an epoch from the best one on; gain, 1% of H less
        that.
    """
    moves = label_movement(labels)
    moved = moves[moves["epoch"] >= best_epoch].groupby("modality", sort=False)["moved"].max().reset_index()
    return moved.assign(gain=SETTLED * label_bound - moved["moved"])


def claims_markdown(table: pd.DataFrame) -> str:
    """`claims_table` for reading."""
    cells = pd.DataFrame(
        {
            "Question": table["question"],
            "Claim": table["claim"],
            "Data": table["dataset"],
            "Verdict": table["verdict"],
            "Gain": table["estimate"].map(_number),
            "95% interval": [
                "" if pd.isna(low) else f"[{_number(low)}, {_number(high)}]"
                for low, high in zip(table["low"], table["high"], strict=True)
            ],
            "Unit": table["unit"],
            "Holm p": table["p_holm"].map(lambda p: "" if pd.isna(p) else f"{p:.3f}"),
            "Samples": table["n_samples"].map(lambda n: "" if pd.isna(n) else str(int(n))),
            "Seeds": table["n_seeds"].map(lambda n: "" if pd.isna(n) else str(int(n))),
            "Note": table["note"],
        }
    )
    return f"{RULE}\n\n{cells.to_markdown(index=False, disable_numparse=True)}\n"


def _row(
    question: int,
    claim: str,
    dataset: str,
    unit: str,
    interval: Interval | None = None,
    smallest: float = 0.0,
    n_seeds: float = np.nan,
    n_samples: float = np.nan,
    p_holm: float = np.nan,
    note: str = "",
) -> dict:
    nan = float("nan")
    estimate, low, high = (interval.estimate, interval.low, interval.high) if interval else (nan, nan, nan)
    said = verdict(low, high, smallest, p_holm)
    values = (question, claim, dataset, estimate, low, high, unit, smallest, p_holm, n_samples, n_seeds, said, note)
    return dict(zip(COLUMNS, values, strict=True))


def _mae(
    question: int, predictions: pd.DataFrame, reference: str, bounds: dict[str, float], claims: dict[str, str]
) -> Iterator[dict]:
    """A lower test MAE of each variant than of the reference; Holm over these variants of a data set."""
    table = compare(predictions[predictions["variant"].isin([reference, *claims])], reference)
    for found in table[(table["metric"] == "mae") & (table["n_seeds"] > 0)].to_dict("records"):
        gain = Interval(-found["difference"], -found["high"], -found["low"])
        smallest, p_holm = SMALLEST_MAE * bounds[found["title"]], found["p_holm"] if len(claims) > 1 else np.nan
        counts = found["n_seeds"], found["n_samples"]
        yield _row(question, claims[found["variant"]], found["title"], "test MAE", gain, smallest, *counts, p_holm)


def _information(
    probes: pd.DataFrame | None, crossmodal: pd.DataFrame | None, titles: dict[str, str]
) -> Iterator[dict]:
    """What alignment does to planted factors; where none are known, to how well modalities predict one another."""
    gains: dict[str, dict[str, pd.Series]] = {}  # data set -> claim -> gain in R2 of each seed
    for (dataset, modality, factor), gain in _r2_gains(probes, ["dataset", "modality", "factor"], BASELINE):
        if factor == "shared":
            gains.setdefault(dataset, {})[f"The alignment raises the shared factor in {modality}"] = gain
        elif factor == modality:
            gains.setdefault(dataset, {})[f"The alignment lowers {modality}'s private factor in it"] = -gain
    factors_known = set(gains)
    for (dataset, source, target), gain in _r2_gains(crossmodal, ["dataset", "source", "target"], BASELINE):
        if dataset not in factors_known:
            gains.setdefault(dataset, {})[f"The alignment makes {target} easier to predict from {source}"] = gain
    yield from _r2_rows(2, gains, titles)


def _private(probes: pd.DataFrame | None, titles: dict[str, str]) -> Iterator[dict]:
    """What the unimodal tasks on generated labels do to each modality's private factor."""
    gains: dict[str, dict[str, pd.Series]] = {}
    for (dataset, modality, factor), gain in _r2_gains(
        probes, ["dataset", "modality", "factor"], "no_label_generation"
    ):
        if factor == modality:
            gains.setdefault(dataset, {})[f"Label generation raises {modality}'s private factor in it"] = gain
    yield from _r2_rows(3, gains, titles)


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


def _r2_rows(question: int, gains: dict[str, dict[str, pd.Series]], titles: dict[str, str]) -> Iterator[dict]:
    """Holm over the claims of a data set."""
    for dataset, claims in gains.items():
        intervals = [seed_interval(gain) for gain in claims.values()]
        corrected = holm([interval.p for interval in intervals])
        for (claim, gain), interval, p_holm in zip(claims.items(), intervals, corrected, strict=True):
            title = titles.get(dataset, dataset)
            yield _row(question, claim, title, "R² of a linear map", interval, SMALLEST_R2, len(gain), p_holm=p_holm)


def _nearness(pairs: pd.DataFrame | None) -> Iterator[dict]:
    """The scale-free distance of the aligned pair after training, without alignment less with it."""
    if pairs is None:
        return
    after = pairs[(pairs["when"] == "after") & (pairs["measure"] == "correlation distance")]
    wide = after.pivot(index=["title", "modality", "seed"], columns="variant", values="value")
    if {"paper", BASELINE} <= set(wide):
        nearer = (wide[BASELINE] - wide["paper"]).dropna()
        for (title, pair), gain in nearer.groupby(["title", "modality"], sort=False):
            claim = f"The alignment leaves the correlations of {str(pair).replace('-', ' and ')} nearer to each other"
            yield _row(2, claim, str(title), "correlation distance", seed_interval(gain), n_seeds=len(gain))


def _shrinking(variances: pd.DataFrame) -> Iterator[dict]:
    """Total variance of the encodings without alignment over that with it, as a log ratio."""
    wide = variances.pivot(index=["title", "modality", "seed"], columns="variant", values="total_variance")
    if not {"paper", BASELINE} <= set(wide):
        return
    shrunk = (wide[BASELINE] / wide["paper"]).dropna().map(np.log)
    for title, of_data_set in shrunk.groupby("title", sort=False):
        groups = list(of_data_set.groupby("modality", sort=False))
        intervals = [seed_interval(values) for _, values in groups]
        corrected = holm([interval.p for interval in intervals])
        for (modality, values), interval, p_holm in zip(groups, intervals, corrected, strict=True):
            claim = f"The alignment shrinks the features of {modality}"
            unit = "log of total variance without / with"
            yield _row(2, claim, str(title), unit, interval, SMALLEST_SHRINKING, len(values), p_holm=p_holm)


def _nearer(gains: pd.DataFrame | None, bounds: dict[str, float]) -> Iterator[dict]:
    if gains is None:
        return
    for title, of_data_set in gains.groupby("title", sort=False):
        groups = [
            (modality, group.pivot(index="seed", columns="id", values="gain"))
            for modality, group in of_data_set.groupby("modality", sort=False)
        ]
        intervals = [mean_interval(values) for _, values in groups]
        corrected = holm([interval.p for interval in intervals])
        for (modality, values), interval, p_holm in zip(groups, intervals, corrected, strict=True):
            claim = f"Generated {modality} labels are nearer to the true ones than copies of y, at the best epoch"
            smallest = SMALLEST_MAE * bounds[str(title)]
            yield _row(3, claim, str(title), "MAE, train split", interval, smallest, *values.shape, p_holm=p_holm)


def _settle(settled: pd.DataFrame | None) -> Iterator[dict]:
    if settled is None:
        return
    for (title, modality), runs in settled.groupby(["title", "modality"], sort=False):
        claim = f"From the best epoch on, generated {modality} labels move by less than {SETTLED:.0%} of H an epoch"
        note = f"moved by {runs['moved'].mean():.2f}; by less in {(runs['gain'] > 0).sum()} of {len(runs)} runs"
        yield _row(3, claim, str(title), "label units", seed_interval(runs["gain"]), n_seeds=len(runs), note=note)


def _shares(histories: pd.DataFrame) -> Iterator[dict]:
    """Each term's share of the loss of `paper` at the best epoch; the alignment's is what the tasks leave."""
    best = histories[(histories["variant"] == "paper") & (histories["epoch"] == histories["best_epoch"])]
    for title, runs in best.groupby("title", sort=False):
        tasks = [f"loss_{task}" for task in ("multimodal", *MODALITIES) if f"loss_{task}" in runs]
        terms = runs[tasks].fillna(0)  # of a modality that this data set lacks
        terms = terms.assign(loss_alignment=runs["loss_total"] - terms.sum(axis="columns")).abs()
        shares = terms.div(terms.sum(axis="columns"), axis="index")
        largest = str(shares.mean().idxmax())
        note = f"{largest.removeprefix('loss_')}: {shares[largest].mean():.2f} of it"
        claim = "No term takes over the loss: at the best epoch the largest is below one half of it"
        gain = seed_interval(0.5 - shares[largest])
        yield _row(4, claim, str(title), "share", gain, n_seeds=len(runs), note=note)


def _costs(costs: pd.DataFrame | None) -> Iterator[dict]:
    if costs is None:
        return
    for part in costs[costs["part"].isin(PARTS)].to_dict("records"):
        added, low, high = part["added_percent"], part["low"], part["high"]
        gain = Interval(LARGEST_COST - added, LARGEST_COST - high, LARGEST_COST - low)
        claim = f"{PARTS[part['part']]} adds less than {LARGEST_COST}% to a training step"
        note = f"adds {added:.1f}%, median of {part['n']} batches"
        yield _row(6, claim, f"Planted, text encoder {part['text_encoder']}", "% of a step", gain, note=note)


def _test_mae(metrics: pd.DataFrame) -> pd.DataFrame:
    """A row per title and seed, a column per variant."""
    test = metrics.query("split == 'test' and task == 'multimodal' and metric == 'mae'")
    return test.pivot(index=["title", "seed"], columns="variant", values="value")


def _seeds(metrics: pd.DataFrame, bounds: dict[str, float]) -> Iterator[dict]:
    """The standard deviation over seeds, with its chi-squared interval, against the gain that would matter."""
    mae = _test_mae(metrics).reindex(columns=["paper", BASELINE])
    for title, runs in mae.groupby("title", sort=False):
        values = runs["paper"].dropna()
        if len(values):
            smallest, freedom = SMALLEST_MAE * bounds[str(title)], len(values) - 1
            spread, nan = float(values.std(ddof=1)), float("nan")
            low, high = spread * np.sqrt(freedom / chi2.ppf([0.975, 0.025], freedom)) if freedom else (nan, nan)
            gain = (runs[BASELINE] - runs["paper"]).mean()
            note = f"standard deviation {spread:.4f}; the alignment's gain is {gain:+.4f}"
            claim = "One seed is enough: seeds move `paper` by less than the smallest gain that matters"
            interval = Interval(smallest - spread, smallest - high, smallest - low)
            yield _row(7, claim, str(title), "test MAE", interval, n_seeds=len(values), note=note)


def _weights(metrics: pd.DataFrame, bounds: dict[str, float]) -> Iterator[dict]:
    """No interval: the range of noisy means is wider than that of the true ones."""
    mae = _test_mae(metrics).filter(regex="^(paper|weight_)")
    for title, runs in mae.groupby("title", sort=False):
        complete = runs.dropna(axis="columns", how="all").dropna()  # seeds that all weights have
        means = complete.mean()
        if len(means) > 1:
            smallest, spread = SMALLEST_MAE * bounds[str(title)], float(means.max() - means.min())
            claim = "The alignment's weight hardly matters: the best and the worst are nearer than the smallest gain"
            gain = Interval(smallest - spread)
            note = f"{len(means)} weights, {spread:.4f} apart; no interval for a range"
            yield _row(7, claim, str(title), "test MAE", gain, n_seeds=len(complete), note=note)


def _number(value: float) -> str:
    return "" if pd.isna(value) else f"{value:+.4f}" if abs(value) < 10 else f"{value:+.1f}"
