"""A contrast of the multimodal features by their labels, after MMCL."""

import torch
from torch import Tensor

from msa_core.interfaces import at_least_float32
from msa_core.parts.distances import unit_rows


def label_contrast(features: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Draws samples of one polarity together, and others apart by how far their labels are from each other.

    With ``e_ij = exp(cos(F_i, F_j) / temperature)``, P_i the other samples of the polarity of y_i (positive, negative
    or zero) and N_i those of another one: the mean over i, and over j in P_i, of
    ``-log(e_ij / (sum over p in P_i of e_ip + sum over n in N_i of |y_i - y_n| e_in))``.

    MMCL (Lin and Hu 2022, Findings of EMNLP, arXiv 2210.14556) has such a contrast by sentiment, beside others between
    modalities, which are not here. Its exact formula was not at hand: this one is the supervised contrast of Khosla et
    al. 2020 (arXiv 2004.11362, equation 2), in which the weight ``|y_i - y_n|`` of the negatives is ours.

    Args:
        features: F_m, (B, D); the contrast is computed in float32 or wider, whatever autocast says.
        y: labels, (B,); a sample without one (NaN) has no part in it.
        temperature: above 0.

    Returns:
        Scalar; 0 where no sample has another one of its polarity.

    >>> y = torch.tensor([1.0, 2.0, -1.0])
    >>> F = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> round(label_contrast(F, y, temperature=1.0).item(), 3)  # log((e + 2) / e) and log((e + 3) / e), their mean
    0.648
    """
    with torch.autocast(features.device.type, enabled=False):
        unit = unit_rows(at_least_float32(features))
        similarity = unit @ unit.T / temperature  # (B, B)
        known = ~y.isnan()
        pairs = known & known[:, None] & ~torch.eye(len(y), dtype=torch.bool, device=y.device)
        alike = y.sign() == y.sign()[:, None]
        logits = torch.where(alike, similarity, similarity + (y - y[:, None]).abs().log())
        lowest = torch.finfo(logits.dtype).min  # not infinite: a sample without a pair would have no gradient but NaN
        share = similarity - logits.masked_fill(~pairs, lowest).logsumexp(dim=1, keepdim=True)
        positive = pairs & alike
        number = positive.sum(dim=1)
        of_sample = -(share * positive).sum(dim=1) / number.clamp(min=1)
        return of_sample.sum() / (number > 0).sum().clamp(min=1)
