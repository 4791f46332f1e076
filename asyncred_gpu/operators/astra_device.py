"""RadonCT's part of an update on a GPU with ASTRA's projectors: a reference for the forward projection, and a fallback.

Slow: every projection waits for the device, before and after. The residual is our own kernel's, as in radon_device.py.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import ClassVar

import torch
from torch import Tensor

from ..blocks import BlockGrid, IndexArray
from ..task import Task
from .astra_projectors import ERRORS, AstraCalls, CudaCalls, HostCalls, create, delete
from .astra_rays import astra_rays
from .device import Batch, Job, Scene
from .footprint import Footprint
from .geometry import Geometry
from .radon_device import JosephOnDevice


class AstraOnDevice:
    """The DeviceOperator of RadonCT with ASTRA's projectors. Owns them; its jobs have run when they are enqueued.

    Several threads may use several of these at once: one projection runs at a time in the whole process.
    """

    capturable = False
    parts = 1
    # The angles of a projection lie in memory of the GPU that all of ASTRA's projections there share.
    _one_at_a_time: ClassVar[Lock] = Lock()

    def __init__(
        self,
        joseph: JosephOnDevice,
        geometry: Geometry,
        grid: BlockGrid,
        footprints: Sequence[Footprint],
        scene: Scene,
        calls: AstraCalls | None = None,
    ) -> None:
        """`joseph`: the same scan with our own kernels, for all but the projections."""
        device = scene.memory.device
        self._joseph = joseph
        self._geometry = geometry
        self._grid = grid
        self._footprints = footprints
        self._scene = scene
        self._calls = calls or (CudaCalls(device) if device.type == "cuda" else HostCalls())
        self._projectors: dict[int, int] = {}  # of all angles, by block
        weakref.finalize(self, lambda projectors: delete(projectors.values()), self._projectors)

    @property
    def notes(self) -> tuple[str, ...]:
        return self._calls.notes

    def residual_shape(self, count: int) -> tuple[int, int]:
        return self._joseph.residual_shape(count)

    def gradient_scale(self, count: int) -> float:
        return self._joseph.gradient_scale(count)

    def residual(self, batch: Batch) -> Job:
        return self._joseph.residual(batch)

    def gradient(self, batch: Batch) -> Job:
        def run() -> None:
            for place, task in enumerate(batch.host_tasks()):
                rows, cols = self._grid.window(task.block).shape
                residual = batch.residual[place, :, : self._footprints[task.block].width].contiguous()
                pixels = residual.new_empty(rows, cols)
                self._project("back projection", self._calls.backward, task.block, task.subset, residual, pixels)
                batch.gradient[place].zero_()
                batch.gradient[place, 0, :rows, :cols] = pixels

        return run

    def forward(self, batch: Batch, first: int, size: int) -> Job:
        def run() -> None:
            for place, task in enumerate(batch.host_tasks()[first : first + size], first):
                rows, cols = self._grid.window(task.block).shape
                pixels = batch.pixels[place, :rows, :cols].contiguous()
                share = self._back_share(task)
                self._project("forward projection", self._calls.forward, task.block, None, pixels, share)

        return run

    def _back_share(self, task: Task) -> Tensor:
        """(angles, footprint) of the slot that the task writes, where it lies."""
        layout = self._scene.block_table[task.block]
        begin = int(layout["slots"][1 - int(task.slots[task.block])] + layout["share"])
        angles, width = len(self._geometry.angles), self._footprints[task.block].width
        return self._scene.memory[begin : begin + angles * width].view(angles, width)

    def _project(
        self,
        name: str,
        call: Callable[[int, Tensor, Tensor], None],
        block: int,
        subset: IndexArray | None,
        source: Tensor,
        target: Tensor,
    ) -> None:
        """Run one of ASTRA's calls, alone and in the order of the caller's stream.

        Raises:
            RuntimeError: it failed.
        """
        target.fill_(torch.nan)  # after an error of CUDA, ASTRA returns as if all were well and leaves this untouched
        try:
            with self._one_at_a_time, self._projector(block, subset) as projector:
                self._calls.settle()
                call(projector, source, target)
                self._calls.settle()
        except ERRORS as error:
            raise RuntimeError(f"ASTRA's {name} of block {block} failed: {error}. Pass projector='joseph'.") from error
        unset = int(target.isnan().sum())
        if unset and bool(source.isfinite().all()):  # what diverges isn't ASTRA's fault, and the run sees it
            raise RuntimeError(
                f"ASTRA's {name} of block {block} left {unset} of {target.numel()} values unset: it failed, and wrote "
                "why to stderr. If the GPU's memory is full, use smaller blocks; else pass projector='joseph'."
            )

    @contextmanager
    def _projector(self, block: int, subset: IndexArray | None) -> Iterator[int]:
        """ASTRA's projector of a block; that of a subset of the angles lives for one projection."""
        if subset is None:
            if block not in self._projectors:
                self._projectors[block] = self._create(block, slice(None))
            yield self._projectors[block]
            return
        projector = self._create(block, subset)
        try:
            yield projector
        finally:
            delete([projector])

    def _create(self, block: int, angles: IndexArray | slice) -> int:
        window = self._grid.window(block)
        rays = astra_rays(self._geometry, window, self._footprints[block], self._calls.gpu)
        return create(self._calls.kind, window, rays.of_angles(angles), self._calls.options)
