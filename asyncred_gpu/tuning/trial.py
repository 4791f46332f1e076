"""One pair (σ, τ) that was tried, and what was found."""

from __future__ import annotations

from dataclasses import dataclass

from ..blocks import FloatArray


@dataclass(frozen=True)
class Score:
    """How good a reconstruction is by one criterion: the lower the better.

    misfit: ‖W^½(A x − y)‖ over the square root of the number of measurements, in units of W^½y (of y without weights).
    freedom: how much of a change of y the prediction A x follows, 0 to 1; None where nothing measures it.
    snr: in dB, with a reference.
    """

    value: float
    misfit: float
    freedom: float | None = None
    snr: float | None = None


@dataclass(frozen=True)
class Trial:
    """One pair (σ, τ): what it was worth, and what it cost.

    sigma: the denoiser's, in grey levels of 255; None for a network that was given.
    sweeps, seconds: of all reconstructions the criterion needs.
    again: the pair had been tried before, from an image that was further from its end; this score counts.
    """

    sigma: float | None
    tau: float
    score: Score
    sweeps: float
    seconds: float
    again: bool = False

    @property
    def pair(self) -> tuple[float | None, float]:
        """(σ, τ)."""
        return self.sigma, self.tau


@dataclass(frozen=True)
class State:
    """Where the next trial starts: an image for each of the criterion's reconstructions."""

    images: tuple[FloatArray, ...]
