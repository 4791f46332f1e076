"""A and Aᵀ of the whole image on a GPU, for what comes before a run: the start image and the Lipschitz constants.

Kernels project.cu and backproject.cu; numpy in and out, so that RadonCT needn't know where they run.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..blocks import FloatArray, Window
from ..kernels.launch import Kernels
from .footprint import Footprint, ParallelGeometry
from .joseph import ray_fans


class WholeImage:
    """A matched pair for the whole image and detector. Owns its table of rays, on the device."""

    def __init__(self, geometry: ParallelGeometry, kernels: Kernels, device: torch.device) -> None:
        rows, cols = geometry.image_shape
        self._sizes = (len(geometry.angles), geometry.detectors, rows, cols)
        self._kernels = kernels
        self._device = device
        detector = Footprint(np.zeros(len(geometry.angles), np.intp), geometry.detectors)
        fans = ray_fans(geometry, Window(0, rows, 0, cols), detector)
        self._fans = torch.from_numpy(fans.view(np.uint8).reshape(-1).copy()).to(device)

    def forward(self, image: FloatArray) -> FloatArray:
        """A x: (rows, cols) → (angles, detectors)."""
        angles, detectors, _, _ = self._sizes
        return self._launch("project", image, (angles, detectors))

    def adjoint(self, sinogram: FloatArray) -> FloatArray:
        """Aᵀ r: (angles, detectors) → (rows, cols); of a ramp-filtered sinogram, its FBP."""
        _, _, rows, cols = self._sizes
        return self._launch("backproject", sinogram, (rows, cols))

    def _launch(self, kernel: str, source: FloatArray, shape: tuple[int, int]) -> FloatArray:
        given = torch.from_numpy(np.array(source, np.float32, order="C")).to(self._device)
        out: Tensor = torch.empty(shape, dtype=torch.float32, device=self._device)
        self._kernels.launch(kernel, out.numel(), self._fans, given, *self._sizes, out)
        found: FloatArray = out.cpu().numpy()
        return found
