"""Oracle: the formula in plain matrix products."""

import torch

from msa_core.fusion import Concatenation


def test_concatenation_is_the_formula_in_the_order_given():
    torch.manual_seed(0)
    fusion = Concatenation({"text": 3, "audio": 2}, width=4, dropout=0.5).eval()
    text, audio = torch.randn(5, 3), torch.randn(5, 2)
    weight = fusion.linear.weight
    expected = (text @ weight[:, :3].T + audio @ weight[:, 3:].T + fusion.linear.bias).clamp(min=0)
    torch.testing.assert_close(fusion({"audio": audio, "text": text}), expected)
