"""Nesterov's extrapolation with restart: where the next gradient is taken.

y = x + (t − 1)/t⁺·(x − x⁻), t⁺ = (1 + √(1 + 4t²))/2 (Beck and Teboulle 2009); t⁺ = 1 and y = x where the last step goes
uphill, ⟨slope at y, x − x⁻⟩ > 0 (O'Donoghue and Candès 2015).
"""

from __future__ import annotations

import math

import numpy as np

from ..blocks import FloatArray


class Nesterov:
    """Owns the iterate x and the point ahead of it, y.

    Args:
        start: (rows, cols), x and y at first.
        accelerate: False: y is x.
    """

    def __init__(self, start: FloatArray, accelerate: bool) -> None:
        self.ahead = start
        self._image = start
        self._accelerate = accelerate
        self._t = 1.0

    def move_to(self, image: FloatArray, slope: FloatArray) -> None:
        """The next iterate, reached from `ahead` where the slope (gradient or gradient mapping) was this."""
        moved = image - self._image
        self._image = self.ahead = image
        if not self._accelerate or float(np.vdot(slope, moved)) > 0:
            self._t = 1.0
            return
        following = (1 + math.sqrt(1 + 4 * self._t**2)) / 2
        self.ahead = image + np.float32((self._t - 1) / following) * moved
        self._t = following

    def restart(self) -> None:
        """Go on from the iterate, at rest."""
        self.ahead = self._image
        self._t = 1.0
