"""From a run's settings to a CudaRuntime: what it will take of each GPU's memory, and its parts put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..blocks import FloatArray
from ..denoiser import activation_bytes
from ..slots import slot_layout
from .base import WorkerSetup
from .cuda import CudaRuntime
from .device import Device
from .program import LANES, BlockProgram
from .stage import SlotMemory, make_stages

# Beyond what is counted: the CUDA libraries' own memory, and what the allocator rounds up.
UNCOUNTED_BYTES = 256 * 2**20


@dataclass(frozen=True)
class MemoryNeeded:
    """Bytes a run takes on one device."""

    slots: int
    tables: int
    workers: int

    @property
    def total(self) -> int:
        return self.slots + self.tables + self.workers + UNCOUNTED_BYTES


def memory_needed(setup: WorkerSetup, workers: int, device: torch.device) -> MemoryNeeded:
    """An estimate for `device` with `workers` workers, from the shapes of their buffers."""
    operator, size = setup.operator, setup.per_launch
    (height, width), (rows, cols) = operator.grid.block_shape, setup.crop_shape
    needs = operator.device_needs(setup.count, device)
    floats = rows * cols + (4 + setup.centered) * height * width + 4 * LANES + needs.floats
    filter_size = 0 if setup.filter is None else setup.filter.inverse.size
    if setup.filter is not None:
        # The gradient to be filtered, its spectrum and what comes out; the FFTs take as much again of their own.
        floats += height * width + 2 * (2 * filter_size + setup.filter.shape[0] * setup.filter.shape[1])
    # Whole images go through the network one at a time, and leave their residual in a buffer of its own.
    whole, precision = setup.denoiser.whole, setup.denoiser.precision
    at_once, residual = (1, 4 * rows * cols) if whole else (size, 0)
    precision = "float32" if whole else precision
    network = residual + activation_bytes(setup.network, at_once, rows, cols, precision)  # type: ignore[arg-type]
    images = sum(array is not None for array in (setup.mask, setup.reference))
    return MemoryNeeded(
        slots=slot_layout(operator).nbytes,
        tables=needs.tables + 4 * images * operator.image_shape[0] * operator.image_shape[1],
        workers=workers * (4 * (size * floats + filter_size) + network),
    )


def check_memory(device: Device, needed: MemoryNeeded, workers: int) -> None:
    """Refuse a run that can't fit.

    Raises:
        MemoryError: with what is needed for what, what is free, and what to do.
    """
    free = device.free_bytes()
    if free is None or needed.total <= free:
        return
    raise MemoryError(
        f"The run needs about {_gib(needed.total)} on {device.name} (the blocks' slots {_gib(needed.slots)}, tables "
        f"{_gib(needed.tables)}, {workers} workers {_gib(needed.workers)}), and {_gib(free)} are free. Use fewer "
        "workers or blocks a launch, a minibatch, precision='float16', or larger blocks if the slots are the most."
    )


def _gib(nbytes: int) -> str:
    return f"{nbytes / 2**30:.2f} GiB"


def make_cuda_runtime(
    devices: Sequence[Device], setup: WorkerSetup, workers: int, image: FloatArray, deterministic: bool
) -> CudaRuntime:
    """The runtime of a run: worker w works on device w modulo their number, which all hold all slots.

    Args:
        deterministic: cuDNN's choice of algorithms is fixed, so that a run gives the same bits every time.
    Raises:
        MemoryError: it can't fit.
    """
    for number, device in enumerate(devices):
        share = len(range(number, workers, len(devices)))
        check_memory(device, memory_needed(setup, share, device.torch), share)
    stages = make_stages(devices, setup, image, deterministic)
    programs = []
    for worker in range(workers):
        stage = stages[worker % len(stages)]
        others = [other for other in stages if other is not stage]
        programs.append(BlockProgram(worker, stage, others, setup))
    memory = SlotMemory([stage.scene for stage in stages], slot_layout(setup.operator).shares)
    return CudaRuntime(programs, memory, len(setup.operator.grid), notes=stages[0].operator.notes)
