"""A and Aᵀ of the whole image on a GPU, for what comes before a run: the start image and the Lipschitz constants.

Kernels project.cu and backproject.cu, or those of a fan beam; `forward` and `adjoint` take numpy, so that RadonCT
needn't know where they run.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..blocks import FloatArray
from ..kernels.launch import Kernels, as_bytes
from .footprint import whole_window
from .geometry import Geometry
from .ray_tables import kernel_ending, ray_table


class WholeImage:
    """A matched pair for the whole image and detector. Owns its table of rays, on the device."""

    def __init__(self, geometry: Geometry, kernels: Kernels, device: torch.device) -> None:
        self._sizes = (len(geometry.angles), geometry.detectors, *geometry.image_shape)
        self._kernels = kernels
        self._device = device
        self._beam = kernel_ending(geometry)
        self._rays = as_bytes(ray_table(geometry, *whole_window(geometry)), device)

    def of(self, geometry: Geometry) -> WholeImage:
        """The same of another scan, on this device."""
        return WholeImage(geometry, self._kernels, self._device)

    def forward(self, image: FloatArray) -> FloatArray:
        """A x: (rows, cols) → (angles, detectors)."""
        return _numpy(self.project(self._moved(image)))

    def adjoint(self, sinogram: FloatArray) -> FloatArray:
        """Aᵀ r: (angles, detectors) → (rows, cols); of a ramp-filtered sinogram, its FBP."""
        return _numpy(self.backproject(self._moved(sinogram)))

    def project(self, image: Tensor) -> Tensor:
        """`forward` for a contiguous tensor on the device."""
        return self._launch("project", image, self._sizes[:2])

    def backproject(self, sinogram: Tensor) -> Tensor:
        """`adjoint` for a contiguous tensor on the device."""
        return self._launch("backproject", sinogram, self._sizes[2:])

    def _launch(self, kernel: str, source: Tensor, shape: tuple[int, ...]) -> Tensor:
        out = torch.empty(shape, dtype=torch.float32, device=self._device)
        self._kernels.launch(kernel + self._beam, out.numel(), self._rays, source, *self._sizes, out)
        return out

    def _moved(self, array: FloatArray) -> Tensor:
        return torch.from_numpy(np.array(array, np.float32, order="C")).to(self._device)


def _numpy(tensor: Tensor) -> FloatArray:
    found: FloatArray = tensor.cpu().numpy()
    return found
