"""Whether a scan's line integrals can be ones, −log of a transmission: what was taken for them shows in their size."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .io.projections import COUNTS, LINE_INTEGRALS
from .operators.doubts import LARGEST

# The beam alone is the brightest there is, but for noise and a beam that drifts.
BRIGHTEST = 1.5


def doubt(sinogram: NDArray[np.float32], facts: Mapping[str, Any]) -> str | None:
    """A warning if half of the values can't be what they were taken for.

    Args:
        sinogram: as it is used. facts: of the problem: what its `values` were said to be, and whether its file has
            `white_fields`; of a simulated one neither.
    """
    values, half = facts.get("values"), float(np.median(sinogram))
    remedy = "Leave --values out" if facts.get("white_fields") else "Pass --white and --dark, and no --values"
    if values == LINE_INTEGRALS and half > LARGEST:
        return (
            f"warning: half of the line integrals are above {half:.3g}, and a transmission of e^-{half:.0f} is none: "
            f"they look like counts. {remedy}; or go on if they are in another unit, which the image then has"
        )
    if values is None or half >= -math.log(BRIGHTEST):
        return None
    if values == LINE_INTEGRALS:
        return (
            f"warning: half of the line integrals are below {half:.3g}, and a sample makes them positive: their "
            "logarithm may lack its minus sign. Turn it, or pass --values transmission if there is no logarithm yet"
        )
    found = f"warning: half of the values are above {math.exp(-half):.3g} times the beam, and a sample makes it darker"
    if values == COUNTS:
        return f"{found}: the white fields may be of another exposure. Pass the scan's own as --white"
    return f"{found}: they look like counts. {remedy}"
