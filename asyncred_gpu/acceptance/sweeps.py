"""Sweeps a second of the whole solver, against the block shape, the updates in flight and the blocks a launch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..result import Result, Status
from .cases import Case
from .floors import fraction, sweep_operations
from .host_cost import NullRuntime, TimedRuntime, host_costs
from .machine import Machine, make_solver, run
from .roofline import Measured
from .sections import Findings

IN_FLIGHT = (1, 2, 4, 8, 16)
PER_LAUNCH = (1, 2, 4, 8)
# Sweeps at the start that don't count.
WARM_SWEEPS = 4
# The shape whose sweep is a figure aimed at: what the solver takes by itself for 800².
TYPICAL_SIDE = 200


def points(blocks: int) -> Iterator[tuple[int, int]]:
    """(workers, blocks a launch) with a legal number of updates in flight, the most promising ones first."""
    for in_flight in sorted((count for count in IN_FLIGHT if count <= blocks), key=lambda count: abs(count - 8)):
        for per_launch in PER_LAUNCH:
            if in_flight % per_launch == 0:
                yield in_flight // per_launch, per_launch


def sweep_seconds(result: Result, blocks: int) -> float:
    """Median seconds from the end of a sweep to the end of the next, after the first few; nan with too few of them."""
    ends = np.asarray(result.history["seconds"])[blocks - 1 :: blocks][WARM_SWEEPS - 1 :]
    return float(np.median(np.diff(ends))) if len(ends) > 1 else float("nan")


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
    fastest: dict[int, float] = {}
    for side in sides:
        grid = case.on_blocks(side).grid
        floor = measured.ceilings().arithmetic(
            sweep_operations(case.network, grid, case.setup(side, precision, 1).denoiser.halo), precision
        )
        for workers, per_launch in points(len(grid)):
            point = f"{side}², {workers * per_launch} in flight, {per_launch} a launch"
            if findings.left <= 0:
                findings.leave_out(point)
                continue
            seconds = _point(findings, machine, case, side, workers, per_launch, precision, sweeps, point)
            if seconds is None:
                continue
            rows.append([f"{side}²", workers * per_launch, per_launch, 1 / seconds, 1e3 * seconds, fraction(floor, seconds)])
            findings.data[point] = {"seconds": seconds, "floor": floor}
            if not seconds >= fastest.get(side, np.inf):
                fastest[side] = seconds
                if side == TYPICAL_SIDE:
                    findings.measured["sweep"] = 1e3 * min(fastest.values())
            _keep_best(measured, findings, side, workers, per_launch, seconds, len(grid))
    if fastest:
        findings.measured["sweep"] = 1e3 * min(fastest.values())


def _point(
    findings: Findings,
    machine: Machine,
    case: Case,
    side: int,
    workers: int,
    per_launch: int,
    precision: str,
    sweeps: int,
    point: str,
) -> float | None:
    """Seconds of a sweep, None if the run failed, which doesn't stop the others."""
    try:
        solver = make_solver(
            machine.solver_device,
            case,
            block_shape=(side, side),
            num_workers=workers,
            blocks_per_launch=per_launch,
            precision=precision,
        )
        result = run(machine, solver, sweeps, case.start)
    except (RuntimeError, ValueError, MemoryError) as error:
        findings.check(False, f"{point}: {error}")
        return None
    findings.check(result.status is Status.MAX_SWEEPS, f"{point} ended with {result.status.name}")
    seconds = sweep_seconds(result, len(solver.operator.grid))
    return seconds if seconds > 0 else None


def _keep_best(
    measured: Measured, findings: Findings, side: int, workers: int, per_launch: int, seconds: float, blocks: int
) -> None:
    """The fastest point of the typical shape that leaves room for momentum is what time-to-SNR is taken with."""
    known = findings.data.get("best with momentum", {"seconds": np.inf})
    if side == TYPICAL_SIDE and 2 * workers * per_launch <= blocks and seconds < known["seconds"]:
        measured.best = workers, per_launch
        findings.data["best with momentum"] = {"seconds": seconds, "workers": workers, "per_launch": per_launch}


def host_time(
    findings: Findings,
    machine: Machine,
    case: Case,
    side: int,
    precision: str,
    plans: Sequence[tuple[int, int]] = ((4, 1), (4, 2), (2, 4), (8, 1)),
    sweeps: int = 100,
) -> None:
    """The section: host microseconds an update, without polling; and of the engine alone, on a runtime that does nothing."""
    columns = ["workers", "blocks a launch", "launch", "collect", "engine", "host in all", "engine on a null runtime"]
    rows = findings.table(f"Host time, µs an update, {side}², {precision}", columns)
    for workers, per_launch in plans:
        solver = make_solver(
            machine.solver_device,
            case,
            block_shape=(side, side),
            num_workers=workers,
            blocks_per_launch=per_launch,
            precision=precision,
        )
        wrapped: list[TimedRuntime] = []
        result = run(machine, solver, sweeps, case.start, case.truth, wrap=lambda r: _timed(r, wrapped))  # noqa: B023
        costs = host_costs(result, wrapped[0])
        blocks = solver.operator.grid.split(case.start)
        idle = run(machine, solver, sweeps, case.start, case.truth, wrap=lambda r: _nothing(r, blocks))  # noqa: B023
        null = 1e6 * float(idle.history["seconds"][-1]) / len(idle.schedule)
        rows.append([workers, per_launch, *(costs[name] for name in ("launching", "collecting", "engine", "host")), null])
        findings.data[f"{workers} workers, {per_launch} a launch"] = {**costs, "null": null}
        known = findings.measured.get("host")
        findings.measured["host"] = costs["host"] if known is None else min(known, costs["host"])
