"""From counts to line integrals, by Beer and Lambert's law: −log((data − dark)/(white − dark))."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .values import check_gain

# One count of a 16-bit detector: no transmission below it can be told from none.
MIN_TRANSMISSION = 2.0**-16
MAX_CLIPPED_SHARE = 0.5


def line_integrals(
    data: NDArray[Any],
    white: NDArray[Any] | None,
    dark: NDArray[Any] | None,
    names: Mapping[str, str] | None = None,
) -> tuple[NDArray[np.float32], int, int]:
    """Sinogram (angles, detectors), the number of clipped values, and of interpolated detectors.

    Transmissions that are zero or negative are clipped at 2⁻¹⁶ and counted. A detector whose white field isn't above
    its dark field has no transmission at all: it is interpolated from its neighbours, and counted.

    Args:
        data: (angles, detectors) counts of one slice, or transmissions without white.
        white: (fields, detectors) of the beam without a sample; averaged here. None: 1.
        dark: (fields, detectors) without beam; averaged here. None: 0.
        names: of "data", "white" and "dark" as their file calls them, for the messages.

    Raises:
        ValueError: a white field nowhere above the dark one, or data more than half of which is not above it.
    """
    called = {"data": "data", "white": "white", "dark": "dark"} | dict(names or {})
    detectors = data.shape[1]
    black = np.zeros(detectors) if dark is None else dark.astype(np.float64).mean(axis=0)
    gain = np.ones(detectors) if white is None else white.astype(np.float64).mean(axis=0) - black
    dead = check_gain(gain, called["white"], called["dark"])
    alive = ~dead
    transmission = (data[:, alive].astype(np.float64) - black[alive]) / gain[alive]
    low = transmission <= 0
    clipped = int(np.count_nonzero(low))
    if clipped > MAX_CLIPPED_SHARE * low.size:
        raise ValueError(
            f"{called['data']} isn't above the dark field in {clipped} of {low.size} values of the slice, so there is "
            "no transmission to take a logarithm of. Pass raw counts; data that are already line integrals go straight "
            "to RadonCT, or take --values line-integrals."
        )
    sinogram = np.empty(data.shape, np.float64)
    sinogram[:, alive] = -np.log(np.where(low, MIN_TRANSMISSION, transmission))
    if dead.any():
        index = np.arange(detectors)
        for row in sinogram:
            row[dead] = np.interp(index[dead], index[alive], row[alive])
    return sinogram.astype(np.float32), clipped, int(np.count_nonzero(dead))
