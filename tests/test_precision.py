"""Oracle: products in float64."""

import pytest
import torch

from msa_core import precision


@pytest.mark.parametrize("shape", [(3, 5, 7), (240, 384, 1536), (65, 129, 33)])
def test_products_have_float32s_error(shape):
    rows, inner, columns = shape
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(rows, inner, generator=generator), torch.randn(inner, columns, generator=generator)
    exact = a.double() @ b.double()
    with precision.fast_products():
        product = a @ b
    assert (product - exact).norm() / exact.norm() < 2e-6  # bfloat16: 3e-3


def test_the_setting_is_put_back_even_after_an_error():
    before = torch.get_float32_matmul_precision()
    with pytest.raises(ZeroDivisionError), precision.fast_products():
        _ = 1 / 0
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="the CPU's setting")
@pytest.mark.parametrize(("exact", "setting"), [(True, "medium"), (False, "highest")])
def test_where_onednn_would_round_it_is_not_taken(exact, setting, monkeypatch):
    monkeypatch.setattr(precision, "_onednn_is_exact", lambda: exact)
    with precision.fast_products():
        assert torch.get_float32_matmul_precision() == setting
