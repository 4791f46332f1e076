"""SCICO: plug-and-play ADMM and accelerated PGM, on its own projectors, all of them compiled by JAX for the CPU.

Projectors: "jax", scico.linop.XRayTransform2D (pixels one unit wide: it warns that it is then less accurate; the data
are its own); "astra", scico.linop.xray.astra.XRayTransform2D, ASTRA's `line` projector on the CPU. The data term is
normalized, ‖A‖² = 1. ADMM's conjugate gradients begin at the last image. With the JAX projector they are JAX's,
compiled as one program: with 8 of them, a step at 128² takes 0.10 s instead of the 0.35 s of SCICO's own. ASTRA, which
JAX calls back, hung in such a program at 400² on one core, and has SCICO's own. A third projector, "svmbir", comes with
the proximal map of its data term by coordinate descent, for ADMM as in SCICO's example "PPP (with BM3D) CT (ADMM with
Fast SVMBIR Prox)"; it keeps its system matrix in files of the user's cache.

Settings: "algorithm" ("PnP-ADMM", "PnP-APGM"), "projector", "weight"; for ADMM "cg", iterations a subproblem, and
"preconditioned", or "passes" of svmbir's over the image; for APGM "step", one of STEPS (none of them evaluates the
denoiser's functional).
"""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scico import functional, linop, loss
from scico.linop.xray import XRayTransform2D
from scico.linop.xray import astra as scico_astra
from scico.linop.xray import svmbir as scico_svmbir
from scico.optimize import ADMM, AcceleratedPGM
from scico.optimize.admm import LinearSubproblemSolver
from scico.optimize.pgm import AdaptiveBBStepSize, PGMStepSize, RobustLineSearchStepSize

from .dncnn_jax import jax_residual
from .problem import Problem, norm_squared
from .trial import Clock, Outcome, Runner, Settings, run_trials

STEPS = {"constant": PGMStepSize, "adaptive": AdaptiveBBStepSize, "robust": RobustLineSearchStepSize}


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

    packages = ("numpy", "scico", "jax", "jaxlib", "flax", "astra-toolbox", "svmbir")

    def __init__(self, problem: Problem, cores: int) -> None:
        super().__init__(problem, cores)
        self._residual = jax_residual(problem.weights, problem.scale)
        self._terms: dict[str, Any] = {}
        self._symbols: dict[str, Any] = {}

    def _term(self, projector: str) -> Any:
        """½‖A x − y‖²/‖A‖² of its own data."""
        if projector not in self._terms:
            problem, operator = self.problem, self._projector(projector)
            measured = jnp.asarray(problem.noisy(operator(jnp.asarray(problem.reference))))
            squared = norm_squared(lambda image: operator.adj(operator(jnp.asarray(image))), problem.size)
            self._terms[projector] = loss.SquaredL2Loss(y=measured, A=operator, scale=0.5 / squared)
        return self._terms[projector]

    def _projector(self, name: str) -> Any:
        """Its rays are ours: the start image is our FBP, which is good where we looked from.

        From other directions, between ours, it would have errors that they don't see.
        """
        shape, problem = self.problem.reference.shape, self.problem
        if name == "svmbir":
            return scico_svmbir.XRayTransform(shape, jnp.asarray(-problem.angles - np.pi / 2), problem.detectors)
        if name == "astra":
            return scico_astra.XRayTransform2D(shape, problem.detectors, 1.0, problem.angles, device="cpu")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return XRayTransform2D(shape, problem.angles + np.pi / 2, dx=1.0, det_count=problem.detectors)

    def _symbol(self, name: str) -> Any:
        """ĥ/‖A‖² of the image padded to twice its sides; h from AᵀA of the pixels in two corners."""
        if name not in self._symbols:
            term, size = self._term(name), self.problem.size

            def spread(col: int) -> Any:
                point = jnp.zeros((size, size), jnp.float32).at[0, col].set(1)
                return term.A.adj(term.A(point))

            # One half of h, the other is its mirror image.
            half = jnp.zeros((2 * size, 2 * size), jnp.float32).at[:size, :size].set(spread(0))
            half = half.at[1:size, size + 1 :].set(spread(size - 1)[1:, :-1]).at[0, 0].multiply(0.5)
            self._symbols[name] = 2 * term.scale * jnp.maximum(2 * jnp.fft.rfft2(half).real, 0)
        return self._symbols[name]

    def _precondition(self, settings: Settings) -> Any:
        """(ĥ/‖A‖² + weight)⁻¹, as by hand; None without."""
        if not settings["preconditioned"]:
            return None
        size, inverse = self.problem.size, 1 / (self._symbol(settings["projector"]) + settings["weight"])

        def filtered(image: Any) -> Any:
            spectrum = jnp.fft.rfft2(image, (2 * size, 2 * size)) * inverse
            return jnp.fft.irfft2(spectrum, (2 * size, 2 * size))[:size, :size]

        return jax.jit(filtered)

    def run(self, settings: Settings, seconds: float, begun: float) -> Outcome:
        """Steps to compile what they take, then from the start again under the clock."""
        term, start = self._term(settings["projector"]), jnp.asarray(self.problem.start)
        if settings["algorithm"] == "PnP-ADMM":
            make = self._admm_by_svmbir if settings["projector"] == "svmbir" else self._admm
            solver = make(term, settings, start)
            solver.step()
            count = len(solver.z_list)
            solver.x, solver.z_list, solver.u_list = start, count * [start], count * [jnp.zeros_like(start)]
        else:
            prior, step = Denoiser(self._residual, settings["weight"]), STEPS[settings["step"]]
            compiling, solver = (AcceleratedPGM(term, prior, 1.0, start, step_size=step()) for _ in range(2))
            compiling.step()  # the first one leaves an adaptive step as it is
            compiling.step()
            np.asarray(compiling.x)
        np.asarray(solver.x)
        clock = Clock(self.problem, seconds, begun)
        solver.step()
        while clock.goes_on(solver.minimizer()):
            solver.step()
        return clock.outcome(precision="float32")

    def _admm(self, term: Any, settings: Settings, start: Any) -> Any:
        options = {"tol": 1e-5, "maxiter": settings["cg"], "M": self._precondition(settings)}
        kind = "jax" if settings["projector"] == "jax" else "scico"
        inner = LinearSubproblemSolver(cg_kwargs=options, cg_function=kind)
        if kind == "jax":
            inner.cg = jax.jit(inner.cg, static_argnums=0, static_argnames=tuple(options))
        prior, identity = Denoiser(self._residual, 1.0), linop.Identity(start.shape)
        return ADMM(term, [prior], [identity], [settings["weight"]], x0=start, subproblem_solver=inner)

    def _admm_by_svmbir(self, term: Any, settings: Settings, start: Any) -> Any:
        """With the data term as a second functional, whose proximal map takes it as ½‖A x − y‖²."""
        passes = {"maxiter": settings["passes"], "ctol": 0.0}
        data = scico_svmbir.SVMBIRSquaredL2Loss(y=term.y, A=term.A, scale=0.5, prox_kwargs=passes)
        penalty, identity = settings["weight"] / (2 * term.scale), linop.Identity(start.shape)
        functionals, inner = [data, Denoiser(self._residual, 1.0)], LinearSubproblemSolver(cg_kwargs={"maxiter": 2})
        return ADMM(None, functionals, 2 * [identity], 2 * [penalty], x0=start, subproblem_solver=inner)


if __name__ == "__main__":
    run_trials(Scico)
