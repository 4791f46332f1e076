"""The shipped denoisers by name and noise level: one network a level, or one network told its level.

Noise levels σ are in grey levels of 255.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .models import ConditionalDnCNN, DnCNN, load_weights, shipped_levels, weights_path

LEVELS = (5.0, 10.0, 15.0, 20.0, 25.0)
# Of a file of weights: its name without the level.
NETWORKS = {"dncnn": "dncnn", "dncnn-ct": "dncnn_ct"}
CONDITIONAL = {"dncnn-conditional": "dncnn_conditional"}
SHIPPED = (*NETWORKS, *CONDITIONAL)


@dataclass(frozen=True)
class DenoiserFamily:
    """Shipped denoisers of one kind, for several noise levels: `load_denoiser(name, sigma="auto")` returns one.

    Args:
        name: "dncnn" (natural images), "dncnn-ct" (generated slices and natural images), "dncnn-conditional" (one
            network, any level).
    """

    name: str

    def __post_init__(self) -> None:
        if self.name not in SHIPPED:
            raise ValueError(f"No denoisers are named {self.name!r}. Pass one of {', '.join(SHIPPED)}.")

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The levels to choose among: of the files that are there, or the usual ones.

        Raises:
            ValueError: the package has no weights of this name.
        """
        if self.name in CONDITIONAL:
            weights_path(CONDITIONAL[self.name])
            return LEVELS
        levels = shipped_levels(NETWORKS[self.name])
        if not levels:
            raise ValueError(f"The package has no weights of {self.name!r}. Train them: `asyncred train`.")
        return levels

    def at(self, sigma: Any) -> DnCNN:
        """The network for one level.

        Raises:
            ValueError: none was trained for it.
        """
        level = _checked(sigma)
        if self.name in CONDITIONAL:
            return self._told(level)
        if level not in self.sigmas:
            known = ", ".join(f"{known:g}" for known in self.sigmas)
            raise ValueError(
                f"{self.name!r} has no weights for sigma={level:g}, but for {known}. Pass one of these, 'auto', or "
                "'dncnn-conditional', which takes any level."
            )
        network = load_weights(weights_path(f"{NETWORKS[self.name]}_sigma{level:g}"))[0]
        assert isinstance(network, DnCNN)
        return network

    def _told(self, level: float) -> DnCNN:
        network, facts = load_weights(weights_path(CONDITIONAL[self.name]))
        assert isinstance(network, ConditionalDnCNN)
        lowest, highest = facts["settings"]["lowest_sigma"], facts["settings"]["sigma"]
        if not lowest <= level <= highest:
            raise ValueError(
                f"{self.name!r} was trained for sigma from {lowest:g} to {highest:g}, not {level:g}. Pass a level "
                "between them, or another intensity_scale c: R_c is for noise cσ."
            )
        return network.at(level / 255)


def _checked(sigma: Any) -> float:
    right = isinstance(sigma, int | float) and not isinstance(sigma, bool)
    if not right or not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma={sigma!r} isn't a noise level. Pass grey levels of 255, such as 5, or 'auto'.")
    return float(sigma)
