"""TF32 on or off for a while, for networks that aren't ours: the user's settings are as before afterwards.

torch.backends.cudnn.flags can't be used: since torch 2.9 it raises, and leaves its own values behind, once a user has
set torch.backends.fp32_precision or cudnn.conv.fp32_precision; and its allow_tf32=False doesn't turn TF32 off then.
These settings belong to the process: other threads see them too while they last.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch


@contextmanager
def float32_rules(allow_tf32: bool, deterministic: bool) -> Iterator[None]:
    """How float32 convolutions and matrix products run on CUDA inside the `with`."""
    cudnn = torch.backends.cudnn
    benchmark_before, deterministic_before = cudnn.benchmark, cudnn.deterministic
    try:
        cudnn.benchmark, cudnn.deterministic = not deterministic, deterministic
        with _tf32(allow_tf32):
            yield
    finally:
        cudnn.benchmark, cudnn.deterministic = benchmark_before, deterministic_before


def _tf32(allow: bool) -> AbstractContextManager[None]:
    release = tuple(int(part) for part in torch.__version__.split(".")[:2])
    return by_inheritance(allow) if release >= (2, 9) else by_flags(allow)


@contextmanager
def by_inheritance(allow: bool) -> Iterator[None]:
    """Since torch 2.9: torch.backends → cudnn (all of CUDA) → conv, matmul; "none" takes the parent's value.

    A default below the parent's value can be read but not set again, so a leaf is written only where it doesn't follow.
    """
    wanted = "tf32" if allow else "ieee"
    root: Any = torch.backends
    cuda: Any = torch.backends.cudnn
    own = _own_value(root, cuda)
    kept: list[tuple[Any, str]] = []
    try:
        cuda.fp32_precision = wanted
        for leaf in (cuda.conv, root.cuda.matmul):
            if leaf.fp32_precision != wanted:
                kept.append((leaf, leaf.fp32_precision))
                leaf.fp32_precision = wanted
        yield
    finally:
        for leaf, value in kept:
            leaf.fp32_precision = value
        cuda.fp32_precision = own


def _own_value(root: Any, cuda: Any) -> str:
    """What is set for CUDA itself: without a value of its own, it answers with its parent's."""
    parent = root.fp32_precision
    try:
        root.fp32_precision = "none"
        return str(cuda.fp32_precision)
    finally:
        root.fp32_precision = parent


@contextmanager
def by_flags(allow: bool) -> Iterator[None]:
    """Before torch 2.9: a flag for cuDNN, and a name for matrix products ("high" and "medium" both allow TF32)."""
    cudnn = torch.backends.cudnn
    convolutions, products = cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        cudnn.allow_tf32 = allow
        torch.set_float32_matmul_precision("high" if allow else "highest")
        yield
    finally:
        cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)
