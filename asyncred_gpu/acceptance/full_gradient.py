"""∇g of the whole image at once, eagerly on a device: by our own kernels, and by ASTRA's CUDA projectors."""

from __future__ import annotations

import weakref
from typing import Protocol

import torch
from torch import Tensor

from ..operators.astra_projectors import AstraCalls, create, delete
from ..operators.astra_rays import astra_rays
from ..operators.footprint import whole_window
from ..operators.radon import RadonCT
from ..operators.whole_device import WholeImage
from ..runtime.device import Device


class FullDataGradient(Protocol):
    """scale · Aᵀ(A x − y) of an operator without weights: (rows, cols) → (rows, cols)."""

    name: str

    def __call__(self, image: Tensor) -> Tensor: ...


class JosephGradient:
    """By our own kernels project.cu and backproject.cu."""

    name = "our Joseph kernels"

    def __init__(self, operator: RadonCT, device: Device) -> None:
        assert operator.weights is None
        self._whole = WholeImage(operator.geometry, device.kernels, device.torch)
        self._measured = torch.from_numpy(operator.sinogram).to(device.torch)
        self._scale = operator.scale

    def __call__(self, image: Tensor) -> Tensor:
        residual = self._whole.project(image.contiguous()).sub_(self._measured)
        return self._whole.backproject(residual).mul_(self._scale)


class AstraGradient:
    """By ASTRA's projectors on tensors where they lie. The CUDA back projector isn't the adjoint."""

    def __init__(self, operator: RadonCT, calls: AstraCalls, device: torch.device) -> None:
        assert operator.weights is None
        window, detector = whole_window(operator.geometry)
        rays = astra_rays(operator.geometry, window, detector, calls.gpu)
        self.name = f"ASTRA's projectors ({calls.kind})"
        self._calls = calls
        self._projector = create(calls.kind, window, rays, calls.options)
        weakref.finalize(self, delete, [self._projector])
        self._measured = torch.from_numpy(operator.sinogram).to(device)
        self._scale = operator.scale

    def __call__(self, image: Tensor) -> Tensor:
        sinogram, gradient = torch.empty_like(self._measured), torch.empty_like(image)
        self._calls.settle()
        self._calls.forward(self._projector, image.contiguous(), sinogram)
        self._calls.settle()
        residual = sinogram.sub_(self._measured)
        self._calls.settle()
        self._calls.backward(self._projector, residual, gradient)
        self._calls.settle()
        return gradient.mul_(self._scale)
