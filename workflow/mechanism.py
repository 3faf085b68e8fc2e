"""What parts two float32 runs under two arithmetics? The same steps with one suspected cause after the other removed.

python workflow/mechanism.py --seeds 1111 1112 1113

Trains the first epochs of `paper` on planted data in float32 under the default arithmetic and under AVX2, as it is and
with each of `INTERVENTIONS`. As a control, trains some of them in float64, from the initial weights and from weights
that differ by a relative 1e-8 or 1e-12. Each arithmetic has a process of its own with one thread. Writes a row for each
step to results/records/arithmetic/mechanism.parquet; what is there is kept and not run again.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import torch
from accelerate.utils import set_seed
from arithmetics import FOLDER, output_under, settings
from torch import Tensor, nn
from torch.nn.functional import gelu

from msa_core import build
from msa_core.analysis.mechanism import compared
from msa_core.data.features import FeatureSet, number_of_batches
from msa_core.interfaces import Parts
from msa_core.model import Projection
from msa_core.precision import fast_products
from msa_core.training import TrainingLoop

NONE, BOTH = "none", "smooth loss and activation"
INTERVENTIONS: dict[str, tuple[str, ...]] = {
    NONE: (),
    "smooth loss": ("loss",),
    "smooth activation": ("activation",),
    BOTH: ("loss", "activation"),
    "key biases frozen": ("key",),
    "smooth, key biases frozen": ("loss", "activation", "key"),
    "Adam eps 1e-6": ("eps",),
    "smooth, key biases frozen, eps 1e-6": ("loss", "activation", "key", "eps"),
    "no dropout": ("dropout",),
}
# What is compared with the default arithmetic in the same precision: precision, arithmetic, perturbation of the initial
# weights -> under which interventions.
COMPARISONS: dict[tuple[str, str, float], tuple[str, ...]] = {
    ("float32", "AVX2", 0.0): tuple(INTERVENTIONS),
    ("float64", "default", 1e-8): (NONE, BOTH),
    ("float64", "default", 1e-12): (NONE,),
}
GROUPS = {  # name of a group -> what the names of its parameters begin with, or end with; the first that fits
    "key_biases": ".key.bias",
    "embedding": "encoders.text.transformer.embeddings",
    "other_text": "encoders.text",
    "audio": "encoders.audio",
    "vision": "encoders.vision",
    "fusion": "fusion",
    "heads": ("projections", "heads"),
}


def smooth_absolute(error: Tensor) -> Tensor:
    """``sqrt(e^2 + 0.01) - 0.1``: |e| without its kink."""
    return (error.square() + 0.01).sqrt() - 0.1


def smooth_relu(x: Tensor) -> Tensor:
    """GELU."""
    return gelu(x)


def with_smooth_loss(objective: nn.Module) -> None:
    """From now on the objective takes `smooth_absolute` of each error."""
    forward = objective.forward

    def smooth(*arguments: object) -> object:
        with mock.patch.object(Tensor, "abs", smooth_absolute):
            return forward(*arguments)

    objective.forward = smooth  # type: ignore[method-assign]


@contextmanager
def intervened(parts: Parts, changes: tuple[str, ...]) -> Iterator[None]:
    """The parts changed in place; inside the context, GELU in the place of ReLU if that is among the changes."""
    if "loss" in changes:
        with_smooth_loss(parts.objective)
    if "key" in changes:
        for name, parameter in parts.model.named_parameters():
            parameter.requires_grad_(not name.endswith(GROUPS["key_biases"]))
    if "dropout" in changes:
        for module in parts.model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
    with mock.patch.object(Tensor, "relu", smooth_relu if "activation" in changes else Tensor.relu):
        yield


def grouped(model: nn.Module) -> dict[str, list[Tensor]]:
    """Group -> its parameters."""
    groups: dict[str, list[Tensor]] = {name: [] for name in GROUPS}
    for name, parameter in model.named_parameters():
        for group, pattern in GROUPS.items():
            if name.startswith(pattern) or (group == "key_biases" and name.endswith(pattern)):
                groups[group].append(parameter)
                break
    return groups


def watch(loop: TrainingLoop, signs: dict[str, list[np.ndarray]]) -> None:
    """Note at each step the signs of what has a kink, or changes its class, at zero."""

    def activations(kind: str) -> Callable:
        return lambda *call: signs[kind].append((call[-1] > 0).flatten().numpy())

    def errors(*call: Any) -> None:
        output, labels = call[1]
        for task, prediction in output.predictions.items():
            signs["errors"].append((prediction > labels[task]).numpy())
            signs["generated_labels"].append((labels[task] > 0).numpy())

    def clipping(*_: object) -> None:
        gradients = [p.grad for group in loop.optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)  # once clipped, it is the largest one
        signs["clipping"].append(np.array([norm > 0.999 * loop.config.max_gradient_norm]))

    loop.model.fusion.linear.register_forward_hook(activations("fusion_activations"))
    for module in [*loop.model.projections.values(), *loop.model.heads.values()]:
        layer = module.linear if isinstance(module, Projection) else module.hidden
        layer.register_forward_hook(activations("head_activations"))
    loop.objective.register_forward_hook(errors)
    loop.optimizer.optimizer.register_step_pre_hook(clipping)


@cache
def features(seed: int, precision: str) -> FeatureSet:
    """The train split, drawn once a process."""
    return build.dataset(settings("paper", seed, precision))["train"]


@fast_products()
def record(seed: int, precision: str, perturbation: float, intervention: str, epochs: int) -> dict[str, np.ndarray]:
    """Train so many epochs: what `mechanism.compared` takes; parameters of each step or epoch."""
    changes = INTERVENTIONS[intervention]
    config = settings("paper", seed, precision)
    train = features(seed, precision)
    set_seed(seed)
    parts = build.parts(config, train)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in parts.model.parameters():
            parameter *= 1 + perturbation * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    set_seed(seed)
    losses: list[float] = []
    weights: list[np.ndarray] = []
    signs: dict[str, list[np.ndarray]] = defaultdict(list)
    steps: dict[str, list[np.ndarray]] = defaultdict(list)
    groups = grouped(parts.model)
    with intervened(parts, changes):
        loop = TrainingLoop(parts, train, config.training, seed)
        for group in loop.optimizer.param_groups:
            group["eps"] = 1e-6 if "eps" in changes else group["eps"]
        watch(loop, signs)
        every = 1 if intervention in (NONE, BOTH) else number_of_batches(train, config.training.batch_size)
        for epoch in range(1, epochs + 1):
            for _, terms in loop.steps(epoch):
                losses.append(terms["total"].item())
                for kind, arrays in signs.items():
                    steps[kind].append(np.concatenate(arrays))
                    arrays.clear()
                if len(losses) % every == 0:
                    flat = [parameter.detach().flatten() for group in groups.values() for parameter in group]
                    weights.append(torch.cat(flat).numpy())
    sizes = [sum(parameter.numel() for parameter in group) for group in groups.values()]
    return {
        "loss": np.array(losses),
        "weights": np.stack(weights),
        "weights_steps": np.arange(every, len(losses) + 1, every),
        "group_ends": np.cumsum(sizes),
        **{f"signs/{kind}": padded(rows) for kind, rows in steps.items()},
    }


def padded(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of unequal length, the last batch being smaller, as one array; False behind a row's end."""
    whole = np.zeros((len(rows), max(map(len, rows))), bool)
    for place, row in zip(whole, rows, strict=True):
        place[: len(row)] = row
    return whole


def part(seed: int, precision: str, perturbation: float, intervention: str) -> Path:
    """The file of one comparison's rows."""
    return FOLDER / "parts" / f"mechanism-{precision}-{perturbation}-{intervention}-{seed}.parquet"


def compare(seed: int, precision: str, epochs: int) -> None:
    """All comparisons of one seed in one precision that are not there yet; each one's rows as a file."""
    comparisons = {
        (arithmetic, perturbation): [n for n in names if not part(seed, precision, perturbation, n).is_file()]
        for (of_precision, arithmetic, perturbation), names in COMPARISONS.items()
        if of_precision == precision
    }
    reference = list(dict.fromkeys(name for names in comparisons.values() for name in names))
    with tempfile.TemporaryDirectory() as folder:
        for (arithmetic, perturbation), names in {("default", 0.0): reference, **comparisons}.items():
            if names:
                one = ["--one", str(seed), precision, str(perturbation), f"{folder}/{arithmetic} {perturbation}"]
                output_under(arithmetic, [__file__, "--epochs", str(epochs), *one, *names])
        for (arithmetic, perturbation), names in comparisons.items():
            for name in names:
                files = (f"{folder}/{run} {name}.npz" for run in (f"{arithmetic} {perturbation}", "default 0.0"))
                rows = compared(*map(np.load, files), tuple(GROUPS))
                epoch = (rows["step"] - 1) * epochs // len(rows) + 1
                keys = {"precision": precision, "perturbation": perturbation, "intervention": name, "seed": seed}
                rows.assign(epoch=epoch, **keys).to_parquet(part(seed, precision, perturbation, name), index=False)
                print(part(seed, precision, perturbation, name).name, flush=True)


def collect() -> None:
    """All finished comparisons as one file."""
    frames = [pd.read_parquet(file) for file in (FOLDER / "parts").glob("mechanism-*.parquet")]
    rows = pd.concat(frames, ignore_index=True)
    rows["intervention"] = pd.Categorical(rows["intervention"], list(INTERVENTIONS))
    rows = rows.sort_values(["precision", "perturbation", "intervention", "seed", "step"], ignore_index=True)
    rows.astype({"intervention": str}).to_parquet(FOLDER / "mechanism.parquet", index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1111, 1112, 1113])
    parser.add_argument("--precisions", nargs="+", default=["float32", "float64"])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        seed, precision, perturbation, prefix, *names = options.one
        for name in names:
            found = record(int(seed), precision, float(perturbation), name, options.epochs)
            np.savez(f"{prefix} {name}.npz", **found)
        return
    (FOLDER / "parts").mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for precision in options.precisions:
            compare(seed, precision, options.epochs)
    collect()


if __name__ == "__main__":
    main()
