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

# Higher orders see less of the object: at 512 detectors order 2 takes a noiseless retina for 2.4 times the noise that
# order 8 does. More gains little, and leaves fewer values.
ORDER = 8
# The median of |n| for n of deviation 1.
MEDIAN_OF_NORMAL = 0.6744897501960817


def estimate_noise(sinogram: Any) -> float:
    """Standard deviation of white noise in a sinogram, in its units.

    Detail as fine as a detector counts as noise, so of an object with sharp edges little noise is taken for more; noise
    that neighbouring detectors share (a scintillator's blur) is taken for less.

    Args:
        sinogram: (angles, detectors), at least 16 detectors; numpy, torch or CuPy.
    Raises:
        ValueError, TypeError: an array that can't be one.
    """
    values = as_numpy(sinogram, "sinogram", 2)
    detectors = values.shape[1]
    if detectors < 2 * ORDER:
        raise ValueError(
            f"sinogram has {detectors} detectors, its noise is estimated from {2 * ORDER} or more side by side. "
            "Pass all detectors of a projection as one row."
        )
    weights = (-1.0) ** np.arange(ORDER + 1) * binom(ORDER, np.arange(ORDER + 1))
    differences = lfilter(weights / np.linalg.norm(weights), 1.0, values.astype(np.float64), axis=1)[:, ORDER:]
    return float(np.median(np.abs(differences)) / MEDIAN_OF_NORMAL)
