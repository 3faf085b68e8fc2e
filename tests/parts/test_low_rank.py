"""Oracles: the full weight tensor applied to the full outer product; a case worked by hand."""

import numpy as np
import torch

from msa_core.parts.low_rank import LowRankFusion

WIDTHS = {"text": 3, "audio": 2, "vision": 4}


def test_it_is_a_linear_map_of_the_outer_product_by_a_tensor_of_low_rank():
    torch.manual_seed(0)
    fusion = LowRankFusion(WIDTHS, width=5, rank=2, dropout=0.0)
    with torch.no_grad():
        fusion.bias.copy_(torch.randn(5))
    encodings = {modality: torch.randn(6, width) for modality, width in WIDTHS.items()}
    with_one = [np.concatenate([encodings[modality].numpy(), np.ones((6, 1))], axis=1) for modality in WIDTHS]
    outer = np.einsum("bi,bj,bk->bijk", *with_one)  # (B, D_t + 1, D_a + 1, D_v + 1)
    factors = [fusion.factors[modality].detach().numpy() for modality in WIDTHS]
    tensor = np.einsum("rio,rjo,rko->ijko", *factors)
    expected = np.maximum(np.einsum("bijk,ijko->bo", outer, tensor) + fusion.bias.detach().numpy(), 0)
    np.testing.assert_allclose(fusion(encodings).detach(), expected, rtol=1e-4, atol=1e-5)  # float32
    assert (expected > 0).any() and (expected == 0).any()


def test_worked_by_hand():
    """One feature a modality, rank 1: (2 x + 1)(3 z - 1) + 0.5 at x = 1, z = 2 is 3 * 5 + 0.5."""
    fusion = LowRankFusion({"audio": 1, "vision": 1}, width=1, rank=1, dropout=0.0)
    with torch.no_grad():
        fusion.factors["audio"].copy_(torch.tensor([[[2.0], [1.0]]]))
        fusion.factors["vision"].copy_(torch.tensor([[[3.0], [-1.0]]]))
        fusion.bias.fill_(0.5)
    encodings = {"audio": torch.tensor([[1.0]]), "vision": torch.tensor([[2.0]])}
    assert fusion(encodings).item() == 15.5


def test_dropout_acts_on_the_encodings_and_never_on_the_constant():
    torch.manual_seed(0)
    fusion = LowRankFusion({"audio": 3, "vision": 3}, width=2, rank=2, dropout=0.9)
    encodings = {"audio": torch.zeros(8, 3), "vision": torch.zeros(8, 3)}
    assert torch.equal(fusion(encodings), fusion.eval()(encodings))  # of zeros nothing can be dropped
    ones = {"audio": torch.ones(8, 3), "vision": torch.ones(8, 3)}
    assert not torch.allclose(fusion.train()(ones), fusion.eval()(ones))


def test_glorots_rule_is_taken_of_each_matrix_or_of_the_whole_factor():
    """Variance 2 / (inputs + outputs) of a matrix; the release's call takes the last dimension for a filter's."""
    torch.manual_seed(0)
    whole, matrices = (
        LowRankFusion({"text": 99, "audio": 99}, 400, 3, 0.0, chosen).factors["text"].std().item()
        for chosen in (False, True)
    )
    np.testing.assert_allclose(matrices, (2 / (100 + 400)) ** 0.5, rtol=0.02)  # 120,000 draws
    np.testing.assert_allclose(whole, (2 / (400 * (100 + 3))) ** 0.5, rtol=0.02)
