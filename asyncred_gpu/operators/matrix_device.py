"""BlockCS's part of an update on a GPU: kernels/rows_forward_*.cu, rows_adjoint_*.cu and normal.cu.

g(x) = ½ Σ_i ‖A_i x_i − y_i‖² · scale. Blocks share no measurement: an update needs its own block's pixels only, and
nothing is gathered or published but those. What takes time is reading the matrix; a block's update reads at least

    rows:    A_i x − y and A_iᵀ r, of w of the m rows       2·w·n elements
    normal:  N_i x − c                                      n² elements, float32

since A_iᵀ r begins where A_i x is complete. A GPU of 4.8 TB/s thus takes 3.0 µs for 1120 × 1600 elements in float32,
half of it in float16, and 2.1 µs by the normal equations; less where the matrix is still in its L2 cache. The kernels
add to that the partial sums below, 2·LANES/n and 2/ROWS of a float32 matrix, small enough to stay in the cache.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..blocks import BlockGrid
from .device import Batch, DeviceNeeds, Job, Scene

# A row's product comes in this many partial sums: neighbouring threads, a warp of them, read neighbouring memory.
LANES = 32
# Gradients come in as many parts as give this many sums, so that one block alone keeps a large GPU's memory busy …
SUMS = 2**17
# … but no fewer rows than this a part: parts are written and read, too.
ROWS = 16
# WIDE of rows.h, and the bytes of that many float32.
WIDE = 4
ALIGNMENT = 16


def _nothing() -> None:
    """No measurement is shared, so there is none to gather or to publish."""


class RowsOnDevice:
    """The DeviceOperator of BlockCS with the matrices themselves.

    Args:
        matrices: (blocks, m, n) float32 or float16, contiguous, on the scene's device. Only read, and not copied. Sums
            are in float32.
        measurements: (blocks, m) float32.
        scale: what the data term is multiplied with.
        count: rows of a gradient, which say in how many parts it comes; None: all.
    Raises:
        ValueError: not one matrix for each block, another precision, or an address that isn't a multiple of 16.
    """

    capturable = True
    notes: tuple[str, ...] = ()

    def __init__(
        self, matrices: Tensor, measurements: Tensor, scale: float, scene: Scene, count: int | None = None
    ) -> None:
        if matrices.dtype not in (torch.float32, torch.float16):
            raise ValueError(f"The matrices are {matrices.dtype}. Pass torch.float32 or torch.float16.")
        _check(matrices, measurements, scene)
        self._matrices = matrices
        self._measurements = measurements
        self._scale = scale
        self._scene = scene
        _, self._rows, pixels = matrices.shape
        self.parts = _parts(count or self._rows, pixels)

    def residual_shape(self, count: int) -> tuple[int]:
        return (count,)

    def gradient_scale(self, count: int) -> float:
        return self._scale * self._rows / count

    def residual(self, batch: Batch) -> Job:
        return _nothing

    def gradient(self, batch: Batch) -> Job:
        """A_S x − y_S into batch.residual, and A_Sᵀ of that; a task without a block gets a residual of 0."""
        scene, launch = self._scene, self._scene.kernels.launch
        storage = str(self._matrices.dtype).removeprefix("torch.")
        sums = torch.empty(batch.size, batch.count, LANES, device=scene.device)
        sizes = (batch.size, batch.count, self._rows)
        forward = (
            *(f"rows_forward_{storage}", sums.numel(), scene.image, scene.blocks, scene.memory, batch.tasks),
            *(batch.slots, batch.subset, *sizes, LANES, self._matrices, self._measurements, sums),
        )
        adjoint = (
            *(f"rows_adjoint_{storage}", _pieces(batch.gradient), scene.image, batch.tasks, batch.subset),
            *(*sizes, self.parts, self._matrices, batch.residual, batch.gradient),
        )

        def run() -> None:
            launch(*forward)
            torch.sum(sums, dim=-1, out=batch.residual)
            launch(*adjoint)

        return run

    def forward(self, batch: Batch, first: int, size: int) -> Job:
        return _nothing


class NormalOnDevice:
    """The DeviceOperator of BlockCS with the normal equations: all rows, and no minibatch.

    Args:
        normal: (blocks, n, n) float32, A_iᵀ A_i, symmetric: its columns are taken for its rows. Only read, not copied.
        adjoint: (blocks, n) float32, A_iᵀ y_i.
        scale: what the data term is multiplied with.
    Raises:
        ValueError: not one matrix for each block, or an address that isn't a multiple of 16.
    """

    capturable = True
    notes: tuple[str, ...] = ()

    def __init__(self, normal: Tensor, adjoint: Tensor, scale: float, scene: Scene) -> None:
        _check(normal, adjoint, scene)
        self._normal = normal
        self._adjoint = adjoint
        self._scale = scale
        self._scene = scene
        self.parts = _parts(*normal.shape[1:])

    def residual_shape(self, count: int) -> tuple[int]:
        return (0,)

    def gradient_scale(self, count: int) -> float:
        return self._scale

    def residual(self, batch: Batch) -> Job:
        return _nothing

    def gradient(self, batch: Batch) -> Job:
        """N x − c.

        Raises:
            ValueError: a minibatch.
        """
        if batch.subset is not None:
            raise ValueError(
                f"The normal equations hold all rows, so there are no minibatches of {batch.count}. "
                "Pass minibatch=None, or form='rows'."
            )
        scene = self._scene
        arguments = (
            *("normal", _pieces(batch.gradient), scene.image, scene.blocks, scene.memory, batch.tasks, batch.slots),
            *(batch.size, self.parts, self._normal, self._adjoint, batch.gradient),
        )
        return lambda: scene.kernels.launch(*arguments)

    def forward(self, batch: Batch, first: int, size: int) -> Job:
        return _nothing


def rows_needs(grid: BlockGrid, rows: int, count: int, storage: torch.dtype) -> DeviceNeeds:
    """What a RowsOnDevice takes of the GPU's memory: `rows` of a matrix in `storage`, `count` of them a gradient."""
    pixels = grid.block_shape[0] * grid.block_shape[1]
    return DeviceNeeds(
        tables=len(grid) * rows * (pixels * storage.itemsize + 4),
        floats=count * (LANES + 1) + _parts(count, pixels) * pixels,
    )


def normal_needs(grid: BlockGrid) -> DeviceNeeds:
    """What a NormalOnDevice takes of the GPU's memory."""
    blocks, pixels = len(grid), grid.block_shape[0] * grid.block_shape[1]
    return DeviceNeeds(tables=4 * blocks * pixels * (pixels + 1), floats=_parts(pixels, pixels) * pixels)


def _parts(rows: int, pixels: int) -> int:
    """In how many parts the sum of `rows` rows comes."""
    return max(1, min(-(-SUMS // pixels), rows // ROWS))


def _pieces(gradient: Tensor) -> int:
    """How many work items a gradient has: pieces of WIDE pixels, or pixels if a row doesn't hold a multiple of them."""
    pixels = gradient[0, 0].numel()
    return gradient.numel() // (WIDE if pixels % WIDE == 0 else 1)


def _check(matrices: Tensor, vectors: Tensor, scene: Scene) -> None:
    """The kernels take their shapes for granted. Precision, place and contiguity are checked at a launch."""
    pixels = np.unique(scene.block_table["rows"] * scene.block_table["cols"]).tolist()
    blocks = len(scene.block_table)
    if len(pixels) != 1 or matrices.ndim != 3 or (len(matrices), matrices.shape[2]) != (blocks, pixels[0]):
        raise ValueError(
            f"Matrices of shape {tuple(matrices.shape)} aren't one for each of {blocks} blocks of {pixels} pixels. "
            "Pass (blocks, m, pixels), and blocks of one size."
        )
    if vectors.shape != matrices.shape[:2]:
        raise ValueError(
            f"Vectors of shape {tuple(vectors.shape)} don't fit matrices of shape {tuple(matrices.shape)}: "
            f"one of {matrices.shape[1]} values for each. Pass {tuple(matrices.shape[:2])}."
        )
    if matrices.data_ptr() % ALIGNMENT:
        raise ValueError(
            f"The matrices begin at address {matrices.data_ptr()}, and the kernels read {ALIGNMENT} bytes at once. "
            "Pass a tensor of their own: matrices.clone()."
        )
