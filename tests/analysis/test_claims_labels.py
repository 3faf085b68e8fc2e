"""What is measured of one run's labels, worked by hand."""

import numpy as np
import pandas as pd
import pytest

from msa_core.analysis import claims_labels, tables

LABELS = pd.DataFrame(
    {
        "id": ["a", "b"] * 4,
        "epoch": np.repeat([0, 1, 2, 3], 2),
        "multimodal": [1.0, -1.0] * 4,
        "text": [1.0, -1.0, 1.5, -1.0, 1.51, -1.01, 1.51, -1.0],
        "audio": [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 2.0, -1.0],
    }
)


def movement(best_epoch, seed=1):
    run = {"title": "D", "variant": "paper", "seed": seed, "best_epoch": best_epoch, "label_bound": 3.0}
    return tables.label_movement(LABELS).assign(**run)


@pytest.mark.parametrize(
    ("best_epoch", "text", "audio"),
    [(1, 0.25, 0.5), (2, 0.01, 0.5), (3, 0.005, 0.5)],  # text moves by 0.25, 0.01, 0.005 on average, audio by 0, 0, 0.5
)
def test_the_largest_move_from_the_best_epoch_on_is_held_against_one_percent_of_h(best_epoch, text, audio):
    result = claims_labels.settling(movement(best_epoch)).set_index("modality")
    assert result["moved"].to_dict() == pytest.approx({"text": text, "audio": audio})
    assert result["gain"].to_dict() == pytest.approx({"text": 0.03 - text, "audio": 0.03 - audio})


def test_label_gains_by_hand():
    true = pd.DataFrame({"id": ["b", "a"], "text": [-1.0, 2.0]})
    gains = claims_labels.label_gains(LABELS, true, 1).set_index("id")["gain"]
    assert gains.to_dict() == {"a": 0.5, "b": 0.0}
    assert claims_labels.label_gains(LABELS, true, 0)["gain"].tolist() == [0, 0]


def test_rows_stand_in_the_order_of_modalities_and_samples():
    true = pd.DataFrame({"id": ["b", "a"], "text": [-1.0, 2.0], "audio": [1.0, 1.0]})
    expected = {"id": ["a", "b"] * 2, "modality": ["text"] * 2 + ["audio"] * 2, "gain": [0.5, 0.0, 0.0, 0.0]}
    pd.testing.assert_frame_equal(claims_labels.label_gains(LABELS, true, 1), pd.DataFrame(expected), check_dtype=False)
    rows = pd.DataFrame({"modality": ["text", "audio"], "moved": [0.25, 0.5], "gain": [-0.22, -0.47]})
    settled = claims_labels.settling(movement(best_epoch=1))
    pd.testing.assert_frame_equal(settled[list(rows)], rows, check_dtype=False)


def test_each_run_settles_by_its_own_best_epoch():
    both = pd.concat([movement(best_epoch=1), movement(best_epoch=3, seed=2)])
    settled = claims_labels.settling(both).query("modality == 'text'")
    assert settled[["seed", "moved"]].values.tolist() == [[1, pytest.approx(0.25)], [2, pytest.approx(0.005)]]
