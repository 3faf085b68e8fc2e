"""Oracle: the weighted mean over a sample's predictions, written out in numpy."""

import numpy as np
import pytest
import torch

from msa_core.parts.ensembles import EnsembleLabels

Y = np.array([1.0, -2.0, 0.5, 2.5])


def source(momentum=0.6, share=0.3, y=Y):
    return EnsembleLabels(dict.fromkeys(("multimodal", "text", "audio"), torch.from_numpy(y)), momentum, share)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_the_ensemble_is_the_weighted_mean_of_the_epochs_that_a_sample_was_in(momentum):
    """The first sample is not drawn in the second epoch, and never has audio."""
    rng, labels = np.random.default_rng(0), source(momentum)
    seen = {task: [[] for _ in Y] for task in ("text", "audio")}
    for epoch in (1, 2, 3):
        index = rng.permutation(np.arange(4) if epoch != 2 else np.arange(1, 4))
        predictions = {task: rng.normal(size=len(index)) for task in ("multimodal", "text", "audio")}
        present = {"audio": torch.from_numpy(index != 0)}
        as_tensors = {task: torch.from_numpy(values) for task, values in predictions.items()}
        labels.update({}, torch.from_numpy(index), epoch, present, as_tensors)
        for task, values in seen.items():
            for place, i in enumerate(index):
                if task == "text" or i:
                    values[i].append(predictions[task][place])
    for task, values in seen.items():
        found = labels.labels(task, torch.arange(4)).numpy()
        for i, own in enumerate(values):
            weights = momentum ** np.arange(len(own))[::-1]
            expected = Y[i] if not own else 0.7 * Y[i] + 0.3 * np.average(own, weights=weights)
            assert found[i] == pytest.approx(expected, rel=1e-9), (task, i)
    np.testing.assert_array_equal(labels.labels("multimodal", torch.arange(4)), Y)
    assert not labels.fixed


def test_without_y_the_multimodal_prediction_stands_in_and_a_given_label_stays():
    y = torch.tensor([1.0, torch.nan, torch.nan])
    labels = EnsembleLabels({"multimodal": y, "text": torch.tensor([1.0, torch.nan, -3.0])}, 0.6, 0.25)
    assert labels.labels("text", torch.arange(3))[1].isnan()
    predictions = {"multimodal": torch.tensor([9.0, 2.0, 9.0]), "text": torch.tensor([1.0, -2.0, 0.0])}
    labels.update({}, torch.arange(3), 1, predictions=predictions)
    assert labels.labels("text", torch.arange(3)).tolist() == pytest.approx([1.0, 1.0, -3.0])  # 2 + (-2 - 2) / 4
    assert labels.labels("multimodal", torch.arange(3)).isnan().tolist() == [False, True, True]


def test_a_checkpoint_carries_the_state():
    ours, restored = source(), source()
    predictions = {task: torch.linspace(-1, 1, 4, dtype=torch.float64) for task in ("multimodal", "text", "audio")}
    ours.update({}, torch.arange(4), 1, predictions=predictions)
    restored.load_state_dict(ours.state_dict())
    for each in (ours, restored):
        each.update({}, torch.arange(4), 2, predictions={task: -2 * values for task, values in predictions.items()})
    assert torch.equal(restored.labels("text", torch.arange(4)), ours.labels("text", torch.arange(4)))


def test_missing_predictions_are_refused():
    with pytest.raises(ValueError, match=r"got no predictions of \['audio'\], expected each modality's"):
        source().update({}, torch.arange(4), 1, predictions={"text": torch.zeros(4)})
