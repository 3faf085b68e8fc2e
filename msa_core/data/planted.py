"""Planted data: drawn from a known process, so that the shared and private factors of every sample are known."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, SeedSequence
from numpy.typing import NDArray
from scipy.signal import lfilter
from transformers import PreTrainedTokenizerBase

from msa_core import MODALITIES, SPLITS
from msa_core.data.features import FeatureSet, Ragged
from msa_core.vocabulary import ADJECTIVES, ADVERBS, NOUNS, OPENINGS, VERBS, planted_tokenizer

LABEL_BOUND = 3.0  # MOSI's scale
SENTIMENT_SCALE = 1.3  # standard deviation of a unimodal sentiment before clipping, about MOSI's
AUTOCORRELATION = 0.8  # of the frames' noise, from one frame to the next
LENGTHS = range(8, 49)  # frames of a sequence
MOST_CLAUSES = 4  # of a text


@dataclass(frozen=True)
class PlantedProcess:
    """What planted data are drawn from, but for their sizes.

    A modality that is left out of a mapping has the default, which is filled in.

    Attributes:
        signal_to_noise: modality -> ratio of the signal's standard deviation to the noise's (for text: of an
            adjective's valence). 0, for audio and vision: nothing but noise. Default: text 1.0, audio 0.5, vision 0.5.
        shared_part: modality -> part of its sentiment's variance that the shared factor explains, within [0, 1].
            Default: 0.5.
        task_weights: modality -> weight of its sentiment in the multimodal label; a negative one contradicts the
            others. Default: text 0.5, audio 0.25, vision 0.25.
        label_noise: standard deviation of the error of the multimodal label, on the label's scale.

    Raises:
        ValueError: a value outside its range, an unknown modality, or no task weight but 0.

    >>> PlantedProcess(task_weights={"vision": -0.25}).task_weights
    {'text': 0.5, 'audio': 0.25, 'vision': -0.25}
    """

    signal_to_noise: Mapping[str, float] = field(default_factory=dict)
    shared_part: Mapping[str, float] = field(default_factory=dict)
    task_weights: Mapping[str, float] = field(default_factory=dict)
    label_noise: float = 0.0

    def __post_init__(self) -> None:
        for name, defaults in {
            "signal_to_noise": {"text": 1.0, "audio": 0.5, "vision": 0.5},
            "shared_part": dict.fromkeys(MODALITIES, 0.5),
            "task_weights": {"text": 0.5, "audio": 0.25, "vision": 0.25},
        }.items():
            values = {**defaults, **getattr(self, name)}
            object.__setattr__(self, name, values)
            if set(values) != set(MODALITIES) or not np.isfinite([*values.values()]).all():
                raise ValueError(f"PlantedProcess: got {name} {values}, expected a finite one for each of {MODALITIES}")
        ratios, weights = self.signal_to_noise, self.task_weights
        if not (ratios["text"] > 0 and min(ratios.values()) >= 0):
            expected = "a positive one for text, positive ones or 0 for audio and vision"
            raise ValueError(f"PlantedProcess: got signal_to_noise {ratios}, expected {expected}")
        if not all(0 <= part <= 1 for part in self.shared_part.values()):
            raise ValueError(f"PlantedProcess: got shared_part {self.shared_part}, expected parts within [0, 1]")
        if not any(weights.values()):
            raise ValueError(f"PlantedProcess: got task_weights {weights}, expected at least one that is not 0")
        if not 0 <= self.label_noise < np.inf:
            raise ValueError(f"PlantedProcess: got label_noise {self.label_noise}, expected a standard deviation, >= 0")

    def sentiments(self, factors: Mapping[str, NDArray]) -> dict[str, NDArray]:
        """Modality -> y_s, from "shared" and each modality's private factor, (N,) each."""
        return {
            modality: np.clip(
                SENTIMENT_SCALE * (part**0.5 * factors["shared"] + (1 - part) ** 0.5 * factors[modality]),
                -LABEL_BOUND,
                LABEL_BOUND,
            )
            for modality in MODALITIES
            for part in [self.shared_part[modality]]
        }

    def labels(self, sentiments: Mapping[str, NDArray], errors: NDArray) -> NDArray:
        """The multimodal labels, (N,), from the sentiments and standard normal errors, (N,) each."""
        exact = sum(self.task_weights[modality] * sentiments[modality] for modality in MODALITIES)
        rounded = np.round(5 * (exact + self.label_noise * errors)) / 5
        return rounded.clip(-LABEL_BOUND, LABEL_BOUND) + 0.0


def planted_features(
    num_train: int = 600,
    num_valid: int = 200,
    num_test: int = 300,
    audio_dim: int = 5,
    vision_dim: int = 20,
    max_tokens: int = 50,
    tokenizer: PreTrainedTokenizerBase | None = None,
    seed: int = 0,
    **process: Any,
) -> dict[str, FeatureSet]:
    """Three splits drawn from a known process; the same arguments give the same data.

    For each utterance a shared factor z and private factors p_s are standard normal. A unimodal sentiment is
    `y_s = 1.3 (sqrt(c_s) z + sqrt(1 - c_s) p_s)` clipped to [-3, 3], with c_s its shared part; the label is
    `y = sum_s w_s y_s`, plus a normal error where there is label noise, rounded to MOSI's steps of 0.2 and clipped to
    [-3, 3]. Text: one to four clauses, the valence of whose adjectives is y_text plus noise. Audio and vision: 8 to 48
    frames; y_s rises and falls along one direction of the features, z and p_s each tilt another from the first frame to
    the last, and first-order autoregressive noise of unit variance lies over all of it.

    Args:
        num_train, num_valid, num_test: samples in each split.
        audio_dim, vision_dim: width of a frame, at least 3 (MOSI's own 5 and 20).
        max_tokens: text is cut to so many tokens.
        tokenizer: that of the encoder that will read the text; None: `planted_tokenizer()`.
        seed: of the data, not of the training.
        process: attributes of `PlantedProcess`. With one seed, `label_noise` changes the labels and nothing else.

    Returns:
        "train", "valid", "test" -> `FeatureSet` with true `unimodal_labels` and `factors` filled.

    Raises:
        ValueError: a width below 3, a split without samples; see `PlantedProcess`.

    >>> data = planted_features(num_train=4, num_valid=2, num_test=2, signal_to_noise={"vision": 0})
    >>> data["train"].modalities, sorted(data["test"].factors)
    (('text', 'audio', 'vision'), ['audio', 'shared', 'text', 'vision'])
    """
    drawn_from = PlantedProcess(**process)
    widths = {"audio": audio_dim, "vision": vision_dim}
    if min(widths.values()) < 3:
        raise ValueError(f"planted_features: got frame widths {widths}, expected at least 3: one per planted direction")
    sizes = dict(zip(SPLITS, (num_train, num_valid, num_test), strict=True))
    if min(sizes.values()) < 1:
        raise ValueError(f"planted_features: got {sizes} samples, expected at least 1 in each split")
    rng = np.random.default_rng(seed)
    tokenizer = tokenizer or planted_tokenizer()
    directions = {modality: _orthonormal(rng, width) for modality, width in widths.items()}
    source = {"planted": {"sizes": sizes, **vars(drawn_from), "frame_widths": widths, "seed": seed}}
    return {
        split: _planted_split(split, size, drawn_from, directions, max_tokens, tokenizer, rng, source)
        for split, size in sizes.items()
    }


def draw_seed(run_seed: int) -> int:
    """The seed of the data of a run that draws its own.

    It is hashed from the run's seed by numpy's `SeedSequence`: no random stream of the training, whose generators all
    start from the run's seed itself, is a stream of the data.

    >>> draw_seed(1111) == draw_seed(1111) != draw_seed(1112)
    True
    """
    return int(SeedSequence(run_seed, spawn_key=(1,)).generate_state(1)[0])


def _planted_split(
    split: str,
    size: int,
    process: PlantedProcess,
    directions: Mapping[str, NDArray],
    max_tokens: int,
    tokenizer: PreTrainedTokenizerBase,
    rng: Generator,
    source: dict,
) -> FeatureSet:
    factors = {name: rng.standard_normal(size) for name in ("shared", *MODALITIES)}
    sentiments = process.sentiments(factors)
    errors = rng.spawn(1)[0].standard_normal(size)  # a stream of their own: without label noise the rest is the same
    text = [_sentence(rng, sentiment, process.signal_to_noise["text"]) for sentiment in sentiments["text"]]
    tokens = tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"]
    sequences = {"text": Ragged.of([torch.tensor(ids) for ids in tokens])}
    for modality, basis in directions.items():
        ratio = process.signal_to_noise[modality]
        sequences[modality] = Ragged.of(
            [_frames(rng, signal, basis, ratio) for signal in signals(modality, factors, sentiments)]
        )
    return FeatureSet(
        split=split,
        ids=[f"planted-{split}-{i}" for i in range(size)],
        labels=torch.tensor(process.labels(sentiments, errors), dtype=torch.float32),
        label_bound=LABEL_BOUND,
        sequences=sequences,
        raw_text=text,
        unimodal_labels={modality: torch.tensor(y, dtype=torch.float32) for modality, y in sentiments.items()},
        factors={name: torch.tensor(values, dtype=torch.float32) for name, values in factors.items()},
        source=source,
    )


def _sentence(rng: Generator, sentiment: float, signal_to_noise: float) -> str:
    clauses = []
    for _ in range(rng.integers(1, MOST_CLAUSES + 1)):
        valence = sentiment + rng.standard_normal() * SENTIMENT_SCALE / signal_to_noise
        adjective = _one_of(rng, ADJECTIVES[round(min(max(valence, -3.0), 3.0))])
        adverb = _one_of(rng, ADVERBS)
        clauses.append(" ".join(["the", _one_of(rng, NOUNS), _one_of(rng, VERBS), *adverb, adjective]))
    return " ".join([*_one_of(rng, OPENINGS), " and ".join(clauses)])


def _one_of(rng: Generator, choices: list) -> Any:
    return choices[rng.integers(len(choices))]  # as `rng.choice` draws, without making an array of them each time


def signals(modality: str, factors: Mapping[str, NDArray], sentiments: Mapping[str, NDArray]) -> NDArray:
    """What the frames of audio or vision carry: y_s, z and p_s in standard units, (N, 3)."""
    return np.stack([sentiments[modality] / SENTIMENT_SCALE, factors["shared"], factors[modality]], axis=1)


@cache
def courses(length: int) -> NDArray:
    """How each signal goes through the frames, (T, 3): an arch and two tilts."""
    time = np.linspace(0, 1, length)
    return np.stack([np.sin(np.pi * time), 2 * time - 1, 2 * time - 1], axis=1)


def _frames(rng: Generator, signal: NDArray, basis: NDArray, signal_to_noise: float) -> torch.Tensor:
    """(T, D) frames; `signal` (3,) as `signals` gives it, `basis` (3, D) a direction for each."""
    length = int(rng.integers(LENGTHS.start, LENGTHS.stop))
    white = rng.standard_normal((length, basis.shape[1]))
    innovation = (1 - AUTOCORRELATION**2) ** 0.5
    white[0] /= innovation  # starts the noise in its stationary state
    noise = lfilter([innovation], [1, -AUTOCORRELATION], white, axis=0)
    return torch.tensor(signal_to_noise * (courses(length) * signal) @ basis + noise, dtype=torch.float32)


def _orthonormal(rng: Generator, width: int) -> NDArray:
    """Three orthonormal directions, (3, D)."""
    return np.linalg.qr(rng.standard_normal((width, 3)))[0].T
