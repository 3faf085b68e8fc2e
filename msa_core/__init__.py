"""Model, losses and label generation of arXiv 2305.08473, and the study around them.

Shape letters used throughout: B samples in a batch, N samples in a split, T time steps, D feature width.
"""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"
MODALITIES = ("text", "audio", "vision")
SPLITS = ("train", "valid", "test")

#: What is loaded when it is first asked for, as it needs the extra `models` -> its module.
_LAZY = {
    "check_features": "msa_core.data.own",
    "export_labels": "msa_core.prediction",
    "predict": "msa_core.prediction",
    "write_features": "msa_core.data.own",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
