"""Data in: the field's feature files, planted data with the truth known, and batches of either."""

from msa_core.data.features import Batch, FeatureSet, Ragged, batches
from msa_core.data.mmsa import load_features, load_unlabelled, require_file
from msa_core.data.planted import PlantedProcess, draw_seed, planted_features
from msa_core.vocabulary import planted_tokenizer

__all__ = [
    "Batch",
    "FeatureSet",
    "PlantedProcess",
    "Ragged",
    "batches",
    "draw_seed",
    "load_features",
    "load_unlabelled",
    "planted_features",
    "planted_tokenizer",
    "require_file",
]
