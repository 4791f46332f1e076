"""What the CUDA runtime asks of an operator: its part of an update, on static buffers of a device.

The same equations as operators/base.py, for `batch` blocks at a time; which blocks and slots, the descriptor says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..kernels.launch import Kernels
from ..task import Task

Job = Callable[[], None]


@dataclass(frozen=True)
class Scene:
    """What all workers on a device share.

    Args:
        device: where everything lies.
        kernels: ready to be launched there.
        image: (1,) IMAGE as bytes.
        blocks: (blocks,) BLOCK as bytes.
        memory: (floats,) float32, both slots of all blocks.
        image_table, block_table: the same on the host; an operator fills in what only it knows (its copy).
        slot_sizes: floats of one slot of every block; its pixels come first.
    """

    device: torch.device
    kernels: Kernels
    image: Tensor
    blocks: Tensor
    memory: Tensor
    image_table: npt.NDArray[np.void]
    block_table: npt.NDArray[np.void]
    slot_sizes: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """One worker's static buffers on the device, for up to `size` blocks a launch; its owner fills the descriptor.

    Args:
        size: blocks a launch.
        count: measurements a gradient uses.
        tasks: (size,) TASK as bytes.
        slots: (size, blocks) int8, the slot to read of every block; a block's own back slot is the other one.
        subset: (size, count) int32, the minibatch's measurements, or None for all.
        residual: (size, …) as `DeviceOperator.residual_shape` says; the worker's own.
        gradient: (size, parts, block_rows, block_cols) float32: their sum over parts is A_iᵀ W (A x − y), unscaled.
        pixels: (size, block_rows, block_cols) float32: what will be published.
        turned: (size, block_cols, block_rows) float32: `pixels` with rows and columns exchanged.
        host_tasks: the launch's tasks on the host, for what can't be captured; changes with every launch.
    """

    size: int
    count: int
    tasks: Tensor
    slots: Tensor
    subset: Tensor | None
    residual: Tensor
    gradient: Tensor
    pixels: Tensor
    turned: Tensor
    host_tasks: Callable[[], Sequence[Task]]


@dataclass(frozen=True)
class DeviceNeeds:
    """Memory an operator takes on a device: bytes of its tables, and floats of a worker's buffers for every block."""

    tables: int
    floats: int


class DeviceOperator(Protocol):
    """An operator's kernels on one device, shared by its workers."""

    @property
    def capturable(self) -> bool:
        """Whether its jobs may be part of a graph."""
        ...

    @property
    def parts(self) -> int:
        """In how many parts a gradient comes; more parts fill the device better."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a run's result should say of it."""
        ...

    def residual_shape(self, count: int) -> tuple[int, ...]:
        """Of the largest block's residual, for `count` measurements."""
        ...

    def gradient_scale(self, count: int) -> float:
        """What the sum of a gradient's parts is multiplied with: the data term's scale, times all / count."""
        ...

    def residual(self, batch: Batch) -> Job:
        """Gather W (Σ_j s_j − y) of the slots read into batch.residual."""
        ...

    def gradient(self, batch: Batch) -> Job:
        """batch.residual → batch.gradient; may also read each task's own front slot, and write batch.residual."""
        ...

    def forward(self, batch: Batch, first: int, size: int) -> Job:
        """s_i = A_i x_i of batch.pixels into the back slots, for tasks first … first + size − 1."""
        ...
