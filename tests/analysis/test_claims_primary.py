"""Primary claims on made-up frames of runs that each draw their own data. Oracles: scipy's paired t, Holm by hand."""

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from msa_core import config, paths
from msa_core.analysis import claims
from msa_core.analysis.claims_primary import primary_claims

PRIMARY = config.primary()
DRAWS = range(1, 31)
RNG = np.random.default_rng(0)
BASE = RNG.normal(0.5, 0.05, 30)  # what a draw does to all variants
MAE = {
    ("paper", "multimodal"): BASE,
    ("no_alignment", "multimodal"): BASE + RNG.normal(0.02, 0.004, 30),
    ("no_label_generation", "multimodal"): BASE + RNG.normal(0.003, 0.004, 30),
    ("multimodal_only", "multimodal"): BASE + 0.008 + 0.03 * stats.zscore(RNG.standard_normal(30)),
    ("paper", "multimodal_averaged"): BASE - 0.01,
    ("multimodal_only", "multimodal_averaged"): BASE - 0.01 + RNG.normal(0.0, 0.004, 30),
}
NAME = {
    "dataset": "planted_draws",
    "title": "Planted, own draws",
    "draw": "own",
    "test_to_train": 0.0,
    "scheme": "mosi",
    "label_bound": 3.0,
}
LABEL_GAINS = RNG.normal(-0.2, 0.05, (30, 3, 4))  # draws, modalities, samples


def metrics():
    frames = [
        pd.DataFrame({"seed": DRAWS, "value": value}).assign(variant=variant, task=task)
        for (variant, task), value in MAE.items()
    ]
    test = pd.concat(frames).assign(**NAME, split="test", metric="mae")
    return pd.concat([test, test.assign(split="valid", value=9.0), test.assign(metric="corr", value=9.0)])


def gains():
    index = pd.MultiIndex.from_product([DRAWS, ["text", "audio", "vision"], range(4)], names=["seed", "modality", "id"])
    return pd.Series(LABEL_GAINS.ravel(), index, name="gain").reset_index().assign(**NAME)


def expected_gains():
    multimodal, averaged = "multimodal", "multimodal_averaged"
    return [
        MAE["no_alignment", multimodal] - MAE["paper", multimodal],
        MAE["no_label_generation", multimodal] - MAE["paper", multimodal],
        MAE["multimodal_only", multimodal] - MAE["paper", multimodal],
        MAE["multimodal_only", averaged] - MAE["paper", averaged],
        LABEL_GAINS.mean(axis=(1, 2)),
    ]


def test_the_five_are_those_of_the_design():
    assert (PRIMARY.dataset, PRIMARY.smallest) == ("planted_draws", 0.01)
    assert [(c.metric, c.variant, c.reference) for c in PRIMARY.comparisons] == [
        ("mae", "paper", "no_alignment"),
        ("mae", "paper", "no_label_generation"),
        ("mae", "paper", "multimodal_only"),
        ("averaged_mae", "paper", "multimodal_only"),
        ("label_mae", "paper", "copied_labels"),
    ]


def test_each_is_a_paired_t_over_draws_with_holm_over_the_five():
    found = primary_claims(PRIMARY, metrics(), gains())
    tests = [stats.ttest_1samp(values, 0) for values in expected_gains()]
    order = np.argsort([test.pvalue for test in tests])
    holm, largest = np.empty(5), 0.0
    for place, number in enumerate(order):
        largest = max(largest, (5 - place) * tests[number].pvalue)
        holm[number] = min(largest, 1)
    for claim, test, values, p in zip(found, tests, expected_gains(), holm, strict=True):
        low, high = test.confidence_interval(0.95)
        gain = claim.gain
        assert [gain.estimate, gain.low, gain.high] == pytest.approx([values.mean(), low, high])
        assert claim.p_holm == pytest.approx(p, rel=1e-6)
        assert (claim.primary, claim.n_runs, claim.smallest, claim.dataset) == (True, 30, 0.01, "Planted, own draws")
    verdicts = ["gains", "gains, but less than matters", "undecided", "no gain that matters", "harms"]
    assert [claim.verdict for claim in found] == verdicts


def test_the_runs_that_would_decide_stand_beside_what_is_undecided_alone():
    numbers = [claim.runs_to_decide for claim in primary_claims(PRIMARY, metrics(), gains())]
    assert np.isnan([*numbers[:2], *numbers[3:]]).all()
    values = expected_gains()[2]
    mean, spread = values.mean(), values.std(ddof=1)
    search = next(
        n
        for n in range(2, 10_000)
        if mean > stats.t.ppf(1 - 0.005, n - 1) * spread / np.sqrt(n)
        or mean + stats.t.ppf(0.975, n - 1) * spread / np.sqrt(n) < 0.01
    )
    assert numbers[2] == search
    assert search > 30


def test_the_note_is_the_median_between_the_tenth_draw_from_either_end():
    """Of 30 draws: fewer than 10 of 30 fair coins are heads with a probability of 0.021, fewer than 11 with 0.049."""
    assert stats.binom.cdf(9, 30, 0.5) < 0.025 < stats.binom.cdf(10, 30, 0.5)
    for claim, values in zip(primary_claims(PRIMARY, metrics(), gains()), expected_gains(), strict=True):
        ordered = np.sort(values)
        assert claim.note == f"median {np.median(values):+.4f} [{ordered[9]:+.4f}, {ordered[-10]:+.4f}]"
    lacking = metrics().query("seed < 6")
    assert primary_claims(PRIMARY, lacking, None)[0].note == f"median {np.median(expected_gains()[0][:5]):+.4f}"


def test_runs_that_one_side_lacks_are_left_out_and_what_has_none_is_not_measured():
    lacking = metrics().query("not (variant == 'no_alignment' and seed > 4) and variant != 'multimodal_only'")
    found = primary_claims(PRIMARY, lacking, None)
    assert [claim.n_runs for claim in found] == [4, 30, 0, 0, 0]
    assert [claim.verdict for claim in found[2:]] == ["not measured"] * 3


def test_other_grids_have_none_and_runs_that_share_their_samples_are_refused():
    assert primary_claims(PRIMARY, metrics().assign(dataset="planted"), gains()) == []
    with pytest.raises(
        ValueError, match=r"got runs of planted_draws that share their samples, expected runs that each"
    ):
        primary_claims(PRIMARY, metrics().assign(draw="shared", test_to_train=0.0), gains())


def test_the_table_shows_them_first_and_none_twice():
    predictions = pd.DataFrame({"id": ["a"], "label": 0.0, "prediction": 0.0, "seed": 1, "variant": "paper"})
    predictions = predictions.assign(**NAME)
    empty = pd.DataFrame(columns=["title", "variant", "seed", "modality", "epoch", "best_epoch", "total_variance"])
    measured = claims.Measurements(metrics(), predictions, empty, empty, gains=gains())
    table = claims.claims_table(measured, {"alignment": [], "weight": []}, PRIMARY)
    assert table["primary"].tolist() == [True] * 5 + [False] * (len(table) - 5)
    assert not table["claim"].isin([claims.ALIGNMENT, "The paper's alignment lowers test MAE"]).any()
    text = claims.claims_markdown(table)
    assert "Holm p counts all 5." in text
    assert text.index("### Primary claims") < text.index("The alignment lowers test MAE: `paper` against")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p["comparisons"][0].update(variant="papr"), r"got variant of primary 'papr', expected"),
        (lambda p: p["comparisons"][4].update(variant="no_alignment"), r"got label_mae of \('no_alignment', 'copied_"),
        (lambda p: p["comparisons"].append(p["comparisons"][0]), r"primary\.comparisons"),
        (lambda p: p.update(smallest=0), r"primary\.smallest"),
    ],
)
def test_primary_comparisons_out_of_place_are_named(tmp_path, monkeypatch, change, message):

    study = config.load_yaml(paths.CONFIG / "study.yaml")
    change(study["primary"])
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    (tmp_path / "variants.yaml").write_text((paths.CONFIG / "variants.yaml").read_text())
    monkeypatch.setattr(paths, "CONFIG", tmp_path)
    with pytest.raises(ValueError, match=message):
        config.primary()
