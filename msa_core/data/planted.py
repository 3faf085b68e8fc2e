"""Planted data: drawn from a known process, so that the shared and private factors of every sample are known."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import lfilter
from transformers import PreTrainedTokenizerBase

from msa_core import MODALITIES, SPLITS
from msa_core.data.features import FeatureSet, Ragged
from msa_core.vocabulary import ADJECTIVES, ADVERBS, NOUNS, OPENINGS, VERBS, planted_tokenizer

LABEL_BOUND = 3.0  # MOSI's scale
SHARED_PART = 0.5  # of a unimodal sentiment's variance, the part that the shared factor explains
SENTIMENT_SCALE = 1.3  # standard deviation of a unimodal sentiment before clipping, about MOSI's
TASK_WEIGHTS = {
    "text": 0.5,
    "audio": 0.25,
    "vision": 0.25,
}  # of the unimodal sentiments in the multimodal label
AUTOCORRELATION = 0.8  # of the frames' noise, from one frame to the next


def planted_features(
    num_train: int = 600,
    num_valid: int = 200,
    num_test: int = 300,
    signal_to_noise: Mapping[str, float] | None = None,
    audio_dim: int = 5,
    vision_dim: int = 20,
    max_tokens: int = 50,
    tokenizer: PreTrainedTokenizerBase | None = None,
    seed: int = 0,
) -> dict[str, FeatureSet]:
    """Three splits drawn from a known process; the same arguments give the same data.

    For each utterance a shared factor z and private factors p_s are standard normal. A unimodal sentiment is
    `y_s = 1.3 (sqrt(0.5) z + sqrt(0.5) p_s)` clipped to [-3, 3]; the label is
    `y = 0.5 y_text + 0.25 y_audio + 0.25 y_vision` rounded to MOSI's steps of 0.2. Text: one to four clauses, the
    valence of whose adjectives is y_text plus noise. Audio and vision: 8 to 48 frames; y_s rises and falls along
    one direction of the features, z and p_s each tilt another from the first frame to the last, and
    first-order autoregressive noise of unit variance lies over all of it.

    Args:
        num_train, num_valid, num_test: samples in each split.
        signal_to_noise: modality -> ratio of the signal's standard deviation to the noise's (for text: of an
            adjective's valence). Default: text 1.0, audio 0.5, vision 0.5.
        audio_dim, vision_dim: width of a frame, at least 3 (MOSI's own 5 and 20).
        max_tokens: text is cut to so many tokens.
        tokenizer: that of the encoder that will read the text; None: `planted_tokenizer()`.
        seed: of the data, not of the training.

    Returns:
        "train", "valid", "test" -> `FeatureSet` with true `unimodal_labels` and `factors` filled.

    Raises:
        ValueError: a signal-to-noise ratio that is not positive or is of an unknown modality, a width below 3,
            a split without samples.

    >>> data = planted_features(num_train=4, num_valid=2, num_test=2)
    >>> data["train"].modalities, sorted(data["test"].factors)
    (('text', 'audio', 'vision'), ['audio', 'shared', 'text', 'vision'])
    """
    ratios = {"text": 1.0, "audio": 0.5, "vision": 0.5, **(signal_to_noise or {})}
    if set(ratios) != set(MODALITIES) or not all(0 < ratio < np.inf for ratio in ratios.values()):
        raise ValueError(f"planted_features: got signal_to_noise {ratios}, expected positive ones for {MODALITIES}")
    widths = {"audio": audio_dim, "vision": vision_dim}
    if min(widths.values()) < 3:
        raise ValueError(f"planted_features: got frame widths {widths}, expected at least 3: one per planted direction")
    sizes = dict(zip(SPLITS, (num_train, num_valid, num_test), strict=True))
    if min(sizes.values()) < 1:
        raise ValueError(f"planted_features: got {sizes} samples, expected at least 1 in each split")
    rng = np.random.default_rng(seed)
    tokenizer = tokenizer or planted_tokenizer()
    directions = {modality: _orthonormal(rng, width) for modality, width in widths.items()}
    source = {"planted": {"sizes": sizes, "signal_to_noise": ratios, "frame_widths": widths, "seed": seed}}
    return {
        split: _planted_split(split, size, ratios, directions, max_tokens, tokenizer, rng, source)
        for split, size in sizes.items()
    }


def _planted_split(
    split: str,
    size: int,
    ratios: Mapping[str, float],
    directions: Mapping[str, NDArray],
    max_tokens: int,
    tokenizer: PreTrainedTokenizerBase,
    rng: Generator,
    source: dict,
) -> FeatureSet:
    factors = {name: rng.standard_normal(size) for name in ("shared", *MODALITIES)}
    sentiments = {
        modality: np.clip(
            SENTIMENT_SCALE * (SHARED_PART**0.5 * factors["shared"] + (1 - SHARED_PART) ** 0.5 * factors[modality]),
            -LABEL_BOUND,
            LABEL_BOUND,
        )
        for modality in MODALITIES
    }
    label = np.round(5 * sum(weight * sentiments[modality] for modality, weight in TASK_WEIGHTS.items())) / 5 + 0.0
    text = [_sentence(rng, sentiment, ratios["text"]) for sentiment in sentiments["text"]]
    tokens = tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"]
    sequences = {"text": Ragged.of([torch.tensor(ids) for ids in tokens])}
    for modality, basis in directions.items():
        signals = np.stack([sentiments[modality] / SENTIMENT_SCALE, factors["shared"], factors[modality]], axis=1)
        sequences[modality] = Ragged.of([_frames(rng, signal, basis, ratios[modality]) for signal in signals])
    return FeatureSet(
        split=split,
        ids=[f"planted-{split}-{i}" for i in range(size)],
        labels=torch.tensor(label, dtype=torch.float32),
        label_bound=LABEL_BOUND,
        sequences=sequences,
        raw_text=text,
        unimodal_labels={modality: torch.tensor(y, dtype=torch.float32) for modality, y in sentiments.items()},
        factors={name: torch.tensor(values, dtype=torch.float32) for name, values in factors.items()},
        source=source,
    )


def _sentence(rng: Generator, sentiment: float, signal_to_noise: float) -> str:
    clauses = []
    for _ in range(rng.integers(1, 5)):
        valence = sentiment + rng.standard_normal() * SENTIMENT_SCALE / signal_to_noise
        adjective = rng.choice(ADJECTIVES[int(np.clip(np.round(valence), -3, 3))])
        adverb = ADVERBS[rng.integers(len(ADVERBS))]
        clauses.append(" ".join(["the", rng.choice(NOUNS), rng.choice(VERBS), *adverb, adjective]))
    return " ".join([*OPENINGS[rng.integers(len(OPENINGS))], " and ".join(clauses)])


def _frames(rng: Generator, signal: NDArray, basis: NDArray, signal_to_noise: float) -> torch.Tensor:
    """(T, D) frames; `signal` holds y_s, z and p_s in standard units, `basis` (3, D) a direction for each."""
    length = int(rng.integers(8, 49))
    time = np.linspace(0, 1, length)
    courses = np.stack([np.sin(np.pi * time), 2 * time - 1, 2 * time - 1], axis=1)  # (T, 3)
    white = rng.standard_normal((length, basis.shape[1]))
    innovation = (1 - AUTOCORRELATION**2) ** 0.5
    white[0] /= innovation  # starts the noise in its stationary state
    noise = lfilter([innovation], [1, -AUTOCORRELATION], white, axis=0)
    return torch.tensor(signal_to_noise * (courses * signal) @ basis + noise, dtype=torch.float32)


def _orthonormal(rng: Generator, width: int) -> NDArray:
    """Three orthonormal directions, (3, D)."""
    return np.linalg.qr(rng.standard_normal((width, 3)))[0].T
