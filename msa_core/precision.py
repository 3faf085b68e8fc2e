"""How float32 matrices are multiplied on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch


@contextmanager
def fast_products() -> Iterator[None]:
    """Multiply float32 matrices in the fastest way that is exact on this CPU; on a GPU, as the user has set it.

    torch gives these products to MKL, which takes half the width of the vector units on AMD's AVX-512 processors.
    `torch.set_float32_matmul_precision("medium")` gives them to oneDNN, which takes all of it. It also allows oneDNN
    to round to bfloat16, which it does where the processor has a fast way for that (AMX): there MKL keeps them.

    >>> with fast_products():
    ...     product = torch.ones(2, 2) @ torch.ones(2, 2)
    >>> torch.get_float32_matmul_precision()
    'highest'
    """
    before = torch.get_float32_matmul_precision()
    if not torch.cuda.is_available() and _onednn_is_exact():
        torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def _onednn_is_exact() -> bool:
    """Whether "medium" products have float32's error: 1e-7, where bfloat16's is 3e-3."""
    before = torch.get_float32_matmul_precision()
    a, b = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(0))
    exact = a.double() @ b.double()
    torch.set_float32_matmul_precision("medium")
    error = (a @ b - exact).norm() / exact.norm()
    torch.set_float32_matmul_precision(before)
    return bool(error < 1e-6)
