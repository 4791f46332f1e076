"""PGM-TV: accelerated proximal gradients for g(x) + weight·TV(x), TV isotropic, neighbours' differences.

FISTA (Beck and Teboulle, SIAM J. Imaging Sciences 2009) with adaptive restart; the proximal map is scikit-image's
`denoise_tv_chambolle` (Chambolle, J. Math. Imaging and Vision 2004), argmin_u ½‖u − f‖² + weight·TV(u).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from skimage.restoration import denoise_tv_chambolle

from ..blocks import FloatArray
from ..operators.base import BlockOperator
from ..result import Progress, Result
from ..settings import check_number, check_scale
from .nesterov import Nesterov
from .run import Asked, Run, Update
from .start import Start, constrained

# The map is then within 7e-4 of its change for a weight up to 1 % of the image's contrast (measured on the retina with
# noise), and within 4 % at 5 % of it; scikit-image's own 2e-4 and 200 are up to 17 % off.
PROX_EPS, PROX_ITERATIONS = 1e-8, 500


def tv_prox(image: FloatArray, weight: float) -> FloatArray:
    """argmin_u ½‖u − image‖² + weight·TV(u): (rows, cols) float32."""
    if weight == 0:
        return image
    # In float64: Chambolle's iteration stops by differences of its objective far below float32's.
    exact = denoise_tv_chambolle(image.astype(np.float64), weight, PROX_EPS, PROX_ITERATIONS)
    return np.asarray(exact, np.float32)


def pgm_tv(
    operator: BlockOperator,
    weight: float,
    *,
    accelerate: bool = True,
    intensity_scale: float | str = 1.0,
    nonnegative: bool = False,
    max_sweeps: float | None = 40,
    time_limit: float | None = None,
    tol: float | None = None,
    x0: Any = "auto",
    reference: Any = None,
    callbacks: Sequence[Callable[[Progress], None]] = (),
) -> Result:
    """Minimise g(x) + weight·c·TV(x), g the operator's data term, its scale included; on the CPU.

    Args:
        operator: as of `GpuAsyncRED`.
        weight: of the total variation.
        accelerate: Nesterov's extrapolation, restarted where it points uphill.
        intensity_scale: c; 1.0 leaves the weight alone, "auto" makes it mean the same for bright and dark images, as
            in R_c(x) = c·R(x/c).
        nonnegative: negative pixels become zero after the proximal map. That isn't the map of the sum, but ends within
            2e-3 of the constrained minimum (measured). There is no field_of_view: the same would be up to 3 % off.
        max_sweeps, time_limit, x0, reference, callbacks: as of `GpuAsyncRED.run`; a sweep is one gradient.
        tol: stop at ‖M‖²/‖M₀‖² ≤ tol, M = L·(y − x⁺) the gradient mapping; this ratio is the history's residual.
            Below about 1e-8 the proximal map's own tolerance shows.
    Raises:
        ValueError, TypeError: input that can't be, before any work.
    """
    asked = Asked.of(operator, max_sweeps, time_limit, tol, reference, callbacks)
    weight = check_number("weight", weight, 0.0)
    scale = check_scale(intensity_scale)

    start = Start.of(operator, x0, scale, None, nonnegative)
    step = 1 / operator.lipschitz
    path = Nesterov(start.image, accelerate)

    def update() -> Update:
        ahead = path.ahead
        smooth = tv_prox(ahead - np.float32(step) * operator.gradient(ahead), step * weight * start.scale)
        image = constrained(smooth, None, start.nonnegative)
        slope = (ahead - image) / np.float32(step)
        path.move_to(image, slope)
        return Update(image, float(np.vdot(slope, slope)))

    settings = {"method": "PGM-TV", "weight": weight, "accelerate": bool(accelerate), "step": step}
    return Run(asked, start.image).iterate(start, update, settings)
