"""Data in: the field's feature files, planted data with the truth known, and batches of either."""

from msa_core.data.features import Batch, FeatureSet, Ragged, batches
from msa_core.data.mmsa import load_features, require_file
from msa_core.data.planted import planted_features
from msa_core.vocabulary import planted_tokenizer

__all__ = [
    "Batch",
    "FeatureSet",
    "Ragged",
    "batches",
    "load_features",
    "planted_features",
    "planted_tokenizer",
    "require_file",
]
