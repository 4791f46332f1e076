"""Sweeps a second of the whole solver, against the block shape, the updates in flight and the blocks a launch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..result import Result, Status
from ..solver import GpuAsyncRED
from .cases import Case
from .floors import fraction, sweep_operations
from .machine import Machine, make_solver, run
from .measured import Measured, Point
from .sections import Findings

IN_FLIGHT = (8, 16, 4, 2, 1)  # the most promising first
PER_LAUNCH = (1, 2, 4, 8)
# Sweeps at the start that don't count.
WARM_SWEEPS = 4


def points(blocks: Mapping[int, int]) -> list[Point]:
    """All with a legal number of updates in flight, the most informative first; blocks: their number, by side.

    The first side comes first. A new side or number a launch costs cuDNN a search for every layer, so that what shares
    one comes together.
    """
    main, *others = blocks
    return [
        Point(side, in_flight // size, size)
        for sides in ([main], others)
        for size in PER_LAUNCH
        for side in sides
        for in_flight in IN_FLIGHT
        if in_flight <= blocks[side] and in_flight % size == 0
    ]


def sweep_seconds(result: Result, blocks: int) -> float:
    """Median seconds from the end of a sweep to the end of the next, after the first few; nan with too few of them."""
    ends = np.asarray(result.history["seconds"])[blocks - 1 :: blocks][WARM_SWEEPS - 1 :]
    return float(np.median(np.diff(ends))) if len(ends) > 1 else math.nan


def sweep_rates(
    findings: Findings,
    machine: Machine,
    measured: Measured,
    case: Case,
    sides: Sequence[int],
    precision: str = "float16",
    sweeps: int = 40,
) -> None:
    """The section: every legal point in the time there is."""
    columns = ["block", "in flight", "blocks a launch", "sweeps/s", "ms a sweep", "share of the roofline"]
    rows = findings.table(f"Sweeps of {case.name}, {precision}", columns)
    found: dict[Point, float] = {}
    grids = {side: case.on_blocks(side).grid for side in sides}
    for point in findings.in_time(points({side: len(grid) for side, grid in grids.items()})):
        seconds = math.nan
        with findings.attempt(str(point)):
            seconds = time_point(findings, machine, case, point, precision, sweeps)
        if math.isnan(seconds):
            continue
        found[point] = seconds
        halo = case.setup(point.side, precision, 1).denoiser.halo
        floor = measured.ceilings().arithmetic(sweep_operations(case.network, grids[point.side], halo), precision)
        share = fraction(floor, seconds)
        rows.append([f"{point.side}²", point.in_flight, point.per_launch, 1 / seconds, 1e3 * seconds, share])
        findings.data[str(point)] = {"seconds": seconds, "floor": floor}
        findings.measured["sweep"] = 1e3 * min(found.values())
        measured.best = best_with_momentum(case, found) or measured.best


def time_point(
    findings: Findings, machine: Machine, case: Case, point: Point, precision: str, sweeps: int, **settings: Any
) -> float:
    """Seconds of a sweep, nan if the run was too short to say."""
    solver = solver_at(machine, case, point, precision, **settings)
    result = run(machine.factory(solver), solver, sweeps, case.start)
    findings.check(result.status is Status.MAX_SWEEPS, f"{point} ended with {result.status.name}")
    return sweep_seconds(result, len(solver.operator.grid))


def solver_at(machine: Machine, case: Case, point: Point, precision: str, **settings: Any) -> GpuAsyncRED:
    """The case's solver in that configuration."""
    shape = (point.side, point.side)
    plan = {"block_shape": shape, "num_workers": point.workers, "blocks_per_launch": point.per_launch}
    return make_solver(machine.solver_device, case, **plan, precision=precision, **settings)


def best_with_momentum(case: Case, found: dict[Point, float]) -> Point | None:
    """The fastest that leaves room for momentum: no more than half of the blocks in flight."""
    allowed = [point for point in found if 2 * point.in_flight <= len(case.on_blocks(point.side).grid)]
    return min(allowed, key=found.__getitem__, default=None)
