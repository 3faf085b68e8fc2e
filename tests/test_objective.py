"""Oracle: the objective written out in numpy."""

import numpy as np
import pytest
import torch

from msa_core.alignment import AlignmentLoss, covariance_distance
from msa_core.interfaces import MSAOutput
from msa_core.objective import MultiTaskLoss

RNG = np.random.default_rng(0)
Y = RNG.uniform(-3, 3, 5)
LABELS = {"multimodal": Y, "text": Y + RNG.normal(0, 1, 5), "audio": Y.copy()}
PREDICTIONS = {task: RNG.uniform(-3, 3, 5) for task in LABELS}
ENCODINGS = {"text": torch.from_numpy(RNG.normal(size=(5, 4))), "audio": torch.from_numpy(RNG.normal(size=(5, 4)))}


def tensors(arrays):
    return {name: torch.from_numpy(values) for name, values in arrays.items()}


def output():
    return MSAOutput(tensors(PREDICTIONS), {}, ENCODINGS)


def test_terms_and_total_are_the_formula():
    terms = MultiTaskLoss(AlignmentLoss({("text", "audio"): 2.0}))(output(), tensors(LABELS))
    error = {task: np.abs(PREDICTIONS[task] - LABELS[task]) for task in LABELS}
    weight = np.tanh(np.abs(LABELS["text"] - Y))
    shared = covariance_distance(ENCODINGS["text"], ENCODINGS["audio"]).item()
    assert terms["multimodal"].item() == pytest.approx(error["multimodal"].mean(), rel=1e-6)
    assert terms["text"].item() == pytest.approx((weight * error["text"]).mean(), rel=1e-6)
    assert terms["audio"].item() == 0  # a copy of y: tanh(0)
    assert terms["alignment_text_audio"].item() == pytest.approx(shared, rel=1e-6)
    expected = error["multimodal"].mean() + (weight * error["text"]).mean() + 2.0 * shared
    assert terms["total"].item() == pytest.approx(expected, rel=1e-6)


def test_without_weight_adjustment_every_sample_counts_alike():
    terms = MultiTaskLoss(weight_adjustment=False)(output(), tensors(LABELS))
    assert terms["audio"].item() == pytest.approx(np.abs(PREDICTIONS["audio"] - Y).mean(), rel=1e-6)
    assert set(terms) == {"multimodal", "text", "audio", "total"}


def test_a_model_without_unimodal_tasks_has_one_term():
    one = MSAOutput({"multimodal": torch.tensor([1.0])}, {}, {})
    terms = MultiTaskLoss()(one, {"multimodal": torch.tensor([0.5])})
    assert {name: value.item() for name, value in terms.items()} == {"multimodal": 0.5, "total": 0.5}


def test_the_alignments_linear_maps_are_the_objectives_parameters():
    alignment = AlignmentLoss([("text", "audio")], feature_dims={"text": 6, "audio": 4}, common_width=4)
    assert [tuple(parameter.shape) for parameter in MultiTaskLoss(alignment).parameters()] == [(4, 6)]


def test_a_models_own_losses_are_added_and_shown():
    own = {"difference": torch.tensor(0.25), "reconstruction": torch.tensor(0.5)}
    plain = MultiTaskLoss()(output(), tensors(LABELS))
    terms = MultiTaskLoss()(output()._replace(losses=own), tensors(LABELS))
    assert terms["total"].item() == pytest.approx(plain["total"].item() + 0.75, rel=1e-12)
    assert terms["difference"] == 0.25 and terms["reconstruction"] == 0.5


@pytest.mark.parametrize("rows", [[1, 0, 1, 1, 0], [0, 0, 0, 1, 0]])
def test_a_unimodal_mean_is_over_the_samples_that_have_the_modality(rows):
    rows = np.array(rows, dtype=bool)
    present = {"text": torch.from_numpy(rows)}
    terms = MultiTaskLoss()(output()._replace(present=present), tensors(LABELS))
    weighted = np.tanh(np.abs(LABELS["text"] - Y)) * np.abs(PREDICTIONS["text"] - LABELS["text"])
    assert terms["text"].item() == pytest.approx(weighted[rows].mean(), rel=1e-12)
    assert terms["multimodal"].item() == pytest.approx(np.abs(PREDICTIONS["multimodal"] - Y).mean(), rel=1e-12)


def test_a_modality_that_no_sample_has_adds_nothing_and_has_no_gradient():
    text = torch.from_numpy(PREDICTIONS["text"]).requires_grad_()
    none = output()._replace(
        predictions=tensors(PREDICTIONS) | {"text": text}, present={"text": torch.zeros(5, dtype=torch.bool)}
    )
    terms = MultiTaskLoss(weight_adjustment=False)(none, tensors(LABELS))
    assert terms["text"] == 0
    terms["total"].backward()
    assert not text.grad.any()


def test_the_alignment_is_told_which_samples_are_present():
    present = {"text": torch.tensor([True, True, False, True, True])}
    rows = [0, 1, 3, 4]
    terms = MultiTaskLoss(AlignmentLoss(["text-audio"]))(output()._replace(present=present), tensors(LABELS))
    expected = covariance_distance(ENCODINGS["text"][rows], ENCODINGS["audio"][rows])
    torch.testing.assert_close(terms["alignment_text_audio"], expected)


def test_half_precision_predictions_are_compared_in_float32():
    halves = {task: torch.from_numpy(values).bfloat16() for task, values in PREDICTIONS.items()}
    terms = MultiTaskLoss()(output()._replace(predictions=halves), {t: v.float() for t, v in tensors(LABELS).items()})
    expected = (halves["multimodal"].float() - torch.from_numpy(Y).float()).abs().mean()
    assert terms["multimodal"].dtype == torch.float32
    torch.testing.assert_close(terms["multimodal"], expected)


# --- samples without a label ------------------------------------------------------------------------------------------

UNKNOWN = {
    "multimodal": [False, True, False, True, False],
    "text": [False, False, False, True, True],
    "audio": [False, True, False, True, False],
}


def partly_labelled(unknown=UNKNOWN):
    return {task: torch.from_numpy(np.where(unknown[task], np.nan, y)) for task, y in LABELS.items()}


@pytest.mark.parametrize("weight_adjustment", [True, False])
def test_each_mean_is_over_the_samples_that_have_its_label(weight_adjustment):
    """Where y is missing, the multimodal prediction takes its place in the weight."""
    rows = np.array([False, True, True, True, True])  # those that have text
    given = output()._replace(present={"text": torch.from_numpy(rows)})
    terms = MultiTaskLoss(weight_adjustment=weight_adjustment, unlabelled=True)(given, partly_labelled())
    y = np.where(UNKNOWN["multimodal"], PREDICTIONS["multimodal"], Y)
    for task in LABELS:
        error = np.abs(PREDICTIONS[task] - LABELS[task])
        if weight_adjustment and task != "multimodal":
            error = np.tanh(np.abs(LABELS[task] - y)) * error
        known = ~np.array(UNKNOWN[task]) & (rows if task == "text" else True)
        assert terms[task].item() == pytest.approx(error[known].mean(), rel=1e-12), task


def test_a_missing_label_has_no_gradient_and_none_is_no_number():
    predictions = {task: values.requires_grad_() for task, values in tensors(PREDICTIONS).items()}
    terms = MultiTaskLoss(unlabelled=True)(output()._replace(predictions=predictions), partly_labelled())
    terms["total"].backward()
    for task, prediction in predictions.items():
        assert torch.equal(prediction.grad[torch.tensor(UNKNOWN[task])], torch.zeros(sum(UNKNOWN[task]))), task
        assert prediction.grad.isfinite().all()
    assert predictions["text"].grad[1] != 0, "a label of one modality counts"


def test_a_batch_without_any_label_adds_nothing():
    nobody = dict.fromkeys(LABELS, [True] * 5)
    text = torch.from_numpy(PREDICTIONS["text"]).requires_grad_()
    given = output()._replace(predictions=tensors(PREDICTIONS) | {"text": text})
    terms = MultiTaskLoss(unlabelled=True)(given, partly_labelled(nobody))
    assert {name: value.item() for name, value in terms.items()} == dict.fromkeys([*LABELS, "total"], 0.0)
    terms["total"].backward()
    assert not text.grad.any()


def test_where_every_sample_is_labelled_looking_for_others_changes_nothing():
    plain, looked = (MultiTaskLoss(unlabelled=each)(output(), tensors(LABELS)) for each in (False, True))
    assert {name: value.item() for name, value in looked.items()} == pytest.approx(
        {name: value.item() for name, value in plain.items()}, rel=1e-12
    )
