"""‖A_S‖² of a block's matrix or of some of its rows, by Lanczos' method.

Power iteration would creep: a random matrix's spectrum has no gap at its edge. Golub and Van Loan, 10.1.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from ..blocks import FloatArray
from .matrix_rows import RowsForm

# An eigenvalue comes from below, to this relative error.
TOL = 1e-3
# Up to this many pixels a block, eigenvalues are computed from AᵀA itself.
DENSE = 32
# A scaled minibatch's constant depends on the draw: this many are measured, the largest counts.
DRAWS = 3


def normal_operator(form: RowsForm, index: int, rows: Tensor | None = None) -> LinearOperator:
    """A_SᵀA_S of one block, for scipy."""
    device, n = form.matrices.device, form.matrices.shape[2]

    def apply(vector: FloatArray) -> FloatArray:
        moved = torch.from_numpy(np.ascontiguousarray(vector, np.float32).reshape(-1)).to(device)
        found: FloatArray = form.normal(index, moved, rows).cpu().numpy()
        return found

    return LinearOperator((n, n), matvec=apply, dtype=np.float32)


def largest_eigenvalue(form: RowsForm, index: int, rows: Tensor | None = None) -> float:
    """λ_max of A_SᵀA_S; 0 for a matrix of zeros."""
    normal = normal_operator(form, index, rows)
    n = normal.shape[0]
    if n <= DENSE:
        return max(0.0, float(np.linalg.eigvalsh(normal @ np.eye(n, dtype=np.float32))[-1]))
    start = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    if not np.any(normal @ start):
        return 0.0
    return float(eigsh(normal, 1, which="LA", v0=start, tol=TOL, return_eigenvectors=False)[0])


def minibatch_factor(form: RowsForm, count: int, norms: list[float]) -> float:
    """‖(m/w)^½ A_S‖² of a minibatch of w = `count` rows over ‖A_i‖², the largest of a few draws.

    Random rows of the first blocks, and the heaviest rows of the block whose rows differ most: if a few rows outweigh
    the others, a draw that holds them is the one to be safe from.

    Args:
        norms: ‖A_i‖² of every block.
    """
    random = np.random.default_rng(0)
    m = form.matrices.shape[1]
    draws = [(draw % len(norms), random.choice(m, count, replace=False)) for draw in range(DRAWS)]
    weights = [torch.linalg.vector_norm(matrix, dim=1, dtype=torch.float32) for matrix in form.matrices]
    uneven = max(range(len(norms)), key=lambda index: float(weights[index].max() / (weights[index].mean() + 1e-30)))
    draws.append((uneven, torch.argsort(weights[uneven], descending=True)[:count].cpu().numpy()))
    factors = [1.0]
    for block, rows in draws:
        largest = largest_eigenvalue(form, block, torch.from_numpy(np.sort(rows)).to(form.matrices.device))
        factors.append(m / count * largest / norms[block] if norms[block] else 1.0)
    return max(factors)
