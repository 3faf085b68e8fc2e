"""Other ways to balance the tasks than the paper's weights of samples: by learned scales, or by their gradients."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from msa_core.objective import Balance


class UncertaintyWeights(Balance):
    """Uncertainty weighting (Kendall et al. 2018, arXiv 1705.07115, section 3.2), in its Laplace form.

    The original takes a Gaussian error with standard deviation s_k: ``L_k / (2 s_k^2) + log s_k``, L_k a mean square.
    Here L_k is a mean absolute error, which belongs to a Laplace error with scale b_k: the negative log-likelihood
    ``|e| / b_k + log(2 b_k)`` gives ``L_k / b_k + log b_k``, but for a constant. Its least value is at ``b_k = L_k``:
    a task weighs the more the smaller its error is. Trained is ``log b_k``, from 0, where the total is the plain sum.

    Args:
        tasks: those that are balanced.

    >>> balance = UncertaintyWeights(["multimodal", "text"])
    >>> _ = torch.nn.init.constant_(balance.log_scales, 1.0)  # b = e
    >>> terms = balance({"multimodal": torch.tensor(torch.e), "text": torch.tensor(0.0)})
    >>> {task: round(term.item(), 4) for task, term in terms.items()}
    {'multimodal': 2.0, 'text': 1.0}
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.log_scales = nn.Parameter(torch.zeros(len(self.tasks)))

    def forward(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Balance.forward`."""
        scales = zip(self.tasks, self.log_scales, strict=True)
        return {task: terms[task] * (-log_scale).exp() + log_scale for task, log_scale in scales}

    def shown(self) -> dict[str, Tensor]:
        """Each task's b under "scale_<task>", in label units."""
        scales = zip(self.tasks, self.log_scales.detach().exp(), strict=True)
        return {f"scale_{task}": scale for task, scale in scales}


class PCGrad(Balance):
    """Gradient surgery (Yu et al. 2020, NeurIPS, arXiv 2001.06782, algorithm 1) on what several tasks train.

    The parameters theta that two tasks or more reach are taken together, as one vector; each other parameter, the
    model's own losses and the alignment keep their gradients. Costs a backward pass more for each task.
    """

    projects = True

    def project(self, losses: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> None:
        """See `Balance.project`: the sum of the tasks' gradients in `.grad` becomes that of the projected ones."""
        found = [torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True) for loss in losses]
        reached = zip(parameters, zip(*found, strict=True), strict=True)
        shared = [(p, of_tasks) for p, of_tasks in reached if sum(part is not None for part in of_tasks) > 1]
        if not shared:
            return
        columns = [torch.stack([torch.zeros_like(p) if part is None else part for part in own]) for p, own in shared]
        gradients = torch.cat([column.flatten(start_dim=1) for column in columns], dim=1)  # (tasks, size of theta)
        change = (projected(gradients) - gradients).sum(dim=0)
        for (parameter, _), part in zip(shared, change.split([p.numel() for p, _ in shared]), strict=True):
            parameter.grad += part.view_as(parameter)


def projected(gradients: Tensor) -> Tensor:
    """Each task's gradient g_i without its conflicts: ``g_i - (g_i . g_j) / ||g_j||^2 g_j`` where ``g_i . g_j < 0``.

    One task j after the other, in a random order from torch's seed, each time with what is left of g_i.

    Args:
        gradients: (tasks, P).

    Returns:
        (tasks, P).

    >>> projected(torch.tensor([[1.0, 0.0], [-1.0, 1.0]]))
    tensor([[0.5000, 0.5000],
            [0.0000, 1.0000]])
    """
    directions, rows = nn.functional.normalize(gradients, dim=1), list[Tensor]()  # zeros for a gradient of zeros
    for i, gradient in enumerate(gradients):
        for j in torch.randperm(len(gradients)).tolist():
            along = gradient @ directions[j]
            if j != i and along < 0:
                gradient = gradient - along * directions[j]
        rows.append(gradient)
    return torch.stack(rows)
