"""Theorems 1 and 2 against runs: their bounds, and the true ‖G(x_k)‖² of every iterate of a recorded schedule.

A run goes through the real scheduler, engine and worker code (float32) in the simulation; then its schedule is replayed
with dense float64 matrices, independently of all that code but for the minibatches' draws. Source: Sun, Liu, Sun,
Wohlberg, Kamilov, ICLR 2021.

The theorems draw blocks independently; the scheduler leaves out the blocks at work (up to num_workers − 1 of b).
`independent_draws` makes schedules as the theorems assume them, for the replay alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .blocks import FloatArray
from .red import StepConstants, step_length
from .result import Schedule
from .runtime.base import WorkerSetup
from .runtime.simulated import SimulatedRuntime, Starving
from .solver import GpuAsyncRED, draw_minibatch
from .theory_problem import Float64Array, KnownFixedPoint

WORKERS = 4


def theory_step(problem: KnownFixedPoint, staleness: int) -> float:
    """γ = 1/((1+2λ)(L+2τ)), the longest that the theorems allow."""
    constants = StepConstants(problem.lipschitz, problem.lipschitz, problem.tau, staleness, 1, problem.blocks)
    return step_length("theory", constants)


def bound(problem: KnownFixedPoint, staleness: int, step: float, updates: Float64Array) -> Float64Array:
    """Theorem 1: min over the first t iterates of E‖G‖² ≤ (D/b + 2)(L+2τ) b R₀²/(γt), D = 2λ²/(1+λ)².

    Args:
        updates: t, any shape.
    """
    blocks = problem.blocks
    delay = 2 * staleness**2 / (1 + staleness) ** 2
    curvature = problem.lipschitz + 2 * problem.tau
    return (delay / blocks + 2) * curvature * blocks * problem.distance_squared / (step * updates)


def floor_bound(problem: KnownFixedPoint, staleness: int, step: float, variance: float, minibatch: int) -> float:
    """Theorem 2: what is added to Theorem 1's bound, γC/w with C = (L+2τ)(1+λ)ν².

    Args:
        variance: ν², of one measurement's gradient.
        minibatch: w.
    """
    return step * (problem.lipschitz + 2 * problem.tau) * (1 + staleness) * variance / minibatch


@dataclass(frozen=True)
class Run:
    """The last image of a run, (rows, cols) float32, and its schedule."""

    image: FloatArray
    schedule: Schedule


def simulate(
    problem: KnownFixedPoint,
    *,
    staleness: int,
    updates: int,
    step: float,
    workers: int = WORKERS,
    minibatch: int | None = None,
    seed: int = 0,
    schedule: Schedule | None = None,
) -> Run:
    """A run of the solver on starved workers: all but the last go on only when the bound λ holds everyone else up.

    Args:
        staleness: λ. With 0 there is one worker.
        schedule: to repeat, instead of drawing blocks; no guard then shortens its steps.
    """
    solver = GpuAsyncRED(
        problem.operator,
        problem.network,
        problem.tau,
        problem.operator.grid.block_shape,
        num_workers=min(workers, staleness + 1),
        max_staleness=staleness,
        minibatch=minibatch,
        step=step,
        method="paper",
        intensity_scale=1.0,
        precision="float32",
        device="cpu",
        seed=seed,
    )

    def make_runtime(setup: WorkerSetup, count: int, image: FloatArray) -> SimulatedRuntime:
        return SimulatedRuntime(setup, count, image, Starving(set(range(count - 1)), seed))

    result = solver._run(make_runtime, None, updates, None, None, problem.start, None, (), schedule)
    assert result.schedule is not None
    return Run(result.image, result.schedule)


def independent_draws(
    problem: KnownFixedPoint, *, staleness: int, updates: int, step: float, seed: int = 0
) -> Schedule:
    """A schedule as the theorems assume it: every block as likely as any other, every update exactly λ commits late.

    No run of the solver can have it, since an update may begin while its block is at work.
    """
    commit = np.arange(updates)
    return Schedule(
        block=np.random.default_rng(seed).integers(problem.blocks, size=updates),
        read=np.maximum(0, commit - staleness),
        commit=commit,
        step=np.full(updates, step),
        momentum=np.zeros(updates),
        draw=commit,
        strength=np.ones(updates),
        settings={"seed": seed, "minibatch": None},
    )


def with_step(schedule: Schedule, step: float) -> Schedule:
    """The same blocks and the same versions read, another step."""
    return replace(schedule, step=np.full(len(schedule), step))


def replay(problem: KnownFixedPoint, schedule: Schedule) -> Float64Array:
    """All iterates x₀ … x_t of a schedule without momentum, in float64: (t + 1, pixels)."""
    pixels, measurements = problem.operator.pixels, problem.operator.measurements
    rows = [problem.slope[chosen] for chosen in pixels]
    offset = problem.matrix.T @ problem.measured
    minibatch, seed = schedule.settings["minibatch"], int(schedule.settings["seed"])
    states = np.empty((len(schedule) + 1, problem.start.size))
    states[0] = problem.start.ravel()
    with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges
        for commit in range(len(schedule)):
            block, seen = int(schedule.block[commit]), states[schedule.read[commit]]
            chosen = pixels[block]
            if minibatch is None:
                gradient = rows[block] @ seen - offset[chosen]
            else:
                subset = draw_minibatch(seed, int(schedule.draw[commit]), measurements, minibatch)
                part = problem.matrix[subset]
                factor = measurements / minibatch if problem.operator.scaled else 1.0
                gradient = factor * (part @ seen - problem.measured[subset]) @ part[:, chosen]
                gradient += problem.tau * problem.residual[chosen] @ seen
            states[commit + 1] = states[commit]
            states[commit + 1, chosen] -= schedule.step[commit] * gradient
    return states


@dataclass(frozen=True)
class Checked:
    """A run and its float64 replay.

    Args:
        gradients: (t + 1,) ‖G(x_k)‖² of every iterate, of the replay.
        states: (t + 1, pixels) the replay's iterates.
        mismatch: ‖x_t of the solver − x_t of the replay‖/‖x_t‖: float32 against float64.
    """

    run: Run
    gradients: Float64Array
    states: Float64Array
    mismatch: float


def check(problem: KnownFixedPoint, run: Run) -> Checked:
    """Replay a run and compare its image."""
    states = replay(problem, run.schedule)
    apart = float(np.linalg.norm(run.image.ravel() - states[-1]) / np.linalg.norm(states[-1]))
    return Checked(run, problem.gradients_squared(states), states, apart)


def least_so_far(gradients: Float64Array) -> Float64Array:
    """The least ‖G(x_k)‖² of k < t, for t = 1, 2, …: (t + 1,) → (t,). NaN, after a divergence, isn't small."""
    found: Float64Array = np.fmin.accumulate(gradients[:-1])
    return found


def first_violation(problem: KnownFixedPoint, gradients: Float64Array, staleness: int, step: float) -> int | None:
    """The first t at which min ‖G‖² is above Theorem 1's formula, or None."""
    least = least_so_far(gradients)
    above = np.flatnonzero(least > bound(problem, staleness, step, np.arange(1.0, len(least) + 1)))
    return int(above[0]) + 1 if len(above) else None
