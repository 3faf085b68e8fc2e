"""What two modalities tell of the label, alike, alone and together, and whether they share anything: from samples."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score

from msa_core.analysis.probes import FOLDS, linear_probe, mean_frames
from msa_core.data import FeatureSet
from msa_core.inference import encodings
from msa_core.interfaces import Model

PAIR = ("audio", "vision")
TERMS = ("redundancy", *PAIR, "synergy", "pair_auc")
COLUMNS = [f"{source}_{term}" for source in ("encodings", "frames") for term in TERMS]  # of a sweep's runs
SMALLEST_SCALE = 1e-8  # of a direction that counts, over the largest: below it is rounding
LARGEST_CORRELATION = 1 - 1e-6  # a likelihood ratio of copies is not finite


def partial_information(features: Mapping[str, ArrayLike], y: ArrayLike) -> dict[str, float]:
    """What two modalities tell of the label, in bits: "redundancy", what is unique to each, by its name, and "synergy".

    The decomposition of `planted_truth.partial_information` (Barrett 2015, Phys. Rev. E 91, 052802: the redundancy is
    the smaller of the two informations), with I(x; y) = -log2(1 - R2) / 2 and the cross-validated R2 of `linear_probe`:
    of each modality, and of both side by side.

    Assumption: features and label are jointly normal. Else R2 is that of a linear map. For a normal label the formula
    is then a lower bound of the information.

    Bias: downwards. A map of D features fitted on n samples explains new samples less well, by about D / (2 n ln 2)
    bits; the information of both modalities loses twice as much as that of one. Nothing is clipped at 0, so that
    redundancy and synergy may be negative where there are none. Where both tell equally much, noise makes one of them
    the larger: the unique parts are too high and the redundancy too low, each by 0.4 standard deviations of the
    difference of the two informations. With two modalities of 32 features that tell 0.3 bits each, the redundancy is
    0.011 bits too low with 6,000 samples and 0.065 with 600; half of that with 6,000 and two fifths with 600 is for
    the second reason (simulated as in tests/analysis/test_information.py, errors 0.002 and 0.004).

    Args:
        features: of each of two modalities (N, D), of a split that their encoder was not trained on.
        y: labels, (N,), at least 20.

    Returns:
        Terms that add up to the information of both; nan for labels that are all the same.

    Raises:
        ValueError: not two modalities.

    >>> y = np.random.default_rng(0).standard_normal(100)
    >>> same = (y + np.random.default_rng(1).standard_normal(100))[:, None]
    >>> parts = partial_information({"audio": same, "vision": same}, y)
    >>> parts["redundancy"] > 0.3, parts["audio"], parts["vision"], abs(parts["synergy"]) < 0.01
    (True, 0.0, 0.0, True)
    """
    if len(features) != 2:
        raise ValueError(f"partial_information: got features of {[*features]}, expected those of two modalities")
    target = np.asarray(y, np.float64)[:, None]
    sources = [*map(np.asarray, features.values())]
    one, other, both = (
        float(-np.log2(1 - linear_probe(source, target)[0]) / 2) for source in (*sources, np.hstack(sources))
    )
    redundancy, (first, second) = min(one, other), features
    return {
        "redundancy": redundancy,
        first: one - redundancy,
        second: other - redundancy,
        "synergy": both - max(one, other),
    }


def pair_auc(x: ArrayLike, z: ArrayLike) -> float:
    """How surely features of one sample are told from features of two: the AUC of true against shuffled pairs.

    A pair is scored by the log-likelihood ratio of a joint normal distribution against its marginals, which canonical
    correlations give: no other score has a higher AUC on normal features. They are fitted on nine folds; all pairs of
    the tenth are scored. An invertible linear map of the features changes nothing: neither scale nor rotation, both of
    which an alignment may change, counts as shared information.

    Bias: towards 0.5, as chance correlations of the fitted folds disturb the score. Dependence that is not linear is
    not seen.

    Args:
        x, z: features of two modalities, (N, D) and (N, E), at least 20 samples.

    Returns:
        0.5: they share nothing; 1: no shuffled pair passes for a true one. Mean over the folds.

    >>> x = np.random.default_rng(0).standard_normal((200, 2))
    >>> pair_auc(x, x @ [[1, 2], [3, 4]]) > 0.95
    True
    """
    pair = [np.asarray(features, np.float64) for features in (x, z)]
    areas = []
    for fitted, held in FOLDS.split(pair[0]):
        scores = _log_likelihood_ratios(*(_whitened(features[fitted], features[held]) for features in pair))
        areas.append(roc_auc_score(np.eye(len(held)).ravel(), scores.ravel()))
    return float(np.mean(areas))


def _whitened(fitted: NDArray, held: NDArray) -> tuple[NDArray, NDArray]:
    """Both in the coordinates in which the fitted ones have mean 0 and covariance I, (N, K) and (M, K)."""
    mean = fitted.mean(axis=0)
    _, scales, directions = np.linalg.svd(fitted - mean, full_matrices=False)
    kept = scales > SMALLEST_SCALE * scales[0]
    whitening = directions[kept].T / scales[kept] * len(fitted) ** 0.5
    return (fitted - mean) @ whitening, (held - mean) @ whitening


def _log_likelihood_ratios(x: tuple[NDArray, NDArray], z: tuple[NDArray, NDArray]) -> NDArray:
    """Of each pair of held features, (M, M), without a constant: sum of (r u v - r^2 (u^2 + v^2) / 2) / (1 - r^2)."""
    (x_fitted, x_held), (z_fitted, z_held) = x, z
    left, r, right = np.linalg.svd(x_fitted.T @ z_fitted / len(x_fitted), full_matrices=False)
    r = r.clip(max=LARGEST_CORRELATION)
    u, v = x_held @ left, z_held @ right.T
    of_each = r**2 / (1 - r**2) / 2
    return (u * (r / (1 - r**2))) @ v.T - (u**2 @ of_each)[:, None] - v**2 @ of_each


def of_encodings(model: Model, features: FeatureSet) -> dict[str, float]:
    """`TERMS` of the encodings of audio and vision, each named "encodings_<term>".

    Args:
        model: as trained; left in evaluation mode.
        features: a split that it was not trained on.
    """
    encoded = encodings(model, features)
    return _terms("encodings", {modality: encoded[modality] for modality in PAIR}, features)


def of_frames(features: FeatureSet) -> dict[str, float]:
    """`TERMS` of the mean and the standard deviation of each sample's frames, each named "frames_<term>"."""
    moments = {}
    for modality in PAIR:
        mean = mean_frames(features, modality)
        spread = (mean_frames(features, modality, power=2) - mean**2).clip(0) ** 0.5
        moments[modality] = np.hstack([mean, spread])
    return _terms("frames", moments, features)


def _terms(source: str, pair: dict[str, NDArray], features: FeatureSet) -> dict[str, float]:
    terms = partial_information(pair, features.labels.numpy()) | {"pair_auc": pair_auc(*pair.values())}
    return {f"{source}_{name}": value for name, value in terms.items()}
