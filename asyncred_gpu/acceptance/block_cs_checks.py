"""Block compressed sensing on the GPU against the CPU: replays in every form, the fixed point, ordered runs.

The checks are CT's (correctness.py), with the same tolerances beside the same wrong versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .block_cs import AUTO, FORMS, Form, Sensed
from .correctness import check_fixed_point, check_ordered, check_replay
from .machine import Machine
from .sections import Findings

# What A_i doesn't see moves by the residual alone, and slowly: 0.95 takes half as many sweeps as 0.8.
MOMENTUM = 0.95
# ‖G‖²/‖G₀‖² is then 1e-5, and SNR within 0.002 dB (96² and 240², on a CPU).
ARRIVING_SWEEPS = 85
# With momentum no more than half of the blocks may be in flight; ordered runs take up to two a launch.
WORKERS, ORDERED_WORKERS = 4, 2
REPLAY_SWEEPS = 3

ReplayPoint = tuple[Sensed, Form, int]


def replay_points(problems: Sequence[Sensed]) -> list[ReplayPoint]:
    """(problem, form, blocks a launch): every form, then of larger problems the two that have least in common."""
    rows, half, normal, minibatch = FORMS
    small, *larger = problems
    points = [(small, rows, 1), (small, half, 2), (small, normal, 2), (small, minibatch, 1)]
    unlike = ((replace(half, every=minibatch.every), 2), (normal, 1))
    return [*points, *((problem, *point) for problem in larger for point in unlike)]


def check_replays(findings: Findings, machine: Machine, points: Sequence[ReplayPoint]) -> None:
    """The section: a free run of each, repeated on the GPU and by the CPU's pool."""
    for sensed, form, per_launch in findings.in_time(points, lambda point: f"{point[0].name}, {point[1]}"):
        case = sensed.case(form)
        minibatch = form.minibatch(case.operator.measurements)
        check_replay(findings, machine, case, sensed.side, REPLAY_SWEEPS, (per_launch,), minibatch)


def check_sensed_fixed_point(
    findings: Findings, machine: Machine, sensed: Sensed, sweeps: float = ARRIVING_SWEEPS
) -> None:
    """The section. The GPU takes the normal equations and the CPU the rows: both are what a user gets unasked."""
    check_fixed_point(findings, machine, sensed.case(AUTO), sensed.side, WORKERS, sweeps, momentum=MOMENTUM)


def check_sensed_ordered(findings: Findings, machine: Machine, sensed: Sensed, precisions: tuple[str, ...]) -> None:
    """The section, with the rows."""
    case = sensed.case(FORMS[0])
    check_ordered(findings, machine, case, sensed.side, REPLAY_SWEEPS, precisions, ORDERED_WORKERS)
