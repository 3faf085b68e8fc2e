"""Oracle: scikit-learn's nearest neighbours, over the same steps in numpy."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from msa_core.parts.neighbours import NearestNeighbourLabels

WIDTHS = {"multimodal": 4, "text": 5, "audio": 3}


def draw(rng, size):
    return {task: rng.standard_normal((size, width)).astype(np.float32) for task, width in WIDTHS.items()}


def as_tensors(arrays):
    return {name: torch.from_numpy(values) for name, values in arrays.items()}


@pytest.mark.parametrize("neighbours", [1, 3])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_against_scikit_learn(neighbours, share):
    """Batch by batch, with some samples lacking audio: each absent one keeps its label and is no neighbour."""
    rng = np.random.default_rng(0)
    y = rng.uniform(-3, 3, 30).astype(np.float32)
    labels = NearestNeighbourLabels(dict.fromkeys(WIDTHS, torch.from_numpy(y)), WIDTHS, neighbours)
    absent = rng.random(30) < share
    expected = {task: y.astype(np.float64) for task in ("text", "audio")}
    stored = {task: np.full((30, WIDTHS[task]), np.nan) for task in ("text", "audio")}
    for epoch in (1, 2, 3):
        for index in np.array_split(rng.permutation(30), 4):
            features = draw(rng, len(index))
            present = {"audio": torch.from_numpy(~absent[index])} if share else {}
            labels.update(as_tensors(features), torch.from_numpy(index), epoch, present)
            for task in ("text", "audio"):
                for row, i in enumerate(index if epoch > 1 else ()):
                    if task == "audio" and absent[i]:
                        continue
                    others = np.flatnonzero(~np.isnan(stored[task][:, 0]) & (np.arange(30) != i))
                    search = NearestNeighbors(n_neighbors=neighbours).fit(stored[task][others])
                    (nearest,) = search.kneighbors(features[task][row : row + 1], return_distance=False)
                    target = y[others[nearest]].mean()
                    expected[task][i] = ((epoch - 1) * expected[task][i] + 2 * target) / (epoch + 1)
                kept = index[~absent[index]] if task == "audio" else index
                stored[task][kept] = features[task][~absent[index]] if task == "audio" else features[task]
    for task, values in expected.items():
        np.testing.assert_allclose(labels.labels(task, torch.arange(30)), values, rtol=1e-4, atol=1e-5)  # float32
    np.testing.assert_array_equal(labels.labels("multimodal", torch.arange(30)), y)
    np.testing.assert_array_equal(labels.labels("audio", torch.arange(30)).numpy()[absent], y[absent])


def test_too_few_neighbours_leave_labels_as_they_are():
    y = torch.tensor([1.0, -1.0, 2.0])
    labels = NearestNeighbourLabels(dict.fromkeys(WIDTHS, y), WIDTHS, neighbours=3)
    for epoch in (1, 2, 3):
        labels.update(as_tensors(draw(np.random.default_rng(epoch), 3)), torch.arange(3), epoch)
    assert torch.equal(labels.labels("text", torch.arange(3)), y)


def test_a_checkpoint_carries_the_state():
    rng = np.random.default_rng(0)
    y = torch.from_numpy(rng.uniform(-3, 3, 12).astype(np.float32))
    ours, restored = (NearestNeighbourLabels(dict.fromkeys(WIDTHS, y), WIDTHS, neighbours=2) for _ in range(2))
    for epoch in (1, 2):
        ours.update(as_tensors(draw(rng, 12)), torch.arange(12), epoch)
    restored.load_state_dict(ours.state_dict())
    features = as_tensors(draw(rng, 12))
    for each in (ours, restored):
        each.update(features, torch.arange(12), 3)
    assert torch.equal(restored.labels("text", torch.arange(12)), ours.labels("text", torch.arange(12)))


@pytest.mark.parametrize(
    ("features", "epoch", "message"),
    [
        ({"multimodal": torch.zeros(2, 4), "text": torch.zeros(2, 5)}, 1, r"got None for features of 'audio'"),
        (
            {task: torch.zeros(2, 1) for task in WIDTHS},
            1,
            r"got \(2, 1\) for features of 'multimodal', expected",
        ),
        (
            {task: torch.zeros(2, width) for task, width in WIDTHS.items()},
            0,
            r"got epoch 0, expected an integer, 1 or more",
        ),
    ],
)
def test_bad_input_is_refused(features, epoch, message):
    labels = NearestNeighbourLabels(dict.fromkeys(WIDTHS, torch.zeros(3)), WIDTHS, neighbours=1)
    with pytest.raises(ValueError, match=message):
        labels.update(features, torch.tensor([0, 1]), epoch)
