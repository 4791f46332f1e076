"""What a sinogram can't be, though its form says nothing of it: counts, transmissions, turned about another axis.

Found from its values alone, so notes and not errors: line integrals may be in any unit.
"""

from __future__ import annotations

import numpy as np

from ..blocks import FloatArray
from .geometry import Float64Array

# No detector tells a transmission of e⁻²⁵ from none: the least of 16 bits is e⁻¹¹, of 32 bits e⁻²².
LARGEST = 25.0
# Parts of the detector, of which the first and the last see air. It is the brightest, though beams are weaker at their
# ends: what share of the brightest part they must be, and the darkest part, behind the object, of theirs at most.
PARTS = 10
AIR, BEHIND = 0.6, 0.85
LINE_INTEGRALS = "RadonCT takes line integrals, −log((counts − dark)/(white − dark))"


def doubts_about_values(sinogram: FloatArray) -> tuple[str, ...]:
    """Of line integrals (angles, detectors), whether they are counts or transmissions, in whatever unit.

    Where an object lies within the detector, its line integrals are least at both ends, its transmissions largest.
    """
    half = float(np.median(sinogram))
    if half > LARGEST and np.array_equal(sinogram, np.round(sinogram)):
        return (f"The sinogram holds whole numbers, half of them above {half:.4g}: counts? {LINE_INTEGRALS}.",)
    parts = [float(np.median(part)) for part in np.array_split(sinogram, PARTS, axis=1) if part.size]
    end, most = min(parts[0], parts[-1]), max(parts)
    if end > AIR * most > 0 and min(parts) < BEHIND * end and sinogram.min() > -0.05 * most:
        what = "The sinogram is largest at both ends of the detector, and less in between: counts or transmissions?"
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
