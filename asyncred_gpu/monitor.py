"""What a run knows of its progress: ‖G‖² from the blocks' last gradients, SNR, history; and the guard of the step.

Owned by the engine. Everything here is a function of the commits alone, so an ordered run decides the same every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .blocks import BlockGrid, FloatArray
from .red import Moved
from .result import HISTORY, Progress

# ‖G‖² has grown this much over its least value: with a stable step it may swing by a few times, not by this.
GROWTH = 20.0
MOST_SHRINKS = 12
# Of a block that goes along with its center the momentum is halved sooner: then it is what swings. On the retina (800²,
# 180 angles, τ = 0.0025) ‖G‖² without it fell to 6e-5 in 14 sweeps, and with 0.5 it swung about 5e-3.
SWING = 2.0


class StepGuard:
    """Shrinks every step when ‖G‖² grows: the bounds behind the block step are an estimate, not a theorem.

    `factor` of the steps, `momentum` of the momentum of blocks that go along with their centers.
    """

    def __init__(self, blocks: int) -> None:
        self.factor = 1.0
        self.shrinks = 0
        self.momentum = 1.0
        self._blocks = blocks
        self._least = self._calmest = math.inf
        self._calm: set[int] = set()  # blocks whose momentum is still to be dropped

    def judge(self, residual: float) -> bool:
        """After a commit, with ‖G‖²/‖G₀‖²: whether the step was shrunk just now."""
        self._least, self._calmest = min(self._least, residual), min(self._calmest, residual)
        if residual > SWING * self._calmest:
            self.momentum *= 0.5
            self._calmest = residual  # the next time it must have swung as much again
        if residual <= GROWTH * self._least:
            return False
        self.factor *= 0.5
        self.shrinks += 1
        self._least = residual  # the next time it must have grown as much again
        self._calm = set(range(self._blocks))
        return True

    def drops_momentum(self, block: int) -> bool:
        """Whether this update starts from rest: once for every block after a shrink."""
        if block in self._calm:
            self._calm.remove(block)
            return True
        return False

    def state(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "factor": self.factor,
            "shrinks": self.shrinks,
            "momentum": self.momentum,
            "least": self._least,
            "calmest": self._calmest,
            "calm": sorted(self._calm),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.factor, self.shrinks, self.momentum = state["factor"], state["shrinks"], state["momentum"]
        self._least, self._calmest, self._calm = state["least"], state["calmest"], set(state["calm"])

    def was_lost(self, block: int) -> None:
        """An update that asked the denoiser never commits: the next one starts from rest in its place."""
        if self.shrinks:
            self._calm.add(block)


def decibels(energy: float, error: float) -> float:
    """10·log10 of energy over error, −inf for an error that is infinite or undefined."""
    if error == 0:
        return math.inf
    ratio = energy / error
    return 10 * math.log10(ratio) if ratio > 0 else -math.inf


class Monitor:
    """Residual, SNR and history of one run."""

    def __init__(self, grid: BlockGrid, image: FloatArray, reference: FloatArray | None, total_sweeps: float) -> None:
        self._grid = grid
        self._first = np.zeros(len(grid))
        self._last = np.zeros(len(grid))
        self._missing = set(range(len(grid)))  # blocks without an update so far
        self._stronger = set(range(len(grid)))  # blocks whose last gradient isn't of the network itself
        self._asked = 0  # updates that asked the denoiser
        self._reference = reference
        self._total_sweeps = total_sweeps
        self._progress: list[Progress] = []
        if reference is not None:
            self._energy = float(np.sum(np.square(reference, dtype=np.float64)))
            self._errors = np.array([self._error(block, pixels) for block, pixels in enumerate(grid.split(image))])

    def _error(self, block: int, pixels: FloatArray) -> float:
        assert self._reference is not None
        with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges
            difference = pixels - self._reference[self._grid.window(block).slices]
            return float(np.vdot(difference, difference))

    @property
    def gradient_squared(self) -> float:
        """Σ ‖G_i‖² over the blocks updated so far."""
        return float(self._last.sum())

    @property
    def complete(self) -> bool:
        """Whether every block was updated at least once."""
        return not self._missing

    @property
    def settled(self) -> bool:
        """Whether every block's last gradient is of the G whose zero is looked for, no stronger denoiser's."""
        return not self._stronger

    @property
    def residual(self) -> float:
        """‖G‖²/‖G₀‖² over the blocks updated so far, G₀ each block's first gradient; 0 at a fixed point."""
        start = float(self._first.sum())
        return self.gradient_squared / start if start else 0.0

    def record(
        self,
        commit: int,
        block: int,
        staleness: int,
        moved: Moved,
        pixels: Callable[[], FloatArray],
        seconds: float,
        strength: float = 1.0,
    ) -> Progress:
        """Take a commit into account; returns what callbacks are told. `pixels()` are the block's new ones."""
        if strength:  # else its gradient isn't of G
            self._take(block, moved.gradient_squared, strength)
        snr = None
        if self._reference is not None:
            known = moved.error_squared
            self._errors[block] = self._error(block, pixels()) if known is None else known
            error = float(self._errors.sum())
            snr = decibels(self._energy, error)
        progress = Progress(
            update=commit + 1,
            sweep=self._asked / len(self._grid),
            seconds=seconds,
            residual=self.residual,
            staleness=staleness,
            block=block,
            snr=snr,
            total_sweeps=self._total_sweeps,
        )
        self._progress.append(progress)
        return progress

    def _take(self, block: int, gradient_squared: float, strength: float) -> None:
        """The gradient of an update that asked the denoiser."""
        self._asked += 1
        if strength == 1.0:
            self._stronger.discard(block)
        else:
            self._stronger.add(block)
        if block in self._missing:
            self._missing.remove(block)
            self._first[block] = gradient_squared
        self._last[block] = gradient_squared

    def state(self) -> dict[str, Any]:
        """Ready for JSON; what is to be known besides the image and the history."""
        return {
            "first": self._first.tolist(),
            "last": self._last.tolist(),
            "missing": sorted(self._missing),
            "stronger": sorted(self._stronger),
            "asked": self._asked,
        }

    def restore(self, state: Mapping[str, Any], history: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from there; SNRs that the history hasn't are NaN."""
        self._first, self._last = np.array(state["first"]), np.array(state["last"])
        self._missing, self._stronger = set(state["missing"]), set(state["stronger"])
        self._asked = int(state["asked"])
        known = {name: history[name].tolist() for name in HISTORY if name in history}
        known.setdefault("snr", [math.nan] * len(known["update"]))
        self._progress = [
            Progress(**dict(zip(HISTORY, values, strict=True)), total_sweeps=self._total_sweeps)
            for values in zip(*(known[name] for name in HISTORY), strict=True)
        ]

    def history(self) -> dict[str, npt.NDArray[Any]]:
        """Equally long arrays; snr only with a reference."""
        return {
            name: np.array([getattr(progress, name) for progress in self._progress], self._kind(name))
            for name in HISTORY
            if name != "snr" or self._reference is not None
        }

    @staticmethod
    def _kind(name: str) -> type[np.int64 | np.float64]:
        return np.int64 if name in ("update", "staleness", "block") else np.float64
