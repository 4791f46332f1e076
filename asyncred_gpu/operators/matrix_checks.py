"""Bad input of block compressed sensing, refused before any work: what was found, why it can't be, what to do."""

from __future__ import annotations

import operator
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arrays import comes_from_cupy
from ..blocks import BlockGrid
from ..memory import check_available

STORAGES = {"float32": torch.float32, "float16": torch.float16}
FORMS = ("auto", "rows", "normal")
REMEDY = "Pass a float32 array."
FLOATS = (torch.float16, torch.float32, torch.float64, torch.bfloat16)
KINDS = (*FLOATS, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)
SEEN_BY_TORCH = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")
# The least that float16 keeps with all its digits.
LEAST_NORMAL = float(torch.finfo(torch.float16).tiny)


def as_tensor(matrices: Any) -> Tensor:
    """The matrices as a torch tensor where they lie, numpy, torch or CuPy; copied only if torch can't see them so.

    Raises:
        TypeError: not an array of real numbers.
    """
    if isinstance(matrices, Tensor):
        found = matrices.detach()
        if found.dtype not in KINDS or found.layout != torch.strided:
            raise TypeError(f"matrices has dtype {found.dtype} ({found.layout}), it must hold real numbers. {REMEDY}")
        return found
    if comes_from_cupy(matrices):
        found = torch.from_dlpack(matrices)  # type: ignore[attr-defined]
        return found
    try:
        array = np.asarray(matrices)
    except ValueError as error:
        raise TypeError(f"matrices isn't an array ({error}). {REMEDY}") from None
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        raise TypeError(f"matrices has dtype {array.dtype}, it must hold real numbers. {REMEDY}")
    seen = array.dtype.isnative and array.dtype.name in SEEN_BY_TORCH and min(array.strides, default=0) >= 0
    if not seen:
        check_available("A copy of the matrices takes", 4 * array.size, f"{REMEDY[:-1]}, C-contiguous.")
        array = array.astype(np.float32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing here writes to it
        return torch.from_numpy(array)


def check_matrices(matrices: Tensor, measured: tuple[int, ...]) -> None:
    """(blocks, m, n), a row for each measurement of `measured` = (blocks, m)."""
    shape = tuple(matrices.shape)
    if len(shape) != 3 or min(shape, default=0) < 1:
        raise ValueError(
            f"matrices has shape {shape}, it must be (blocks, m, n): one matrix a block, one row a measurement, one "
            "column a pixel. Pass such an array."
        )
    if shape[:2] != measured:
        raise ValueError(
            f"matrices has shape {shape}, for {shape[0]} blocks of {shape[1]} rows, and measurements "
            f"{measured}: each row is one measurement. Pass measurements of shape {shape[:2]}, or other matrices."
        )


def check_storage(storage: Any) -> torch.dtype:
    if storage not in STORAGES:
        raise ValueError(f"storage={storage!r} isn't known. Pass one of {', '.join(STORAGES)}.")
    return STORAGES[storage]


def check_form(form: Any, storage: torch.dtype) -> str:
    if form not in FORMS:
        raise ValueError(f"form={form!r} isn't known. Pass one of {', '.join(FORMS)}.")
    if form == "normal" and storage != torch.float32:
        raise ValueError(
            "form='normal' keeps AᵀA in float32: rounded to float16 it would no longer be that of the measurements. "
            "Pass storage='float32', or form='rows'."
        )
    return str(form)


def stored(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """The matrices in this precision, contiguous, where they lie; the caller's own memory if that is so already.

    Raises:
        ValueError: NaN or infinite values, or values too large for the precision.
    """
    given, most = matrices.dtype, torch.finfo(dtype).max
    copied = given != dtype or not matrices.is_contiguous()
    if copied and matrices.device.type == "cpu":
        remedy = "Use storage='float16', smaller blocks, or a machine with more memory."
        check_available("The matrices take", matrices.numel() * dtype.itemsize, remedy)
    kept = torch.empty(matrices.shape, dtype=dtype, device=matrices.device) if copied else matrices
    for block, matrix in enumerate(matrices):  # one after the other: a mask of all would take gigabytes
        low, high = (float(value) for value in torch.aminmax(matrix))
        if not -float("inf") < low <= high < float("inf"):  # NaN compares false
            bad = int((~torch.isfinite(matrix)).sum())
            raise ValueError(
                f"matrices[{block}] holds {bad} NaN or infinite values of {matrix.numel()}. Correct them first."
            )
        if max(-low, high) > most:
            raise ValueError(
                f"matrices[{block}] holds values up to {max(-low, high):.3g}, which overflow {str(dtype)[6:]} "
                f"({most:.3g}). Rescale the matrices and the measurements, or pass storage='float32'."
            )
        largest = max(-low, high)
        if dtype == torch.float16 and 0 < largest < LEAST_NORMAL:
            raise ValueError(
                f"matrices[{block}] holds values of {largest:.3g} at most, which float16 rounds to few digits or to 0 "
                f"(below {LEAST_NORMAL:.1e}). Rescale the matrices and the measurements, or pass storage='float32'."
            )
        if copied:
            kept[block].copy_(matrix)
    return kept


def check_room(device: torch.device, matrices: Tensor) -> None:
    """Refuse to move matrices to a GPU that can't hold them.

    Raises:
        MemoryError: with what they take and what is free.
    """
    if device.type != "cuda":
        return
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if matrices.nbytes > free:
        raise MemoryError(
            f"The matrices take {matrices.nbytes / 2**30:.2f} GiB, and {free / 2**30:.2f} GiB are free on {device}. "
            "Use storage='float16', smaller blocks, or device='cpu'."
        )


def check_size(name: str, array: Any, expected: tuple[int, ...]) -> None:
    """Refuse an array of another shape."""
    if array.shape != expected:
        raise ValueError(f"{name} has shape {array.shape}, it must be {expected}. Pass an array of that shape.")


def block_grid(blocks: int, pixels: int, image_shape: tuple[int, int], block_shape: Any) -> BlockGrid:
    """The grid of `blocks` equal blocks of `pixels` each; None: the only one, or the squarest of several.

    Raises:
        ValueError: no such grid.
    """
    rows, cols = image_shape
    if block_shape is not None:
        try:
            height, width = (operator.index(side) for side in block_shape)
        except (TypeError, ValueError):
            raise ValueError(
                f"block_shape={block_shape!r} isn't (rows, cols). Pass two whole numbers, or None."
            ) from None
        candidates = [(height, width)] if height > 0 and width > 0 else []
    else:
        candidates = [(height, pixels // height) for height in range(1, pixels + 1) if pixels % height == 0]
    fitting = [
        (height, width)
        for height, width in candidates
        if height * width == pixels and rows % height == cols % width == 0 and rows * cols == blocks * pixels
    ]
    if not fitting:
        given = "" if block_shape is None else f" of block_shape={tuple(block_shape)}"
        raise ValueError(
            f"{blocks} matrices with {pixels} columns are {blocks} blocks of {pixels} pixels, and no grid{given} cuts "
            f"the image {(rows, cols)} into these. Pass one matrix a block and one column a pixel of the block."
        )
    squarest = min(max(shape) / min(shape) for shape in fitting)
    best = [shape for shape in fitting if max(shape) / min(shape) == squarest]
    if len(best) > 1:
        raise ValueError(
            f"Blocks of {best[0]} and of {best[1]} pixels both fit the image {(rows, cols)}. "
            "Pass block_shape=(rows, cols)."
        )
    return BlockGrid((rows, cols), best[0])
