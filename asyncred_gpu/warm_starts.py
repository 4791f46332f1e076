"""A start image for reconstructions that begin far from their end, from stronger denoisers first.

A network trained for noise σ moves a pixel by about σ at most, however wrong it is, so from a poor start the error
falls slowly (measured on the paper's cameraman: 350 sweeps from zeros). R_c(x) = c·R(x/c) is the same network for noise
cσ, with the same Lipschitz constant: a few sweeps each with falling c come close in a tenth of them. Only a start: the
solution belongs to the scale of the last run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .operators.base import BlockOperator
from .result import Status
from .runtime.spares import SpareWorkers
from .settings import check_image, check_scale, check_tau
from .solver import GpuAsyncRED, choose_scale

FACTORS = (16.0, 8.0, 4.0, 2.0)
SWEEPS = 8
ADVICE = "Pass smaller factors, step='block', or less momentum."


def warm_start(
    operator: BlockOperator,
    denoiser: Any,
    tau: float,
    intensity_scale: float | str = "auto",
    x0: Any = "auto",
    factors: Sequence[float] = FACTORS,
    max_sweeps: float = SWEEPS,
    **options: Any,
) -> Any:
    """An image to pass as x0, of the input's kind.

    Args:
        operator, denoiser, tau: as of `GpuAsyncRED`, which runs once for each factor.
        intensity_scale: c of the reconstruction to come; "auto": as `GpuAsyncRED` takes it from x0.
        x0: as of `GpuAsyncRED.run`, where the first run begins.
        factors: what c is multiplied with, one run after the other.
        max_sweeps: of each run.
        options: further arguments of `GpuAsyncRED`.
    Raises:
        ValueError, TypeError: as of `GpuAsyncRED`. RuntimeError: a run diverged.
    """
    image = operator.start(x0) if isinstance(x0, str) else check_image("x0", x0, operator.image_shape)
    scale = choose_scale(check_scale(intensity_scale), image, operator)
    tau = check_tau(tau)
    with SpareWorkers() as spares:
        for factor in factors:
            solver = GpuAsyncRED(operator, denoiser, tau, intensity_scale=factor * scale, **options)
            solver.keep_workers(spares)
            result = solver.run(max_sweeps, x0=image)
            if result.status is Status.DIVERGED:
                raise RuntimeError(f"The warm start diverged with the denoiser at {factor:g} times its noise. {ADVICE}")
            image = result.image
    return image
