"""Oracles: cases in which the answer is known, numbers worked by hand, scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from msa_core.analysis import claims
from msa_core.analysis.claims_rule import Claim
from msa_core.analysis.comparisons import Interval

RNG = np.random.default_rng(0)
N = 60
TRUE = RNG.uniform(-3, 3, N)
SEEDS = (1, 2, 3, 4, 5)
FAMILIES = {"alignment": ["weight_1", "distance_cka"], "weight": ["paper", "weight_1"]}
NAME = {"dataset": "d", "title": "D", "draw": "shared", "test_to_train": 0.0}


def predicted(errors, noise=0.02):
    """{variant: mean absolute error} -> predictions, on the same samples, nearly the same for each seed."""
    frames = [
        pd.DataFrame({"id": [f"u{i}" for i in range(N)], "label": TRUE, "variant": variant, "seed": seed})
        .assign(prediction=TRUE + np.where(np.arange(N) % 2, 1, -1) * (error + noise * RNG.standard_normal(N)))
        .assign(**NAME, scheme="mosi", label_bound=3.0)
        for variant, error in errors.items()
        for seed in SEEDS
    ]
    return pd.concat(frames, ignore_index=True)


def measured(predictions):
    """Their test MAE as `collect.read_metrics` gives it."""
    error = (predictions["prediction"] - predictions["label"]).abs()
    mae = error.groupby([predictions[c] for c in ("dataset", "title", "draw", "variant", "seed")], sort=False).mean()
    return mae.rename("value").reset_index().assign(split="test", task="multimodal", metric="mae", scheme="mosi")


def histories(**losses):
    rows = [
        {**NAME, "variant": "paper", "seed": seed, "epoch": epoch, "best_epoch": 2, **losses, "loss_text": epoch}
        for seed in SEEDS
        for epoch in (1, 2, 3)
    ]
    return pd.DataFrame(rows).assign(loss_total=lambda frame: frame["loss_multimodal"] + frame["loss_text"] + 1)


def variances(**by_variant):
    rows = [
        {**NAME, "variant": variant, "seed": seed, "modality": "audio", "total_variance": value * (1 + seed / 1000)}
        for variant, value in by_variant.items()
        for seed in SEEDS
    ]
    return pd.DataFrame(rows)


def table(errors, loss=1.0, shrunk=1.0, families=None, swept=(), **frames):
    predictions = predicted(errors)
    defaults = {
        "metrics": measured(predictions),
        "predictions": predictions,
        "histories": histories(loss_multimodal=loss),
        "variances": variances(paper=1.0, no_alignment=shrunk),
    }
    return claims.claims_table(claims.Measurements(**(defaults | frames)), families or FAMILIES, swept=swept)


def about(result, claim, number=None):
    rows = result[result["claim"].str.contains(claim, regex=False)]
    assert len(rows) == (number or 1)
    return rows if number else rows.iloc[0]


def test_a_real_gain_is_found_and_an_absent_one_denied():
    result = table(
        {"no_alignment": 0.7, "paper": 0.5, "weight_1": 0.8, "distance_cka": 0.7, "no_weight_adjustment": 0.6}
    )
    paper = about(result, "`paper`, with alignment")
    assert paper["verdict"] == "gains"
    assert paper["estimate"] == pytest.approx(0.2, abs=0.01)
    assert paper["low"] < 0.2 < paper["high"]
    assert paper[["n_samples", "n_runs"]].tolist() == [N, 5]
    assert np.isnan(paper["p_holm"])
    worse = about(result, "`weight_1` lowers")
    assert (worse["verdict"], round(worse["estimate"], 1)) == ("harms", -0.1)
    same = about(result, "`distance_cka` lowers")
    assert same["verdict"] == "no gain that matters"  # nearly no noise: a gain of 0.01 can be excluded
    assert result.loc[[worse.name, same.name], "p_holm"].notna().all()
    assert about(result, "The weight adjustment")["estimate"] == pytest.approx(0.1, abs=0.01)


def test_every_question_has_its_place_and_what_was_not_measured_says_so():
    result = table({"paper": 0.5})
    assert sorted(set(result["question"])) == [1, 2, 3, 4, 6, 7]  # 5 and 8 are those of sweeps
    assert result["question"].is_monotonic_increasing
    unmeasured = result[result["verdict"] == "not measured"]
    assert (unmeasured.index == result.index[result["estimate"].isna()]).all()
    assert {1, 2, 3, 4, 6} <= set(unmeasured["question"])


def test_claims_of_sweeps_stand_at_their_question():
    swept = [Claim(8, "last", "D", Interval(0.1, 0.05, 0.2)), Claim(5, "inner", "D", Interval(0.1, 0.05, 0.2))]
    result = table({"paper": 0.5}, swept=swept)
    assert result["question"].is_monotonic_increasing
    assert result.loc[result["question"].isin((5, 8)), "claim"].tolist() == ["inner", "last"]


def test_probes_answer_whether_the_shared_factor_came_in_and_the_private_one_went():
    rows = [
        {"dataset": "d", "variant": variant, "seed": seed, "modality": "audio", "factor": factor, "r2": r2 + seed / 1e4}
        for (variant, factor), r2 in {
            ("paper", "shared"): 0.6, ("no_alignment", "shared"): 0.4, ("untrained", "shared"): 0.1,
            ("paper", "audio"): 0.3, ("no_alignment", "audio"): 0.2, ("no_label_generation", "audio"): 0.35,
            ("paper", "vision"): 0.9, ("no_alignment", "vision"): 0.1,
        }.items()
        for seed in SEEDS
    ]  # fmt: skip
    result = table({"paper": 0.5}, probes=pd.DataFrame(rows))
    shared = about(result, "raises the shared factor in audio")
    assert (shared["dataset"], shared["verdict"], shared["n_runs"]) == ("D", "gains", 5)
    assert shared["estimate"] == pytest.approx(0.2)
    private = about(result, "lowers audio's private factor")
    assert (private["verdict"], round(private["estimate"], 3)) == ("harms", -0.1)
    generated = about(result, "Label generation raises audio's private factor")
    assert (generated["question"], generated["verdict"]) == (3, "harms")
    assert generated["estimate"] == pytest.approx(-0.05)
    assert len(result[result["unit"].str.startswith("R²")]) == 3  # another modality's factor is no claim


def test_where_no_factor_is_known_one_modality_is_predicted_from_another():
    rows = [
        {
            "dataset": dataset,
            "variant": variant,
            "seed": seed,
            "source": "text",
            "target": "audio",
            "r2": r2 + seed / 1e4,
        }
        for dataset in ("d", "planted")
        for variant, r2 in {"paper": 0.3, "no_alignment": 0.1, "untrained": 0.9}.items()
        for seed in SEEDS
    ]
    factors = {"dataset": "planted", "modality": "audio", "factor": "shared", "r2": 0.5}
    probed = pd.DataFrame([factors | {"variant": v, "seed": s} for v in ("paper", "no_alignment") for s in SEEDS])
    result = table({"paper": 0.5}, crossmodal=pd.DataFrame(rows), probes=probed)
    row = about(result, "makes audio easier to predict from text")
    assert (row["dataset"], row["verdict"], row["n_runs"]) == ("D", "gains", 5)
    assert row["estimate"] == pytest.approx(0.2)


def test_the_aligned_pair_is_nearer_after_training_or_not():
    rows = [
        {"title": "D", "variant": variant, "seed": seed, "modality": "audio-vision", "when": when, "value": value}
        for variant, when, value in (
            ("paper", "before", 0.9), ("no_alignment", "before", 0.0),
            ("paper", "after", 0.1), ("no_alignment", "after", 0.4),
        )
        for seed in SEEDS
    ]  # fmt: skip
    measured = pd.DataFrame(rows).assign(measure="correlation distance")
    others = measured.assign(measure="total variance", value=1.0)
    noise = measured["value"] + measured["seed"] / 100 * (measured["variant"] == "paper")
    row = about(
        table({"paper": 1}, pairs=pd.concat([measured.assign(value=noise), others])), "correlations of audio and"
    )
    assert (row["question"], row["verdict"], row["n_runs"], row["smallest"]) == (2, "gains", 5, 0.05)
    assert row["estimate"] == pytest.approx(0.4 - 0.1 - 0.03)


def test_features_that_shrink_are_told_from_those_that_do_not():
    half = about(table({"paper": 1}, shrunk=2.0), "shrinks the features of audio")
    assert (half["estimate"], half["verdict"]) == (pytest.approx(np.log(2)), "gains")
    assert (half["smallest"], half["unit"]) == (pytest.approx(np.log(1.1)), "log of total variance without / with")
    same = about(table({"paper": 1}, shrunk=1.0), "shrinks the features of audio")
    assert (same["estimate"], same["verdict"]) == (0, "no gain that matters")


def test_shares_of_the_loss_at_the_best_epoch():
    """Best epoch 2: text 2, alignment 1, multimodal 1 or 9, so that multimodal is 1 / 4 or 9 / 12."""
    fair = about(table({"paper": 1}, loss=1.0), "No term takes over")
    assert (fair["estimate"], fair["limit"], fair["note"]) == (0.0, 0.5, "the largest is text")
    taken = about(table({"paper": 1}, loss=9.0), "No term takes over")
    assert (taken["estimate"], taken["verdict"]) == (pytest.approx(0.5 - 0.75), "exceeded")


def test_the_largest_term_is_that_of_the_mean_over_seeds():
    """Text has 0.6 of the loss of seed 1 and 0.2 of the others', multimodal 0.3 and 0.7, the alignment 0.1."""
    shares = [{"loss_text": 0.6, "loss_multimodal": 0.3}, *[{"loss_text": 0.2, "loss_multimodal": 0.7}] * 4]
    rows = [
        {**NAME, "variant": "paper", "seed": seed, "epoch": 2, "best_epoch": 2, "loss_total": 2.0}
        | {name: 2 * share for name, share in terms.items()}
        for seed, terms in zip(SEEDS, shares, strict=True)
    ]
    row = about(table({"paper": 1}, histories=pd.DataFrame(rows)), "No term takes over")
    gains = 0.5 - np.array([0.3, 0.7, 0.7, 0.7, 0.7])
    interval = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert row[["estimate", "low", "high"]].tolist() == pytest.approx([gains.mean(), interval.low, interval.high])
    assert (row["note"], row["unit"], row["n_runs"]) == ("the largest is multimodal", "of the loss", 5)


def test_a_term_that_a_data_set_lacks_counts_as_nothing_and_data_sets_keep_their_order():
    """Z has audio, D has none: there, multimodal has 2 of 5; here, the alignment has 5 of 8."""
    terms = {"loss_multimodal": 2.0, "loss_text": 1.0, "variant": "paper", "epoch": 2, "best_epoch": 2}
    terms["test_to_train"] = 0.0
    rows = [{"title": "Z", **terms, "seed": seed, "loss_audio": 1.0, "loss_total": 5.0} for seed in SEEDS]
    rows += [{"title": "D", **terms, "seed": seed, "loss_total": 8.0} for seed in SEEDS]
    shares = about(table({"paper": 1}, histories=pd.DataFrame(rows)), "No term takes over", 2)
    assert shares["dataset"].tolist() == ["Z", "D"]
    assert shares["estimate"].tolist() == pytest.approx([0.5 - 2 / 5, 0.5 - 5 / 8])
    assert shares["note"].tolist() == ["the largest is multimodal", "the largest is alignment"]


def of_mae(mae):
    """{(title, variant, seed): test MAE} as `collect.read_metrics` gives it."""
    rows = [{"title": title, "variant": v, "seed": seed, "value": value} for (title, v, seed), value in mae.items()]
    names = {"dataset": "d", "draw": "shared", "test_to_train": 0.0, "scheme": "mosi"}
    return pd.DataFrame(rows).assign(**names, split="test", task="multimodal", metric="mae")


def test_one_seed_has_claims_without_an_interval():
    predictions = predicted({"no_alignment": 0.7, "paper": 0.5})
    metrics = of_mae({("D", "paper", 1): 0.5, ("D", "no_alignment", 1): 0.7})
    result = table({"paper": 1}, predictions=predictions[predictions["seed"] == 1], metrics=metrics)
    paper = about(result, "`paper`, with alignment")
    assert (round(paper["estimate"], 1), paper["n_runs"], paper["verdict"]) == (0.2, 1, "undecided")
    seeds = about(result, "One seed is enough")
    assert seeds[["estimate", "low", "high"]].isna().all()
    assert seeds["n_runs"] == 1
    assert about(result, "weight hardly matters")["verdict"] == "not measured"  # one weight has no range


def test_weights_are_compared_on_the_seeds_that_all_have():
    """weight_1 lacks seed 3 and was not run on E; D's means over seeds 1 and 2 are 0.5 and 0.56."""
    mae = {("D", "paper", 1): 0.48, ("D", "paper", 2): 0.52, ("D", "paper", 3): 9.0, ("D", "weight_1", 1): 0.55}
    mae |= {("D", "weight_1", 2): 0.57, ("D", "weight_10", 1): 0.53, ("D", "weight_10", 2): 0.53}
    mae |= {("D", "no_alignment", 1): 0.58, ("D", "no_alignment", 2): 0.59, ("E", "paper", 1): 0.1}
    mae |= {("E", "weight_10", 1): 0.3, ("E", "paper", 2): 0.1, ("E", "weight_10", 2): 0.3}
    weights = ["paper", "weight_1", "weight_10"]
    both = pd.concat([predicted({"paper": 0.5}).assign(**name) for name in (NAME, {"dataset": "e", "title": "E"})])
    result = table({"paper": 1}, families=FAMILIES | {"weight": weights}, metrics=of_mae(mae), predictions=both)
    ranges = about(result, "weight hardly matters", 2).set_index("dataset")
    assert ranges["estimate"].to_dict() == pytest.approx({"D": 0.01 - 0.06, "E": 0.01 - 0.2})
    assert ranges["n_runs"].to_dict() == {"D": 2, "E": 2}
    assert ranges["note"].to_dict() == {
        "D": "3 weights; a range has no interval",
        "E": "2 weights; a range has no interval",
    }
    note = about(result, "One seed is enough", 2).set_index("dataset").loc["D", "note"]
    assert note == "the alignment's gain is +0.0850"  # 0.10 and 0.07


def test_probes_of_a_data_set_without_runs_here_go_by_its_name():
    rows = [
        {"dataset": "e", "variant": variant, "seed": seed, "modality": "audio", "factor": factor, "r2": seed / 10}
        for variant in ("paper", "no_alignment", "no_label_generation")
        for seed in SEEDS
        for factor in ("shared", "audio")
    ]
    result = table({"paper": 1}, probes=pd.DataFrame(rows))
    assert result.loc[result["unit"] == "R² of a linear map", "dataset"].tolist() == ["e"] * 3


def test_costs_are_those_of_the_papers_parts():
    costs = pd.DataFrame(
        {
            "text_encoder": "tiny",
            "part": ["multimodal task alone", "+ label generation", "+ alignment, audio-vision", "+ alignment, cka"],
            "added_percent": [np.nan, 1.0, 7.0, 9.0],
            "low": [np.nan, 0.5, 6.5, 8.0],
            "high": [np.nan, 1.5, 7.5, 10.0],
            "n": 60,
        }
    )
    result = table({"paper": 1}, costs=costs)
    cheap = about(result, "Label generation adds less than 5%")
    assert cheap[["estimate", "low", "high"]].tolist() == [4.0, 3.5, 4.5]
    assert (cheap["verdict"], cheap["limit"], cheap["note"]) == ("kept", 5, "median of 60 batches")
    assert about(result, "The alignment adds")["verdict"] == "exceeded"
    assert (result["question"] == 6).sum() == 2


def test_the_spread_over_seeds_has_its_chi_squared_interval():
    predictions = predicted({"paper": 0.5, "no_alignment": 0.6, "weight_1": 0.55}, noise=0.3)
    metrics = measured(predictions)
    measurements = claims.Measurements(metrics, predictions, histories(loss_multimodal=1.0), variances(paper=1.0))
    result = claims.claims_table(measurements, FAMILIES)
    row = about(result, "One seed is enough")
    values = metrics.loc[metrics["variant"] == "paper", "value"]
    low, high = np.sqrt(4 * values.var(ddof=1) / stats.chi2.ppf([0.975, 0.025], 4))
    assert [row["estimate"], row["low"], row["high"]] == pytest.approx(
        [0.01 - values.std(ddof=1), 0.01 - high, 0.01 - low]
    )
    weights = about(result, "weight hardly matters")
    means = metrics.groupby("variant")["value"].mean()
    assert weights["estimate"] == pytest.approx(0.01 - abs(means["paper"] - means["weight_1"]))
    assert weights["verdict"] == "undecided"


def test_rounding_is_judged_by_its_share_of_the_spread_over_seeds():
    rounding = pd.DataFrame(
        {
            "dataset": ["planted"] * 3,
            "variant": ["much", "little", "unknown"],
            "n_seeds": 10,
            "n_arithmetics": 4,
            "sd_rounding": 0.0066,
            "share_rounding": [0.9, 0.01, 0.2],
            "share_low": [0.26, 0.0, 0.02],
            "share_high": [1.0, 0.04, 0.7],
        }
    )
    claims_about_it = about(table({"paper": 1}, rounding=rounding), "Rounding hardly counts", 3)
    much, little, unknown = claims_about_it.to_dict("records")
    assert (much["verdict"], little["verdict"], unknown["verdict"]) == ("exceeded", "kept", "undecided")
    assert [much[name] for name in ("estimate", "low", "high")] == pytest.approx([-0.8, -0.9, -0.16])
    assert (much["dataset"], much["n_runs"]) == ("Planted", 10)
    assert (much["note"], much["limit"]) == ("4 arithmetics; standard deviation within a seed 0.0066", 0.1)


def test_claims_about_labels():
    gains = [
        pd.DataFrame({"id": range(50), "modality": modality, "gain": RNG.normal(mean, 0.1, 50), "seed": seed})
        for modality, mean in (("text", 0.3), ("audio", -0.3))
        for seed in SEEDS
    ]
    moves = [("text", seed, 0.005 if seed % 2 else 0.01) for seed in SEEDS] + [("audio", seed, 0.5) for seed in SEEDS]
    settled = pd.DataFrame(moves, columns=["modality", "seed", "moved"]).assign(title="D")
    settled = settled.assign(gain=0.03 - settled["moved"])
    result = table({"paper": 1}, gains=pd.concat(gains).assign(**NAME), settled=settled)
    text = about(result, "Generated text labels are nearer")
    assert (text["verdict"], text["n_runs"], text["n_samples"]) == ("gains", 5, 50)
    assert about(result, "Generated audio labels are nearer")["verdict"] == "harms"
    moves = about(result, "generated text labels move by less")
    assert (moves["estimate"], moves["verdict"]) == (pytest.approx(0.03 - (3 * 0.005 + 2 * 0.01) / 5), "kept")
    assert (moves["limit"], moves["note"]) == (0.03, "by less in 5 of 5 runs")
    audio = about(result, "generated audio labels move by less")
    assert (audio["verdict"], audio["note"]) == ("exceeded", "by less in 0 of 5 runs")


def by_seed(rng, mean):
    """A value for each seed."""
    return rng.normal(mean, 0.1, len(SEEDS))


def hand_holm(p):
    """Holm's p of two tests, or of one."""
    if len(p) == 1:
        return list(p)
    smaller, larger = sorted(p)
    both = {smaller: min(2 * smaller, 1), larger: min(max(2 * smaller, larger), 1)}
    return [both[value] for value in p]


def of_family(result, *family):
    """Holm's p of the claims of a family, in this order."""
    return [about(result, claim)["p_holm"] for claim in family]


def test_holm_counts_the_probes_of_one_question_and_data_set():
    """Two claims about what alignment does to the private factors, two about what label generation does to them."""
    rng = np.random.default_rng(5)
    rows, gains = [], {}
    for modality, mean in (("audio", 0.1), ("vision", 0.2)):
        paper, without, unlabelled = (by_seed(rng, mean) for mean in (mean, 0.0, 0.05))
        gains[modality] = paper - without, paper - unlabelled
        for variant, values in (("paper", paper), ("no_alignment", without), ("no_label_generation", unlabelled)):
            rows += [
                {"dataset": "d", "variant": variant, "seed": seed, "modality": modality, "factor": modality, "r2": r2}
                for seed, r2 in zip(SEEDS, values, strict=True)
            ]
    result = table({"paper": 0.5}, probes=pd.DataFrame(rows))
    for number, claim in enumerate(("The alignment lowers {}'s private", "Label generation raises {}'s private")):
        p = [stats.ttest_1samp(gains[modality][number], 0).pvalue for modality in gains]
        corrected = of_family(result, *(claim.format(modality) for modality in gains))
        assert corrected == pytest.approx(hand_holm(p))
        assert set(result.loc[result["claim"].str.contains("private factor"), "smallest"]) == {0.01}


def test_holm_counts_the_modalities_that_may_shrink():
    rng = np.random.default_rng(6)
    ratios = {"audio": np.exp(by_seed(rng, 0.1)), "vision": np.exp(by_seed(rng, 0.2))}
    rows = [
        {**NAME, "variant": variant, "seed": seed, "modality": modality, "total_variance": value}
        for modality, values in ratios.items()
        for seed, ratio in zip(SEEDS, values, strict=True)
        for variant, value in (("paper", 2.0), ("no_alignment", 2.0 * ratio))
    ]
    result = table({"paper": 0.5}, variances=pd.DataFrame(rows))
    p = [stats.ttest_1samp(np.log(values), 0).pvalue for values in ratios.values()]
    corrected = of_family(result, *(f"shrinks the features of {modality}" for modality in ratios))
    assert corrected == pytest.approx(hand_holm(p))


def test_holm_counts_the_modalities_whose_labels_may_be_nearer():
    """Every sample's gain is its seed's, so that the samples add nothing and the test is scipy's over seeds."""
    rng = np.random.default_rng(7)
    gains = {"text": by_seed(rng, 0.1), "audio": by_seed(rng, 0.2)}
    frames = [
        pd.DataFrame({"id": range(20), "modality": modality, "gain": gain, "seed": seed}).assign(**NAME)
        for modality, values in gains.items()
        for seed, gain in zip(SEEDS, values, strict=True)
    ]
    result = table({"paper": 0.5}, gains=pd.concat(frames))
    p = [stats.ttest_1samp(values, 0).pvalue for values in gains.values()]
    names = [f"Generated {modality} labels are nearer" for modality in gains]
    assert of_family(result, *names) == pytest.approx(hand_holm(p))
    assert {about(result, name)["smallest"] for name in names} == {0.01}  # H / 300


def test_holm_counts_the_alignments_of_the_family_on_each_data_set():
    """Every sample's error is its seed's: the paired t-test over seeds. One data set has two of the family, one one."""
    rng = np.random.default_rng(8)
    variants = {"D": ["no_alignment", "paper", "weight_1", "distance_cka"], "E": ["no_alignment", "paper", "weight_1"]}
    errors = {
        (title, variant): 1 + by_seed(rng, 0) / 10 - number / 50
        for title, names in variants.items()
        for number, variant in enumerate(names)
    }
    frames = [
        pd.DataFrame({"id": range(N), "label": TRUE, "prediction": TRUE + error, "variant": variant, "seed": seed})
        .assign(dataset=title.lower(), title=title, draw="shared", test_to_train=0.0, scheme="mosi", label_bound=3.0)
        for (title, variant), values in errors.items()
        for seed, error in zip(SEEDS, values, strict=True)
    ]  # fmt: skip
    result = table({"paper": 0.5}, predictions=pd.concat(frames))
    for title, names in variants.items():
        rows = result[(result["dataset"] == title) & (result["question"] == 1)].set_index("claim")
        of_reference = errors[title, "no_alignment"]
        tests = {v: stats.ttest_rel(of_reference, errors[title, v]) for v in names[1:]}
        p = [tests[variant].pvalue for variant in names[2:]]
        claim = "`{}` lowers test MAE, against `no_alignment`"
        others = rows.loc[[claim.format(variant) for variant in names[2:]]]
        assert others["p_holm"].tolist() == pytest.approx(hand_holm(p))
        assert others["estimate"].tolist() == pytest.approx(
            [(of_reference - errors[title, variant]).mean() for variant in names[2:]]
        )
        paper = rows.loc["`paper`, with alignment, has a lower test MAE than `no_alignment`"]
        interval = tests["paper"].confidence_interval(0.95)
        assert [paper["low"], paper["high"]] == pytest.approx([interval.low, interval.high])
        assert np.isnan(paper["p_holm"])
        assert set(rows["smallest"]) == {0.01}  # H / 300
        assert set(rows["unit"]) == {"test MAE"}


def test_the_family_decides_which_variants_are_claims_about_the_alignment():
    errors = {"no_alignment": 0.7, "paper": 0.5, "weight_1": 0.6, "distance_cka": 0.8, "copied_labels": 0.9}
    result = table(errors, families={"alignment": ["distance_cka", "not_run"], "weight": ["paper", "copied_labels"]})
    lower = result[result["claim"].str.contains("lowers test MAE, against")]
    assert lower["claim"].tolist() == ["`distance_cka` lowers test MAE, against `no_alignment`"]
    assert about(result, "weight hardly matters")["estimate"] == pytest.approx(0.01 - 0.4, abs=0.01)


def test_the_whole_table_of_what_was_measured():
    """Every row but its numbers, in order."""
    seeds = [{**NAME, "seed": seed} for seed in SEEDS]
    rng = np.random.default_rng(9)
    probes = [
        {**seed, "variant": variant, "modality": modality, "factor": factor, "r2": rng.normal()}
        for seed in seeds
        for variant in ("paper", "no_alignment", "no_label_generation")
        for modality in ("text", "audio")
        for factor in ("shared", "text", "audio")
    ]
    crossmodal = [
        {**seed, "dataset": "e", "variant": variant, "source": source, "target": target, "r2": rng.normal()}
        for seed in seeds
        for variant in ("paper", "no_alignment")
        for source, target in (("text", "audio"), ("audio", "text"))
    ]
    shrunk = [
        {**seed, "variant": variant, "modality": modality, "total_variance": rng.uniform(1, 2)}
        for seed in seeds
        for variant in ("paper", "no_alignment")
        for modality in ("text", "audio")
    ]
    pairs = [
        {**seed, "variant": variant, "modality": "text-audio", "when": "after", "measure": "correlation distance"}
        | {"value": rng.uniform()}
        for seed in seeds
        for variant in ("paper", "no_alignment")
    ]
    gains = [
        {"id": sample, "modality": modality, "gain": rng.normal(), **seed}
        for seed in seeds
        for modality in ("text", "audio")
        for sample in range(7)
    ]
    settled = [
        {**seed, "modality": modality, "moved": 0.1, "gain": 0.0} for seed in seeds for modality in ("text", "audio")
    ]
    costs = {"text_encoder": "tiny", "part": list(claims.PARTS), "added_percent": 2.0, "low": 1.0, "high": 3.0, "n": 9}
    errors = {"no_alignment": 0.7, "paper": 0.5, "weight_1": 0.6, "distance_cka": 0.8, "no_weight_adjustment": 0.5}
    frames = {
        "probes": probes, "crossmodal": crossmodal, "variances": shrunk, "pairs": pairs, "gains": gains,
        "settled": settled, "costs": costs,
    }  # fmt: skip
    result = table(errors, **{name: pd.DataFrame(rows) for name, rows in frames.items()})
    r2, nearer, cost = "R² of a linear map", "MAE, train split", "% of a step"
    shrinking = "log of total variance without / with"
    distance = "correlation distance"
    expected = [
        (1, "`paper`, with alignment, has a lower test MAE than `no_alignment`", "test MAE", 0.01, 60, 5, False),
        (1, "`weight_1` lowers test MAE, against `no_alignment`", "test MAE", 0.01, 60, 5, True),
        (1, "`distance_cka` lowers test MAE, against `no_alignment`", "test MAE", 0.01, 60, 5, True),
        (2, "The alignment lowers audio's private factor in it", r2, 0.01, None, 5, True),
        (2, "The alignment raises the shared factor in audio", r2, 0.01, None, 5, True),
        (2, "The alignment raises the shared factor in text", r2, 0.01, None, 5, True),
        (2, "The alignment lowers text's private factor in it", r2, 0.01, None, 5, True),
        (2, "The alignment makes text easier to predict from audio", r2, 0.01, None, 5, True),
        (2, "The alignment makes audio easier to predict from text", r2, 0.01, None, 5, True),
        (2, "The alignment leaves the correlations of text and audio nearer to each other", distance, 0.05, None, 5,
         False),
        (2, "The alignment shrinks the features of audio", shrinking, np.log(1.1), None, 5, True),
        (2, "The alignment shrinks the features of text", shrinking, np.log(1.1), None, 5, True),
        (3, "Label generation raises audio's private factor in it", r2, 0.01, None, 5, True),
        (3, "Label generation raises text's private factor in it", r2, 0.01, None, 5, True),
        (3, "Generated text labels are nearer to the true ones than copies of y, at the best epoch", nearer, 0.01, 7,
         5, True),
        (3, "Generated audio labels are nearer to the true ones than copies of y, at the best epoch", nearer, 0.01, 7,
         5, True),
        (3, "From the best epoch on, generated text labels move by less than 1% of H an epoch", "label units", 0, None,
         5, False),
        (3, "From the best epoch on, generated audio labels move by less than 1% of H an epoch", "label units", 0, None,
         5, False),
        (4, "The weight adjustment lowers test MAE: `paper` against `no_weight_adjustment`", "test MAE", 0.01, 60, 5,
         False),
        (4, "No term takes over the loss: at the best epoch the largest is below one half of it", "of the loss", 0,
         None, 5, False),
        (6, "Label generation adds less than 5% to a training step", cost, 0, None, None, False),
        (6, "The alignment adds less than 5% to a training step", cost, 0, None, None, False),
        (6, "Label generation with the alignment adds less than 5% to a training step", cost, 0, None, None, False),
        (7, "One seed is enough: seeds move `paper` by less than the smallest gain that matters",
         "standard deviation of test MAE", 0, None, 5, False),
        (7, "Rounding hardly counts in the spread over seeds", "", 0, None, None, False),
        (7, "The alignment's weight hardly matters: the best and the worst are nearer than the smallest gain",
         "test MAE", 0, None, 5, False),
    ]  # fmt: skip
    columns = ["question", "claim", "unit", "smallest", "n_samples", "n_runs", "in_family"]
    result["in_family"] = result["p_holm"].notna()
    pd.testing.assert_frame_equal(result[columns], pd.DataFrame(expected, columns=columns), check_dtype=False)
    datasets = {"all": 1, "D": 20, "e": 2, "Planted, text encoder tiny": 3}  # e has no runs here, hence no title
    assert result["dataset"].value_counts().to_dict() == datasets
    settled_notes = result.loc[result["unit"] == "label units", "note"]
    assert settled_notes.tolist() == ["by less in 0 of 5 runs"] * 2  # exactly 1% of H is not less
    assert result.loc[result["dataset"] == "e", "claim"].str.contains("easier to predict").all()


def test_without_what_they_need_claims_are_not_measured():
    rows = [
        (1, "The paper's alignment lowers test MAE"),
        (1, "Another alignment lowers test MAE"),
        (2, "The alignment brings shared information into the features"),
        (2, "The alignment brings its pair nearer to each other"),
        (2, "The alignment shrinks the features"),
        (3, "Label generation brings private information into the features"),
        (3, "Generated labels are nearer to the true ones than copies of y"),
        (3, "Generated labels settle"),
        (4, "The weight adjustment lowers test MAE: `paper` against `no_weight_adjustment`"),
        (4, "No term takes over the loss"),
        (6, "The method adds less than 5% to a training step"),
        (7, "One seed is enough"),
        (7, "Rounding hardly counts in the spread over seeds"),
        (7, "The alignment's weight hardly matters"),
    ]
    other = {"variant": "other"}
    result = table(
        {"other": 0.5}, histories=histories(loss_multimodal=1.0).assign(**other), variances=variances(other=1)
    )
    unmeasured = result[result["verdict"] == "not measured"]
    assert list(zip(unmeasured["question"], unmeasured["claim"], strict=True)) == rows
    assert set(unmeasured["dataset"]) == {"all"}


def test_the_table_for_reading_by_hand():
    nan = np.nan
    rows = [
        ("undecided", True, 1, "p", "D", 0.004, -0.01, 0.02, "test MAE", 0.01, nan, 0.0306, nan, 30, 44, ""),
        ("gains", False, 1, "a", "D", 0.5, 0.12344, 10.0, "u", 0.01, nan, nan, 60, 5, nan, "n"),
        ("kept", False, 6, "b", "E", 4.6, 4.0, 5.3, "% of a step", 0.0, 5.0, nan, nan, nan, nan, ""),
        ("exceeded", False, 7, "c", "E", -0.11, -0.2, -0.05, "label units", 0.0, 0.03, nan, nan, 5, nan, ""),
        ("undecided", False, 7, "d", "E", 0.004, nan, nan, "test MAE", 0.0, 0.01, nan, nan, 5, nan, ""),
        ("not measured", False, 8, "e", "all", nan, nan, nan, "", 0.0, nan, nan, nan, nan, nan, ""),
    ]
    text = claims.claims_markdown(pd.DataFrame(rows, columns=claims.COLUMNS))
    assert text.startswith(f"{claims.RULE}\n\n### Primary claims\n\n")
    lines = [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("|")]
        for part in text.split("\n### ")[1:]
    ]
    start, measured = ["Verdict", "Question", "Claim", "Data", "Measured [95%]"], "+0.0040 [-0.0100, +0.0200] test MAE"
    assert lines[0][0] == [*start, "Matters from", "Holm p", "Runs", "Runs that would decide"]
    assert lines[0][2:] == [["undecided", "1", "p", "D", measured, "0.01", "0.031", "30", "44"]]
    assert lines[1][0] == [*start, "Matters from", "Runs", "Samples", "Note"]
    assert lines[1][2:] == [
        ["gains", "1", "a", "D", "+0.5000 [+0.1234, +10.0000] u", "0.01", "5", "60", "n"],
        ["not measured", "8", "e", "all", "", "", "", "", ""],
    ]
    assert lines[2][0] == [*start, "Limit", "Runs"]
    assert lines[2][2:] == [
        ["kept", "6", "b", "E", "adds 0.4% [-0.3, 1.0]", "5", ""],
        ["exceeded", "7", "c", "E", "0.1400 [0.0800, 0.2300] label units", "0.03", "5"],
        ["undecided", "7", "d", "E", "0.0060 (no interval) test MAE", "0.01", "5"],
    ]


def test_a_grid_without_primary_claims_says_so():
    text = claims.claims_markdown(table({"paper": 0.5}))
    assert "### Primary claims" not in text
    assert "This grid has no runs of the primary claims." in text


def test_runs_that_draw_their_own_data_are_judged_by_their_own_mae():
    """The frame of predictions only names them: each run's MAE comes from its metrics."""
    errors = {"no_alignment": 0.7, "paper": 0.5}
    predictions = predicted(errors).assign(draw="own", test_to_train=0.0, prediction=0.0)
    gains = np.array([0.02, 0.01, 0.03, 0.02, 0.015])
    mae = {("D", "paper", seed): 0.5 for seed in SEEDS}
    mae |= {("D", "no_alignment", seed): 0.5 + gain for seed, gain in zip(SEEDS, gains, strict=True)}
    metrics = of_mae(mae).assign(draw="own", test_to_train=0.0)
    labels = [
        {**NAME, "draw": "own", "test_to_train": 0.0, "id": i, "modality": "text", "seed": s}
        for s in SEEDS
        for i in range(4)
    ]
    of_labels = pd.DataFrame(labels).assign(gain=np.repeat(gains, 4))
    result = table({"paper": 1}, predictions=predictions, metrics=metrics, gains=of_labels)
    interval = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    for claim in ("`paper`, with alignment", "Generated text labels are nearer"):
        assert about(result, claim)[["low", "high"]].tolist() == pytest.approx([interval.low, interval.high])
