"""The choice of σ and τ: reconstructions on a grid, each from the last one's image, judged by a criterion.

Which criterion, measured: docs/results/tuning.md. The default needs neither the truth nor the noise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from ..arrays import as_numpy
from ..blocks import FloatArray
from ..denoiser import load_network
from ..family import SHIPPED, DenoiserFamily
from ..operators.radon import RadonCT
from ..result import Status
from ..runtime.spares import SpareWorkers
from ..settings import (
    check_callbacks,
    check_choice,
    check_count,
    check_image,
    check_number,
    check_reference,
    check_scale,
)
from ..solver import GpuAsyncRED, choose_scale
from ..warm_starts import FACTORS
from ..warm_starts import SWEEPS as WARM_SWEEPS
from .criteria import Criterion, Discrepancy, GeneralizedCrossValidation, HeldOut, Measured, Reference, Tunable
from .display import TuningDisplay
from .noise import estimate_noise
from .search import BudgetSpent, everything, nearest, search
from .trial import Score, State, Trial
from .tuned import Tuned

METHODS = ("gcv", "held-out", "discrepancy", "reference")
# Four a decade: beside the best one the SNR is within about 0.3 dB.
TAUS = tuple(float(f"{10.0**power:.3g}") for power in np.arange(-3.0, 0.01, 0.25))
TAU_TO_BEGIN = 0.05
# The first trial begins at the operator's own start, the others at another trial's image. With 25 and 10 sweeps the
# score still depends on the way: on a 256² retina it was least at τ = 0.03, with 50 and 20, or 120 and 60, at 0.06.
FIRST_SWEEPS, SWEEPS = 50.0, 20.0
MOMENTUM = 0.8
# How often the best one is looked for again among its neighbours; and what share its score may still change by.
MOST_ROUNDS, CONVERGED = 3, 0.1


class TuningError(RuntimeError):
    """No trial gave an image, so nothing can be chosen."""


@dataclass(frozen=True)
class Budget:
    """How far a search may go; at least one trial is made."""

    sweeps: float
    seconds: float

    def allows(self, sweeps: float, seconds: float, next_sweeps: float, next_seconds: float) -> bool:
        """Whether a trial that costs so much more still fits."""
        return sweeps + next_sweeps <= self.sweeps and seconds + next_seconds <= self.seconds


def tune(
    operator: Measured,
    denoiser: Any = "dncnn",
    sigmas: Sequence[float] | None = None,
    taus: Sequence[float] | None = None,
    method: str = "gcv",
    reference: Any = None,
    noise: float | None = None,
    x0: Any = "auto",
    intensity_scale: float | str = "auto",
    first_sweeps: float = FIRST_SWEEPS,
    sweeps: float = SWEEPS,
    max_sweeps: float | None = None,
    time_limit: float | None = None,
    exhaustive: bool = False,
    callbacks: Sequence[Callable[[Trial], None]] = (),
    progress: bool = True,
    **options: Any,
) -> Tuned:
    """The σ and τ for these measurements.

    Args:
        operator: `RadonCT` or `BlockCS`.
        denoiser: a shipped family ("dncnn", "dncnn-ct", "dncnn-conditional", or `load_denoiser(name, sigma="auto")`),
            whose σ is chosen, too; or whatever else `load_denoiser` takes, whose τ alone is.
        sigmas: of a family, the levels to choose among, grey levels of 255; None: all it has.
        taus: the τ to choose among; None: from 0.001 to 1, four a decade, times the operator's Lipschitz constant (1
            for a normalized one).
        method: "gcv", generalized cross-validation: needs nothing, assumes white noise. "held-out": the prediction of
            left-out angles (CT) or rows (CS); takes too little of the prior where angles are few. "discrepancy": the
            residual as large as the noise; for one σ, and it takes too much of the prior. "reference": the best SNR.
        reference: the true image, (rows, cols): for "reference"; the other methods only report its SNR.
        noise: for "discrepancy": standard deviation of the measurements' noise, with weights of that of W^½y; None:
            `estimate_noise`.
        x0: where the first trial begins, as of `GpuAsyncRED.run`; "auto": the operator's choice, then 8 sweeps each
            with the denoiser at 16, 8, 4 and 2 times its noise, as `warm_start` does: trials that haven't converged
            choose wrongly. For "held-out", an image made from all measurements has seen those left out.
        intensity_scale: c of R_c(x) = c·R(x/c) in all trials; "auto": as `GpuAsyncRED` takes it from x0.
        first_sweeps, sweeps: of the first trial, which begins at x0, and of the others, which begin at another's image.
        max_sweeps, time_limit: what the search may cost, in sweeps of all reconstructions together, and in seconds.
        exhaustive: try the whole grid; else a search that follows the valley.
        callbacks: called with each `Trial`. progress: show a bar, or on no terminal a line a trial, on standard error.
        options: further arguments of `GpuAsyncRED`.
    Raises:
        ValueError, TypeError: as of `GpuAsyncRED`; or a method without what it needs.
        TuningError: every trial diverged.
    """
    if not isinstance(operator, Tunable):
        raise TypeError(
            f"operator is a {type(operator).__name__}, whose σ and τ can't be chosen: that takes its methods forward, "
            "with_measurements and restricted, as RadonCT and BlockCS have them. Pass tau as a number."
        )
    check_choice("method", method, METHODS)
    check_callbacks(callbacks)
    network = _networks(denoiser, sigmas)
    # On a GPU what comes before a run, and the predictions A x, are computed there.
    solver = GpuAsyncRED(operator, next(iter(network.values())), 1.0, **{"order": "ordered"} | options)
    operator = solver.prepared_operator()
    lipschitz = operator.lipschitz
    levels = tuple(tau * lipschitz for tau in TAUS) if taus is None else _levels(taus, "taus")
    truth = None if reference is None else check_reference(reference, operator.image_shape)
    image = operator.start(x0) if isinstance(x0, str) else check_image("x0", x0, operator.image_shape)
    scale = choose_scale(check_scale(intensity_scale), image, operator)
    seed = check_count("seed", options.get("seed", 0), 0)
    criterion, known = _criterion(method, operator, truth, noise, len(network), seed)
    budget = Budget(_limit("max_sweeps", max_sweeps), _limit("time_limit", time_limit))
    costs = (check_number("first_sweeps", first_sweeps, 1.0), check_number("sweeps", sweeps, 1.0))
    with TuningDisplay(max_sweeps, quiet=not progress) as display, SpareWorkers() as spares:
        trials = _Trials(criterion, network, levels, scale, x0, costs, budget, (display, *callbacks), options, spares)
        try:
            if exhaustive:
                everything(trials.in_rows, trials.sigmas, levels, nearest(levels, TAU_TO_BEGIN * lipschitz))
            else:
                search(trials.near_the_best, trials.sigmas, levels, (0, nearest(levels, TAU_TO_BEGIN * lipschitz)))
                trials.confirm()
        except BudgetSpent:
            trials.notes.append("The budget ended the search; the choice is the best of what was tried.")
    return trials.result(method, known)


def _networks(denoiser: Any, sigmas: Sequence[float] | None) -> dict[float | None, nn.Module]:
    """The networks to choose among, by σ ascending; a single one given has σ None."""
    family = denoiser if isinstance(denoiser, DenoiserFamily) else None
    if family is None and isinstance(denoiser, str) and denoiser in SHIPPED:
        family = DenoiserFamily(denoiser)
    if family is None:
        if sigmas is not None:
            raise ValueError(
                f"sigmas={list(sigmas)} can't be chosen among: denoiser is one network. Pass a shipped family's name, "
                "such as 'dncnn', or sigmas=None."
            )
        return {None: load_network(denoiser)}
    chosen = family.sigmas if sigmas is None else _levels(sigmas, "sigmas")
    return {sigma: family.at(sigma) for sigma in chosen}


def _levels(values: Any, name: str) -> tuple[float, ...]:
    """Positive numbers, ascending."""
    try:
        found = np.unique(np.asarray(values, np.float64))
    except (TypeError, ValueError):
        found = np.zeros(0)
    if np.ndim(values) != 1 or not found.size or not (np.isfinite(found) & (found > 0)).all():
        raise ValueError(f"{name}={values!r} isn't a list of positive numbers. Pass some, such as {list(TAUS[:3])}.")
    return tuple(found.tolist())


def _limit(name: str, value: float | None) -> float:
    return math.inf if value is None else check_number(name, value, 0.0)


def _criterion(
    method: str, operator: Measured, truth: FloatArray | None, noise: float | None, networks: int, seed: int
) -> tuple[Criterion, float | None]:
    """The criterion, and the noise it reckons with."""
    if method == "reference":
        if truth is None:
            raise ValueError("method='reference' needs the true image. Pass reference=, or another method.")
        return Reference(operator, truth), None
    if method == "gcv":
        return GeneralizedCrossValidation(operator, seed, truth), None
    if method == "held-out":
        return HeldOut(operator, truth), None
    if networks > 1:
        raise ValueError(
            "method='discrepancy' asks for a residual of one size, which every σ reaches with some τ. Pass one σ "
            "(sigmas=[5]), or method='gcv'."
        )
    if noise is None and not isinstance(operator, RadonCT):
        raise ValueError(
            f"method='discrepancy' needs the noise of the measurements, which isn't estimated for a "
            f"{type(operator).__name__}. Pass noise=, their noise's standard deviation, or method='gcv'."
        )
    known = _noise_of(operator) if noise is None else check_number("noise", noise, 0.0)
    if known == 0:
        raise ValueError("noise=0: no residual is as small as that. Pass the noise's standard deviation.")
    return Discrepancy(operator, known, truth), known


def _noise_of(operator: Measured) -> float:
    return estimate_noise(operator.measured, operator.precision_weights)


class _Trials:
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
    ) -> None:
        self._criterion = criterion
        self._networks = list(networks.items())
        self._taus = taus
        self._scale = scale
        self._x0 = x0
        self._warm = isinstance(x0, str) and x0 == "auto"
        self._costs = costs
        self._budget = budget
        self._callbacks = callbacks
        self._options = {"order": "ordered"} | options
        self._momentum = "momentum" in options
        self._spares = spares
        self._best_state = self._last_state = self._row_state = State(())
        self._best_place = (0, 0)
        self._began = time.perf_counter()
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
        warming = 0.0 if begin.images or not self._warm else len(FACTORS) * WARM_SWEEPS
        self._spend((warming + cost) * len(self._criterion.jobs))
        began = time.perf_counter()
        level, network = self._networks[sigma]
        images = []
        finite = True
        for place, job in enumerate(self._criterion.jobs):
            strength = self._taus[tau] * job.tau_factor
            x0 = begin.images[place] if begin.images else self._start(job.operator, network, strength)
            result = self._solver(job.operator, network, strength, self._scale).run(max_sweeps=cost, x0=x0)
            finite = finite and result.status is not Status.DIVERGED
            self.notes += [note for note in result.notes if note not in self.notes]
            images.append(as_numpy(result.image, "image", 2))
        score = self._criterion.score(tuple(images)) if finite else Score(math.inf, math.inf)
        trial = Trial(level, self._taus[tau], score, (warming + cost) * len(images), time.perf_counter() - began)
        self.trials.append(trial)
        self._last_state = State(tuple(images)) if finite else State(())
        again = self.best is not None and (self.best.sigma, self.best.tau) == (trial.sigma, trial.tau)
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

    def _spend(self, sweeps: float) -> None:
        spent = sum(trial.sweeps for trial in self.trials)
        seconds = time.perf_counter() - self._began
        if self.trials and not self._budget.allows(spent, seconds, sweeps, self.trials[-1].seconds):
            raise BudgetSpent

    def _start(self, operator: Measured, network: nn.Module, tau: float) -> Any:
        """Where a first trial begins: x0, or "auto" after a few sweeps with stronger denoisers (warm_starts.py)."""
        image = self._x0
        for factor in FACTORS if self._warm else ():
            result = self._solver(operator, network, tau, factor * self._scale).run(max_sweeps=WARM_SWEEPS, x0=image)
            if result.status is Status.DIVERGED:
                return self._x0
            image = as_numpy(result.image, "image", 2)
        return image

    def _solver(self, operator: Measured, network: nn.Module, tau: float, scale: float) -> GpuAsyncRED:
        """With momentum, unless it was set or the blocks are too few for it; its processes are the last one's."""
        solver = GpuAsyncRED(operator, network, tau, intensity_scale=scale, **self._options)
        if not self._momentum and 2 * solver.parallelism.in_flight <= len(solver.operator.grid):
            options = self._options | {"momentum": MOMENTUM}
            solver = GpuAsyncRED(operator, network, tau, intensity_scale=scale, **options)
        solver.keep_workers(self._spares)
        return solver

    def result(self, method: str, noise: float | None) -> Tuned:
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
