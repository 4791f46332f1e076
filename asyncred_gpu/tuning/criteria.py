"""What (σ, τ) is judged by. A criterion says which reconstructions it needs, and scores their images.

With the prediction A x, x = x(y), of M measurements y = A x* + n, n white:

    reference             −SNR(x, x*)
    gcv                   ‖A x − y‖²/M / (1 − f)²,  f = tr(∂(A x)/∂y)/M          generalized cross-validation
    held-out              mean of ‖A_k x_k − y_k‖², x_k from all measurements but y_k      cross-validation
    discrepancy           |log(‖A x − y‖² / (M·σ_n²))|                            Morozov

f is measured along one random direction b: f ≈ bᵀ(A x(y + εb) − A x(y))/(εM). Weights W turn y into W^½y throughout.
Sources: Golub, Heath, Wahba, Technometrics 1979; Girard, Numer. Math. 1989 (the random direction); Ramani, Blu, Unser,
IEEE TIP 2008 (a black box's divergence); Morozov, Soviet Math. Dokl. 1966.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np

from ..blocks import FloatArray, IndexArray
from ..metrics import snr
from ..operators.base import BlockOperator
from ..operators.radon import RadonCT
from .noise import FEWEST, estimate_noise
from .trial import Score

# The perturbation of the data, in units of their noise: the denoiser is to see a difference of the noise's size.
PERTURBATION = 0.5
# Where the noise can't be estimated: of the measurements' root mean square.
SHARE_OF_DATA = 0.01
# Every how many angles (or rows) are left out, and how many such sets are.
FOLD = 8
FOLDS = 2
# Reconstructions of a trial, by the criterion's name.
RECONSTRUCTIONS = {"gcv": 2, "held-out": FOLDS, "discrepancy": 1, "reference": 1}


@runtime_checkable
class Tunable(Protocol):
    """What an operator can do if its τ can be chosen."""

    def forward(self, image: FloatArray) -> FloatArray:
        """A x."""
        ...

    def with_measurements(self, measurements: Any) -> Self:
        """The same with other measurements."""
        ...

    def restricted(self, indices: IndexArray) -> Self:
        """The same with some of the measurements: these angles, or these rows of every block's matrix."""
        ...


class Measured(Tunable, BlockOperator, Protocol):
    """What the criteria need of an operator besides a reconstruction."""

    @property
    def measured(self) -> FloatArray:
        """The measurements y, in the shape of `forward`'s result."""
        ...

    @property
    def precision_weights(self) -> FloatArray | None:
        """W, in that shape, or None for 1."""
        ...

    @property
    def scale(self) -> float:
        """What the data term ½‖A x − y‖²_W is multiplied with."""
        ...


@dataclass(frozen=True)
class Job:
    """A reconstruction to be made: its data, and τ's factor, so that τ beside ½‖A x − y‖² stays what it is."""

    operator: Measured
    tau_factor: float = 1.0


class Criterion(Protocol):
    """Judges (σ, τ)."""

    name: str
    jobs: tuple[Job, ...]

    def score(self, images: tuple[FloatArray, ...]) -> Score:
        """Of the images of the jobs, in their order."""
        ...


class Reference:
    """The best SNR against a known image."""

    name = "reference"

    def __init__(self, operator: Measured, reference: FloatArray) -> None:
        self.jobs: tuple[Job, ...] = (Job(operator),)
        self._reference = reference

    def score(self, images: tuple[FloatArray, ...]) -> Score:
        found = snr(images[0], self._reference)
        return Score(-found, misfit(self.jobs[0].operator, images[0]), snr=found)


class GeneralizedCrossValidation:
    """Of all measurements, without their noise being known; assumes it white (after W^½)."""

    name = "gcv"

    def __init__(self, operator: Measured, seed: int = 0, reference: FloatArray | None = None) -> None:
        y, weights = operator.measured, operator.precision_weights
        self._root = np.ones_like(y) if weights is None else np.sqrt(weights)
        seen = self._root > 0
        self._count = int(seen.sum())
        self._direction = np.where(seen, np.random.default_rng(seed).choice((-1.0, 1.0), y.shape), 0.0)
        self._size = PERTURBATION * noise_scale(operator)
        change = np.divide(self._size * self._direction, self._root, out=np.zeros(y.shape), where=seen)
        changed = operator.with_measurements((y + change).astype(np.float32))
        self.jobs: tuple[Job, ...] = (Job(operator), Job(changed))
        self._reference = reference

    def score(self, images: tuple[FloatArray, ...]) -> Score:
        operator = self.jobs[0].operator
        here, there = (operator.forward(image).astype(np.float64) for image in images)
        squares = float(np.sum((self._root * (here - operator.measured)) ** 2)) / self._count
        freedom = float(np.sum(self._direction * self._root * (there - here))) / (self._size * self._count)
        # Nothing is judged by f near 1, where the quotient explodes; f < 0 is the perturbation's error.
        rest = max(1.0 - max(freedom, 0.0), 1e-3)
        found = None if self._reference is None else snr(images[0], self._reference)
        return Score(squares / rest**2, float(np.sqrt(squares)), freedom, found)


class HeldOut:
    """How well measurements that weren't used are predicted: every eighth angle (or row), twice."""

    name = "held-out"

    def __init__(self, operator: Measured, reference: FloatArray | None = None) -> None:
        weights = operator.precision_weights
        everything = np.arange(operator.measurements)
        if weights is not None:  # of a scan: an angle without any can't be predicted
            everything = everything[weights.any(axis=1)]
        if len(everything) < 2 * FOLD:
            raise ValueError(
                f"The operator has {len(everything)} measurements: every {FOLD}th is left out, which takes {2 * FOLD} "
                "or more. Pass method='gcv'."
            )
        starts = [(2 * fold + 1) * FOLD // (2 * FOLDS) for fold in range(FOLDS)]
        self._out = tuple(operator.restricted(everything[start::FOLD]) for start in starts)
        kept = (
            operator.restricted(np.setdiff1d(np.arange(operator.measurements), everything[start::FOLD]))
            for start in starts
        )
        self.jobs: tuple[Job, ...] = tuple(Job(part, part.scale / operator.scale) for part in kept)
        self._reference = reference

    def score(self, images: tuple[FloatArray, ...]) -> Score:
        squares = [misfit(out, image) ** 2 for out, image in zip(self._out, images, strict=True)]
        kept = [misfit(job.operator, image) for job, image in zip(self.jobs, images, strict=True)]
        found = None if self._reference is None else snr(images[0], self._reference)
        return Score(float(np.mean(squares)), float(np.mean(kept)), snr=found)


class Discrepancy:
    """The residual as large as the noise."""

    name = "discrepancy"

    def __init__(self, operator: Measured, noise: float, reference: FloatArray | None = None) -> None:
        self.jobs: tuple[Job, ...] = (Job(operator),)
        self._noise = noise
        self._reference = reference

    def score(self, images: tuple[FloatArray, ...]) -> Score:
        found = misfit(self.jobs[0].operator, images[0])
        value = abs(2 * float(np.log(max(found, 1e-30) / self._noise)))
        return Score(value, found, snr=None if self._reference is None else snr(images[0], self._reference))


def misfit(operator: Measured, image: FloatArray) -> float:
    """‖W^½(A x − y)‖/√M, M the measurements with a weight above 0."""
    squares = (operator.forward(image) - operator.measured).astype(np.float64) ** 2
    weights = operator.precision_weights
    if weights is None:
        return float(np.sqrt(squares.mean()))
    return float(np.sqrt(np.sum(weights * squares) / np.count_nonzero(weights)))


def noise_scale(operator: Measured) -> float:
    """About the size of the noise of W^½y: estimated for a sinogram, else a share of the measurements.

    Raises:
        ValueError: all measurements are zero.
    """
    y, weights = operator.measured, operator.precision_weights
    whitened = y if weights is None else y * np.sqrt(weights)
    size = float(np.sqrt(np.mean(whitened.astype(np.float64) ** 2)))
    if size == 0:
        raise ValueError("The measurements are zero everywhere: there is nothing to choose σ and τ by.")
    if not isinstance(operator, RadonCT) or y.shape[1] < FEWEST:
        return SHARE_OF_DATA * size
    try:
        return max(estimate_noise(y, weights), 1e-5 * size)
    except ValueError:  # too many gaps among the weights
        return SHARE_OF_DATA * size
