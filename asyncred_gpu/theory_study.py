"""What is measured of Theorems 1 and 2: the decay of min E‖G‖², the floor of SG, and steps that are too long.

Means are over seeds of the block choice, the workers' order and the minibatches; a seed's problem is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .theory import (
    WORKERS,
    bound,
    check,
    first_violation,
    floor_bound,
    independent_draws,
    least_so_far,
    replay,
    simulate,
    theory_step,
    with_step,
)
from .theory_problem import Float64Array, KnownFixedPoint


@dataclass(frozen=True)
class Decay:
    """Theorem 1 at its own step.

    Args:
        staleness: λ, also the largest that was reached.
        mean_staleness: of all commits.
        least: (t,) min over k < t of E‖G(x_k)‖².
        least_independent: the same with the theorem's own draws, every update exactly λ late.
        bound: (t,) of the theorem.
        mismatch: the largest relative difference of a float32 image and its float64 replay.
    """

    staleness: int
    mean_staleness: float
    step: float
    least: Float64Array
    least_independent: Float64Array
    bound: Float64Array
    mismatch: float

    @property
    def tightest(self) -> float:
        """The largest part of the bound that min E‖G‖² ever takes; above 1 the theorem would be wrong."""
        return float(np.max(np.maximum(self.least, self.least_independent) / self.bound))

    def exponent(self, begin: int, end: int) -> float:
        """P in min E‖G‖² ∼ t^(−p) between t = begin and t = end."""
        return float(-np.log(self.least[end - 1] / self.least[begin - 1]) / np.log(end / begin))


def measure_decay(problem: KnownFixedPoint, staleness: int, updates: int, seeds: Sequence[int]) -> Decay:
    """Runs at γ = 1/((1+2λ)(L+2τ)).

    Raises:
        AssertionError: λ wasn't reached, or the guard shortened the step: nothing would be shown.
    """
    step = theory_step(problem, staleness)
    runs = [
        check(problem, simulate(problem, staleness=staleness, updates=updates, step=step, seed=seed)) for seed in seeds
    ]
    schedules = [checked.run.schedule for checked in runs]
    assert {int(schedule.staleness.max()) for schedule in schedules} == {staleness}
    assert all((schedule.step == step).all() for schedule in schedules)
    draws = [independent_draws(problem, staleness=staleness, updates=updates, step=step, seed=seed) for seed in seeds]
    ideal = [problem.gradients_squared(replay(problem, schedule)) for schedule in draws]
    return Decay(
        staleness=staleness,
        mean_staleness=float(np.mean([schedule.staleness.mean() for schedule in schedules])),
        step=step,
        least=least_so_far(np.mean([run.gradients for run in runs], axis=0)),
        least_independent=least_so_far(np.mean(ideal, axis=0)),
        bound=bound(problem, staleness, step, np.arange(1.0, updates + 1)),
        mismatch=max(run.mismatch for run in runs),
    )


@dataclass(frozen=True)
class Floor:
    """Theorem 2 at Theorem 1's step.

    Args:
        minibatch: w.
        mean: (t + 1,) E‖G(x_k)‖².
        variance: ν², the largest at any iterate.
        allowed: γC/w, C = (L+2τ)(1+λ)ν².
        tail: (pixels,) the mean of the iterates of the second half.
    """

    staleness: int
    minibatch: int
    mean: Float64Array
    variance: float
    allowed: float
    tail: Float64Array

    @property
    def level(self) -> float:
        """The mean over the second half of the run."""
        return float(self.mean[len(self.mean) // 2 :].mean())


def measure_floor(
    problem: KnownFixedPoint, staleness: int, minibatch: int, updates: int, seeds: Sequence[int]
) -> Floor:
    """SG runs at γ = 1/((1+2λ)(L+2τ)), L that of the whole data term.

    Raises:
        AssertionError: λ wasn't reached, or the guard shortened the step.
    """
    step = theory_step(problem, staleness)
    results = [
        simulate(problem, staleness=staleness, updates=updates, step=step, minibatch=minibatch, seed=seed)
        for seed in seeds
    ]
    assert {int(result.schedule.staleness.max()) for result in results} == {staleness}
    assert all((result.schedule.step == step).all() for result in results)
    runs = [check(problem, result) for result in results]
    variance = max(problem.largest_variance(run.states) for run in runs)
    return Floor(
        staleness=staleness,
        minibatch=minibatch,
        mean=np.mean([run.gradients for run in runs], axis=0),
        variance=variance,
        allowed=floor_bound(problem, staleness, step, variance, minibatch),
        tail=np.mean([run.states[updates // 2 :].mean(axis=0) for run in runs], axis=0),
    )


@dataclass(frozen=True)
class LongStep:
    """A run with another step than the theorem's.

    Args:
        workers: updates in flight.
        factor: γ(L+2τ).
        least, bound: (t,) min ‖G‖², and Theorem 1's formula with this γ; the run may end early, at infinity.
        violation: the first t at which min ‖G‖² is above it, or None.
        mismatch: of the float32 image and its float64 replay.
    """

    staleness: int
    workers: int
    factor: float
    gradients: Float64Array
    least: Float64Array
    bound: Float64Array
    violation: int | None
    mismatch: float


def measure_long_step(
    problem: KnownFixedPoint, staleness: int, factor: float, updates: int, workers: int = WORKERS, seed: int = 0
) -> LongStep:
    """The schedule of a run at the theorem's step, replayed by the solver with γ = factor/(L+2τ).

    A replay has no guard, which would see ‖G‖² grow and shorten the step.
    """
    usual = simulate(
        problem,
        staleness=staleness,
        updates=updates,
        step=theory_step(problem, staleness),
        workers=workers,
        seed=seed,
    )
    step = factor / (problem.lipschitz + 2 * problem.tau)
    long = simulate(
        problem,
        staleness=staleness,
        updates=updates,
        step=step,
        workers=workers,
        seed=seed,
        schedule=with_step(usual.schedule, step),
    )
    run = check(problem, long)
    least = least_so_far(run.gradients)
    return LongStep(
        staleness=int(usual.schedule.staleness.max()),
        workers=min(workers, staleness + 1),
        factor=factor,
        gradients=run.gradients,
        least=least,
        bound=bound(problem, staleness, step, np.arange(1.0, len(least) + 1)),
        violation=first_violation(problem, run.gradients, staleness, step),
        mismatch=run.mismatch,
    )


def bias(problem: KnownFixedPoint, mean: Float64Array) -> float:
    """‖G‖² of a run's mean iterate: without the noise that cancels in it."""
    return float(problem.gradients_squared(mean[None])[0])
