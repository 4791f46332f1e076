"""What a launch tells the device: its tasks, the slots each of them reads, and its minibatches, in one piece of memory.

A worker has a ring of such pieces in pinned host memory; one is filled anew only after its copy to the device is done.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..kernels.launch import TASK
from ..task import Task
from .device import Access, Device, Event, Region, access

# Every part of a descriptor begins at a multiple of this: vector loads.
ALIGNMENT = 16


@dataclass(frozen=True)
class DescriptorLayout:
    """A descriptor of `size` tasks over `blocks` blocks, with `subset` measurements each (0: all of them)."""

    size: int
    blocks: int
    subset: int

    @property
    def slots_at(self) -> int:
        return _aligned(self.size * TASK.itemsize)

    @property
    def subset_at(self) -> int:
        return self.slots_at + _aligned(self.size * self.blocks)

    @property
    def nbytes(self) -> int:
        return self.subset_at + _aligned(4 * self.size * self.subset)

    def tasks(self, memory: Tensor) -> Tensor:
        """(size · TASK) bytes of TASK."""
        return memory[: self.size * TASK.itemsize]

    def slots(self, memory: Tensor) -> Tensor:
        """(size, blocks) int8."""
        part = memory[self.slots_at : self.slots_at + self.size * self.blocks]
        return part.view(torch.int8).reshape(self.size, self.blocks)

    def subsets(self, memory: Tensor) -> Tensor | None:
        """(size, subset) int32, or None."""
        if not self.subset:
            return None
        part = memory[self.subset_at : self.subset_at + 4 * self.size * self.subset]
        return part.view(torch.int32).reshape(self.size, self.subset)

    def empty(self, device: torch.device) -> Tensor:
        """A descriptor that gives nothing to do, on a device."""
        memory = torch.zeros(self.nbytes, dtype=torch.uint8)
        self.tasks(memory).numpy().view(TASK)["block"] = -1
        return memory.to(device)


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class RingEntry:
    """One descriptor in host memory; `event` is done once its copy to the device is."""

    layout: DescriptorLayout
    memory: Tensor
    event: Event
    region: Region

    @cached_property
    def filled(self) -> Access:
        """What the host touches by filling it."""
        return access(writes=[self.region])

    @cached_property
    def _views(self) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int8], npt.NDArray[np.int32] | None]:
        subsets = self.layout.subsets(self.memory)
        return (
            self.layout.tasks(self.memory).numpy().view(TASK),
            self.layout.slots(self.memory).numpy(),
            None if subsets is None else subsets.numpy(),
        )

    def fill(self, tasks: Sequence[Task], gradient_scale: float) -> None:
        """Describe these tasks; `gradient_scale`: what a gradient is multiplied with."""
        rows, slots, subsets = self._views
        for place, task in enumerate(tasks):
            step = task.step
            rows[place] = (task.block, step.length, step.momentum, gradient_scale, step.strength, step.nonnegative)
            slots[place] = task.slots
            if subsets is not None and task.subset is not None:
                subsets[place] = task.subset
        for place in range(len(tasks), self.layout.size):
            rows[place]["block"] = -1


class DescriptorRing:
    """A worker's descriptors in host memory, used in turn. Owned by the worker's host side."""

    def __init__(self, device: Device, layout: DescriptorLayout, worker: int, entries: int) -> None:
        self._device = device
        self._entries = [
            RingEntry(layout, device.pinned(layout.nbytes), device.event(), ("ring", worker, entry))
            for entry in range(entries)
        ]
        self._next = 0

    def take(self) -> RingEntry:
        """The next entry, once the device has its last content."""
        entry = self._entries[self._next]
        self._next = (self._next + 1) % len(self._entries)
        self._wait(entry.event)
        self._device.host(entry.filled)
        return entry

    def _wait(self, event: Event) -> None:
        begun = time.perf_counter()
        while not event.done():
            self._device.pause(time.perf_counter() - begun)
