"""The precision of a run, and how float32 matrices are multiplied on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch


def dtype_of(precision: str) -> torch.dtype:
    """Of a run's weights, frames, labels, losses and predictions; `precision` is `training.precision`."""
    return torch.float64 if precision == "float64" else torch.float32


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """New tensors have this dtype: initial weights are drawn in it.

    >>> with default_dtype(torch.float64):
    ...     torch.zeros(1).dtype
    torch.float64
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


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
    if products_by_onednn():
        torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def products_by_onednn() -> bool:
    """Whether `fast_products` gives float32 products to oneDNN."""
    return not torch.cuda.is_available() and _onednn_is_exact()


@cache
def _onednn_is_exact() -> bool:
    """Whether "medium" products have float32's error: 1e-7, where bfloat16's is 3e-3."""
    before = torch.get_float32_matmul_precision()
    a, b = torch.rand(2, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    exact = a.double() @ b.double()
    torch.set_float32_matmul_precision("medium")
    error = (a @ b - exact).norm() / exact.norm()
    torch.set_float32_matmul_precision(before)
    return bool(error < 1e-6)
