"""The multi-task objective (arXiv 2305.08473; weight adjustment after Self-MM, arXiv 2102.04830)."""

from collections.abc import Mapping

from torch import Tensor, nn

from msa_core.alignment import AlignmentLoss
from msa_core.interfaces import MSAOutput, at_least_float32


class MultiTaskLoss(nn.Module):
    """``L = mean|yhat_m - y| + sum_s mean(W_s |yhat_s - y_s|) + L_shared``, with ``W_s = tanh|y_s - y|``.

    Each unimodal mean is over the samples that have the modality.

    Args:
        alignment: the shared-information loss, or None to do without.
        weight_adjustment: False sets every W_s to 1. With it, samples whose private label differs most from the
            shared one count most, and a modality whose labels are copies of y counts nothing.
    """

    def __init__(self, alignment: AlignmentLoss | None = None, weight_adjustment: bool = True) -> None:
        super().__init__()
        self.alignment = alignment
        self.weight_adjustment = weight_adjustment

    def forward(self, output: MSAOutput, labels: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each term by name.

        Args:
            output: the model's, for B samples.
            labels: "multimodal" -> y, (B,), and one y_s, (B,), for each modality the model predicts.

        Returns:
            "total" (scalar, to be minimised); each task's term under its name ("multimodal", "text", ...); the
            model's own terms; each pair's unweighted distance under "alignment_<modality>_<modality>" (detached).
        """
        y = labels["multimodal"]
        terms: dict[str, Tensor] = {}
        for task, prediction in output.predictions.items():
            error = (at_least_float32(prediction) - labels[task]).abs()  # (B,)
            if task != "multimodal" and self.weight_adjustment:
                error = (labels[task] - y).abs().tanh() * error
            if task in output.present:
                rows = output.present[task]
                terms[task] = (error * rows).sum() / rows.sum().clamp(min=1)
            else:
                terms[task] = error.mean()
        terms |= output.losses
        total = sum(terms.values(), start=y.new_zeros(()))
        if self.alignment is not None:
            shared = self.alignment(output.encodings, output.present)
            total = total + shared.total
            terms |= {f"alignment_{first}_{second}": value for (first, second), value in shared.pairs.items()}
        return terms | {"total": total}
