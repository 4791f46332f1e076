"""CUDA against the CPU: the same fixed point, replays of one schedule, bounded staleness, ordered runs bit for bit.

Every tolerance stands beside a wrong version that must exceed it: another τ, one step changed by 1 %, another seed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..blocks import FloatArray
from ..metrics import snr
from ..result import Result, Schedule
from .cases import Case
from .machine import Machine, make_solver, run, run_on_cpu
from .sections import Findings

FIXED_POINT_DB = 0.05
REPLAY_TOLERANCE = 1e-4
# ‖G‖²/‖G₀‖² of a run that has arrived: SNR then changes by less than 0.02 dB any more (800², 60 sweeps; CS, 240², 75;
# on a CPU).
ARRIVED = 2e-4
MOMENTUM = 0.8
# What a wrong version is multiplied with.
WRONG_TAU = 1.5
WRONG_STEP = 1.01
REPLAY_WORKERS = 4


def relative(found: FloatArray, expected: FloatArray) -> float:
    """‖found − expected‖ / ‖expected‖, nan for what holds one."""
    exact = expected.astype(np.float64)
    return float(np.linalg.norm(found.astype(np.float64) - exact) / np.linalg.norm(exact))


def check_fixed_point(
    findings: Findings,
    machine: Machine,
    case: Case,
    side: int,
    workers: int,
    sweeps: float,
    on_cpu: bool = True,
    momentum: float = MOMENTUM,
) -> None:
    """The section: the same settings on both for so many sweeps end at the same SNR, and another τ elsewhere."""
    settings: dict[str, Any] = {"block_shape": (side, side), "num_workers": workers, "momentum": momentum}

    def on_gpu(tau: float) -> Result:
        solver = make_solver(machine.solver_device, case, **settings, tau=tau)
        return run(machine.factory(solver), solver, sweeps, case.start, case.truth)

    runs = {"CUDA": on_gpu(case.tau), "CUDA, wrong τ": on_gpu(WRONG_TAU * case.tau)}
    if on_cpu:
        findings.say(f"  the CPU side: {sweeps:g} sweeps with {workers} workers")
        runs["CPU"] = run_on_cpu(make_solver("cpu", case, **settings), sweeps, case.start, reference=case.truth)
    compare_fixed_points(findings, case, runs)


def compare_fixed_points(findings: Findings, case: Case, runs: dict[str, Result]) -> None:
    """The verdict on finished runs, named as in check_fixed_point."""
    levels = {name: snr(result.image, case.truth) for name, result in runs.items()}
    residuals = {name: float(result.history["residual"][-1]) for name, result in runs.items()}
    rows = findings.table(
        f"Fixed point, {case.name}, float32", ["", "SNR, dB", "‖G‖²/‖G₀‖²", "sweeps", "seconds", "image difference"]
    )
    for name, result in runs.items():
        apart = relative(result.image, runs["CPU"].image) if "CPU" in runs else None
        sweeps, seconds = float(result.history["sweep"][-1]), float(result.timings["run"])
        rows.append([name, levels[name], residuals[name], sweeps, seconds, apart])
        findings.data[name] = {"snr": levels[name], "residual": residuals[name], "seconds": seconds, "apart": apart}
    if "CPU" not in runs:
        findings.leave_out("the CPU side")
        return
    difference = levels["CUDA"] - levels["CPU"]
    findings.measured["fixed_point"] = abs(difference)
    for name in ("CUDA", "CPU"):
        findings.check(residuals[name] <= ARRIVED, f"{name} has not arrived: ‖G‖²/‖G₀‖² = {residuals[name]:.1e}")
    findings.check(
        abs(difference) <= FIXED_POINT_DB, f"CUDA is {difference:+.3f} dB from the CPU, more than {FIXED_POINT_DB}"
    )
    control = abs(levels["CUDA, wrong τ"] - levels["CPU"])
    findings.check(control > FIXED_POINT_DB, f"a wrong τ is only {control:.3f} dB away: this check shows nothing")


def check_replay(
    findings: Findings,
    machine: Machine,
    case: Case,
    side: int,
    sweeps: float,
    per_launches: Sequence[int] = (1, 2),
    minibatch: int | None = None,
) -> None:
    """The section: a free run's schedule, saved and loaded, repeated on the GPU and on the CPU from zeros.

    From zeros, because every step then moves the image by much: a step wrong by 1 % shows 20 times the tolerance,
    or 6 times in compressed sensing.
    """
    rows = findings.table(
        f"Replay of a free run, {case.name}, {REPLAY_WORKERS} workers, float32, from zeros",
        ["blocks a launch", "updates", "largest staleness", "λ", "CUDA, recorded", "CUDA, replayed", "one step + 1 %"],
    )
    zeros = np.zeros_like(case.start)
    for per_launch in per_launches:
        settings: dict[str, Any] = {"block_shape": (side, side), "num_workers": REPLAY_WORKERS}
        settings |= {"blocks_per_launch": per_launch, "minibatch": minibatch}
        solver = make_solver(machine.solver_device, case, **settings)
        recorded = run(machine.factory(solver), solver, sweeps, zeros)
        assert recorded.schedule is not None
        schedule = saved_and_loaded(recorded.schedule)
        most, bound = staleness_and_bound(schedule)
        wrong = replace(schedule, step=with_one_step_longer(schedule))
        repeated, control = (
            run(machine.factory(solver), solver, 0, zeros, replay=one).image for one in (schedule, wrong)
        )
        expected = run_on_cpu(make_solver("cpu", case, **settings), 0, zeros, replay=schedule).image
        apart = {
            "recorded": relative(recorded.image, expected),
            "replayed": relative(repeated, expected),
            "wrong step": relative(control, expected),
        }
        rows.append([per_launch, len(schedule), most, bound, *apart.values()])
        what = f"{case.name}, {per_launch} blocks a launch"
        findings.data[what] = {**apart, "updates": len(schedule), "staleness": most, "bound": bound}
        judge_replay(findings, apart, most - bound, what)


def judge_replay(findings: Findings, apart: dict[str, float], excess: int, what: str) -> None:
    """The verdict on relative differences and on the commits by which staleness exceeds λ."""
    worst = float(np.max([apart["recorded"], apart["replayed"]]))  # nan stays nan
    findings.measured["replay"] = float(np.max([worst, findings.measured.get("replay") or 0.0]))
    findings.measured["staleness"] = max(max(0.0, float(excess)), findings.measured.get("staleness") or 0.0)
    for name in ("recorded", "replayed"):
        right = apart[name] <= REPLAY_TOLERANCE
        findings.check(right, f"{what}: CUDA's {name} image is {apart[name]:.1e} from the CPU's replay")
    findings.check(
        apart["wrong step"] > REPLAY_TOLERANCE,
        f"{what}: a step wrong by 1 % changes only {apart['wrong step']:.1e}: this check shows nothing",
    )
    findings.check(excess <= 0, f"{what}: staleness exceeds λ by {excess}")


def saved_and_loaded(schedule: Schedule) -> Schedule:
    """As a user would keep it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "schedule.npz"
        schedule.save(path)
        return Schedule.load(path)


def staleness_and_bound(schedule: Schedule) -> tuple[int, int]:
    """The largest staleness of its commits, and λ."""
    return int(schedule.staleness.max(initial=0)), int(schedule.settings["max_staleness"])


def with_one_step_longer(schedule: Schedule, commit: int = 0) -> Any:
    """Its steps, one of them wrong by 1 %."""
    steps = schedule.step.copy()
    steps[commit] *= WRONG_STEP
    return steps


def check_ordered(
    findings: Findings,
    machine: Machine,
    case: Case,
    side: int,
    sweeps: float,
    precisions: tuple[str, ...],
    workers: int = REPLAY_WORKERS,
) -> None:
    """The section: an ordered run gives the same bits twice, and other ones with another seed."""
    rows = findings.table(f"Ordered runs, {case.name}", ["precision", "blocks a launch", "twice the same bits"])
    different = 0
    for precision, per_launch in zip(precisions, (1, 2), strict=False):
        settings = {"block_shape": (side, side), "num_workers": workers, "blocks_per_launch": per_launch}
        settings |= {"precision": precision, "order": "ordered", "momentum": 0.5}

        def image(seed: int, settings: dict[str, Any] = settings) -> FloatArray:
            solver = make_solver(machine.solver_device, case, **settings, seed=seed)
            found: FloatArray = run(machine.factory(solver), solver, sweeps, case.start).image
            return found

        first, second, other = image(0), image(0), image(1)
        same = np.array_equal(first, second)
        different += not same
        rows.append([precision, per_launch, "yes" if same else "no"])
        findings.data[f"{precision}, {per_launch} a launch"] = {"same": same, "apart": relative(first, second)}
        findings.check(same, f"{precision}: two ordered runs differ by {relative(first, second):.1e}")
        findings.check(not np.array_equal(first, other), f"{precision}: another seed gives the same bits")
    findings.measured["ordered"] = float(different)
