"""The largest eigenvalue of a symmetric positive operator, by power iteration: a Lipschitz constant ‖A‖².

Golub and Van Loan, Matrix Computations, 8.2. The Rayleigh quotient converges twice as fast as the vector.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..blocks import FloatArray

Operator = Callable[[FloatArray], FloatArray]


def largest_eigenvalue(normal: Operator, start: FloatArray, tol: float = 1e-4, iterations: int = 100) -> float:
    """Largest eigenvalue of `normal`, x ↦ AᵀA x.

    Args:
        start: any x that isn't orthogonal to the leading eigenvector; ones for an operator with entries ≥ 0.
        tol: stop when the value changes by less, relative.
    """
    vector = start / np.linalg.norm(start)
    value = 0.0
    for _ in range(iterations):
        image = normal(vector)
        previous, value = value, float(np.vdot(vector, image))
        length = float(np.linalg.norm(image))
        if length == 0.0 or abs(value - previous) <= tol * value:
            break
        vector = image / np.float32(length)
    return value
