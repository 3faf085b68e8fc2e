"""The field's metrics, as thuiar/MMSA 2.2.1 defines them (`utils/metricsTop.py`), unrounded and as fractions."""

import warnings
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scheme = Literal["mosi", "sims"]
METRICS: dict[str, tuple[str, ...]] = {
    "mosi": ("acc2_has0", "f1_has0", "acc2_non0", "f1_non0", "acc5", "acc7", "mae", "corr"),
    "sims": ("acc2", "acc3", "acc5", "f1", "mae", "corr"),
}
LOWER_IS_BETTER = ("mae",)


def regression_metrics(pred: ArrayLike, true: ArrayLike, scheme: str) -> dict[str, float]:
    """Metrics of one split.

    Scheme "mosi" (MOSI, MOSEI; labels in [-3, 3]): `has0` tells >= 0 from < 0 on all samples, `non0` tells > 0 from
    <= 0 on those whose label is not 0; `acc7` and `acc5` compare values clipped to [-3, 3] and [-2, 2] and rounded,
    half to even; F1 is weighted by class size.
    Scheme "sims" (CH-SIMS; labels in [-1, 1]): all values are clipped to [-1, 1] first, MAE and Corr included; the
    bins end at 0 (`acc2`, `f1`), at -0.1, 0.1 (`acc3`), at -0.7, -0.1, 0.1, 0.7 (`acc5`), each end belonging to the
    bin below it.

    Args:
        pred: predictions, (N,), finite.
        true: human labels, (N,), finite.
        scheme: "mosi" or "sims".

    Returns:
        Metric -> value, named as in `METRICS`. `corr` is nan, with a warning, where predictions or labels are
        constant; the `non0` pair likewise where every label is 0.

    Raises:
        ValueError: unknown scheme, different or empty shapes, a value that is not finite.

    >>> regression_metrics([1.2, -0.4, 0.1], [1.0, -1.0, 0.0], "mosi")["mae"]
    0.3
    """
    if scheme not in METRICS:
        raise ValueError(f"regression_metrics: got scheme {scheme!r}, expected one of {list(METRICS)}")
    pred, true = np.asarray(pred, dtype=np.float64), np.asarray(true, dtype=np.float64)
    if pred.ndim != 1 or pred.shape != true.shape or not len(pred):
        raise ValueError(
            f"regression_metrics: got shapes {pred.shape} and {true.shape}, expected the same (N,) with N at least 1"
        )
    if not (np.isfinite(pred).all() and np.isfinite(true).all()):
        raise ValueError("regression_metrics: got a value that is not finite, expected finite predictions and labels")
    return _mosi(pred, true) if scheme == "mosi" else _sims(pred, true)


def _mosi(pred: NDArray, true: NDArray) -> dict[str, float]:
    non0 = true != 0
    acc2_non0 = f1_non0 = float("nan")
    if non0.any():
        acc2_non0, f1_non0 = _binary(pred[non0] > 0, true[non0] > 0)
    else:
        warnings.warn("every label is 0: acc2_non0 and f1_non0 are nan", stacklevel=3)
    acc2_has0, f1_has0 = _binary(pred >= 0, true >= 0)
    return {
        "acc2_has0": acc2_has0,
        "f1_has0": f1_has0,
        "acc2_non0": acc2_non0,
        "f1_non0": f1_non0,
        "acc5": _rounded_accuracy(pred, true, 2),
        "acc7": _rounded_accuracy(pred, true, 3),
        "mae": float(np.abs(pred - true).mean()),
        "corr": _correlation(pred, true),
    }


def _sims(pred: NDArray, true: NDArray) -> dict[str, float]:
    # Labels come as float32, in which 0.1 and 0.7 lie a little off the bin edges that MMSA writes as Python floats
    # and numpy compares in float32. Comparing float32 with float32 puts a label of 0.1 on its edge, as there.
    pred, true = (np.clip(values, -1, 1).astype(np.float32) for values in (pred, true))

    def bins(values: NDArray, edges: list[float]) -> NDArray:
        return np.digitize(values, np.asarray(edges, dtype=np.float32), right=True)

    acc2, f1 = _binary(bins(pred, [0.0]), bins(true, [0.0]))
    return {
        "acc2": acc2,
        "acc3": _accuracy(bins(pred, [-0.1, 0.1]), bins(true, [-0.1, 0.1])),
        "acc5": _accuracy(bins(pred, [-0.7, -0.1, 0.1, 0.7]), bins(true, [-0.7, -0.1, 0.1, 0.7])),
        "f1": f1,
        "mae": float(np.abs(pred - true).mean(dtype=np.float64)),
        "corr": _correlation(pred.astype(np.float64), true.astype(np.float64)),
    }


def _binary(pred: NDArray, true: NDArray) -> tuple[float, float]:
    """Accuracy, and the F1 of each class weighted by its true count; a class is either value of two."""
    scores, counts = [], []
    for label in (0, 1):
        hits = np.sum((pred == label) & (true == label))
        predicted_count, true_count = np.sum(pred == label), np.sum(true == label)
        scores.append(2 * hits / max(predicted_count + true_count, 1))
        counts.append(true_count)
    return _accuracy(pred, true), float(np.average(scores, weights=counts))


def _accuracy(pred: NDArray, true: NDArray) -> float:
    return float((pred == true).mean())


def _rounded_accuracy(pred: NDArray, true: NDArray, bound: int) -> float:
    return _accuracy(*(np.round(np.clip(values, -bound, bound)) for values in (pred, true)))


def _correlation(pred: NDArray, true: NDArray) -> float:
    for name, values in (("predictions", pred), ("labels", true)):
        if np.ptp(values) == 0:
            warnings.warn(f"constant {name}: corr is nan", stacklevel=4)
            return float("nan")
    return float(np.corrcoef(pred, true)[0, 1])
