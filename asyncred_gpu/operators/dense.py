"""A dense matrix as a block operator: every pixel in every measurement, ∇g(x) = Aᵀ(A x − y), on the CPU.

For small problems whose answer is known from linear algebra (theory_problem.py); a whole share is kept of every block.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch

from ..arrays import checksum
from ..blocks import BlockGrid, FloatArray, IndexArray
from ..kernels.launch import Kernels
from ..preconditioner import Preconditioning
from .device import DeviceNeeds, DeviceOperator, Scene

HOST_ONLY = "A DenseOperator runs on the CPU alone. Pass device='cpu', or use RadonCT or BlockCS."


class DenseOperator:
    """g(x) = ½‖A x − y‖² for a matrix that couples all pixels: the `BlockOperator` protocol in its plainest form.

    Args:
        matrix: (measurements, pixels) float32, pixels of the image in row-major order.
        measured: (measurements,) float32, y.
        grid: the blocks.
        scaled: scale a minibatch's gradient by (all / count); False is the mistake of the paper's demo.
    """

    convolutional = False
    blocks_fixed = False

    def __init__(self, matrix: FloatArray, measured: FloatArray, grid: BlockGrid, scaled: bool = True) -> None:
        self.matrix = matrix
        self.measured = measured
        self.grid = grid
        self.scaled = scaled
        pixels = np.arange(matrix.shape[1]).reshape(grid.image_shape)
        self.pixels = [pixels[grid.window(index).slices].ravel() for index in range(len(grid))]
        self._blocks = [np.ascontiguousarray(matrix[:, chosen]) for chosen in self.pixels]

    @property
    def image_shape(self) -> tuple[int, int]:
        return self.grid.image_shape

    @property
    def measurements(self) -> int:
        """The matrix's rows."""
        return len(self.measured)

    @cached_property
    def lipschitz(self) -> float:
        """‖A‖², exactly."""
        return float(np.linalg.norm(self.matrix.astype(np.float64), 2) ** 2)

    @cached_property
    def _block_constants(self) -> list[float]:
        return [float(np.linalg.norm(block.astype(np.float64), 2) ** 2) for block in self._blocks]

    def block_lipschitz(self, index: int) -> float:
        """‖A_i‖², exactly."""
        return self._block_constants[index]

    def preconditioning(self, tau: float, shared: float) -> Preconditioning:
        """There is none: AᵀA of any matrix is no convolution.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"{type(self).__name__} isn't convolutional. Pass step='block'.")

    def minibatch_factor(self, count: int) -> float:
        """All / count: never too small, since AᵀA is the sum over all rows."""
        return self.measurements / count

    def with_blocks(self, grid: BlockGrid) -> Self:
        """The same measurements over other blocks."""
        return self if grid == self.grid else type(self)(self.matrix, self.measured, grid, self.scaled)

    def share_shape(self, index: int) -> tuple[int, ...]:
        """Every block reaches every measurement."""
        return (self.measurements,)

    def residual_shape(self, index: int, count: int) -> tuple[int, ...]:
        return (count,)

    def forward_block(self, index: int, pixels: FloatArray, *, out: FloatArray) -> FloatArray:
        """s_i = A_i x_i."""
        return np.matmul(self._blocks[index], pixels.ravel(), out=out)

    def residual_block(
        self, index: int, shares: Sequence[FloatArray], *, out: FloatArray, subset: IndexArray | None = None
    ) -> FloatArray:
        """Σ_j s_j − y, all of it or a subset."""
        whole = np.sum(shares, axis=0) - self.measured
        np.copyto(out, whole if subset is None else whole[subset])
        return out

    def gradient_block(
        self,
        index: int,
        pixels: FloatArray,
        residual: FloatArray,
        *,
        out: FloatArray,
        subset: IndexArray | None = None,
    ) -> FloatArray:
        """A_iᵀ(A x − y); a subset's times (all / count), unless that is what is to be shown wrong."""
        rows = self._blocks[index] if subset is None else self._blocks[index][subset]
        factor = 1.0 if subset is None or not self.scaled else self.measurements / len(subset)
        np.copyto(out, np.float32(factor) * (residual @ rows).reshape(out.shape))
        return out

    def gradient(self, image: FloatArray) -> FloatArray:
        """∇g(x) of the whole image."""
        found: FloatArray = (self.matrix.T @ (self.matrix @ image.ravel() - self.measured)).reshape(image.shape)
        return found

    def on_device(self, scene: Scene, count: int) -> DeviceOperator:
        """There is none.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(HOST_ONLY)

    def device_needs(self, count: int, device: torch.device) -> DeviceNeeds:
        """There are none.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(HOST_ONLY)

    def prepare_on(self, device: torch.device, kernels: Kernels) -> None:
        """There is nothing to prepare.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(HOST_ONLY)

    def start(self, kind: str) -> FloatArray:
        """Zeros, whatever is asked for: runs start at an image."""
        return np.zeros(self.image_shape, np.float32)

    @property
    def fingerprint(self) -> str:
        return checksum(self.matrix, self.measured, np.array([self.scaled]))

    @property
    def details(self) -> dict[str, Any]:
        return {"scaled": self.scaled}

    def like_input(self, image: FloatArray) -> FloatArray:
        return image
