"""The multi-task objective (arXiv 2305.08473; weight adjustment after Self-MM, arXiv 2102.04830)."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from msa_core.alignment import AlignmentLoss
from msa_core.interfaces import MSAOutput, Nothing, at_least_float32


class Balance(nn.Module):
    """What becomes of the tasks' terms before they are added: here nothing; for other ways to override.

    Attributes:
        projects: True: `project` is called after each backward pass.
    """

    projects = False

    def forward(self, terms: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Task -> its term, scalar, to what is added to the total in its place."""
        return terms

    def shown(self) -> Mapping[str, Tensor]:
        """What the history shows besides the terms: name -> scalar, detached."""
        return Nothing

    def project(self, losses: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> None:
        """Change the gradients in `.grad`, to which the backward pass of the total has just added.

        Args:
            losses: the tasks' terms as they were added, scalars; their graph is still there.
            parameters: all that are trained.
        """
        raise NotImplementedError


class MultiTaskLoss(nn.Module):
    """``L = mean|yhat_m - y| + sum_s mean(W_s |yhat_s - y_s|) + L_shared``, with ``W_s = tanh|y_s - y|``.

    Each unimodal mean is over the samples that have the modality. A sample without a label of some task (NaN) has no
    part in its mean, which is 0 where no sample of the batch has one. Where y itself is missing, W_s is
    ``tanh|y_s - yhat_m|``: the prediction, detached, is what the model would call the shared label.

    Args:
        alignment: the shared-information loss, or None to do without.
        weight_adjustment: False sets every W_s to 1. With it, samples whose private label differs most from the
            shared one count most, and a modality whose labels are copies of y counts nothing.
        balance: of the tasks; None: their terms are added as they are.
        unlabelled: whether a label may be NaN; False saves looking for it.
        contrast: a loss of the multimodal feature (B, D) and y (B,), NaN where it is missing, with its weight; None:
            none.
    """

    def __init__(
        self,
        alignment: AlignmentLoss | None = None,
        weight_adjustment: bool = True,
        balance: Balance | None = None,
        unlabelled: bool = False,
        contrast: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.alignment = alignment
        self.weight_adjustment = weight_adjustment
        self.balance = Balance() if balance is None else balance
        self.unlabelled = unlabelled
        self.contrast = contrast

    def forward(self, output: MSAOutput, labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each term by name.

        Args:
            output: the model's, for B samples.
            labels: "multimodal" -> y, (B,), and one y_s, (B,), for each modality the model predicts.

        Returns:
            "total" (scalar, to be minimised); each task's term under its name ("multimodal", "text", ...), before
            the balance; the model's own terms; "label_contrast", with its weight; each pair's unweighted distance under
            "alignment_<modality>_<modality>" (detached); what the balance shows.
        """
        rows, terms, human = dict(output.present), dict[str, Tensor](), labels["multimodal"]
        if self.unlabelled:
            known = {task: ~labels[task].isnan() for task in output.predictions}
            rows |= {task: mask & rows[task] if task in rows else mask for task, mask in known.items()}
            # Its own prediction for a missing label: the error is 0, and so is its gradient, which is not so of NaN.
            labels = {
                task: torch.where(known[task], labels[task], at_least_float32(prediction).detach())
                for task, prediction in output.predictions.items()
            }
        y = labels["multimodal"]
        for task, prediction in output.predictions.items():
            error = (at_least_float32(prediction) - labels[task]).abs()  # (B,)
            if task != "multimodal" and self.weight_adjustment:
                error = (labels[task] - y).abs().tanh() * error
            if task in rows:
                terms[task] = (error * rows[task]).sum() / rows[task].sum().clamp(min=1)
            else:
                terms[task] = error.mean()
        total = sum({**self.balance(terms), **output.losses}.values(), start=y.new_zeros(()))
        terms |= output.losses
        if self.contrast is not None:
            terms["label_contrast"] = self.contrast(output.features["multimodal"], human)
            total = total + terms["label_contrast"]
        if self.alignment is not None:
            shared = self.alignment(output.encodings, output.present)
            total = total + shared.total
            terms |= {f"alignment_{first}_{second}": value for (first, second), value in shared.pairs.items()}
        return {**terms, **self.balance.shown(), "total": total}
