"""What a user would write: GM-RED with whole-image full gradients in eager torch, one iteration after the other.

x ← y − γ·(∇g(y) + τ·c·R(y/c)), Nesterov's extrapolation with restart: baselines.py, but all of it on the device.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..blocks import BlockGrid
from ..layers import DTYPES
from ..models import DnCNN
from ..operators.device import Batch
from ..operators.radon import RadonCT
from ..runtime.descriptor import DescriptorLayout
from ..runtime.device import Device
from ..runtime.stage import make_scene
from ..slots import slot_layout
from ..tf32 import float32_rules
from .cases import TAU, Case


class FullDataGradient(Protocol):
    """∇g of the whole image on a device, its scale included."""

    name: str

    def __call__(self, image: Tensor) -> Tensor: ...


class JosephGradient:
    """By our own kernels: the whole image as a single block."""

    name = "our Joseph kernels"

    def __init__(self, operator: RadonCT, device: Device) -> None:
        whole = operator.with_blocks(BlockGrid(operator.image_shape, operator.image_shape))
        empty = np.zeros(operator.image_shape, np.float32)
        scene = make_scene(device, whole.grid, slot_layout(whole), 0, empty)
        self._operator = whole.on_device(scene)
        count, shape, place = operator.measurements, operator.image_shape, scene.device
        layout = DescriptorLayout(1, 1, 0)
        host = layout.empty(torch.device("cpu"))
        # Its only task: block 0, with a step that nobody takes.
        host[:4] = torch.zeros(4, dtype=torch.uint8)
        descriptor = host.to(place)
        self._written = Batch(
            size=1,
            count=count,
            tasks=layout.tasks(descriptor),
            slots=layout.slots(descriptor),  # slot 0 is in front, so the projection goes to slot 1
            subset=None,
            residual=torch.zeros(1, *self._operator.residual_shape(count), device=place),
            gradient=torch.zeros(1, self._operator.parts, *shape, device=place),
            pixels=torch.zeros(1, *shape, device=place),
            host_tasks=lambda: (),
        )
        self._read = replace(self._written, slots=torch.ones_like(self._written.slots))
        self._scale = self._operator.gradient_scale(count)
        self._jobs = (
            self._operator.forward(self._written, 0, 1),
            self._operator.residual(self._read),
            self._operator.gradient(self._read),
        )

    def __call__(self, image: Tensor) -> Tensor:
        self._written.pixels[0].copy_(image)
        for job in self._jobs:
            job()
        return self._written.gradient[0].sum(0).mul_(self._scale)


class AstraGradient:
    """By ASTRA's CUDA projectors through its OpTomo, whose arrays lie on the host, as most users call it.

    ASTRA's room is operators/radon.py; this stands in for a user's script. Its back projector isn't the adjoint.
    """

    name = "ASTRA's CUDA projectors (OpTomo, through the host)"

    def __init__(self, operator: RadonCT) -> None:
        import astra

        g = operator.geometry
        if g.center != (g.detectors - 1) / 2:
            raise RuntimeError("ASTRA's `parallel` geometry has the rotation axis in the middle of the detector")
        rays = astra.create_proj_geom("parallel", g.spacing, g.detectors, g.angles)
        volume = astra.create_vol_geom(*operator.image_shape)
        self._tomo: Any = astra.OpTomo(astra.create_projector("cuda", rays, volume))
        self._sinogram = operator.sinogram
        self._scale = np.float32(operator.scale)
        probe = self._tomo.FP(np.ones(operator.image_shape, np.float32))
        if not probe.any():  # it swallows some errors
            raise RuntimeError("ASTRA's CUDA projection of ones is zero")

    def __call__(self, image: Tensor) -> Tensor:
        residual = self._tomo.FP(image.cpu().numpy()) - self._sinogram
        return torch.from_numpy(self._scale * self._tomo.BP(residual)).to(image.device)


class WholeDenoiser:
    """c·R(x/c) of the whole image, mirrored at its border; all layers in one precision."""

    def __init__(self, network: DnCNN, precision: str, scale: float, device: torch.device) -> None:
        self._dtype = DTYPES[precision]
        self._tf32 = precision == "tf32"
        self._scale = scale
        self._margin = [network.receptive_radius] * 4
        moved: Any = copy.deepcopy(network).eval().to(device, self._dtype)
        self._network: DnCNN = moved.to(memory_format=torch.channels_last)

    def __call__(self, image: Tensor) -> Tensor:
        padded = F.pad((image / self._scale)[None, None], self._margin, mode="reflect").to(self._dtype)
        with float32_rules(self._tf32, deterministic=False):
            residual = self._network.interior(padded.contiguous(memory_format=torch.channels_last))
        return residual[0, 0].float().mul_(self._scale)


@dataclass
class Course:
    """How a run went: seconds since its loop began, SNR in dB and ‖G‖²/‖G₀‖² after each iteration; and its last image."""

    setup: float = 0.0
    seconds: list[float] = field(default_factory=list)
    snr: list[float] = field(default_factory=list)
    residual: list[float] = field(default_factory=list)
    image: Tensor | None = None


def synchronous_red(
    case: Case, make_data: Callable[[], FullDataGradient], precision: str, iterations: int, device: torch.device
) -> Course:
    """Set up and run; `setup` holds the seconds before the first iteration."""
    assert isinstance(case.network, DnCNN)
    begun = time.perf_counter()
    with torch.no_grad():
        data, denoiser = make_data(), WholeDenoiser(case.network, precision, case.scale, device)
        start, truth = (torch.from_numpy(array).to(device) for array in (case.start, case.truth))
        step = 1 / (case.operator.lipschitz + 2 * TAU)
        course = Course(time.perf_counter() - begun)
        _iterate(course, start, truth, lambda image: data(image) + TAU * denoiser(image), step, iterations)
    return course


def _iterate(
    course: Course, start: Tensor, truth: Tensor, slope_of: Callable[[Tensor], Tensor], step: float, iterations: int
) -> None:
    energy = float(truth.square().sum())
    image, ahead, weight, first = start, start, 1.0, 0.0
    begun = time.perf_counter()
    for _ in range(iterations):
        slope = slope_of(ahead)
        image, previous = ahead - step * slope, image
        moved = image - previous
        # One look at the device an iteration: whether it goes uphill, and how far it is.
        told = torch.stack([(slope * moved).sum(), (image - truth).square().sum(), slope.square().sum()])
        uphill, error, squared = told.tolist()
        course.seconds.append(time.perf_counter() - begun)
        course.snr.append(10 * math.log10(energy / error) if error > 0 else math.nan)
        first = first or squared
        course.residual.append(squared / first if first else 0.0)
        next_weight = 1.0 if uphill > 0 else (1 + math.sqrt(1 + 4 * weight**2)) / 2
        ahead = image + ((weight - 1) / next_weight if uphill <= 0 else 0.0) * moved
        weight = next_weight
    course.image = image
