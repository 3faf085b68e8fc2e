"""The truth that follows from the settings of planted data: best attainable errors, what audio and vision tell, and
how far the labels are from each other.

What a model can know is taken to be all that the process leaves to chance of a sample: the directions of the frames and
the process itself are known, as from endless training data, and no text is cut.

- Audio and vision. A sequence of frames is `r C s + noise`: r the signal-to-noise ratio, s = (y_s / 1.3, z, p_s) along
  three orthonormal directions, C their courses in time. The noise has a known covariance R(T) in time, the same in each
  direction and independent between them. Generalised least squares along each direction is then sufficient for s:
  independent Gaussian observations with precisions `r^2 c' R(T)^-1 c`, given the length T.
- Text. Words tell y_text by the valences of their adjectives alone: a discrete channel of known probabilities.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats.qmc import MultivariateNormalQMC

from msa_core import MODALITIES
from msa_core.data.planted import (
    AUTOCORRELATION,
    LENGTHS,
    MOST_CLAUSES,
    SENTIMENT_SCALE,
    PlantedProcess,
    courses,
    signals,
)

STEPS = np.arange(-15, 16)  # the labels are fifths of these
VALENCES = np.arange(-3, 4)
KNOWN = {
    "nothing": (),
    "text": ("text",),
    "audio": ("audio",),
    "vision": ("vision",),
    "audio and vision": ("audio", "vision"),
    "all": MODALITIES,
}
PAIRS = (*((modality, "multimodal") for modality in MODALITIES), ("audio", "vision"))
ROWS = 256  # draws whose weights are held at once: 17 MB


@dataclass(frozen=True)
class Attainable:
    """The lowest MAE (of the posterior's median) and highest R2 (of its mean), each with the size of its error."""

    mae: float
    mae_error: float
    r2: float
    r2_error: float


def best_attainable(
    process: PlantedProcess, draws: int = 2048, particles: int = 8192, seed: int = 0
) -> dict[str, Attainable]:
    """How well the label can be predicted from each set of modalities (`KNOWN`).

    Nothing is approximated but by sampling. For each draw of what is observed, the posterior of the rounded, clipped,
    noisy label comes from two independent sets of particles, drawn from the prior (quasi-random) and weighted by the
    exact likelihood. The median or mean of one set looks too good when judged by that set, and about as much too bad
    when judged by the other: the value is the middle. Its error: the standard error over the draws plus half the range
    of these judgements, which grows where signals are strong and few particles count: more particles lower it.

    Args:
        process: see `PlantedProcess`.
        draws: of what is observed; a power of 2.
        particles: in each set; a power of 2.
        seed: of all that is drawn.

    >>> best = best_attainable(PlantedProcess(signal_to_noise={"vision": 0}, shared_part={"vision": 0}), draws=256)
    >>> best["nothing"].r2 == 0, abs(best["vision"].r2) < 1e-3, best["audio"].mae > best["all"].mae
    (True, True, True)
    """
    rng = np.random.default_rng(seed)
    observed, *sets = (_Samples.draw(process, number, rng) for number in (draws, particles, particles))
    evidence = {modality: _evidence(process, modality, observed, rng) for modality in MODALITIES}
    statistics = [{modality: _statistics(process, modality, drawn) for modality in MODALITIES} for drawn in sets]
    risks: dict[str, tuple[NDArray, NDArray]] = {}
    for name, known in KNOWN.items():
        posteriors = [
            _posterior([(evidence[modality], of_set[modality]) for modality in known], drawn.steps, draws)
            for of_set, drawn in zip(statistics, sets, strict=True)
        ]
        risks[name] = _middle(np.stack([[_risks(one, other) for other in posteriors] for one in posteriors]))
    variance = risks["nothing"][0][1]
    return {
        name: Attainable(*map(float, (mae, mae_error, 1 - squared / variance, squared_error / variance)))
        for name, ((mae, squared), (mae_error, squared_error)) in risks.items()
    }


def partial_information(process: PlantedProcess) -> dict[str, float]:
    """What audio and vision tell of the label, in bits: "redundancy", unique "audio" and "vision", "synergy".

    Gaussian partial information decomposition by minimum mutual information (Barrett 2015, Phys. Rev. E 91, 052802):
    the redundancy is the smaller of I(audio; y) and I(vision; y). Exact but that y is taken as it is before clipping
    and rounding: its variance then follows from covariances, given the lengths of the sequences, over which the mutual
    informations are averaged. At the default settings this makes I(audio; y) 0.340 bits and I(audio, vision; y) 0.545;
    posteriors of the label as it is, as `best_attainable` samples them, give 0.336 and 0.539, with errors of 0.002.

    >>> parts = partial_information(PlantedProcess(signal_to_noise={"vision": 0}))
    >>> parts["vision"] == parts["redundancy"] == parts["synergy"] == 0 < parts["audio"]
    True
    """
    parts, weights = process.shared_part, process.task_weights
    private = {m: SENTIMENT_SCALE * weights[m] * (1 - parts[m]) ** 0.5 for m in MODALITIES}
    shared = SENTIMENT_SCALE * sum(weights[m] * parts[m] ** 0.5 for m in MODALITIES)
    loading = np.array([shared, private["audio"], private["vision"]])  # of y on z, p_audio, p_vision
    remainder = private["text"] ** 2 + process.label_noise**2  # of the variance of y
    gained = {}
    for place, modality in enumerate(("audio", "vision"), start=1):
        read = np.zeros((3, 3))  # y_s / 1.3, z and p_s from the factors
        read[0, [0, place]] = parts[modality] ** 0.5, (1 - parts[modality]) ** 0.5
        read[1, 0] = read[2, place] = 1
        gained[modality] = np.einsum("ki,lk,kj->lij", read, _precisions(process, modality), read)  # a row a length

    def information(precision: NDArray) -> float:
        """I(y; observations) for the precisions that these add to the factors', (..., 3, 3), averaged."""
        variances = np.einsum("i,...ij,j->...", loading, np.linalg.inv(np.eye(3) + precision), loading) + remainder
        return float(np.log2((loading @ loading + remainder) / variances).mean() / 2)

    audio, vision = (information(gained[modality]) for modality in ("audio", "vision"))
    both = information(gained["audio"][:, None] + gained["vision"])
    redundancy = min(audio, vision)
    return {
        "redundancy": redundancy,
        "audio": audio - redundancy,
        "vision": vision - redundancy,
        "synergy": both - max(audio, vision),
    }


@dataclass(frozen=True)
class Agreement:
    """Of two labels of the same samples: their correlation, and the share whose signs differ (0 is a third sign)."""

    corr: float
    other_sign: float


def unimodal_agreement(process: PlantedProcess, draws: int = 2**17, seed: int = 0) -> dict[tuple[str, str], Agreement]:
    """How far the true labels of each pair in `PAIRS` are from each other: unimodal sentiments, multimodal label.

    Over quasi-random samples, with errors below 0.001 (correlations: 0.0002).

    Args:
        process: see `PlantedProcess`.
        draws: samples; a power of 2.
        seed: of what is drawn.

    >>> round(unimodal_agreement(PlantedProcess())["audio", "vision"].other_sign, 3)  # arccos(0.5) / pi
    0.333
    """
    drawn = _Samples.draw(process, draws, np.random.default_rng(seed))
    labels = {**drawn.sentiments, "multimodal": drawn.steps / 5}
    return {
        (one, other): Agreement(
            float(np.corrcoef(labels[one], labels[other])[0, 1]),
            float((np.sign(labels[one]) != np.sign(labels[other])).mean()),
        )
        for one, other in PAIRS
    }


def _precisions(process: PlantedProcess, modality: str) -> NDArray:
    """r^2 c' R(T)^-1 c of the three courses for every length T, (lengths, 3); R is AR(1) of unit variance."""
    rows = []
    for length in LENGTHS:
        course = courses(length)
        steps = course[1:] - AUTOCORRELATION * course[:-1]
        rows.append(course[0] ** 2 + (steps**2).sum(axis=0) / (1 - AUTOCORRELATION**2))
    return process.signal_to_noise[modality] ** 2 * np.array(rows)


@dataclass(frozen=True)
class _Samples:
    """Samples by what is hidden of them: factors and sentiments, (N,) each, and labels in fifths, (N,)."""

    factors: Mapping[str, NDArray]
    sentiments: Mapping[str, NDArray]
    steps: NDArray

    @staticmethod
    def draw(process: PlantedProcess, number: int, rng: Generator) -> "_Samples":
        *normal, errors = MultivariateNormalQMC(np.zeros(5), rng=rng).random(number).T
        factors = dict(zip(("shared", *MODALITIES), normal, strict=True))
        sentiments = process.sentiments(factors)
        return _Samples(factors, sentiments, np.rint(5 * process.labels(sentiments, errors)).astype(int))


def _evidence(process: PlantedProcess, modality: str, drawn: _Samples, rng: Generator) -> NDArray:
    """What is observed of each sample: its product with `_statistics` is the log-likelihood, but for a constant."""
    number = len(drawn.steps)
    if modality == "text":
        noise = rng.standard_normal((number, MOST_CLAUSES)) * SENTIMENT_SCALE / process.signal_to_noise["text"]
        valences = np.round(drawn.sentiments["text"][:, None] + noise).clip(VALENCES[0], VALENCES[-1])
        spoken = np.arange(MOST_CLAUSES) < rng.integers(1, MOST_CLAUSES + 1, number)[:, None]
        return ((valences[..., None] == VALENCES) & spoken[..., None]).sum(axis=1).astype(float)
    precisions = rng.choice(_precisions(process, modality), number)
    means = precisions * signals(modality, drawn.factors, drawn.sentiments)
    return np.hstack([means + precisions**0.5 * rng.standard_normal(means.shape), precisions])


def _statistics(process: PlantedProcess, modality: str, drawn: _Samples) -> NDArray:
    """(samples, K): for text the log-probability of each valence, else the signals and minus half their squares."""
    if modality == "text":
        edges = np.concatenate([[-np.inf], VALENCES[1:] - 0.5, [np.inf]])
        scaled = (edges - drawn.sentiments["text"][:, None]) * process.signal_to_noise["text"] / SENTIMENT_SCALE
        return np.log(np.diff(ndtr(scaled)).clip(np.finfo(float).tiny))
    signal = signals(modality, drawn.factors, drawn.sentiments)
    return np.hstack([signal, -(signal**2) / 2])


def _posterior(channels: list[tuple[NDArray, NDArray]], steps: NDArray, draws: int) -> NDArray:
    """Probability of each label for each draw, (draws, 31): particles weighted by their likelihood."""
    is_label = (steps[:, None] == STEPS).astype(float)
    rows = []
    for start in range(0, draws, ROWS):
        log_weights = np.zeros((min(ROWS, draws - start), len(steps)))
        for evidence, statistics in channels:
            log_weights += evidence[start : start + ROWS] @ statistics.T
        weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
        rows.append(weights @ is_label / weights.sum(axis=1, keepdims=True))
    return np.concatenate(rows)


def _risks(used: NDArray, true: NDArray) -> NDArray:
    """Expected absolute error of one posterior's median and squared error of its mean under another, (draws, 2)."""
    labels = STEPS / 5
    median = labels[(used.cumsum(axis=1) >= 0.5).argmax(axis=1), None]
    mean = (used @ labels)[:, None]
    return np.stack([(true * np.abs(labels - median)).sum(axis=1), (true * (labels - mean) ** 2).sum(axis=1)], axis=1)


def _middle(risks: NDArray) -> tuple[NDArray, NDArray]:
    """MAE and MSE, (2,), and their errors, (2,), from the risks of each set under each set, (2, 2, draws, 2)."""
    of_draws = risks.mean(axis=(0, 1))
    spread = np.ptp(risks.mean(axis=2), axis=(0, 1)) / 2
    return of_draws.mean(axis=0), of_draws.std(axis=0, ddof=1) / len(of_draws) ** 0.5 + spread
