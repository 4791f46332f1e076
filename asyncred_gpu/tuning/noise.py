"""The noise of a sinogram, from what no object makes: differences from detector to detector, many times over.

Line integrals change smoothly along the detector, white noise doesn't. Differences of order p weigh the neighbours with
alternating binomial coefficients; their median absolute value is that of the noise, whatever a few edges add.
Source: Donoho and Johnstone, Biometrika 1994 (the median); von Neumann, Ann. Math. Stat. 1941 (the differences).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.signal import lfilter
from scipy.special import binom

from ..arrays import as_numpy
from ..operators.checks import check_weights

# Higher orders see less of the object: at 512 detectors order 2 takes a noiseless retina for 2.4 times the noise that
# order 8 does. More gains little, and leaves fewer values.
ORDER = 8
FEWEST = 2 * ORDER
# The median of |n| for n of deviation 1.
MEDIAN_OF_NORMAL = 0.6744897501960817


def estimate_noise(sinogram: Any, weights: Any = None) -> float:
    """Standard deviation of white noise in a sinogram, in its units; with weights W of the noise in W^½y.

    Detail as fine as a detector counts as noise, so of an object with sharp edges little noise is taken for more; noise
    that neighbouring detectors share (a scintillator's blur) is taken for less.

    Args:
        sinogram: (angles, detectors), at least 16 detectors; numpy, torch or CuPy.
        weights: its shape, statistical weights >= 0; a difference of nine rays side by side counts if all have one.
    Raises:
        ValueError, TypeError: arrays that can't be, or no nine rays side by side with weights above 0.
    """
    values = as_numpy(sinogram, "sinogram", 2).astype(np.float64)
    if values.shape[1] < FEWEST:
        raise ValueError(
            f"sinogram has {values.shape[1]} detectors, its noise is estimated from {FEWEST} or more side by side. "
            "Pass all detectors of a projection as one row."
        )
    kernel = (-1.0) ** np.arange(ORDER + 1) * binom(ORDER, np.arange(ORDER + 1))
    kernel /= np.linalg.norm(kernel)
    differences = lfilter(kernel, 1.0, values, axis=1)[:, ORDER:]
    if weights is not None:
        counted = check_weights(weights, values.shape)
        assert counted is not None
        # Of noise with variance 1/w the difference has the variance Σ kernel²/w.
        with np.errstate(divide="ignore"):
            variances = 1.0 / counted.astype(np.float64)
        spread = lfilter(kernel**2, 1.0, np.where(np.isinf(variances), 0.0, variances), axis=1)[:, ORDER:]
        blind = lfilter(np.ones(ORDER + 1), 1.0, np.isinf(variances).astype(np.float64), axis=1)[:, ORDER:] > 0.5
        differences = differences[~blind] / np.sqrt(spread[~blind])
        if not differences.size:
            raise ValueError(
                f"weights leave no {ORDER + 1} detectors side by side, so the noise can't be estimated. Pass it as a "
                "number where it is asked for, or weights with fewer gaps."
            )
    return float(np.median(np.abs(differences)) / MEDIAN_OF_NORMAL)
