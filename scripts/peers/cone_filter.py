"""(ĥ/‖A‖² + τ)⁻¹ on the whole image, nearly the inverse of AᵀA/‖A‖² + τ: the filter of filtered back-projection.

ĥ is the symbol of the scan's point spread, computed by asyncred_gpu. The image is padded to twice its sides.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.fft

from asyncred_gpu.operators.geometry import ParallelGeometry
from asyncred_gpu.operators.point_spread import padded_shape, symbol

from .problem import Image, Problem


def cone_filter(problem: Problem, scale: float, tau: float, cores: int) -> Callable[[Image], Image]:
    """The filter of images of the problem's size.

    Args:
        scale: 1/‖A‖².
        cores: the transforms' threads.
    """
    size = problem.size
    geometry = ParallelGeometry((size, size), problem.angles, problem.detectors, 1.0, (problem.detectors - 1) / 2)
    shape = padded_shape((size, size))
    curvature = np.float32(scale) * symbol([geometry], np.ones(len(problem.angles)), (size, size)) + np.float32(tau)
    inverse = 1 / curvature

    def filtered(image: Image) -> Image:
        spectrum = scipy.fft.rfft2(image, shape, workers=cores)
        spectrum *= inverse
        found = scipy.fft.irfft2(spectrum, shape, overwrite_x=True, workers=cores)
        return np.asarray(found[:size, :size], np.float32)

    return filtered
