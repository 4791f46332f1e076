"""∇g of the whole image at once, eagerly on a device: by our own kernels, and by ASTRA's CUDA projectors."""

from __future__ import annotations

import weakref
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..blocks import Window
from ..operators.astra_projectors import AstraCalls, create, delete
from ..operators.footprint import Footprint, ray_vectors
from ..operators.joseph import ray_fans
from ..operators.radon import RadonCT
from ..runtime.device import Device


class FullDataGradient(Protocol):
    """scale · Aᵀ(A x − y) of an operator without weights: (rows, cols) → (rows, cols)."""

    name: str

    def __call__(self, image: Tensor) -> Tensor: ...


class JosephGradient:
    """By our own kernels project.cu and backproject.cu."""

    name = "our Joseph kernels"

    def __init__(self, operator: RadonCT, device: Device) -> None:
        fans = ray_fans(operator.geometry, *_whole(operator))
        self._fans = torch.from_numpy(fans.view(np.uint8).reshape(-1).copy()).to(device.torch)
        self._measured = torch.from_numpy(operator.sinogram).to(device.torch)
        self._sizes = (*operator.sinogram.shape, *operator.image_shape)
        self._scale = operator.scale
        self._kernels = device.kernels

    def __call__(self, image: Tensor) -> Tensor:
        sinogram, gradient = torch.empty_like(self._measured), torch.empty_like(image)
        self._launch("project", image.contiguous(), sinogram)
        self._launch("backproject", sinogram.sub_(self._measured), gradient)
        return gradient.mul_(self._scale)

    def _launch(self, kernel: str, source: Tensor, target: Tensor) -> None:
        self._kernels.launch(kernel, target.numel(), self._fans, source, *self._sizes, target)


class AstraGradient:
    """By ASTRA's projectors on tensors where they lie. The CUDA back projector isn't the adjoint."""

    def __init__(self, operator: RadonCT, calls: AstraCalls, device: torch.device) -> None:
        window, detector = _whole(operator)
        vectors = ray_vectors(operator.geometry, window, detector)
        self.name = f"ASTRA's projectors ({calls.kind})"
        self._calls = calls
        self._projector = create(calls.kind, window, detector, vectors, calls.options)
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


def _whole(operator: RadonCT) -> tuple[Window, Footprint]:
    """The image as one window, and the detector as its footprint."""
    assert operator.weights is None
    rows, cols = operator.image_shape
    angles, detectors = operator.sinogram.shape
    return Window(0, rows, 0, cols), Footprint(np.zeros(angles, np.intp), detectors)
