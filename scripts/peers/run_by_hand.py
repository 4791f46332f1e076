"""The strongest programs one would write by hand, from the same parts: all cores project, then all cores denoise.

Nesterov: x ← y − γ(∇g(y) + τ·R(y)), γ = 1/(1 + 2τ); y extrapolates, from rest where the last step went uphill
(O'Donoghue and Candès 2015). ADMM (Venkatakrishnan et al. 2013): x solves (AᵀA/‖A‖² + τ)x = Aᵀy/‖A‖² + τ(z − u) by a
few conjugate gradients from the last x; z = D(x + u); u ← u + x − z. Its fixed points have τ·u = −∇g: nearly RED's.

Settings: "algorithm" ("nesterov", "admm"), "projector" ("astra": ASTRA's `linear`; "matrix": a sparse matrix), "tau",
for ADMM also "cg". The denoiser is torch's, in bfloat16 where the processor has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch

from .angle_shares import AngleShares
from .dncnn_torch import TorchDnCNN
from .joseph_matrix import joseph_matrix
from .problem import Image, Problem, norm_squared
from .trial import Clock, Outcome, Runner, Settings, run_trials

Map = Callable[[Image], Image]


def nesterov(start: Image, gradient: Map, residual: Map, settings: Settings) -> Iterator[Image]:
    """Iterates x of the accelerated full-gradient method.

    Args:
        gradient: ∇g. residual: R.
    """
    tau: np.float32 = np.float32(settings["tau"])
    step: np.float32 = np.float32(1 / (1 + 2 * settings["tau"]))
    image = ahead = start
    t = 1.0
    while True:
        slope: Image = gradient(ahead) + tau * residual(ahead)
        new = ahead - step * slope
        moved, image = new - image, new
        yield image
        if float(np.vdot(slope, moved)) > 0:
            ahead, t = image, 1.0
            continue
        following = (1 + math.sqrt(1 + 4 * t * t)) / 2
        ahead = image + np.float32((t - 1) / following) * moved
        t = following


def admm(start: Image, gradient: Map, residual: Map, settings: Settings) -> Iterator[Image]:
    """Iterates x of plug-and-play ADMM."""
    tau = np.float32(settings["tau"])
    back_projected = -gradient(np.zeros_like(start))
    image, prior, dual = start, start, np.zeros_like(start)
    while True:
        target = prior - dual
        image = conjugate_gradients(
            lambda x: gradient(x) + back_projected + tau * x,
            back_projected + tau * target,
            image,
            settings["cg"],
        )
        yield image
        seen = image + dual
        prior = seen - residual(seen)
        dual = seen - prior


def conjugate_gradients(normal: Map, right: Image, image: Image, count: int) -> Image:
    """A few steps towards normal(x) = right. Hestenes and Stiefel 1952."""
    rest = right - normal(image)
    direction, squared = rest, float(np.vdot(rest, rest))
    for _ in range(count):
        if squared == 0:
            break
        curved = normal(direction)
        length = np.float32(squared / float(np.vdot(direction, curved)))
        image, rest = image + length * direction, rest - length * curved
        before, squared = squared, float(np.vdot(rest, rest))
        direction = rest + np.float32(squared / before) * direction
    return image


ALGORITHMS = {"nesterov": nesterov, "admm": admm}


class ByHand(Runner):
    """The loops above, on processes that stay for one trial."""

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
        with AngleShares(problem, settings["projector"], self.cores) as operator:
            scale = np.float32(1 / norm_squared(operator.gradient, problem.size))  # y is still zero
            operator.measure(problem.noisy(operator.forward(problem.reference)))
            self._network.of_array(problem.start)
            solve = ALGORITHMS[settings["algorithm"]]
            clock = Clock(problem, seconds, begun)
            for image in solve(problem.start, lambda x: scale * operator.gradient(x), self._network.of_array, settings):
                if not clock.goes_on(image):
                    break
            return clock.outcome(precision=self._network.precision, processes=self.cores)


if __name__ == "__main__":
    run_trials(ByHand)
