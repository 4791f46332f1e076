"""How many sweeps a second many workers make, in simulated time: asynchronous, and with a barrier after every round.

The scheduler, the engine and the workers' code are the solver's; an update takes a set time times a random delay of
mean 1. Throughput only: that the image converges as well with more updates in flight isn't shown here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .blocks import BlockGrid
from .operators.radon import RadonCT, project
from .runtime.simulated_clock import Delay, uniform_delay
from .slow_worker import ASYNC, SYNC, Method, make_solver, simulate
from .theory_problem import Average

# A problem whose updates cost next to nothing: 256 blocks of 4×4 pixels.
SIDE, BLOCK, ANGLES = 64, 4, 8
BLOCKS = (SIDE // BLOCK) ** 2
SPREAD = 0.5  # of the lognormal delay: standard deviation of its logarithm
TAIL = 2.0  # of Pareto's: the exponent of its tail; the variance is infinite


def lognormal_delay(spread: float = SPREAD) -> Delay:
    """exp(σZ − σ²/2), of mean 1."""
    return lambda random: float(random.lognormal(-(spread**2) / 2, spread))


def pareto_delay(tail: float = TAIL) -> Delay:
    """P(delay > t) = (t₀/t)^α from t₀ = (α − 1)/α on, of mean 1."""
    return lambda random: (tail - 1) / tail * (1.0 + float(random.pareto(tail)))


NO_DELAY = uniform_delay(0.0)
DELAYS: Mapping[str, Delay] = {"lognormal": lognormal_delay(), "Pareto": pareto_delay()}
# Nearly any update may be as late as it likes.
LOOSE = Method(f"Async-RED, λ = {4 * BLOCKS}", "free", 4 * BLOCKS)
METHODS = (ASYNC, LOOSE, SYNC)


@dataclass(frozen=True)
class Throughput:
    """A simulated run.

    Args:
        sweep: its time, in updates of mean duration.
        speedup: how many times the sweeps a second of one worker with delays from the same seed: their mean, which
            isn't quite 1 over a few sweeps, cancels.
        max_staleness: λ.
        staleness: of the commits: median, 99th percentile and largest.
    """

    workers: int
    sweep: float
    speedup: float
    max_staleness: int
    staleness: tuple[int, int, int]

    @property
    def efficiency(self) -> float:
        """The share of the workers' time that is work."""
        return self.speedup / self.workers


def tiny_problem(side: int = SIDE) -> RadonCT:
    """A scan of noise, (side/4)² blocks."""
    image = np.random.default_rng(0).random((side, side), np.float32)
    angles = np.arange(ANGLES) * np.pi / ANGLES
    scan = RadonCT(project(image, angles, round(np.sqrt(2) * side)), angles, (side, side))
    return scan.with_blocks(BlockGrid(scan.image_shape, (BLOCK, BLOCK)))


def throughput(
    operator: RadonCT, method: Method, workers: int, delay: Delay, sweeps: int, alone: float | None = None
) -> Throughput:
    """Of alike workers, an update of which takes 1 times the delay.

    Args:
        sweeps: at least 3, since the first and the last don't count.
        alone: one worker's time of a sweep; None: this is one worker's.
    """
    solver = make_solver(operator, Average(), method, workers)
    timed = simulate(solver, (1.0,) * workers, sweeps, delay)
    sweep = timed.sweep_time
    staleness = timed.result.history["staleness"][timed.blocks : -timed.blocks]
    median, most = (int(np.percentile(staleness, percent, method="higher")) for percent in (50, 99))
    speedup = (sweep if alone is None else alone) / sweep
    return Throughput(workers, sweep, speedup, solver.parallelism.max_staleness, (median, most, int(staleness.max())))


def scaling(
    operator: RadonCT, methods: Sequence[Method], workers: Sequence[int], delay: Delay, sweeps: int
) -> dict[str, list[Throughput]]:
    """Every method with one worker and with these numbers of workers > 1, by the method's name."""
    one = throughput(operator, methods[0], 1, delay, sweeps)  # whatever the order: nobody to wait for
    return {
        method.name: [one, *(throughput(operator, method, count, delay, sweeps, one.sweep) for count in workers)]
        for method in methods
    }
