"""The strongest programs one would write by hand, from the same parts: all cores project, then all cores denoise.

Nesterov: x ← y − γ(∇g(y) + τ·R(y)), γ = 1/(1 + 2τ); y extrapolates, from rest where the last step went uphill
(O'Donoghue and Candès 2015). ADMM (Venkatakrishnan et al. 2013): x solves (AᵀA/‖A‖² + τ)x = Aᵀy/‖A‖² + τ(z − u) by a
few conjugate gradients from the last x; z = D(x + u); u ← u + x − z. Its fixed points have τ·u = −∇g: nearly RED's.

Settings: "algorithm" ("nesterov", "admm"); "projector" ("astra": ASTRA's `linear`; "matrix": a sparse matrix; "ours":
asyncred_gpu's, on threads); "tau"; for ADMM "cg" and "preconditioned" (by cone_filter.py). The denoiser is torch's, in
bfloat16 where the processor has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import count
from typing import NamedTuple

import numpy as np
import torch

from asyncred_gpu import RadonCT

from .angle_shares import AngleShares
from .cone_filter import cone_filter
from .dncnn_torch import TorchDnCNN
from .joseph_matrix import joseph_matrix
from .problem import Image, Problem, norm_squared
from .trial import Clock, Outcome, Runner, Settings, run_trials

Map = Callable[[Image], Image]

# ADMM carries the residual of its linear equation on, and computes it anew so often, against rounding.
RENEWED = 10


class Term(NamedTuple):
    """g(x) = ½‖A x − y‖²/‖A‖²: its gradient, and AᵀA x/‖A‖²."""

    gradient: Map
    normal: Map


def nesterov(start: Image, term: Term, residual: Map, settings: Settings) -> Iterator[Image]:
    """Iterates x of the accelerated full-gradient method; `residual` is R."""
    tau: np.float32 = np.float32(settings["tau"])
    step: np.float32 = np.float32(1 / (1 + 2 * settings["tau"]))
    image = ahead = start
    t = 1.0
    while True:
        slope: Image = term.gradient(ahead) + tau * residual(ahead)
        new = ahead - step * slope
        moved, image = new - image, new
        yield image
        if float(np.vdot(slope, moved)) > 0:
            ahead, t = image, 1.0
            continue
        following = (1 + math.sqrt(1 + 4 * t * t)) / 2
        ahead = image + np.float32((t - 1) / following) * moved
        t = following


def same(image: Image) -> Image:
    """No preconditioner."""
    return image


def admm(start: Image, term: Term, residual: Map, settings: Settings, precondition: Map = same) -> Iterator[Image]:
    """Iterates x of plug-and-play ADMM."""
    tau = np.float32(settings["tau"])

    def normal(image: Image) -> Image:
        return term.normal(image) + tau * image

    image, target, dual = start, start, np.zeros_like(start)
    rest = np.zeros_like(start)
    for iteration in count():
        if iteration % RENEWED == 0:
            rest = tau * (target - image) - term.gradient(image)
        image, rest = conjugate_gradients(normal, image, rest, settings["cg"], precondition)
        yield image
        seen = image + dual
        prior = seen - residual(seen)
        dual = seen - prior
        before, target = target, prior - dual
        rest = rest + tau * (target - before)


def conjugate_gradients(
    normal: Map, image: Image, rest: Image, steps: int, precondition: Map = same
) -> tuple[Image, Image]:
    """The image some steps nearer to normal(x) = right, and its rest, right − normal(x). Hestenes and Stiefel 1952."""
    direction, before = rest, math.inf
    for _ in range(steps):
        filtered = precondition(rest)
        squared = float(np.vdot(rest, filtered))
        if squared == 0:
            break
        direction = filtered + np.float32(squared / before) * direction
        curved = normal(direction)
        length = np.float32(squared / float(np.vdot(direction, curved)))
        image, rest = image + length * direction, rest - length * curved
        before = squared
    return image, rest


ALGORITHMS: dict[str, Callable[..., Iterator[Image]]] = {"nesterov": nesterov, "admm": admm}


class OurProjector:
    """asyncred_gpu's scan of the whole image, by torch's number of threads; as AngleShares."""

    def __init__(self, problem: Problem) -> None:
        zeros = np.zeros((len(problem.angles), problem.detectors), np.float32)
        self._scan = RadonCT(zeros, problem.angles, problem.reference.shape, projector="joseph", normalize=False)
        self.forward = self._scan.forward

    def measure(self, sinogram: Image) -> None:
        """Set y, zero before: (angles, detectors)."""
        self._scan = self._scan.with_measurements(sinogram)
        self.gradient(np.zeros(self._scan.image_shape, np.float32))  # which makes the new scan's tables

    def gradient(self, image: Image) -> Image:
        """Aᵀ(A x − y)."""
        return self._scan.gradient(image)

    def normal(self, image: Image) -> Image:
        """AᵀA x."""
        return self._scan.adjoint(self._scan.forward(image))


class ByHand(Runner):
    """The loops above, on processes that stay for one trial, or on threads."""

    packages = ("numpy", "scipy", "torch", "astra-toolbox")

    def __init__(self, problem: Problem, cores: int) -> None:
        super().__init__(problem, cores)
        torch.set_num_threads(cores)
        self._network = TorchDnCNN(problem.weights, problem.scale)

    def run(self, settings: Settings, seconds: float, begun: float) -> Outcome:
        """One trial."""
        problem = self.problem
        if settings["projector"] == "matrix":  # made once, before the processes map it
            joseph_matrix(problem.folder, problem.size, problem.angles, problem.detectors)
        with self._projector(settings["projector"]) as operator:
            scale = np.float32(1 / norm_squared(operator.normal, problem.size))
            operator.measure(problem.noisy(operator.forward(problem.reference)))
            self._network.of_array(problem.start)
            solve = ALGORITHMS[settings["algorithm"]]
            if settings.get("preconditioned", False):
                solve = partial(solve, precondition=cone_filter(problem, float(scale), settings["tau"], self.cores))
            clock = Clock(problem, seconds, begun)
            term = Term(lambda x: scale * operator.gradient(x), lambda x: scale * operator.normal(x))
            for image in solve(problem.start, term, self._network.of_array, settings):
                if not clock.goes_on(image):
                    break
            return clock.outcome(precision=self._network.precision)

    def _projector(self, name: str) -> AbstractContextManager[AngleShares | OurProjector]:
        if name == "ours":
            return nullcontext(OurProjector(self.problem))
        return AngleShares(self.problem, name, self.cores)


if __name__ == "__main__":
    run_trials(ByHand)
