"""SCICO: plug-and-play ADMM and accelerated PGM, on its own projectors, all of them compiled by JAX for the CPU.

Projectors: "jax", scico.linop.XRayTransform2D (pixels one unit wide: it warns that it is then less accurate; the data
are its own); "astra", scico.linop.xray.astra.XRayTransform2D, ASTRA's `line` projector on the CPU. The data term is
normalized, ‖A‖² = 1.

Settings: "algorithm" ("PnP-ADMM", "PnP-APGM"), "projector", "weight", and for ADMM "cg", iterations a subproblem.
"""

from __future__ import annotations

import warnings
from typing import Any

import jax.numpy as jnp
import numpy as np
from scico import functional, linop, loss
from scico.linop.xray import XRayTransform2D
from scico.linop.xray import astra as scico_astra
from scico.optimize import ADMM, AcceleratedPGM
from scico.optimize.admm import LinearSubproblemSolver

from .dncnn_jax import jax_residual
from .problem import Problem, norm_squared
from .trial import Clock, Outcome, Runner, Settings, run_trials


class Denoiser(functional.Functional):  # type: ignore[misc]
    """Its proximal map is x − share·R(x); share 1 is the denoiser itself."""

    has_eval, has_prox = False, True

    def __init__(self, residual: Any, share: float) -> None:
        super().__init__()
        self._residual, self._share = residual, share

    def prox(self, v: Any, lam: float = 1.0, **_: Any) -> Any:
        """The noise level is the weights' own."""
        return v - self._share * self._residual(v)


class Scico(Runner):
    """Both algorithms on one projector after the other."""

    packages = ("numpy", "scico", "jax", "jaxlib", "flax", "astra-toolbox")

    def __init__(self, problem: Problem, cores: int) -> None:
        super().__init__(problem, cores)
        self._residual = jax_residual(problem.weights, problem.scale)
        self._terms: dict[str, Any] = {}

    def _term(self, projector: str) -> Any:
        """½‖A x − y‖²/‖A‖² of its own data."""
        if projector not in self._terms:
            problem, operator = self.problem, self._projector(projector)
            measured = jnp.asarray(problem.noisy(operator(jnp.asarray(problem.reference))))
            squared = norm_squared(lambda image: operator.adj(operator(jnp.asarray(image))), problem.size)
            self._terms[projector] = loss.SquaredL2Loss(y=measured, A=operator, scale=0.5 / squared)
        return self._terms[projector]

    def _projector(self, name: str) -> Any:
        shape, problem = self.problem.reference.shape, self.problem
        if name == "astra":
            return scico_astra.XRayTransform2D(shape, problem.detectors, 1.0, problem.angles, device="cpu")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return XRayTransform2D(shape, problem.angles, dx=1.0, det_count=problem.detectors)

    def run(self, settings: Settings, seconds: float, begun: float) -> Outcome:
        """One step to compile what it takes, then from the start again under the clock."""
        term, start = self._term(settings["projector"]), jnp.asarray(self.problem.start)
        if settings["algorithm"] == "PnP-ADMM":
            solver = self._admm(term, settings, start)
            solver.step()
            solver.x, solver.z_list, solver.u_list = start, [start], [jnp.zeros_like(start)]
        else:
            solver = AcceleratedPGM(term, Denoiser(self._residual, settings["weight"]), L0=1.0, x0=start)
            solver.step()
            solver.x, solver.v, solver.t = start, start, 1.0
        np.asarray(solver.x)
        clock = Clock(self.problem, seconds, begun)
        solver.step()
        while clock.goes_on(solver.minimizer()):
            solver.step()
        return clock.outcome(precision="float32")

    def _admm(self, term: Any, settings: Settings, start: Any) -> Any:
        inner = LinearSubproblemSolver(cg_kwargs={"tol": 1e-5, "maxiter": settings["cg"]})
        prior, identity = Denoiser(self._residual, 1.0), linop.Identity(start.shape)
        return ADMM(term, [prior], [identity], [settings["weight"]], x0=start, subproblem_solver=inner)


if __name__ == "__main__":
    run_trials(Scico)
