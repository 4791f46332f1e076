"""Seconds of the stages of one block's update, each alone on one core.

In a run they are as long where cores and memory are its own; several workers share the memory's bandwidth.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .blocks import BlockGrid
from .denoiser import BlockDenoiser, DenoiserSettings
from .preconditioner import HostPreconditioner
from .red import Step, follow, move
from .roofline import best_of
from .runtime.base import WorkerSetup
from .slots import slot_layout
from .solver import GpuAsyncRED
from .task import Task
from .theory_problem import Average
from .throughput import BLOCK, tiny_problem
from .worker import BlockUpdate

REPETITIONS = 10
STAGES = ("gather", "back projection", "denoiser", "step", "projection")


def middle_block(grid: BlockGrid) -> int:
    """A block in the middle of the image, where most footprints overlap."""
    down, across = grid.layout
    return down // 2 * across + across // 2


def stage_seconds(solver: GpuAsyncRED, repetitions: int = REPETITIONS) -> dict[str, float]:
    """The best of `repetitions`, by the names of STAGES, of a block in the middle whose update asks the denoiser.

    torch is left with one thread.
    """
    torch.set_num_threads(1)
    random = np.random.default_rng(0)

    def noise(shape: tuple[int, ...]) -> np.ndarray:
        return random.random(shape, np.float32)

    operator, index = solver.operator, middle_block(solver.operator.grid)
    shape = operator.grid.window(index).shape
    denoiser = BlockDenoiser(solver.network, DenoiserSettings(solver.halo, solver.precision or "float32", 1.0))
    pixels, momentum, center, gradient = (noise(shape) for _ in range(4))
    out = np.empty(shape, np.float32)
    crop = noise((shape[0] + 2 * solver.halo, shape[1] + 2 * solver.halo))
    shares = [noise(operator.share_shape(j)) for j in range(len(operator.grid))]
    residual = np.empty(operator.residual_shape(index, operator.measurements), np.float32)
    precondition = None
    if solver.method.step == "preconditioned":
        precondition = HostPreconditioner(operator.preconditioning(solver.tau, 1.0).filter)
    still = Step(0.0, solver.method.momentum, False, centered=solver.method.data_updates > 0)
    common = (gradient, out, solver.tau, still, None, precondition)

    def step() -> object:
        return follow(pixels, momentum, center, *common) if still.centered else move(pixels, momentum, *common)

    work: dict[str, Callable[[], object]] = {
        "gather": lambda: operator.residual_block(index, shares, out=residual),
        "back projection": lambda: operator.gradient_block(index, pixels, residual, out=out),
        "denoiser": lambda: denoiser.residual(crop, out),
        "step": step,
        "projection": lambda: operator.forward_block(index, pixels, out=shares[index]),
    }
    return {name: best_of(repetitions, work[name]) for name in STAGES}


def overhead_seconds(blocks_a_side: int, workers: int, sweeps: int = 50) -> float:
    """Of a core, an update: what scheduler and messages take, with an SNR at every commit.

    The time of an update in a run with next to nothing to compute, as many blocks as the problem in question, each of
    4×4 pixels, less that of the workers' code alone. The first fifth of the sweeps is left out.
    """
    operator = tiny_problem(BLOCK * blocks_a_side)
    settings: dict[str, Any] = {"device": "cpu", "precision": "float32", "data_updates": 0}
    solver = GpuAsyncRED(operator, Average(), tau=0.1, num_workers=workers, **settings)
    truth = np.ones(operator.image_shape, np.float32)
    seconds = solver.run(max_sweeps=sweeps, tol=None, reference=truth).history["seconds"]
    first = len(seconds) // 5
    whole = float(seconds[-1] - seconds[first]) * workers / (len(seconds) - 1 - first)
    return whole - update_seconds(solver, len(seconds))


def update_seconds(solver: GpuAsyncRED, count: int) -> float:
    """The mean of `count` updates by the workers' code, in this process."""
    operator = solver.operator
    denoiser = DenoiserSettings(solver.halo, "float32", 1.0)
    filter_ = operator.preconditioning(solver.tau, 1.0).filter
    setup = WorkerSetup(operator, solver.network, denoiser, solver.tau, None, filter=filter_)
    layout = slot_layout(operator)
    worker = setup.make_worker(layout.views(bytearray(layout.nbytes)))
    still, slots = Step(0.0, solver.method.momentum, False), np.zeros(len(operator.grid), np.int8)
    begun = time.perf_counter()
    for number in range(count):
        task = Task(number, number % len(operator.grid), slots, still, None, granted=True)
        for _ in worker.run([BlockUpdate(task)]):
            pass
    return (time.perf_counter() - begun) / count
