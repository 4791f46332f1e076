"""DeepInverse: its RED and plug-and-play algorithms on its own CPU operator or on ASTRA.

Its own, `deepinv.physics.Tomography`, turns the image for every angle, by torch's grid_sample. Angle after angle and
with its own back projector (the adjoint but for interpolation), AᵀA of 256² from 64 angles takes 0.12 s on one core;
with the exact adjoint, by automatic differentiation, 0.21 s; with all angles at once as well, its defaults, 0.28 s.
PnP-ADMM ends no lower with it. `TomographyWithAstra` "only supports CUDA computation", so ASTRA is given as a
`LinearPhysics`. The data term is normalized, ‖A‖ = 1.

Settings: "algorithm", one of ALGORITHMS; "projector" ("own", "astra"); "weight", τ's part (see ALGORITHMS); further
ones of the algorithm.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import deepinv
import numpy as np
import torch
from deepinv.optim import ADMM, FISTA, GD, PGD
from deepinv.optim.data_fidelity import L2
from deepinv.optim.prior import RED, PnP

from .angle_shares import AngleShares
from .dncnn_torch import TorchDnCNN
from .problem import Problem, norm_squared
from .trial import Clock, Outcome, Runner, Settings, run_trials

ENDLESS = 10**9
TOMOGRAPHY = {"circle": False, "normalize": False, "parallel_computation": False, "adjoint_via_backprop": False}


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
    """ADMM, γ = 1/weight; the data term's proximal map by "cg" iterations, before or after the prior's: "g_first"."""
    step, order = 1 / settings["weight"], {"beta": settings["beta"], "g_first": settings["g_first"]}
    return ADMM(prior=PnP(Relaxed(network, 1.0)), stepsize=step, **order, **common)


ALGORITHMS: dict[str, Callable[[TorchDnCNN, Settings, dict[str, Any]], Any]] = {
    "RED-GD": red_gradient,
    "RED-PGD": red_proximal,
    "PnP-FISTA": pnp_fista,
    "PnP-ADMM": pnp_admm,
}


class DeepInverse(Runner):
    """All algorithms; of its own operator there is one, ASTRA's processes stay for one trial."""

    packages = ("numpy", "torch", "torchvision", "deepinv", "astra-toolbox")

    def __init__(self, problem: Problem, cores: int) -> None:
        super().__init__(problem, cores)
        torch.set_num_threads(cores)
        self._own: tuple[Normalized, torch.Tensor] | None = None
        self._network = TorchDnCNN(problem.weights, problem.scale)
        self._network.of_array(problem.start)

    @contextlib.contextmanager
    def _scan(self, projector: str) -> Iterator[tuple[Normalized, torch.Tensor]]:
        """The physics and its own data."""
        problem = self.problem
        if projector == "own":
            if self._own is None:
                degrees = torch.from_numpy(np.degrees(problem.angles)).float()
                self._own = self._measured(deepinv.physics.Tomography(degrees, problem.size, **TOMOGRAPHY))
            yield self._own
            return
        with AngleShares(problem, projector, self.cores) as shares:
            physics = deepinv.physics.LinearPhysics(
                A=lambda image, **_: _tensor(shares.forward(image[0, 0].numpy()).T),
                A_adjoint=lambda rays, **_: _tensor(shares.adjoint(rays[0, 0].numpy().T)),
            )
            yield self._measured(physics)

    def _measured(self, plain: Any) -> tuple[Normalized, torch.Tensor]:
        """Divided by the norm; rays are (1, 1, detectors, angles)."""
        problem = self.problem
        with torch.no_grad():
            clean = plain.A(_tensor(problem.reference))
            norm = norm_squared(lambda image: plain.A_adjoint(plain.A(_tensor(image)))[0, 0], problem.size) ** 0.5
        return Normalized(plain, norm), _tensor(problem.noisy(clean[0, 0].T.numpy()).T) / norm

    def run(self, settings: Settings, seconds: float, begun: float) -> Outcome:
        """One algorithm, stopped from its metric, which it calls after every iteration."""
        clock: Clock

        def look(_metric: list[float], _before: torch.Tensor, image: torch.Tensor) -> float:
            if not clock.goes_on(image.numpy()):
                raise OutOfTime
            return 0.0

        common = {"data_fidelity": L2(), "max_iter": ENDLESS, "custom_metrics": {"clock": look}}
        algorithm = ALGORITHMS[settings["algorithm"]](self._network, settings, common)
        start = torch.from_numpy(self.problem.start)[None, None]
        begin = (start, start) if settings["algorithm"] == "PnP-FISTA" else (start, torch.zeros_like(start))
        with self._scan(settings["projector"]) as (physics, measured):
            physics.max_iter = settings.get("cg", physics.max_iter)
            clock = Clock(self.problem, seconds, begun)
            with contextlib.suppress(OutOfTime):
                algorithm(measured, physics, init=begin, compute_metrics=True)
        return clock.outcome(precision=self._network.precision, detectors=measured.shape[2])


def _tensor(image: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image))[None, None]


if __name__ == "__main__":
    run_trials(DeepInverse)
