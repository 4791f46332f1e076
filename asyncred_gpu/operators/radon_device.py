"""RadonCT's part of an update on a GPU: kernels/residual.cu, adjoint.cu and forward.cu with their tables.

The same footprints, ray positions and weights as on the CPU (footprint.py, joseph.py), so both compute one operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..blocks import BlockGrid, FloatArray
from ..kernels.launch import TASK, as_bytes
from .device import Batch, DeviceNeeds, Job, Scene
from .footprint import Footprint
from .geometry import Geometry
from .ray_tables import bytes_an_angle, kernel_ending, ray_table

# A gradient in this many parts: one thread a pixel alone would leave most of a large GPU idle.
PARTS = 8


class JosephOnDevice:
    """The DeviceOperator of RadonCT with our own kernels. Owns its tables."""

    capturable = True
    notes: tuple[str, ...] = ()

    def __init__(
        self,
        geometry: Geometry,
        grid: BlockGrid,
        footprints: Sequence[Footprint],
        sinogram: FloatArray,
        weights: FloatArray | None,
        scale: float,
        scene: Scene,
    ) -> None:
        angles = len(geometry.angles)
        self._scale = scale
        self._scene = scene
        self._angles = angles
        self.parts = min(PARTS, angles)
        self._width = max(footprint.width for footprint in footprints)
        image, blocks = scene.image_table.copy(), scene.block_table.copy()
        image["angles"], image["detectors"] = angles, geometry.detectors
        blocks["width"] = [footprint.width for footprint in footprints]
        rays = [ray_table(geometry, grid.window(index), footprint) for index, footprint in enumerate(footprints)]
        self._image, self._blocks = as_bytes(image, scene.device), as_bytes(blocks, scene.device)
        self._rays = as_bytes(np.stack(rays), scene.device)
        self._beam = kernel_ending(geometry)
        self._starts = self._moved(np.stack([footprint.start for footprint in footprints]).astype(np.int32))
        self._sinogram = self._moved(sinogram)
        self._weights = None if weights is None else self._moved(weights)

    def _moved(self, array: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._scene.device)

    def residual_shape(self, count: int) -> tuple[int, int]:
        return count, self._width

    def gradient_scale(self, count: int) -> float:
        return self._scale * self._angles / count

    def residual(self, batch: Batch) -> Job:
        scene = self._scene
        return self._job(
            *("residual", batch.residual.numel(), self._image, self._blocks, scene.memory, self._starts),
            *(self._sinogram, self._weights, batch.tasks, batch.slots, batch.subset, batch.size, batch.count),
            *(self._width, batch.residual),
        )

    def gradient(self, batch: Batch) -> Job:
        return self._job(
            *(
                f"adjoint{self._beam}",
                batch.gradient.numel(),
                self._image,
                self._blocks,
                self._rays,
                batch.tasks,
                batch.subset,
            ),
            *(batch.size, batch.count, self._width, self.parts, batch.residual, batch.gradient),
        )

    def forward(self, batch: Batch, first: int, size: int) -> Job:
        part = slice(first, first + size)
        return self._job(
            *(f"forward{self._beam}", size * self._angles * self._width, self._image, self._blocks, self._rays),
            *(self._scene.memory, batch.tasks[first * TASK.itemsize :], batch.slots[part], size, self._width),
            *(batch.pixels[part], batch.turned[part]),
        )

    def _job(self, name: str, items: int, *arguments: Tensor | int | float | None) -> Job:
        kernels = self._scene.kernels
        return lambda: kernels.launch(name, items, *arguments)


def joseph_needs(
    geometry: Geometry, grid: BlockGrid, footprints: Sequence[Footprint], weighted: bool, count: int
) -> DeviceNeeds:
    """What a JosephOnDevice takes of the GPU's memory."""
    angles = len(geometry.angles)
    rays = len(grid) * angles * (bytes_an_angle(geometry) + np.dtype(np.int32).itemsize)
    measured = (2 if weighted else 1) * 4 * angles * geometry.detectors
    width = max(footprint.width for footprint in footprints)
    height, cols = grid.block_shape
    return DeviceNeeds(tables=rays + measured, floats=count * width + min(PARTS, angles) * height * cols)
