"""What a user would write: GM-RED with whole-image full gradients in eager torch, one iteration after the other.

x ← y − γ·(∇g(y) + τ·c·R(y/c)), Nesterov's extrapolation with restart: baselines/gm_red.py, but all of it on the device.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..layers import DTYPES
from ..models import DnCNN
from ..tf32 import float32_rules
from .cases import Case
from .full_gradient import FullDataGradient


class WholeDenoiser:
    """c·R(x/c) of the whole image, mirrored at its border; all layers in one precision."""

    def __init__(self, network: DnCNN, precision: str, scale: float, device: torch.device) -> None:
        self._dtype = DTYPES[precision]
        self._scale = scale
        self._margin = [network.receptive_radius] * 4
        moved: Any = copy.deepcopy(network).eval().to(device, self._dtype)
        self._network: DnCNN = moved.to(memory_format=torch.channels_last)

    def __call__(self, image: Tensor) -> Tensor:
        padded = F.pad((image / self._scale)[None, None], self._margin, mode="reflect").to(self._dtype)
        residual = self._network.interior(padded.contiguous(memory_format=torch.channels_last))
        return residual[0, 0].float().mul_(self._scale)


@dataclass
class Course:
    """How a run went: seconds since its loop began, SNR in dB and ‖G‖²/‖G₀‖² of each iteration; its last image."""

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
    with torch.no_grad(), float32_rules(precision == "tf32", deterministic=False):
        data, denoiser = make_data(), WholeDenoiser(case.network, precision, case.scale, device)
        start, truth = (torch.from_numpy(array).to(device) for array in (case.start, case.truth))
        step = 1 / (case.operator.lipschitz + 2 * case.tau)
        course = Course(time.perf_counter() - begun)
        _iterate(course, start, truth, lambda image: data(image) + case.tau * denoiser(image), step, iterations)
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
