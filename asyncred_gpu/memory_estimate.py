"""What a run on the CPU will take of the machine's memory at its peak, in bytes: from shapes alone, before it is begun.

The run proper, with its workers, or the parent's setup before them, whichever is more. Only an interpreter's own size
is measured, once (empty_worker.py). What the caller holds besides the solver's operator isn't counted.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cloudpickle

from .denoiser import activation_bytes
from .empty_worker import Interpreter, empty_worker
from .operators.base import BlockOperator
from .operators.point_spread import padded_shape
from .operators.radon import RadonCT
from .operators.ray_tables import bytes_an_angle
from .slots import slot_layout

if TYPE_CHECKING:
    from .solver import GpuAsyncRED

MIB = 2**20
FLOAT = 4
# Images in the parent during a run: the start, what it was made of, and in the end the blocks joined and the result.
RUN_IMAGES = 3
# In its setup besides: power iteration's start, vector, product and sum (operators/power.py).
POWER_IMAGES, POWER_SINOGRAMS = 4, 3
# In bringing the start to the data: what data_start.py holds, the sum it projects, and the gradient on its way.
FIT_IMAGES, FIT_SINOGRAMS = 8, 2
# A worker's copies of a block: pixels, momentum, gradient, residual, direction and what numpy makes on the way.
BLOCK_COPIES = 8
# And of its crop: gathered, mirrored, divided by the scale.
CROP_COPIES = 3
# What torch and oneDNN allocate in a worker's heap, which gives nothing back (runtime/cpu.py), over what is alive at
# once, if blocks of several shapes come one after the other: freed pieces don't fit. Measured with torch 2.13 and crops
# of 184 and 185 pixels: 64 MiB where crops of one shape took 25.
FRAGMENTED = 2
# Vectors and margins around a block in Joseph's scratch, in floats a line (kernels/host.cpp).
MARGIN = 48


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes, of all processes together; what they share counts once.

    Args:
        interpreters: Python, torch and this package: the libraries once, the rest for each process.
        slots: pixels, momentum and share of every block, twice, in shared memory.
        shared: what the workers are made of, once for all of them: measurements, weights, network, filter.
        parent: the solver's own: measurements, images, tables.
        workers: of all workers: tables, buffers and the network's features.
        setup: all of the parent's, its interpreter included, before there are workers.
    """

    interpreters: int
    slots: int
    shared: int
    parent: int
    workers: int
    setup: int

    @property
    def run(self) -> int:
        """While the workers are at work."""
        return self.interpreters + self.slots + self.shared + self.parent + self.workers

    @property
    def total(self) -> int:
        """The peak: of the run, or of the setup before it."""
        return max(self.run, self.setup)

    @property
    def parts(self) -> Mapping[str, int]:
        """Those of the run, by name."""
        return {
            "interpreters": self.interpreters,
            "slots": self.slots,
            "shared": self.shared,
            "parent": self.parent,
            "workers": self.workers,
        }


def estimate_memory(solver: GpuAsyncRED, interpreter: Interpreter | None = None) -> MemoryEstimate:
    """Of `solver.run()` on the CPU, from an x0 that the operator makes.

    Args:
        interpreter: what a process takes that has nothing to do; None: measured, a few seconds the first time.
    Raises:
        ValueError: a solver on a GPU, whose memory runtime/cuda_setup.py estimates.
    """
    if solver.devices[0] != "cpu":
        raise ValueError(
            f"The solver runs on {', '.join(solver.devices)}, and this estimate is for the CPU. Its own is made, and "
            "checked, when a run begins there; or pass device='cpu'."
        )
    empty = empty_worker() if interpreter is None else interpreter
    operator, workers = solver.operator, solver.parallelism.workers
    image = FLOAT * math.prod(operator.image_shape)
    mine = array_bytes(operator) + array_bytes(solver.network) + (0 if solver.mask is None else solver.mask.nbytes)
    padded = _padded(solver)
    spectrum = _half(padded) * FLOAT
    tables = projector_bytes(operator)
    setup = mine + tables + RUN_IMAGES * image + setup_bytes(operator)
    return MemoryEstimate(
        interpreters=(1 + workers) * empty.own + empty.files,
        slots=slot_layout(operator).nbytes,
        shared=mine + spectrum,
        parent=mine + spectrum + tables + RUN_IMAGES * image,
        workers=workers * (tables + worker_bytes(solver)),
        setup=empty.own + empty.files + setup,
    )


def array_bytes(thing: Any) -> int:
    """Of what is in it: its pickle, and the arrays beside that (runtime/shared.py), which aren't copied for it."""
    buffers: list[pickle.PickleBuffer] = []
    content = cloudpickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    return len(content) + sum(len(buffer.raw()) for buffer in buffers)


def projector_bytes(operator: BlockOperator) -> int:
    """What one process keeps of every block besides, once it has projected it: it grows with blocks times angles."""
    if not isinstance(operator, RadonCT):
        return 0
    blocks, angles = len(operator.grid), operator.measurements
    if operator.projector == "joseph":
        return blocks * angles * bytes_an_angle(operator.geometry)
    # ASTRA's objects hold a block's pixels and its share.
    held = (math.prod(operator.grid.window(i).shape) + math.prod(operator.share_shape(i)) for i in range(blocks))
    return FLOAT * sum(held)


def setup_bytes(operator: BlockOperator) -> int:
    """Of the start image, the Lipschitz constants and the fit, whichever takes most; freed before the workers start.

    Of an operator that isn't `RadonCT` only the images are counted.
    """
    image = FLOAT * math.prod(operator.image_shape)
    if not isinstance(operator, RadonCT):
        return POWER_IMAGES * image
    angles, detectors = operator.measurements, operator.geometry.detectors
    sinogram = angles * detectors
    padded = 1 << (2 * detectors - 1).bit_length()
    # ramp.py: a complex spectrum and what it is turned back into, in float64, and the sinogram cut out of that.
    filtering = angles * padded * (8 + 8) + 8 * sinogram
    power = POWER_IMAGES * image + POWER_SINOGRAMS * FLOAT * sinogram
    fit = FIT_IMAGES * image + FIT_SINOGRAMS * FLOAT * sinogram
    return max(image + filtering, power, fit)


def worker_bytes(solver: GpuAsyncRED) -> int:
    """Of one worker's buffers: for an update of the largest block, and the network's features."""
    grid, operator = solver.operator.grid, solver.operator
    rows, cols = grid.block_shape
    crop = operator.image_shape if solver.whole else (rows + 2 * solver.halo, cols + 2 * solver.halo)
    residual = max(math.prod(operator.share_shape(index)) for index in range(len(grid)))
    padded = _padded(solver)
    # Its spectrum is complex, once in the buffer and once on its way there.
    filtering = 2 * 2 * _half(padded) + padded[0] * padded[1]
    scratch = rows * (cols + MARGIN) + cols * (rows + MARGIN) if isinstance(operator, RadonCT) else 0
    floats = BLOCK_COPIES * rows * cols + CROP_COPIES * crop[0] * crop[1] + residual + filtering + scratch
    shapes = {grid.window(index).shape for index in range(len(grid))}
    pieces = FRAGMENTED if len(shapes) > 1 and not solver.whole else 1
    return FLOAT * floats + pieces * activation_bytes(solver.network, 1, *crop, solver.precision or "float32")


def _padded(solver: GpuAsyncRED) -> tuple[int, int]:
    """The preconditioner's grid, or nothing."""
    return padded_shape(solver.operator.grid.block_shape) if solver.method.step == "preconditioned" else (0, 0)


def _half(padded: tuple[int, int]) -> int:
    """Numbers in the half spectrum of a real array."""
    return padded[0] * (padded[1] // 2 + 1) if padded[0] else 0
