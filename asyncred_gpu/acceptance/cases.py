"""The scans to reconstruct, simulated, with start image and denoiser, all from installed files; and what a case is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from torch import nn

from ..blocks import BlockGrid, FloatArray
from ..denoiser import DenoiserSettings, load_denoiser, resolve_halo
from ..experiments import Problem, retina_problem
from ..models import DnCNN
from ..operators.base import BlockOperator
from ..operators.radon import RadonCT, project
from ..runtime.base import WorkerSetup
from ..solver import intensity_scale_of
from .sections import Findings

TAU = 0.02
# In pixels: the image's diagonal is 362.
FAN: dict[str, Any] = {"detector_spacing": 1.5, "source_distance": 512.0, "detector_distance": 256.0}
FAN_DETECTORS = 420


@dataclass(frozen=True)
class Case:
    """A problem with all that several sections need of it; `scale` is the start image's intensity, `tau` R's weight."""

    name: str
    operator: BlockOperator
    network: nn.Module
    start: FloatArray
    truth: FloatArray
    scale: float
    tau: float = TAU

    def on_blocks(self, side: int) -> BlockOperator:
        """The operator over blocks of side × side pixels."""
        return self.operator.with_blocks(BlockGrid(self.operator.image_shape, (side, side)))

    def setup(self, side: int, precision: str, per_launch: int, minibatch: int | None = None) -> WorkerSetup:
        """What a worker is made of, as the solver would."""
        denoiser = DenoiserSettings(resolve_halo("exact", self.network), precision, self.scale)
        operator = self.on_blocks(side)
        return WorkerSetup(operator, self.network, denoiser, self.tau, None, self.truth, per_launch, minibatch)


def make_case(name: str, problem: Problem, network: nn.Module) -> Case:
    views = problem.measured
    operator = RadonCT(views.sinogram, views.angles, problem.image_shape, center=problem.center, projector="joseph")
    assert problem.reference is not None
    start = operator.fbp()
    return Case(name, operator, network, start, problem.reference, intensity_scale_of(start))


class Cases:
    """The problems, each made when it is first asked for."""

    @cached_property
    def network(self) -> DnCNN:
        network = load_denoiser("dncnn", sigma=5)
        assert isinstance(network, DnCNN)
        return network

    @cached_property
    def small(self) -> Case:
        """256², 60 angles."""
        return make_case("256²", retina_problem(256, 60), self.network)

    @cached_property
    def fan(self) -> Case:
        """The same image by a fan beam of 90 views over a turn."""
        truth, angles = self.small.truth, np.linspace(0, 2 * np.pi, 90, endpoint=False)
        sinogram = project(truth, angles, FAN_DETECTORS, **FAN)
        operator = RadonCT(sinogram, angles, truth.shape, projector="joseph", **FAN)
        start = operator.fbp()
        return Case("256², fan", operator, self.network, start, truth, intensity_scale_of(start))

    @cached_property
    def large(self) -> Case:
        """The retina, 800², 180 angles."""
        return make_case("800²", retina_problem(), self.network)

    def prepare(self, findings: Findings) -> None:
        """The section: make both, and the Lipschitz constants all others use, so that they aren't timed there."""
        for case in (self.small, self.large):
            begun = findings.clock()
            whole = case.operator.lipschitz
            facts: dict[str, Any] = {"image": case.operator.image_shape, "angles": case.operator.measurements}
            facts |= {"lipschitz": whole, "scale": case.scale, "norm of the truth": float(np.linalg.norm(case.truth))}
            findings.data[case.name] = facts | {"seconds": findings.clock() - begun}
