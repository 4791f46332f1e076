"""A user's operator on a GPU: its own torch methods, called by the host a block at a time, on the worker's stream."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .custom import CustomOperator
from .device import Batch, Job, Scene


class CustomOnDevice:
    """The DeviceOperator of a CustomOperator. Nothing is captured: what the user's methods launch may change."""

    capturable = False
    parts = 1
    notes: tuple[str, ...] = ()

    def __init__(self, operator: CustomOperator, scene: Scene) -> None:
        self._operator = operator
        self._scene = scene
        self._measured = torch.from_numpy(operator.measured).to(scene.device)

    def residual_shape(self, count: int) -> tuple[int, ...]:
        return (max(math.prod(shape) for shape in self._operator.shapes),)

    def gradient_scale(self, count: int) -> float:
        return self._operator.scale

    def residual(self, batch: Batch) -> Job:
        """Σ_j s_j − y on each task's footprint."""
        operator = self._operator

        def run() -> None:
            for place, task in enumerate(batch.host_tasks()):
                residual = self._of(batch.residual[place], task.block)
                torch.neg(self._measured[operator.boxes[task.block]], out=residual)
                for other, here, there in operator.overlaps[task.block]:
                    residual[here] += self._share(other, int(task.slots[other]))[there]

        return run

    def gradient(self, batch: Batch) -> Job:
        def run() -> None:
            for place, task in enumerate(batch.host_tasks()):
                found = self._operator.block_adjoint(task.block, self._of(batch.residual[place], task.block))
                rows, cols = found.shape
                batch.gradient[place, 0, :rows, :cols].copy_(found)

        return run

    def forward(self, batch: Batch, first: int, size: int) -> Job:
        def run() -> None:
            for place, task in enumerate(batch.host_tasks()[: first + size]):
                if place < first:
                    continue
                rows, cols = self._operator.windows[task.block].shape
                share = self._operator.block_forward(task.block, batch.pixels[place, :rows, :cols].contiguous())
                self._share(task.block, 1 - int(task.slots[task.block])).copy_(share)

        return run

    def _of(self, buffer: Tensor, block: int) -> Tensor:
        """The part of a flat buffer that a block's footprint takes, in its shape."""
        shape = self._operator.shapes[block]
        return buffer[: math.prod(shape)].view(shape)

    def _share(self, block: int, slot: int) -> Tensor:
        """s_j of a slot."""
        entry = self._scene.block_table[block]
        begin = int(entry["slots"][slot]) + int(entry["share"])
        return self._of(self._scene.memory[begin:], block)
