"""A problem as every method is given it: a reference image and a noise realisation; the data are each method's own.

Packages place their rays differently, up to 0.35 pixel, so each projects the reference with its own projector and adds
the same noise, scaled to the same input SNR. One unit is one pixel; angles in radians. numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]

# Detectors beyond ours that a package may have, which noise is drawn for.
SPARE_DETECTORS = 16
NORM_TOLERANCE = 1e-3
MOST_POWER_ITERATIONS = 50


@dataclass(frozen=True)
class Problem:
    """What to reconstruct.

    Args:
        reference: (n, n) the truth.
        start: (n, n) where all methods begin: our FBP of our data.
        noise: (angles, detectors + SPARE_DETECTORS) standard normal; a package with more or fewer detectors cuts it.
        angles: (angles,) radians over half a turn, the end point not among them.
        detectors: of our data.
        noise_db: ‖A x‖/‖noise‖ in dB.
        scale: c of the denoiser, D_c(x) = c·D(x/c).
        weights: w0, b0, w1, … of the denoiser's convolutions, (out, in, 3, 3) and (out,).
        folder: where it lies; methods keep what they prepare there.
    """

    reference: Image
    start: Image
    noise: Image
    angles: NDArray[np.float64]
    detectors: int
    noise_db: float
    scale: float
    weights: dict[str, Image]
    folder: Path

    @property
    def size(self) -> int:
        """Pixels a side."""
        return len(self.reference)

    def noisy(self, clean: Any) -> Image:
        """The measurements, from a projection of the reference: (angles, detectors of whoever projected)."""
        projection = np.asarray(clean, np.float32)
        if projection.shape[1] > self.noise.shape[1]:
            raise ValueError(
                f"The projection has {projection.shape[1]} detectors, and noise was drawn for {self.noise.shape[1]}. "
                "Raise SPARE_DETECTORS."
            )
        noise = self.noise[:, : projection.shape[1]].astype(np.float64)
        noise *= np.linalg.norm(projection) * 10 ** (-self.noise_db / 20) / np.linalg.norm(noise)
        return (projection + noise).astype(np.float32)

    def snr(self, image: Image) -> float:
        """20·log10(‖x‖/‖x̂ − x‖) in dB; −inf for an image that isn't finite."""
        error = float(np.linalg.norm((image - self.reference).astype(np.float64)))
        if not math.isfinite(error):
            return -math.inf
        return 20 * math.log10(float(np.linalg.norm(self.reference.astype(np.float64))) / error)

    def save(self) -> None:
        """Into its folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {name: getattr(self, name) for name in ("reference", "start", "noise", "angles")}
        numbers = {name: getattr(self, name) for name in ("detectors", "noise_db", "scale")}
        np.savez(self.folder / "problem.npz", **arrays, **numbers)
        weights: dict[str, Any] = self.weights
        np.savez(self.folder / "weights.npz", **weights)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` has written."""
        with np.load(folder / "problem.npz") as stored, np.load(folder / "weights.npz") as weights:
            return cls(
                reference=stored["reference"],
                start=stored["start"],
                noise=stored["noise"],
                angles=stored["angles"],
                detectors=int(stored["detectors"]),
                noise_db=float(stored["noise_db"]),
                scale=float(stored["scale"]),
                weights=dict(weights),
                folder=Path(folder),
            )


def norm_squared(normal: Callable[[Image], Any], size: int) -> float:
    """‖A‖² by power iteration on AᵀA from ones, which no A with entries ≥ 0 has for an orthogonal vector."""
    image, found = np.ones((size, size), np.float32) / np.float32(size), 0.0
    for _ in range(MOST_POWER_ITERATIONS):
        new = np.asarray(normal(image), np.float32)
        before, found = found, float(np.linalg.norm(new))
        image = new / np.float32(found)
        if abs(found - before) <= NORM_TOLERANCE * found:
            break
    return found
