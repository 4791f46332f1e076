"""Products with one block's matrix, in the two forms of its gradient; torch, and on the CPU numpy.

    rows:    Aᵀ(A x − y) = Σ_k a_k (a_k·x − y_k)      any subset of rows; a row is read from memory once and used twice
    normal:  N x − c with N = AᵀA, c = Aᵀy              n² numbers instead of m·n; all rows only

Rows come in pieces that stay in a core's cache; a matrix in float16 is brought to float32 piece by piece. numpy's
products heed no torch.set_float32_matmul_precision of the user's, and take 0.4 to 0.8 of the time (measured).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..memory import check_available

# A piece of this many bytes in float32 stays in a core's own cache (measured: 0.4 to 1.6 MB are alike, 3 MB slower).
PIECE_BYTES = 2**20
# With several threads, which would meet after every piece, larger ones: their meetings cost more than a second pass.
SHARED_PIECE_BYTES = 2**26


class BlockForm(Protocol):
    """The gradient of ½‖A x − y‖² of every block."""

    def gradient(self, index: int, pixels: Tensor, rows: Tensor | None) -> Tensor:
        """Aᵀ(A x − y) of block `index`, (n,), from all rows or from a subset (int64), unscaled."""
        ...


def product(matrix: Tensor, vector: Tensor) -> Tensor:
    """A x."""
    if matrix.is_cpu:
        return torch.from_numpy(matrix.numpy() @ vector.numpy())
    return torch.mv(matrix, vector)


def add_transposed(total: Tensor, matrix: Tensor, values: Tensor) -> None:
    """Add Aᵀ r to `total`."""
    if matrix.is_cpu:
        total += torch.from_numpy(values.numpy() @ matrix.numpy())
    else:
        total.addmv_(matrix.t(), values)


def gram(matrix: Tensor, out: Tensor) -> None:
    """AᵀA, into `out`."""
    if matrix.is_cpu:
        np.matmul(matrix.numpy().T, matrix.numpy(), out=out.numpy())  # which numpy computes one half of
    else:
        torch.mm(matrix.t(), matrix, out=out)


class RowsForm:
    """With the matrices themselves.

    Args:
        matrices: (blocks, m, n) float32 or float16.
        measurements: (blocks, m) float32, on the same device.
    """

    def __init__(self, matrices: Tensor, measurements: Tensor) -> None:
        self.matrices = matrices
        self.measurements = measurements

    def gradient(self, index: int, pixels: Tensor, rows: Tensor | None) -> Tensor:
        """Aᵀ(A x − y) of all rows or a subset."""
        total = torch.zeros_like(pixels)
        for chosen, piece in self._pieces(index, rows):
            add_transposed(total, piece, product(piece, pixels) - self.measurements[index, chosen])
        return total

    def normal(self, index: int, pixels: Tensor, rows: Tensor | None = None) -> Tensor:
        """AᵀA x of all rows or a subset."""
        total = torch.zeros_like(pixels)
        for _, piece in self._pieces(index, rows):
            add_transposed(total, piece, product(piece, pixels))
        return total

    def forward(self, index: int, pixels: Tensor) -> Tensor:
        """A x: (n,) → (m,)."""
        return torch.cat([product(piece, pixels) for _, piece in self._pieces(index, None)])

    def adjoint(self, index: int, values: Tensor) -> Tensor:
        """Aᵀ r: (m,) → (n,)."""
        total = values.new_zeros(self.matrices.shape[2])
        for chosen, piece in self._pieces(index, None):
            add_transposed(total, piece, values[chosen])
        return total

    def _pieces(self, index: int, rows: Tensor | None) -> Iterator[tuple[slice | Tensor, Tensor]]:
        """The rows, or a subset of them, as float32 pieces; each piece is overwritten by the next."""
        matrix = self.matrices[index]
        count, columns = matrix.shape if rows is None else (len(rows), matrix.shape[1])
        at_once = self._rows_at_once(count, columns)
        kept = _buffer(matrix, at_once) if matrix.dtype == torch.float32 and rows is not None else None
        for first in range(0, count, at_once):
            part = slice(first, min(first + at_once, count))
            if rows is None:
                yield part, matrix[part].float()
            elif kept is None:
                yield rows[part], matrix[rows[part]].float()
            else:
                found = kept[: part.stop - part.start]
                yield rows[part], torch.index_select(matrix, 0, rows[part], out=found)

    def _rows_at_once(self, count: int, columns: int) -> int:
        if self.matrices.device.type != "cpu":  # a launch costs more there than a second pass
            return count
        piece = PIECE_BYTES if torch.get_num_threads() == 1 else SHARED_PIECE_BYTES
        return max(1, piece // (4 * columns))


def _buffer(matrix: Tensor, rows: int) -> Tensor:
    return torch.empty((rows, matrix.shape[1]), dtype=matrix.dtype, device=matrix.device)


class NormalForm:
    """With N = AᵀA and c = Aᵀy.

    Args:
        normal: (blocks, n, n) float32.
        constant: (blocks, n) float32.
    """

    def __init__(self, normal: Tensor, constant: Tensor) -> None:
        self.normal_matrices = normal
        self.constant = constant

    def gradient(self, index: int, pixels: Tensor, rows: Tensor | None) -> Tensor:
        """N x − c; there are no rows to choose from."""
        if rows is not None:
            raise ValueError("The normal equations know no single rows. Use form='rows' for minibatches.")
        return product(self.normal_matrices[index], pixels) - self.constant[index]

    @classmethod
    def of(cls, rows: RowsForm) -> NormalForm:
        """From the matrices, on their device: 2·m·n² operations a block."""
        blocks, _, columns = rows.matrices.shape
        if rows.matrices.device.type == "cpu":
            check_available("AᵀA of all blocks takes", 4 * blocks * columns**2, "Use form='rows'.")
        normal = torch.empty((blocks, columns, columns), dtype=torch.float32, device=rows.matrices.device)
        for index, matrix in enumerate(rows.matrices):
            gram(matrix.float(), normal[index])
        return cls(normal, _constant(rows))

    def with_constant_of(self, rows: RowsForm) -> NormalForm:
        """The same N, for other measurements."""
        return NormalForm(self.normal_matrices, _constant(rows))


def _constant(rows: RowsForm) -> Tensor:
    """Aᵀy of every block: (blocks, n)."""
    return torch.stack([rows.adjoint(index, measured) for index, measured in enumerate(rows.measurements)])
