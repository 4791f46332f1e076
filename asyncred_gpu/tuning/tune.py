"""The choice of σ and τ: reconstructions on a grid, each from the last one's image, judged by a criterion.

Which criterion, measured: docs/results/tuning.md. The default needs neither the truth nor the noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import nn

from ..blocks import FloatArray
from ..choices import CRITERIA
from ..denoiser import load_network
from ..family import SHIPPED, DenoiserFamily
from ..operators.radon import RadonCT
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
from .costs import FIRST_SWEEPS, SWEEPS
from .criteria import Criterion, Discrepancy, GeneralizedCrossValidation, HeldOut, Measured, Reference, Tunable
from .display import TuningDisplay
from .noise import estimate_noise
from .search import BudgetSpent, everything, nearest, search
from .trial import Trial
from .trials import Budget, SearchInterrupted, Trials
from .tuned import Tuned

# Four a decade: beside the best one the SNR is within about 0.3 dB.
TAUS = tuple(float(f"{10.0**power:.3g}") for power in np.arange(-3.0, 0.01, 0.25))
TAU_TO_BEGIN = 0.05


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
        max_sweeps, time_limit: what the search may cost, in sweeps of all reconstructions together (one trial is made
            whatever it costs), and in seconds, after which a trial under way is given up.
        exhaustive: try the whole grid; else a search that follows the valley.
        callbacks: called with each `Trial`. progress: show a bar, or on no terminal a line a trial, on standard error.
        options: further arguments of `GpuAsyncRED`.
    Raises:
        ValueError, TypeError: as of `GpuAsyncRED`; or a method without what it needs.
        TuningError: every trial diverged, or the time was over before the first was done.
        SearchInterrupted: Ctrl-C, a KeyboardInterrupt with the best so far, if a trial was done.
    """
    if not isinstance(operator, Tunable):
        raise TypeError(
            f"operator is a {type(operator).__name__}, whose σ and τ can't be chosen: that takes its methods forward, "
            "with_measurements and restricted, as RadonCT and BlockCS have them. Pass tau as a number."
        )
    check_choice("method", method, CRITERIA)
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
        told: tuple[Callable[[Trial], None], ...] = (display, *callbacks)
        trials = Trials(criterion, network, levels, scale, x0, costs, budget, told, options, spares, display.under_way)
        try:
            if exhaustive:
                everything(trials.in_rows, trials.sigmas, levels, nearest(levels, TAU_TO_BEGIN * lipschitz))
            else:
                search(trials.near_the_best, trials.sigmas, levels, (0, nearest(levels, TAU_TO_BEGIN * lipschitz)))
                trials.confirm()
        except BudgetSpent as spent:
            trials.ended_by(str(spent))
        except KeyboardInterrupt:
            if trials.best is None:
                raise
            trials.ended_by("Ctrl-C")
            raise SearchInterrupted(trials.result(method, known)) from None
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
