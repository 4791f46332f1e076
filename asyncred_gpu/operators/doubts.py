"""What a sinogram can't be, though its form says nothing of it: counts, transmissions, turned about another axis.

Found from its values alone, so notes and not errors: line integrals may be in any unit.
"""

from __future__ import annotations

import numpy as np

from ..blocks import FloatArray
from .geometry import Float64Array

# Half of the line integrals above this: a transmission of e⁻²⁵ is none that a detector tells from nothing.
LARGEST = 25.0
# Air lets through all of the beam, nearly; and how much of the detector's either end is looked at for it.
AIR = (0.85, 1.15)
RIM = 0.02
LINE_INTEGRALS = "RadonCT takes line integrals, −log((counts − dark)/(white − dark))"


def doubts_about_values(sinogram: FloatArray) -> tuple[str, ...]:
    """Of line integrals (angles, detectors), whether they are counts or transmissions."""
    half = float(np.median(sinogram))
    if half > LARGEST and np.array_equal(sinogram, np.round(sinogram)):
        return (f"The sinogram holds whole numbers, half of them above {half:.4g}: counts? {LINE_INTEGRALS}.",)
    rim = max(1, round(RIM * sinogram.shape[1]))
    ends = np.median(sinogram[:, :rim]), np.median(sinogram[:, -rim:])
    bright = all(AIR[0] < end < AIR[1] for end in ends)
    # Of line integrals those at the rim are least.
    if bright and sinogram.min() >= 0 and half < min(ends) and np.quantile(sinogram, 0.99) < AIR[1]:
        what = "The sinogram is about 1 at both ends of the detector and less in between: transmissions?"
        return (f"{what} {LINE_INTEGRALS}.",)
    return ()


def doubts_about_center(sinogram: FloatArray, angles: Float64Array) -> tuple[str, ...]:
    """Of a parallel beam's scan whose centre wasn't given, whether the detector's middle is it."""
    from ..io.center import better_center  # with the file formats, which workers don't need

    found, middle = better_center(sinogram, angles), (sinogram.shape[1] - 1) / 2
    if found is None:
        return ()
    return (
        f"center=None takes the detector's middle, {middle:g}, but the sinogram turns about {found:.1f}: pass "
        f"center={found:.1f}, or {middle:g} if that is known.",
    )
