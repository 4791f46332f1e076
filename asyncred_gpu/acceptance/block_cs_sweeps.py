"""Sweeps of the whole solver in block compressed sensing, the GPU's against the CPU's. Nothing is aimed at."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from .block_cs import AUTO, FORMS, Form, Sensed
from .block_cs_gradients import floor_bytes
from .floors import sweep_operations
from .machine import Machine, make_solver, run_on_cpu
from .measured import Measured, Point
from .sections import Findings
from .sweeps import sweep_seconds, time_point

# Workers and blocks a launch, the most promising first.
PLANS = ((4, 1), (9, 1), (3, 3))


def sensed_sweeps(
    findings: Findings,
    machine: Machine,
    measured: Measured,
    sensed: Sensed,
    forms: Sequence[Form] = FORMS,
    sweeps: int = 40,
    cpu_sweeps: int = 10,
) -> None:
    """The section: every form at every plan, the denoiser in the precision that CT's sweeps are timed in."""
    precision, ceilings = machine.precisions[0], measured.ceilings()
    cpu, workers = cpu_seconds(sensed, cpu_sweeps)
    title = f"Sweeps of {sensed.name}, {precision}; on the CPU with {workers} workers {1e3 * cpu:.0f} ms"
    columns = ["", "in flight", "blocks a launch", "ms a sweep", "network's floor", "matrices' floor", "× the CPU"]
    table = findings.table(title, columns)
    findings.data["CPU"] = {"seconds": cpu, "workers": workers}
    case_of = functools.cache(sensed.case)  # its tables and checksums serve all plans
    blocks, rows, pixels = sensed.matrices.shape
    points = [(form, Point(sensed.side, *plan)) for form in forms for plan in PLANS]
    for form, point in findings.in_time(points, lambda one: f"{one[0]}, {one[1]}"):
        what, seconds = f"{form}, {point}", math.nan
        with findings.attempt(what):
            case, minibatch = case_of(form), form.minibatch(rows)
            seconds = time_point(findings, machine, case, point, precision, sweeps, minibatch=minibatch)
        if math.isnan(seconds):
            continue
        halo = case.setup(point.side, precision, 1).denoiser.halo
        network = ceilings.arithmetic(sweep_operations(case.network, case.operator.grid, halo), precision)
        memory = ceilings.memory(blocks * floor_bytes(form, rows, pixels))
        ratio = cpu / seconds if form.every == 1 else None  # the CPU's sweep takes all rows
        times = (1e3 * part for part in (seconds, network, memory))
        table.append([str(form), point.in_flight, point.per_launch, *times, ratio])
        findings.data[what] = {"seconds": seconds, "network": network, "memory": memory}


def cpu_seconds(sensed: Sensed, sweeps: int) -> tuple[float, int]:
    """Of a sweep on the CPU as a user gets it unasked, and with how many workers."""
    solver = make_solver("cpu", sensed.case(AUTO), precision="auto")
    result = run_on_cpu(solver, sweeps, sensed.start)
    return sweep_seconds(result, len(solver.operator.grid)), solver.parallelism.workers
