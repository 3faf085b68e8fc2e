"""Random searches: what the best of so many trials can be expected to reach, and what a tuned variant gains."""

from math import comb
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from msa_core.analysis.claims_rule import Claim, corrected
from msa_core.analysis.comparisons import crossed_interval, run_interval
from msa_core.analysis.tables.formats import markdown
from msa_core.config import Search, resolve

MEASURES = ["epochs", "best_epoch", "valid_mae", "test_mae", "cpu_seconds"]


def read_runs(file: Path, study: Search) -> pd.DataFrame:
    """The rows that workflow/search.py writes; none if there is no such file.

    Their columns: variant, trial, seed, one per name in the space, settings, and `MEASURES`.
    """
    columns = ["variant", "trial", "seed", *study.space, "settings", *MEASURES]
    runs = pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=columns)
    return runs.reindex(columns=columns).astype(dict.fromkeys(MEASURES, float))


def finished_trials(runs: pd.DataFrame, study: Search) -> pd.DataFrame:
    """The runs of the trials that both variants have on every draw: a row a trial and draw, by (measure, variant).

    Args:
        runs: as `read_runs` gives them.
        study: variants and draws.
    """
    of_trials = runs[runs["seed"].isin(study.trial_seeds)]
    wide = of_trials.pivot(index=["trial", "seed"], columns="variant", values=["valid_mae", "test_mae"])
    wide = wide.reindex(columns=pd.MultiIndex.from_product([["valid_mae", "test_mae"], study.variants])).dropna()
    return wide[wide.groupby("trial")["valid_mae"].transform("size").eq(len(study.trial_seeds)).to_numpy()]


def chosen_trials(runs: pd.DataFrame, study: Search) -> dict[str, int]:
    """Variant -> the trial with its lowest mean validation MAE, of equal ones the first; empty without a trial."""
    means = finished_trials(runs, study)["valid_mae"].groupby("trial").mean()
    return {variant: int(means[variant].idxmin()) for variant in study.variants} if len(means) else {}


def expected_best(valid: ArrayLike, test: ArrayLike) -> pd.DataFrame:
    """What a random search finds with each budget of n trials, up to the N that were made.

    The expected minimum of validation MAE over n trials (Dodge, Gururangan, Card, Schwartz and Smith 2019, "Show Your
    Work", section 3.2, who write it for a maximum), and the expected test MAE of the trial that has it. Dodge et al.
    draw the n trials with replacement, which is biased; here the mean is over all subsets of n of the N trials (Tang
    et al. 2020, "Showing Your Work Doesn't Always Work", section 4): the i-th best is the best of
    ``C(N - i, n - 1)`` of the ``C(N, n)`` subsets.

    Args:
        valid, test: (N,), of each trial; of equal values of `valid`, the first counts as the better one.

    Returns:
        A row per budget: budget, valid_mae, valid_sd, test_mae, test_sd. The standard deviations are over subsets: of
        what one search of this budget finds. They shrink to 0 at N, of which there is one subset.

    >>> expected_best([3.0, 1.0], [4.0, 2.0])[["budget", "valid_mae", "test_mae"]].to_numpy().tolist()
    [[1.0, 2.0, 3.0], [2.0, 1.0, 2.0]]
    """
    order = np.argsort(valid, kind="stable")
    number = len(order)
    rows = []
    for budget in range(1, number + 1):
        ways = [comb(number - place, budget - 1) / comb(number, budget) for place in range(1, number + 1)]
        row: dict[str, float] = {"budget": budget}
        for name, values in (("valid", np.asarray(valid)[order]), ("test", np.asarray(test)[order])):
            row[f"{name}_mae"] = mean = float(np.dot(ways, values))
            row[f"{name}_sd"] = float(np.sqrt(np.dot(ways, (values - mean) ** 2)))
        rows.append(row)
    return pd.DataFrame(rows, columns=["budget", "valid_mae", "valid_sd", "test_mae", "test_sd"])


def budgets(runs: pd.DataFrame, study: Search) -> pd.DataFrame:
    """`expected_best` of both variants, with the column variant; MAE are means over the draws."""
    means = finished_trials(runs, study).groupby("trial").mean()
    curves = [expected_best(means["valid_mae", name], means["test_mae", name]) for name in study.variants]
    return pd.concat([curve.assign(variant=name) for curve, name in zip(curves, study.variants, strict=True)])


def trial_gains(runs: pd.DataFrame, study: Search) -> pd.DataFrame:
    """What the variant gains in test MAE in each trial (rows) and on each draw (columns)."""
    test = finished_trials(runs, study)["test_mae"]
    return (test[study.reference] - test[study.variant]).unstack("seed")


def tuned_gains(runs: pd.DataFrame, study: Search) -> pd.Series:
    """What the variant gains in test MAE on each of the other draws, each variant with the trial that was chosen."""
    chosen = chosen_trials(runs, study)
    compared = runs[runs["seed"].isin(study.seeds) & runs["trial"].eq(runs["variant"].map(chosen))]
    test = compared.pivot(index="seed", columns="variant", values="test_mae").reindex(columns=list(study.variants))
    return (test[study.reference] - test[study.variant]).dropna()


def search_markdown(runs: pd.DataFrame, study: Search) -> str:
    """The search for reading: `budgets`, and the chosen trials with their values."""
    chosen = chosen_trials(runs, study)
    if not chosen:
        return "No trial is finished yet.\n"
    table = budgets(runs, study)
    shown = table[table["budget"].isin((1, 2, 5, 10, 20, table["budget"].max()))]
    cells = pd.DataFrame({"Variant": "`" + shown["variant"] + "`", "Trials": shown["budget"].astype(str)})
    for name, title in (("valid", "Validation MAE of the best"), ("test", "Its test MAE")):
        pairs = zip(shown[f"{name}_mae"], shown[f"{name}_sd"], strict=True)
        cells[title] = [f"{mean:.4f} ± {sd:.4f}" for mean, sd in pairs]
    values = runs[runs["trial"].eq(runs["variant"].map(chosen))].drop_duplicates("variant")
    values = values[["variant", "trial", *study.space]].set_index("variant").loc[list(study.variants)].T
    values = values.map(lambda value: f"{value:.3g}" if isinstance(value, float) else str(value)).reset_index(names="")
    return (
        "Expected of the best of so many random trials ± standard deviation over searches of this budget (0 for all "
        f"trials: there is one such search).\n\n{markdown(cells)}\nChosen on validation data. A value that belongs "
        f"to a part that the variant lacks changes nothing; nan: the paper's schedule.\n\n{markdown(values)}"
    )


def search_claims(study: Search, runs: pd.DataFrame, smallest: float) -> list[Claim]:
    """Whether the variant is better where both are tuned, and at hyper-parameters drawn at random.

    Args:
        study: the search.
        runs: as `read_runs` gives them; none of a comparison: no claim.
        smallest: gain in MAE that matters.
    """
    better = f"`{study.variant}` has a lower test MAE than `{study.reference}`"
    tuned, at_random = tuned_gains(runs, study), trial_gains(runs, study)
    trials, draws = at_random.shape
    measured = [
        (f"{better}, both tuned by {trials} random trials", run_interval(tuned), len(tuned)),
        (f"{better} at random hyper-parameters", crossed_interval(at_random), trials),
    ]
    title, note = resolve(study.dataset).dataset.title, f"trials crossed with {draws} draws"
    return corrected(
        Claim(study.question, claim, title, gain, "test MAE", smallest, n_runs=number, note=note if place else "")
        for place, (claim, gain, number) in enumerate(measured)
        if number
    )
