"""One worker's operations on a device: the update of worker.py as kernels over static buffers, several blocks at once.

    read: crop (or whole image), residual      work: network, gradient, combine, [follow, precondition,] step, download
    publish: copy x, m and z, project x

Launches that ask the denoiser for nothing leave out crop and network.

The own front slot stays in front until this very update commits, so the step may read it after the lease has ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..kernels.launch import TASK
from ..operators.device import Batch
from ..preconditioner import BlockPreconditioner
from ..red import Moved
from ..task import Task
from .base import WorkerSetup
from .descriptor import DescriptorLayout, RingEntry
from .device import Access, Device, Operation, Region, access
from .stage import Stage

# A block's pixels are dealt out to this many threads, each of which sums its own part of ‖G‖².
LANES = 16384


class _HostTasks:
    """The launch's tasks on the host. An object of its own: a program that referred to itself would outlive its run."""

    def __init__(self) -> None:
        self.tasks: Sequence[Task] = ()

    def get(self) -> Sequence[Task]:
        return self.tasks


class BlockProgram:
    """The Program of runtime/cuda.py with real kernels. Owns the worker's static buffers."""

    def __init__(self, worker: int, stage: Stage, others: Sequence[Stage], setup: WorkerSetup) -> None:
        self._worker = worker
        self._stage = stage
        self._others = others
        self._tau = setup.tau
        self._scale = setup.denoiser.intensity_scale
        size, grid = setup.per_launch, setup.operator.grid
        self._grid, self._whole = grid, setup.denoiser.whole
        height, width = grid.block_shape
        self.layout = DescriptorLayout(size, len(grid), setup.minibatch or 0)
        self.gradient_scale = stage.operator.gradient_scale(setup.count)
        self._descriptor = self.layout.empty(stage.scene.device)
        self._host = _HostTasks()
        self._crops = self._buffer(size, 1, *setup.crop_shape)
        self._noise = self._buffer(size, height, width)
        self._momentum = self._buffer(size, height, width)
        self.centered, self._dual = setup.centered, int(setup.dual)
        self._centers = self._buffer(size, height, width) if self.centered else None
        self._lanes = min(LANES, height * width)
        self._precondition, self._least = None, 0.0
        if setup.filter is not None:
            self._precondition = BlockPreconditioner(setup.filter, stage.scene.device, size)
            self._least = setup.filter.least
            self._free = self._buffer(size, height, width)
        self._sums = self._buffer(2, size, 2, self._lanes)
        self._totals = self._buffer(2, size, 2)
        self._results = stage.device.pinned(4 * self._totals.numel()).view(torch.float32).reshape(2, size, 2)
        self._results_view = self._results.numpy()
        self._results_read = access(reads=[self._own("results")])
        self._batch = Batch(
            size=size,
            count=setup.count,
            tasks=self.layout.tasks(self._descriptor),
            slots=self.layout.slots(self._descriptor),
            subset=self.layout.subsets(self._descriptor),
            residual=self._buffer(size, *stage.operator.residual_shape(setup.count)),
            gradient=self._buffer(size, stage.operator.parts, height, width),
            pixels=self._buffer(size, height, width),
            host_tasks=self._host.get,
            turned=self._buffer(size, width, height),
        )

    def _buffer(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float32, device=self._stage.scene.device)

    @property
    def device(self) -> Device:
        return self._stage.device

    # --- what a launch is made of ----------------------------------------------------------------------------------

    def upload(self, entry: RingEntry, tasks: Sequence[Task]) -> Operation:
        """Copy the descriptor to the device."""

        def run() -> None:  # the host's tasks change when the device's do, also where streams run late
            _copy(self._descriptor, entry.memory)
            self._host.tasks = tasks

        return Operation("upload", run, lambda: access([entry.region], [self._own("descriptor")]), capturable=False)

    def read(self, asks: bool = True) -> Sequence[Operation]:
        """Gather the crops and the residuals of the slots the descriptor names."""
        return [*([self._crop()] if asks else []), self._residual()]

    def work(self, asks: bool = True) -> Sequence[Operation]:
        """From what was read to what will be published, and what the step says of itself."""
        network = [self._network()] if asks else []
        filtered = [] if self._precondition is None else [self._filter(self._precondition)]
        step = [*self._following(), *filtered, self._step(), self._download()]
        return [*network, self._gradient(), self._combine(), *step]

    def prime(self) -> Sequence[Operation]:
        """The step alone, which moves nothing with a step of 0; then publish."""
        return [*self._following(), self._step(), *self.publish(0, self._batch.size)]

    def publish(self, first: int, size: int) -> Sequence[Operation]:
        """Write the back slots of tasks first … first + size − 1."""
        return [self._copy_out(first, size), self._project(first, size)]

    def exchange(self, tasks: Sequence[Task]) -> Sequence[Operation]:
        """Copy the published slots to the other devices: one copy each, since a slot is one piece of memory."""
        return [
            self._peer_copy(task.block, 1 - int(task.slots[task.block]), other)
            for task in tasks
            for other in self._others
        ]

    def result(self, place: int, task: Task) -> Moved:
        """‖G_i‖², whether the momentum was dropped, whether all is finite, ‖x_i − reference‖²."""
        self.device.host(self._results_read)
        squared, uphill, error, infinite = self._results_view[:, place].ravel().tolist()
        return Moved(
            gradient_squared=squared,
            restarted=task.step.momentum > 0 and uphill > 0 and not task.step.keeps,
            finite=math.isfinite(squared) and infinite == 0,
            error_squared=None if self._stage.reference is None else error,
        )

    # --- the operations --------------------------------------------------------------------------------------------

    def _crop(self) -> Operation:
        scene, batch = self._stage.scene, self._batch
        name = "whole" if self._whole else "crop"
        return self._kernel(
            *(name, self._crops.numel(), scene.image, scene.blocks, scene.memory, batch.tasks, batch.slots),
            *(batch.size, self._dual, self._scale, self._crops),
            touched=lambda: access([self._own("descriptor"), *self._slots_read()], [self._own("crops")]),
        )

    def _residual(self) -> Operation:
        return self._of_operator(
            "residual",
            self._stage.operator.residual(self._batch),
            lambda: access([self._own("descriptor"), *self._slots_read()], [self._own("residual")]),
        )

    def _network(self) -> Operation:
        touched = access([self._own("crops")], [self._own("noise")])
        denoiser = self._stage.denoiser
        if self._whole:  # which part of it is a block's, the host says
            return Operation("network", self._denoise_whole, lambda: touched, capturable=False)
        return Operation(
            "network",
            lambda: denoiser.residual_into(self._crops, self._noise),
            lambda: touched,
            denoiser.capturable,
        )

    def _denoise_whole(self) -> None:
        """The blocks' parts of their whole images' residuals; one image at a time, which takes the least memory."""
        for place, task in enumerate(self._host.get()):
            if task.step.keeps:
                continue
            window = self._grid.window(task.block)
            residual = self._stage.denoiser.residual(self._crops[place : place + 1])[0]
            rows, cols = window.shape
            self._noise[place, :rows, :cols].copy_(residual[window.slices])

    def _gradient(self) -> Operation:
        own = [self._own("descriptor"), self._own("residual")]
        return self._of_operator(
            "gradient",
            self._stage.operator.gradient(self._batch),
            lambda: access([*own, *self._own_front_slots()], [self._own("residual"), self._own("gradient")]),
        )

    def _combine(self) -> Operation:
        stage, scene, batch = self._stage, self._stage.scene, self._batch
        return self._kernel(
            *("combine", batch.size * self._lanes, scene.image, scene.blocks, scene.memory, batch.tasks, batch.slots),
            *(batch.size, stage.operator.parts, int(self.centered), self._tau, self._scale, stage.mask, self._noise),
            *(batch.gradient, self._lanes, self._sums[0]),
            touched=lambda: access(
                [self._own("descriptor"), self._own("noise"), *self._own_front_slots()],
                [self._own("gradient"), self._own("sums")],
            ),
            then=lambda: self._add_up(0),
        )

    def _following(self) -> Sequence[Operation]:
        """The block goes along with its center; nothing, where blocks don't."""
        if self._centers is None:
            return []
        stage, scene, batch = self._stage, self._stage.scene, self._batch
        follow = self._kernel(
            *("follow", self._noise.numel(), scene.image, scene.blocks, scene.memory, batch.tasks, batch.slots),
            *(batch.size, stage.operator.parts, self._dual, self._tau, self._scale, stage.mask, self._noise),
            *(self._totals[0], batch.gradient, batch.pixels, self._momentum, self._centers),
            touched=lambda: access(
                [*map(self._own, ("descriptor", "noise", "sums", "gradient")), *self._own_front_slots()],
                [self._own("gradient"), self._own("pixels")],
            ),
        )
        return [follow]

    def _filter(self, precondition: BlockPreconditioner) -> Operation:
        stage, scene, batch = self._stage, self._stage.scene, self._batch
        common = (scene.image, scene.blocks, scene.memory, batch.tasks, batch.slots, batch.size, stage.operator.parts)
        kernels, items = scene.kernels, self._free.numel()
        free, mask, least = self._free, stage.mask, self._least
        pixels = batch.pixels if self.centered else None

        def run() -> None:
            kernels.launch("filter_in", items, *common, batch.gradient, pixels, free)
            precondition(free)
            rows, cols = precondition.shape
            filtered = (precondition.filtered, rows, cols)
            kernels.launch("filter_out", items, *common, least, mask, *filtered, pixels, batch.gradient)

        return Operation(
            "precondition",
            run,
            lambda: access(
                [self._own("descriptor"), self._own("pixels"), *self._own_front_slots()],
                [self._own("gradient"), self._own("filtered")],
            ),
        )

    def _step(self) -> Operation:
        stage, scene, batch = self._stage, self._stage.scene, self._batch
        return self._kernel(
            *("step", batch.size * self._lanes, scene.image, scene.blocks, scene.memory, batch.tasks, batch.slots),
            *(batch.size, stage.operator.parts, int(self.centered), batch.gradient, self._totals[0], stage.reference),
            *(batch.pixels, batch.turned, self._momentum, self._lanes, self._sums[1]),
            touched=lambda: access(
                [self._own("descriptor"), self._own("gradient"), *self._own_front_slots()],
                [self._own("pixels"), self._own("sums")],
            ),
            then=lambda: self._add_up(1),
        )

    def _download(self) -> Operation:
        touched = access([self._own("sums")], [self._own("results")])
        return Operation("download", lambda: _copy(self._results, self._totals), lambda: touched)

    def _copy_out(self, first: int, size: int) -> Operation:
        scene, batch, part = self._stage.scene, self._batch, slice(first, first + size)
        return self._kernel(
            *("publish", batch.pixels[part].numel(), scene.image, scene.blocks, scene.memory, self._tasks(first)),
            *(batch.slots[part], size, batch.pixels[part], self._momentum[part]),
            None if self._centers is None else self._centers[part],
            touched=lambda: access([self._own("descriptor"), self._own("pixels")], self._back_slots(first, size)),
        )

    def _project(self, first: int, size: int) -> Operation:
        return self._of_operator(
            "project",
            self._stage.operator.forward(self._batch, first, size),
            lambda: access([self._own("descriptor"), self._own("pixels")], self._back_slots(first, size)),
        )

    def _peer_copy(self, block: int, slot: int, other: Stage) -> Operation:
        here = self._stage
        begin = int(here.scene.block_table[block]["slots"][slot])
        part = slice(begin, begin + here.scene.slot_sizes[block])
        touched = access([_slot(here, block, slot)], [_slot(other, block, slot)])
        return Operation(
            "peer copy", lambda: _copy(other.scene.memory[part], here.scene.memory[part]), lambda: touched, False
        )

    # --- helpers ---------------------------------------------------------------------------------------------------

    def _kernel(
        self,
        name: str,
        items: int,
        *arguments: Tensor | int | float | None,
        touched: Callable[[], Access],
        then: Callable[[], None] | None = None,
    ) -> Operation:
        kernels = self._stage.scene.kernels

        def run() -> None:
            kernels.launch(name, items, *arguments)
            if then is not None:
                then()

        return Operation(name, run, touched)

    def _of_operator(self, name: str, run: Callable[[], None], touched: Callable[[], Access]) -> Operation:
        return Operation(name, run, touched, self._stage.operator.capturable)

    def _add_up(self, which: int) -> None:
        torch.sum(self._sums[which], dim=-1, out=self._totals[which])

    def _tasks(self, first: int) -> Tensor:
        return self._batch.tasks[first * TASK.itemsize :]

    # --- what is touched, read from the descriptor on the device: asked by a simulation only ------------------------

    def _own(self, name: str) -> Region:
        return (name, self._worker)

    def _described(self) -> list[tuple[int, list[int]]]:
        """(block, slot to read of every block) of every task."""
        blocks = self._batch.tasks.numpy().view(TASK)["block"]
        return [(int(block), row.tolist()) for block, row in zip(blocks, self._batch.slots, strict=True) if block >= 0]

    def _slots_read(self) -> list[Region]:
        rows = np.array([slots for _, slots in self._described()])
        return [_slot(self._stage, int(block), int(slot)) for row in rows for block, slot in enumerate(row)]

    def _own_front_slots(self) -> list[Region]:
        return [_slot(self._stage, block, slots[block]) for block, slots in self._described()]

    def _back_slots(self, first: int, size: int) -> list[Region]:
        tasks = self._described()[first : first + size]
        return [_slot(self._stage, block, 1 - slots[block]) for block, slots in tasks]


def _slot(stage: Stage, block: int, slot: int) -> Region:
    return ("slot", stage.number, block, slot)


def _copy(target: Tensor, source: Tensor) -> None:
    target.copy_(source, non_blocking=True)
