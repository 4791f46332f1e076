"""The trials of a search: reconstructions, each from an earlier one's images, and their scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from torch import nn

from ..arrays import as_numpy
from ..result import Progress, Result, Status
from ..runtime.spares import SpareWorkers
from ..solver import GpuAsyncRED
from ..warm_starts import FACTORS
from ..warm_starts import SWEEPS as WARM_SWEEPS
from .costs import trial_sweeps
from .criteria import Criterion, Measured
from .search import BudgetSpent
from .trial import Score, State, Trial
from .tuned import Tuned

# How often the best one is looked for again among its neighbours; and what share its score may still change by.
MOST_ROUNDS, CONVERGED = 3, 0.1


class TuningError(RuntimeError):
    """No trial gave an image, so nothing can be chosen."""


class SearchInterrupted(KeyboardInterrupt):
    """Ctrl-C during a search in which a trial was done: `tuned` is the best so far."""

    def __init__(self, tuned: Tuned) -> None:
        super().__init__("the search was interrupted; the best pair so far is in the exception's `tuned`")
        self.tuned = tuned


@dataclass(frozen=True)
class Budget:
    """How far a search may go: one trial is made whatever its sweeps, but none after the time."""

    sweeps: float
    seconds: float

    def allows(self, sweeps: float, seconds: float, next_sweeps: float, next_seconds: float) -> bool:
        """Whether a trial that costs so much more still fits."""
        return sweeps + next_sweeps <= self.sweeps and seconds + next_seconds <= self.seconds


class Trials:
    """Makes the trials: owns what was found, and the images the next one begins at."""

    def __init__(
        self,
        criterion: Criterion,
        networks: dict[float | None, nn.Module],
        taus: tuple[float, ...],
        scale: float,
        x0: Any,
        costs: tuple[float, float],
        budget: Budget,
        callbacks: tuple[Callable[[Trial], None], ...],
        options: dict[str, Any],
        spares: SpareWorkers,
        tell: Callable[[float, float], None],
    ) -> None:
        """`callbacks` are called with every trial that is done, `tell` in one, with its sweeps so far and in all."""
        self._criterion = criterion
        self._networks = list(networks.items())
        self._taus = taus
        self._scale = scale
        self._x0 = x0
        self._warm = isinstance(x0, str) and x0 == "auto"
        self._costs = costs
        self._budget = budget
        self._callbacks = callbacks
        # What a continuation would do, the warm start does for the first trial; the others begin at its image.
        self._options: dict[str, Any] = {"order": "ordered", "continuation": 1.0, "data_updates": 0} | options
        self._spares = spares
        self._best_state = self._last_state = self._row_state = State(())
        self._best_place = (0, 0)
        self._began = perf_counter()
        self._first_sweeps, self._sweeps_made = 0.0, 0.0  # what the first trial takes, and what is done of all
        self._trial_sweeps, self._before_trial = 0.0, 0.0  # what this one takes, and what was done when it began
        self._tell = tell
        self.trials: list[Trial] = []
        self.best: Trial | None = None
        self.notes: list[str] = []

    @property
    def sigmas(self) -> tuple[float, ...]:
        """For the search; one network that was given has any."""
        return tuple(1.0 if sigma is None else sigma for sigma, _ in self._networks)

    def near_the_best(self, sigma: int, tau: int) -> float:
        """Try a pair, from the best one's images."""
        return self._evaluate(sigma, tau, self._best_state)

    def in_rows(self, sigma: int, tau: int, begin: str) -> tuple[int, int]:
        """Try a pair, from the images of the best, of this σ's first trial, or of the last; the best place so far."""
        states = {"best": self._best_state, "row": self._row_state, "last": self._last_state}
        self._evaluate(sigma, tau, states[begin])
        if begin == "best":
            self._row_state = self._last_state
        return self._best_place

    def _evaluate(self, sigma: int, tau: int, begin: State) -> float:
        cost = self._costs[1] if begin.images else self._costs[0]
        sweeps = trial_sweeps(len(self._criterion.jobs), cost, self._warm and not begin.images)
        self._first_sweeps = self._first_sweeps or sweeps
        self._spend(sweeps)
        self._trial_sweeps, self._before_trial = sweeps, self._sweeps_made
        began = perf_counter()
        level, network = self._networks[sigma]
        images = []
        finite = True
        for place, job in enumerate(self._criterion.jobs):
            strength = self._taus[tau] * job.tau_factor
            x0 = begin.images[place] if begin.images else self._start(job.operator, network, strength)
            result = self._reconstruct(job.operator, network, strength, self._scale, cost, x0)
            finite = finite and result.status is not Status.DIVERGED
            self.notes += [note for note in result.notes if note not in self.notes]
            images.append(as_numpy(result.image, "image", 2))
        score = self._criterion.score(tuple(images)) if finite else Score(math.inf, math.inf)
        tried_before = any(past.pair == (level, self._taus[tau]) for past in self.trials)
        trial = Trial(level, self._taus[tau], score, sweeps, perf_counter() - began, tried_before)
        self.trials.append(trial)
        self._last_state = State(tuple(images)) if finite else State(())
        again = self.best is not None and self.best.pair == trial.pair
        if finite and (self.best is None or again or score.value < self.best.score.value):
            self.best, self._best_state, self._best_place = trial, self._last_state, (sigma, tau)
        for callback in self._callbacks:
            callback(trial)
        return score.value

    def confirm(self) -> None:
        """Try the best pair and its neighbours again, all from its images, until it stays the best.

        Trials on the way were scored at different distances from their ends.
        """
        for _ in range(MOST_ROUNDS):
            if self.best is None:
                return
            place, before = self._best_place, self.best.score.value
            sigma, tau = place
            self.near_the_best(sigma, tau)
            change = abs(self.best.score.value - before) / before if before > 0 else 0.0
            for neighbour in (tau + 1, tau - 1):
                if 0 <= neighbour < len(self._taus) and self._best_place == place:
                    self.near_the_best(sigma, neighbour)
            if self._best_place == place:
                break
        if change > CONVERGED and self._criterion.name != "discrepancy":
            self.notes.append(
                f"The trials hadn't converged: {self._costs[1]:g} more sweeps changed the best one's score by "
                f"{100 * change:.0f} %. Pass more first_sweeps and sweeps, or x0=warm_start(…)."
            )

    def ended_by(self, what: str) -> None:
        """Note why not all was tried."""
        tried = "trial" if len(self.trials) == 1 else "trials"
        self.notes.append(f"{what} ended the search; the choice is the best of {len(self.trials)} {tried}.")

    def _spend(self, sweeps: float) -> None:
        spent = sum(trial.sweeps for trial in self.trials)
        seconds = perf_counter() - self._began
        if not self.trials:
            return
        last = self.trials[-1]
        if not self._budget.allows(spent, seconds, sweeps, last.seconds * sweeps / last.sweeps):
            raise BudgetSpent("The budget")

    def _reconstruct(
        self, operator: Measured, network: nn.Module, tau: float, scale: float, sweeps: float, x0: Any
    ) -> Result:
        """One of a trial's.

        Raises:
            BudgetSpent: the time is over before it is done; what isn't done can't be compared.
        """
        left = self._budget.seconds - (perf_counter() - self._began)
        if left <= 0:
            raise BudgetSpent("The time limit")
        limit = None if math.isinf(left) else left
        result = self._solver(operator, network, tau, scale).run(
            max_sweeps=sweeps, time_limit=limit, x0=x0, callbacks=(self._committed,)
        )
        done = result.history["sweep"]
        self._sweeps_made += float(done[-1]) if len(done) else 0.0
        if result.status is Status.TIME_LIMIT:
            raise BudgetSpent("The time limit")
        return result

    def _committed(self, progress: Progress) -> None:
        self._tell(self._sweeps_made - self._before_trial + progress.sweep, self._trial_sweeps)

    def _start(self, operator: Measured, network: nn.Module, tau: float) -> Any:
        """Where a first trial begins: x0, or "auto" after a few sweeps with stronger denoisers (warm_starts.py)."""
        image = self._x0
        for factor in FACTORS if self._warm else ():
            result = self._reconstruct(operator, network, tau, factor * self._scale, WARM_SWEEPS, image)
            if result.status is Status.DIVERGED:
                return self._x0
            image = as_numpy(result.image, "image", 2)
        return image

    def _solver(self, operator: Measured, network: nn.Module, tau: float, scale: float) -> GpuAsyncRED:
        """Its processes are the last one's."""
        solver = GpuAsyncRED(operator, network, tau, intensity_scale=scale, **self._options)
        solver.keep_workers(self._spares)
        return solver

    def result(self, method: str, noise: float | None) -> Tuned:
        if not self.trials:
            share = self._sweeps_made / self._first_sweeps
            wanted = f"about {math.ceil(self._budget.seconds / share)} s" if share > 0 else "more"
            raise TuningError(
                f"time_limit={self._budget.seconds:g} was over before the first trial was: {self._sweeps_made:.3g} of "
                f"its {self._first_sweeps:g} sweeps were made, so nothing can be chosen. Allow {wanted} at least, and "
                "as much again to compare, or leave it out."
            )
        if self.best is None:
            raise TuningError(
                "Every reconstruction tried diverged, so no σ and τ could be chosen. Pass step='theory', or fewer "
                "workers."
            )
        edges = []
        if len(self._taus) > 1 and self.best.tau in (self._taus[0], self._taus[-1]):
            edges.append(f"τ = {self.best.tau:g} is the {'least' if self.best.tau == self._taus[0] else 'largest'}")
        levels = [level for level, _ in self._networks]
        if len(levels) > 1 and self.best.sigma == levels[-1]:
            edges.append(f"σ = {self.best.sigma:g} is the largest")
        if edges:
            self.notes.append(f"{' and '.join(edges)} of those to choose among: a better one may lie beyond.")
        return Tuned(
            sigma=self.best.sigma,
            tau=self.best.tau,
            denoiser=dict(self._networks)[self.best.sigma],
            intensity_scale=self._scale,
            image=self._best_state.images[0],
            trials=tuple(self.trials),
            best=self.best,
            method=method,
            noise=noise,
            notes=tuple(self.notes),
        )
