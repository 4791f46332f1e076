"""What a training run depends on besides its images: checked, and kept in the checkpoint and in the card."""

from __future__ import annotations

import math
from dataclasses import dataclass

NETWORKS = ("dncnn", "dncnn-conditional")
PRECISIONS = ("float32", "bfloat16")
MOST_PHANTOMS, LARGEST_SEED = 1_000_000, 2**63 - 1


@dataclass(frozen=True)
class TrainingSettings:
    """What a training run depends on besides its images.

    lipschitz None: no bound. start: sha256 of the weights it began with, or None. phantoms: generated images beside
    the folder's. lowest_sigma: the patches have any noise between it and sigma; None: sigma.
    """

    network: str = "dncnn"
    sigma: float = 5.0  # noise, in grey levels of 255
    lowest_sigma: float | None = None
    steps: int = 6000
    patch: int = 64
    batch: int = 16
    learning_rate: float = 1e-3
    lipschitz: float | None = 2.0
    clip_every: int = 10
    seed: int = 0
    phantoms: int = 0
    start: str | None = None
    precision: str = "bfloat16"  # of the convolutions; weights, loss and optimizer are float32

    def __post_init__(self) -> None:
        for name in ("sigma", "steps", "patch", "batch", "learning_rate", "lipschitz", "clip_every", "lowest_sigma"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}={value} must be a number above 0. Default: {getattr(type(self), name)}.")
        for name, most in (("phantoms", MOST_PHANTOMS), ("seed", LARGEST_SEED)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name}={getattr(self, name)} can't be. Pass a whole number from 0 to {most}.")
        for name, known in (("precision", PRECISIONS), ("network", NETWORKS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown. Pass {' or '.join(map(repr, known))}.")
        if self.conditional and self.lowest_sigma is None:
            raise ValueError(
                "network='dncnn-conditional' with lowest_sigma=None: it is trained for noise from one to the other. "
                "Pass both."
            )
        if self.lowest_sigma is not None and self.lowest_sigma > self.sigma:
            raise ValueError(f"lowest_sigma={self.lowest_sigma:g} is above sigma={self.sigma:g}. Exchange them.")

    @property
    def conditional(self) -> bool:
        return self.network == "dncnn-conditional"
