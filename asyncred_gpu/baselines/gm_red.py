"""GM-RED: the full-gradient method, what the asynchronous one is compared with.

x ← y − γ·G(y), γ = 1/(L+2τ), with Nesterov's extrapolation and restart (Romano, Elad, Milanfar 2017; O'Donoghue and
Candès 2015). Its fixed points are those of Async-RED: G(x) = ∇g(x) + τ(x − D(x)) = 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..denoiser import load_network, network_fingerprint, resolve_halo
from ..monitor import StepGuard
from ..operators.base import BlockOperator
from ..precision import resolve_precision
from ..red import Step, StepConstants, check_step, move, step_length
from ..result import Progress, Result
from ..settings import check_scale, check_tau, make_mask
from .full_gradient import FullGradient
from .nesterov import Nesterov
from .run import Asked, Run, Update
from .start import Start


def gm_red(
    operator: BlockOperator,
    denoiser: Any,
    tau: float = 0.02,
    *,
    pad: int | str = "exact",
    accelerate: bool = True,
    step: str | float = "global",
    intensity_scale: float | str = "auto",
    nonnegative: bool = False,
    field_of_view: Any = None,
    precision: str = "float32",
    max_sweeps: float | None = 40,
    time_limit: float | None = None,
    tol: float | None = None,
    x0: Any = "auto",
    reference: Any = None,
    callbacks: Sequence[Callable[[Progress], None]] = (),
) -> Result:
    """Full gradients of the whole image, on the CPU.

    Args:
        operator, denoiser, tau, pad, intensity_scale, nonnegative, field_of_view: as of `GpuAsyncRED`.
        accelerate: Nesterov's extrapolation, restarted where it points uphill.
        step: 1/(L+2τ) by any of its names, or a number.
        precision: the denoiser's: "float32", "bfloat16", or "auto", which takes the faster one.
        max_sweeps, time_limit, tol, x0, reference, callbacks: as of `GpuAsyncRED.run`; a sweep is one gradient.
    Returns:
        The last iterate x; the history's residual is ‖G‖²/‖G₀‖² at the point y the update began from.
    Raises:
        ValueError, TypeError: input that can't be, before any work.
    """
    asked = Asked.of(operator, max_sweeps, time_limit, tol, reference, callbacks)
    network, tau, policy = load_network(denoiser), check_tau(tau), check_step(step)
    halo, precision = resolve_halo(pad, network), resolve_precision(precision)
    scale, mask = check_scale(intensity_scale), make_mask(field_of_view, operator.image_shape)

    start = Start.of(operator, x0, scale, mask, nonnegative)
    gradient = FullGradient(operator, network, tau, start.scale, precision, halo)
    lipschitz = operator.lipschitz
    length = step_length(policy, StepConstants(lipschitz, lipschitz, tau, staleness=0, in_flight=1, blocks=1))
    path, guard = Nesterov(start.image, accelerate), StepGuard(blocks=1)

    def update() -> Update:
        if guard.drops_momentum(0):
            path.restart()
        image, slope = path.ahead.copy(), gradient.data(path.ahead)
        residual = gradient.residual(path.ahead)
        shrunk = Step(length * guard.factor, 0.0, start.nonnegative)
        moved = move(image, np.zeros_like(image), slope, residual, tau, shrunk, mask)
        path.move_to(image, slope)  # `move` has made ∇g into G
        return Update(image, moved.gradient_squared)

    settings = {"method": "GM-RED", "tau": tau, "halo": halo, "denoiser": network_fingerprint(network)}
    settings |= {"accelerate": bool(accelerate), "step": length, "precision": precision}
    return Run(asked, start.image).iterate(start, update, settings, guard)
