"""One block update: read → gradient → step → publish. The same code in a process, on a stream, in a simulation.

Consistency (who may read and write which slot, and when) is the engine's business; a worker reads the slots its task
names, and writes the back slot once it is granted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum, auto

import numpy as np

from .blocks import FloatArray, HaloCrop, halo_crop, whole_crop
from .denoiser import BlockDenoiser
from .operators.base import BlockOperator
from .red import Moved, Precondition, follow, move
from .slots import Slot
from .task import Task
from .workspace import Workspace, Workspaces


class Stage(Enum):
    """Where an update has got to. READ ends its lease; COMPUTED waits for the back slot; the rest are pauses."""

    READING = auto()
    READ = auto()
    COMPUTED = auto()
    WRITING = auto()
    PUBLISHED = auto()


class BlockUpdate:
    """What one update has read and computed: owned by the worker that runs it, valid until it is published."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.workspace = Workspace()
        self.crop = np.empty((0, 0), np.float32)
        self.residual = np.empty(0, np.float32)
        self.pixels = np.empty((0, 0), np.float32)
        self.momentum = np.empty((0, 0), np.float32)
        self.center = np.empty((0, 0), np.float32)
        self.moved: Moved | None = None


class BlockWorker:
    """Runs updates on a view of the slots. One update's stages come in order; several updates may be open at once."""

    def __init__(
        self,
        operator: BlockOperator,
        denoiser: BlockDenoiser,
        tau: float,
        mask: FloatArray | None,
        slots: Sequence[tuple[Slot, Slot]],
        precondition: Precondition | None = None,
    ) -> None:
        self._operator = operator
        self._denoiser = denoiser
        self._tau = tau
        self._mask = mask
        self._slots = slots
        self._precondition = precondition
        self._workspaces = Workspaces()
        grid, halo = operator.grid, denoiser.settings.halo
        self._whole = denoiser.settings.whole
        self._crops: list[HaloCrop] = (
            [whole_crop(grid)] * len(grid) if self._whole else [halo_crop(grid, i, halo) for i in range(len(grid))]
        )

    def prime(self, block: int) -> None:
        """Fill the share of a start image whose pixels lie in slot 0, which is also its first center."""
        slot = self._slots[block][0]
        np.copyto(slot.center, slot.pixels)
        self._operator.forward_block(block, slot.pixels, out=slot.share)

    def read(self, update: BlockUpdate) -> Iterator[Stage]:
        """Gather the crop and the residual of exactly the image the task's slots hold."""
        task = update.task
        front = [pair[slot] for pair, slot in zip(self._slots, task.slots, strict=True)]
        space = update.workspace = self._workspaces.take()
        if not task.step.keeps:
            crop = self._crops[task.block]
            inside = space.take("inside", crop.inside_shape)
            for piece in crop.pieces:
                slot, there = front[piece.block], inside[piece.target]
                np.copyto(there, slot.pixels[piece.source])
                if task.step.dual:
                    there += slot.momentum[piece.source]
                yield Stage.READING
            update.crop = space.take("crop", crop.shape)
            crop.mirror(inside, update.crop)
        count = self._operator.measurements if task.subset is None else len(task.subset)
        update.residual = space.take("residual", self._operator.residual_shape(task.block, count))
        shares = [slot.share for slot in front]
        self._operator.residual_block(task.block, shares, out=update.residual, subset=task.subset)
        update.pixels = space.copy("pixels", front[task.block].pixels)
        update.momentum = space.copy("momentum", front[task.block].momentum)
        update.center = space.copy("center", front[task.block].center)
        yield Stage.READ

    def work(self, update: BlockUpdate) -> Iterator[Stage]:
        """From what was read to what will be published; then the back slot is needed."""
        task = update.task
        window = self._operator.grid.window(task.block)
        gradient = update.workspace.take("gradient", window.shape)
        self._operator.gradient_block(task.block, update.pixels, update.residual, out=gradient, subset=task.subset)
        mask = None if self._mask is None else self._mask[window.slices]
        noise = update.workspace.take("noise", window.shape)
        if not task.step.keeps:
            part = window.slices if self._whole else None
            self._denoiser.residual(update.crop, noise, part, task.step.strength)
        common = (gradient, noise, self._tau, task.step, mask, self._precondition)
        if task.step.centered:
            update.moved = follow(update.pixels, update.momentum, update.center, *common)
        else:
            update.moved = move(update.pixels, update.momentum, *common)
        if not task.granted:
            yield Stage.COMPUTED

    def publish(self, update: BlockUpdate) -> Iterator[Stage]:
        """Write pixels, momentum, center and share to the back slot: the one the task doesn't read."""
        task = update.task
        back = self._slots[task.block][1 - int(task.slots[task.block])]
        np.copyto(back.pixels, update.pixels)
        yield Stage.WRITING
        np.copyto(back.momentum, update.momentum)
        np.copyto(back.center, update.center)
        self._operator.forward_block(task.block, update.pixels, out=back.share)
        self._workspaces.give_back(update.workspace)
        yield Stage.PUBLISHED

    def run(self, updates: Sequence[BlockUpdate]) -> Iterator[tuple[BlockUpdate, Stage]]:
        """All stages of the updates of one launch: every read first, so that their leases end early."""
        for update in updates:
            for stage in self.read(update):
                yield update, stage
        for update in updates:
            for stage in self.work(update):
                yield update, stage
            for stage in self.publish(update):
                yield update, stage
