"""Model, losses and label generation of arXiv 2305.08473, and the study around them.

Shape letters used throughout: B samples in a batch, N samples in a split, T time steps, D feature width.
"""

__version__ = "0.1.0"
MODALITIES = ("text", "audio", "vision")
SPLITS = ("train", "valid", "test")
