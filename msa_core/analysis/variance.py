"""How much of the spread of test MAE over seeds is rounding: the same seeds under several arithmetics."""

import numpy as np
import pandas as pd
from scipy.stats import chi2, f


def variance_components(runs: pd.DataFrame) -> pd.DataFrame:
    """Standard deviation of test MAE by its causes, and the share of rounding in what is called the spread over seeds.

    One run for each seed and arithmetic: ``MAE = mean + seed + rounding``, both random (a balanced one-way analysis of
    variance). A run's seed decides initial weights, dropout and the order of samples; its arithmetic, the last digit
    of every sum. The spread over seeds in one arithmetic, which papers report, holds both. The interval of the share
    follows from the F distribution of the ratio of mean squares (Searle, Casella and McCulloch 1992, section 3.6).

    Args:
        runs: dataset, variant, seed, arithmetic, test_mae, error_variance (of the absolute errors of the test samples),
            samples. Seeds that lack an arithmetic are left out, and then variants with fewer than two seeds or
            arithmetics.

    Returns:
        A row per dataset and variant: n_seeds, n_arithmetics, mean (test MAE), sd_seed, sd_rounding (both 0 or more),
        rounding_low, rounding_high (95% interval of sd_rounding), sd_test_samples, and share_rounding with share_low
        and share_high.

    Raises:
        ValueError: no variant is left.
    """
    rows = []
    for (dataset, variant), group in runs.groupby(["dataset", "variant"], sort=False):
        table = group.pivot(index="seed", columns="arithmetic", values="test_mae").dropna()
        seeds, arithmetics = table.shape
        if seeds < 2 or arithmetics < 2:
            continue
        between = arithmetics * table.mean(axis="columns").var(ddof=1)
        within = table.var(axis="columns", ddof=1).mean()
        freedom = seeds - 1, seeds * (arithmetics - 1)
        # seed variance over rounding variance, from the observed ratio of mean squares over a quantile of F
        quantiles = (1.0, *f.ppf([0.025, 0.975], *freedom))
        ratios = [(between / within / quantile - 1) / arithmetics for quantile in quantiles]
        share, share_low, share_high = (1 / (1 + max(ratio, 0)) for ratio in ratios)
        low, high = np.sqrt(freedom[1] * within / chi2.ppf([0.975, 0.025], freedom[1]))
        rows.append(
            {
                "dataset": dataset,
                "variant": variant,
                "n_seeds": seeds,
                "n_arithmetics": arithmetics,
                "mean": table.to_numpy().mean(),
                "sd_seed": np.sqrt(max(between - within, 0) / arithmetics),
                "sd_rounding": np.sqrt(within),
                "rounding_low": low,
                "rounding_high": high,
                "sd_test_samples": np.sqrt((group["error_variance"] / group["samples"]).mean()),
                "share_rounding": share,
                "share_low": share_low,
                "share_high": share_high,
            }
        )
    if not rows:
        raise ValueError(
            f"variance_components: got no variant with two seeds and two arithmetics among {len(runs)} runs; run "
            "workflow/arithmetics.py for more"
        )
    return pd.DataFrame(rows)


def variance_markdown(table: pd.DataFrame) -> str:
    """`variance_components` for reading."""
    shown = pd.DataFrame(
        {
            "Data": table["dataset"],
            "Variant": table["variant"],
            "Seeds": table["n_seeds"],
            "Arithmetics": table["n_arithmetics"],
            "Test MAE": table["mean"].map("{:.4f}".format),
            "SD, seed": table["sd_seed"].map("{:.4f}".format),
            "SD, rounding [95%]": [
                f"{row.sd_rounding:.4f} [{row.rounding_low:.4f}, {row.rounding_high:.4f}]" for row in table.itertuples()
            ],
            "SD, test samples": table["sd_test_samples"].map("{:.4f}".format),
            "Share of rounding in the spread over seeds [95%]": [
                f"{row.share_rounding:.0%} [{row.share_low:.0%}, {row.share_high:.0%}]" for row in table.itertuples()
            ],
        }
    )
    return shown.to_markdown(index=False, disable_numparse=True) + "\n"


def differences_within_seeds(runs: pd.DataFrame) -> pd.DataFrame:
    """How much the arithmetic moves test MAE within a seed, against the spread over seeds.

    Args:
        runs: model, seed, arithmetic, test_mae, epochs, epoch_limit (of passes over the train split; 0: none). Seeds
            that lack an arithmetic are left out.

    Returns:
        A row per model and limit: model, epoch_limit, epochs (the most of a run), n_seeds, n_arithmetics, mean (test
        MAE), largest (difference within a seed), sd_rounding (within a seed: root of the mean variance), sd_seeds
        (over seeds in one arithmetic, as papers report it: root of the mean variance).
    """
    rows = []
    for (model, limit), group in runs.groupby(["model", "epoch_limit"]):
        table = group.pivot(index="seed", columns="arithmetic", values="test_mae").dropna()
        spread = table.max(axis="columns") - table.min(axis="columns")
        rows.append(
            {
                "model": model,
                "epoch_limit": limit,
                "epochs": group["epochs"].max(),
                "n_seeds": len(table),
                "n_arithmetics": table.shape[1],
                "mean": table.to_numpy().mean(),
                "largest": spread.max(),
                "sd_rounding": np.sqrt(table.var(axis="columns", ddof=1).mean()),
                "sd_seeds": np.sqrt(table.var(axis="index", ddof=1).mean()),
            }
        )
    return pd.DataFrame(rows)


def differences_markdown(table: pd.DataFrame) -> str:
    """`differences_within_seeds` for reading."""
    shown = pd.DataFrame(
        {
            "Model": table["model"],
            "Epochs": [
                f"{epochs} (fixed)" if limit else f"until it stops, at most {epochs}"
                for limit, epochs in zip(table["epoch_limit"], table["epochs"], strict=True)
            ],
            "Seeds": table["n_seeds"],
            "Arithmetics": table["n_arithmetics"],
        }
        | {
            title: table[name].map("{:.4f}".format)
            for title, name in (
                ("Test MAE", "mean"),
                ("Largest difference within a seed", "largest"),
                ("SD within a seed", "sd_rounding"),
                ("SD over seeds", "sd_seeds"),
            )
        }
    )
    return shown.to_markdown(index=False, disable_numparse=True) + "\n"


def step_differences(steps: pd.DataFrame, reference: str = "default") -> pd.DataFrame:
    """How far each arithmetic's loss is from the reference's, step by step, relative to the latter.

    Args:
        steps: precision, variant, seed, arithmetic, step, loss.
        reference: an arithmetic.

    Returns:
        The rows of the other arithmetics, with the column difference.
    """
    keys = ["precision", "variant", "seed", "step"]
    theirs = steps[steps["arithmetic"] == reference].set_index(keys)["loss"].rename("loss_reference")
    others = steps[steps["arithmetic"] != reference].join(theirs, on=keys)
    difference = (others["loss"] - others["loss_reference"]).abs() / others["loss_reference"].abs()
    return others.assign(difference=difference).drop(columns="loss_reference").reset_index(drop=True)
