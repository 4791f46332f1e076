"""DeepInverse: its RED and plug-and-play algorithms on its own CPU operator, `deepinv.physics.Tomography`.

That one turns the image for every angle, by torch's grid_sample, with the exact adjoint by automatic differentiation
(its default). `TomographyWithAstra` "only supports CUDA computation". The data term is normalized, ‖A‖ = 1.

Settings: "algorithm", one of ALGORITHMS; "weight", τ's part (see there); further ones of the algorithm.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import deepinv
import numpy as np
import torch
from deepinv.optim import ADMM, FISTA, GD, PGD
from deepinv.optim.data_fidelity import L2
from deepinv.optim.prior import RED, PnP

from .dncnn_torch import TorchDnCNN
from .problem import Problem, norm_squared
from .trial import Clock, Outcome, Runner, Settings, run_trials

ENDLESS = 10**9


class OutOfTime(Exception):
    """Raised at an iteration's end: deepinv's loop has no other way out."""


class Relaxed(torch.nn.Module):
    """x − share·R(x) as a denoiser; share 1 is the denoiser itself."""

    def __init__(self, network: TorchDnCNN, share: float) -> None:
        super().__init__()
        self._network, self._share = network, share

    def forward(self, image: torch.Tensor, sigma: Any = None, **_: Any) -> torch.Tensor:
        """The noise level is the weights' own."""
        return image - self._share * self._network.residual(image)


class Normalized(deepinv.physics.LinearPhysics):  # type: ignore[misc]
    """A physics divided by its norm, measured as everybody's is."""

    def __init__(self, physics: Any, norm: float) -> None:
        super().__init__()
        self._physics, self._norm = physics, norm

    def A(self, image: torch.Tensor, **_: Any) -> torch.Tensor:
        """Forward projection."""
        projected: torch.Tensor = self._physics.A(image) / self._norm
        return projected

    def A_adjoint(self, rays: torch.Tensor, **_: Any) -> torch.Tensor:
        """Back projection."""
        image: torch.Tensor = self._physics.A_adjoint(rays) / self._norm
        return image


def red_gradient(network: TorchDnCNN, settings: Settings, common: dict[str, Any]) -> Any:
    """Gradient descent on f + τ·RED; "stepsize" in units of 1/(1 + 2τ), "anderson" acceleration."""
    step = settings["stepsize"] / (1 + 2 * settings["weight"])
    prior, anderson = RED(Relaxed(network, 1.0)), settings["anderson"]
    return GD(prior=prior, lambda_reg=settings["weight"], stepsize=step, anderson_acceleration=anderson, **common)


def red_proximal(network: TorchDnCNN, settings: Settings, common: dict[str, Any]) -> Any:
    """PGD with RED first: x ← prox_γf(x − γτR(x)), γ = "stepsize"/τ; the proximal map by "cg" iterations."""
    weight = settings["weight"]
    prior, step = RED(Relaxed(network, 1.0)), settings["stepsize"] / weight
    return PGD(prior=prior, lambda_reg=weight, stepsize=step, g_first=True, **common)


def pnp_fista(network: TorchDnCNN, settings: Settings, common: dict[str, Any]) -> Any:
    """FISTA whose proximal map is x − weight·R(x); weight 1 is the denoiser as it is."""
    return FISTA(prior=PnP(Relaxed(network, settings["weight"])), stepsize=settings["stepsize"], **common)


def pnp_admm(network: TorchDnCNN, settings: Settings, common: dict[str, Any]) -> Any:
    """ADMM, γ = 1/weight; the data term's proximal map by "cg" iterations."""
    return ADMM(prior=PnP(Relaxed(network, 1.0)), stepsize=1 / settings["weight"], beta=settings["beta"], **common)


ALGORITHMS: dict[str, Callable[[TorchDnCNN, Settings, dict[str, Any]], Any]] = {
    "RED-GD": red_gradient,
    "RED-PGD": red_proximal,
    "PnP-FISTA": pnp_fista,
    "PnP-ADMM": pnp_admm,
}


class DeepInverse(Runner):
    """All algorithms on one operator."""

    packages = ("numpy", "torch", "torchvision", "deepinv")

    def __init__(self, problem: Problem, cores: int) -> None:
        super().__init__(problem, cores)
        torch.set_num_threads(cores)
        degrees = torch.from_numpy(np.degrees(problem.angles)).float()
        plain = deepinv.physics.Tomography(degrees, problem.size, circle=False, normalize=False)
        reference = torch.from_numpy(problem.reference)[None, None]
        with torch.no_grad():
            clean = plain.A(reference)
        squared = norm_squared(lambda image: plain.A_adjoint(plain.A(_tensor(image)))[0, 0], problem.size)
        norm = squared**0.5
        measured = problem.noisy(clean[0, 0].T.numpy())  # (detectors, angles) there
        self._physics = Normalized(plain, norm)
        self._measured = torch.from_numpy(measured.T.copy())[None, None] / norm
        self._network = TorchDnCNN(problem.weights, problem.scale)
        self._network.of_array(problem.start)

    def run(self, settings: Settings, seconds: float, begun: float) -> Outcome:
        """One algorithm, stopped from its metric, which it calls after every iteration."""
        clock: Clock

        def look(_metric: list[float], _before: torch.Tensor, image: torch.Tensor) -> float:
            if not clock.goes_on(image.numpy()):
                raise OutOfTime
            return 0.0

        common = {"data_fidelity": L2(), "max_iter": ENDLESS, "custom_metrics": {"clock": look}}
        self._physics.max_iter = settings.get("cg", self._physics.max_iter)
        algorithm = ALGORITHMS[settings["algorithm"]](self._network, settings, common)
        start = torch.from_numpy(self.problem.start)[None, None]
        begin = (start, start) if settings["algorithm"] == "PnP-FISTA" else (start, torch.zeros_like(start))
        clock = Clock(self.problem, seconds, begun)
        with contextlib.suppress(OutOfTime):
            algorithm(self._measured, self._physics, init=begin, compute_metrics=True)
        return clock.outcome(precision=self._network.precision, detectors=self._measured.shape[2])


def _tensor(image: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image))[None, None]


if __name__ == "__main__":
    run_trials(DeepInverse)
