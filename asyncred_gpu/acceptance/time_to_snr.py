"""Seconds until an SNR is reached: Async-RED against the synchronous eager version, with and without setting up."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..operators.astra_projectors import ERRORS
from ..operators.radon import RadonCT
from .cases import Case
from .eager import Course, synchronous_red
from .full_gradient import AstraGradient, FullDataGradient, JosephGradient
from .machine import Machine, run
from .measured import Measured, Point
from .sections import Findings
from .sweeps import solver_at

NEAR_DB = 0.1
LEVELS = (32.0, 34.0, 36.0, 37.0)
DEFAULT = Point(200, 4, 1)
MOMENTUM = 0.8
# A third of the angles in a gradient.
MINIBATCHES = 3
ONE, TWICE = "with setup, first run", "without setup, second run"


@dataclass(frozen=True)
class Timed:
    """A method's first and second run: the first pays for compiling and choosing, the second for the work alone."""

    name: str
    first: Course
    second: Course

    def to_level(self, level: float) -> tuple[float | None, float | None]:
        """Seconds to an SNR without setup (second run), and with it (first run)."""
        cold = time_to(level, self.first)
        return time_to(level, self.second), None if cold is None else cold + self.first.setup


def time_to(level: float, course: Course) -> float | None:
    """Seconds until the SNR is `level` dB for the first time, None if it never is."""
    reached = np.flatnonzero(np.asarray(course.snr) >= level)
    return course.seconds[int(reached[0])] if reached.size else None


def time_to_snr(
    findings: Findings,
    machine: Machine,
    measured: Measured,
    case: Case,
    precision: str = "float16",
    default: Point = DEFAULT,
    levels: Sequence[float] = LEVELS,
    iterations: int = 200,
    sweeps: float = 70,
) -> None:
    """The section. The fixed point's SNR is that of the synchronous method in float32 after twice as long."""
    place = machine.device.torch
    data = data_gradients(findings, machine, case)
    exact = synchronous_red(case, data[JosephGradient.name], "float32", 2 * iterations, place)
    fixed = exact.snr[-1]
    findings.data["fixed point"] = {"snr": fixed, "residual": exact.residual[-1], "iterations": 2 * iterations}
    points = [default] if measured.best in (None, default) else [default, measured.best]
    methods: dict[str, Callable[[], Course]] = {
        f"synchronous, eager, {name}": partial(synchronous_red, case, make, precision, iterations, place)
        for name, make in data.items()
    }
    for point in points:
        for kind, minibatch in (("BG", None), ("SG", max(1, case.operator.measurements // MINIBATCHES))):
            methods[f"Async-RED {kind}, {point}"] = asynchronous(machine, case, point, precision, minibatch, sweeps)
    timed = []
    for name in findings.in_time(methods):
        with findings.attempt(name):
            timed.append(Timed(name, methods[name](), methods[name]()))
    compare(findings, timed, fixed, levels)


def data_gradients(findings: Findings, machine: Machine, case: Case) -> dict[str, Callable[[], FullDataGradient]]:
    """The data gradients a user could have: ASTRA's where its CUDA works, first; and ours in any case."""
    place, operator = machine.device.torch, case.operator
    assert isinstance(operator, RadonCT)
    found: dict[str, Callable[[], FullDataGradient]] = {}
    try:
        calls = machine.astra()
        name = AstraGradient(operator, calls, place).name
        found[name] = lambda: AstraGradient(operator, calls, place)
    except (RuntimeError, *ERRORS) as error:
        findings.leave_out(f"the synchronous version with ASTRA's CUDA projectors: {error}")
    found[JosephGradient.name] = lambda: JosephGradient(operator, machine.device)
    return found


def asynchronous(
    machine: Machine, case: Case, point: Point, precision: str, minibatch: int | None, sweeps: float
) -> Callable[[], Course]:
    """A run of the solver as a Course; its setup is all from the solver's settings to workers that are ready."""

    def course() -> Course:
        begun = time.perf_counter()
        solver = solver_at(machine, case, point, precision, momentum=MOMENTUM, minibatch=minibatch)
        make_runtime = machine.factory(solver)
        opened = time.perf_counter() - begun
        result = run(make_runtime, solver, sweeps, case.start, case.truth)
        columns = {name: np.asarray(result.history[name]).tolist() for name in ("seconds", "snr", "residual")}
        return Course(opened + result.timings["setup"] + result.timings["start"], **columns)

    return course


def compare(findings: Findings, timed: Sequence[Timed], fixed: float, levels: Sequence[float]) -> None:
    """The tables, and the ratio aimed at: the first synchronous method over the fastest Async-RED BG."""
    near = fixed - NEAR_DB
    marks = [*(level for level in levels if level < near), near]
    names = [f"{mark:.2f} dB" for mark in marks]
    warm = findings.table(f"Milliseconds to an SNR, fixed point {fixed:.2f} dB, {TWICE}", ["", *names, "last SNR"])
    cold = findings.table(f"Milliseconds to an SNR, {ONE}", ["", *names, "setup"])
    for one in timed:
        times = [one.to_level(mark) for mark in marks]
        warm.append([one.name, *(milliseconds(without) for without, _ in times), one.second.snr[-1]])
        cold.append([one.name, *(milliseconds(within) for _, within in times), 1e3 * one.first.setup])
        findings.data[one.name] = _raw(one, names, times)
    eager = next((one for one in timed if one.name.startswith("synchronous")), None)
    ours = [one.to_level(near)[0] for one in timed if one.name.startswith("Async-RED BG")]
    arrived = [seconds for seconds in ours if seconds is not None]
    theirs = None if eager is None else eager.to_level(near)[0]
    if theirs is not None and ours:
        findings.measured["speedup"] = theirs / min(arrived) if arrived else math.nan
        findings.data["speedup"] = {"of": eager.name if eager else None, "to dB": near}


def milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def _raw(one: Timed, names: Sequence[str], times: Sequence[tuple[float | None, float | None]]) -> dict[str, Any]:
    """For the JSON: the times, and the curve of the second run at some 50 places."""
    every = max(1, len(one.second.seconds) // 50)
    curve = {"seconds": one.second.seconds[::every], "snr": one.second.snr[::every]}
    levels = {name: {"warm": warm, "cold": cold} for name, (warm, cold) in zip(names, times, strict=True)}
    return {"setup": one.first.setup, "setup again": one.second.setup, "levels": levels, "curve": curve}
