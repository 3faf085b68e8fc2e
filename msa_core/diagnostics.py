"""What the history of a run also shows where `training.diagnostics` is set: gradients and encodings, epoch by epoch.

The training is not disturbed: nothing is added to a gradient, and the random numbers drawn here are drawn aside.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from msa_core.data.features import Batch, FeatureSet
from msa_core.inference import encodings
from msa_core.interfaces import LabelSource, Model
from msa_core.objective import MultiTaskLoss
from msa_core.parts.distances import cka_distance

BATCHES = 2  # of an epoch, on which gradients are measured; of the 38 of planted data, they cost 12% of its seconds
CONFLICT = "gradient_conflict"


def gradients(
    model: Model, objective: MultiTaskLoss, labels: LabelSource, batches: Iterable[Batch]
) -> dict[str, float]:
    """How strongly the tasks and the alignment pull at each encoder, and whether the same way.

    All gradients are those of a training batch, dropout included, on the trained parameters of one group of
    `Model.parameter_groups`. The tasks are all of them together, weighted as in the objective, with the model's own
    losses; before they are projected, where the balance does that. At alignment weight w, the alignment's norm equals
    the tasks' at ``w * tasks / alignment``.

    Args:
        model, objective, labels: as they are trained together.
        batches: at least one, on the model's device.

    Returns:
        Means over the batches: "gradient_tasks_<group>", the norm; for each modality that is aligned with a weight
        other than 0, "gradient_alignment_<group>", the norm of the weighted alignment's, and
        "gradient_cosine_<group>", the cosine between the two, 0 where one is zero; and for each unimodal task,
        "gradient_conflict_<task>_<group>" for each group that it trains too, the cosine between its gradient and the
        multimodal task's, negative where they conflict, 0 where one is zero.
    """
    model.train()
    kept = [buffer.clone() for buffer in model.buffers()]
    with torch.random.fork_rng():
        rows = [_gradients(model, objective, labels, batch) for batch in batches]
    for buffer, before in zip(model.buffers(), kept, strict=True):
        buffer.copy_(before)
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def _gradients(model: Model, objective: MultiTaskLoss, labels: LabelSource, batch: Batch) -> dict[str, float]:
    groups = {name: [p for p in group if p.requires_grad] for name, group in model.parameter_groups().items()}
    groups = {name: group for name, group in groups.items() if group}
    output = model(batch)
    terms = objective(output, {task: labels.labels(task, batch.index) for task in output.predictions})
    balanced = objective.balance({task: terms[task] for task in output.predictions})
    tasks = _by_group(torch.stack([*balanced.values(), *output.losses.values()]).sum(), groups)
    row = {f"gradient_tasks_{name}": gradient.norm().item() for name, gradient in tasks.items()}
    if objective.alignment is not None:
        aligned = {modality for pair, weight in objective.alignment.pairs.items() if weight for modality in pair}
        reached = {name: group for name, group in groups.items() if name in aligned}
        alignment = _by_group(objective.alignment(output.encodings, output.present).total, reached)
        for name, gradient in alignment.items():
            row[f"gradient_alignment_{name}"] = gradient.norm().item()
            row[f"gradient_cosine_{name}"] = nn.functional.cosine_similarity(gradient, tasks[name], dim=0).item()
    multimodal, *unimodal = balanced
    shared = _by_group(balanced[multimodal], groups) if unimodal else {}
    for task in unimodal:
        for name, gradient in _by_group(balanced[task], groups, reached=True).items():
            cosine = nn.functional.cosine_similarity(gradient, shared[name], dim=0).item()
            row[f"{CONFLICT}_{task}_{name}"] = cosine
    return row


def _by_group(loss: Tensor, groups: Mapping[str, list[nn.Parameter]], reached: bool = False) -> dict[str, Tensor]:
    """A loss's gradient on each group's parameters, end to end; zeros where it does not depend on them.

    Args:
        loss: a scalar.
        groups: name -> parameters.
        reached: without the groups of which it depends on none.
    """
    parameters = [parameter for group in groups.values() for parameter in group]
    found: Any = [None] * len(parameters)
    if parameters and loss.requires_grad:
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    parts = iter(zip(parameters, found, strict=True))
    by_group = {name: [next(parts) for _ in group] for name, group in groups.items()}
    return {
        name: torch.cat([torch.zeros_like(p).flatten() if g is None else g.flatten() for p, g in group])
        for name, group in by_group.items()
        if not reached or any(g is not None for _, g in group)
    }


def likeness(model: Model, objective: MultiTaskLoss, valid: FeatureSet) -> dict[str, float]:
    """How many dimensions each encoding has, and how alike those of each pair of the alignment are.

    Args:
        model: left in evaluation mode.
        objective: names the pairs, those of weight 0 too.
        valid: the split whose encodings are taken, all of its samples.

    Returns:
        "valid_effective_rank_<modality>", and "valid_cka_<modality>_<modality>": the linear centred kernel alignment
        (Kornblith et al. 2019), within [0, 1].
    """
    encoded = encodings(model, valid)
    spectra = {modality: np.linalg.eigvalsh(np.cov(x, rowvar=False)) for modality, x in encoded.items()}
    row = {f"valid_effective_rank_{modality}": effective_rank(spectrum) for modality, spectrum in spectra.items()}
    for first, second in objective.alignment.pairs if objective.alignment else ():
        x, z = (torch.from_numpy(encoded[modality]) for modality in (first, second))
        row[f"valid_cka_{first}_{second}"] = 1 - cka_distance(x, z).item()
    return row


def effective_rank(spectrum: NDArray) -> float:
    """``exp(-sum_i p_i ln p_i)``, p the eigenvalues over their sum (Roy and Vetterli 2007); within [1, D].

    Args:
        spectrum: eigenvalues of a covariance matrix, (D,); rounding may have made some negative. If all are zero, the
            rank is nan.

    >>> round(effective_rank(np.array([2.0, 2.0, 0.0])), 12)
    2.0
    """
    total = spectrum.sum()
    if not total > 0:
        return float("nan")
    shares = np.clip(spectrum, 0, None) / total
    return float(np.exp(-(shares[shares > 0] * np.log(shares[shares > 0])).sum()))
