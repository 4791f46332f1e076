"""The ramp filter of filtered back-projection, for any angles of a parallel beam.

x(p) = ∫_0^π q_θ(t(p)) dθ with q = p * h, h the band-limited ramp (Ram-Lak) in its spatial form, which keeps the mean
right. Source: Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, eq. 61.
"""

from __future__ import annotations

import numpy as np

from ..blocks import FloatArray
from .geometry import Float64Array


def ramp_filtered(sinogram: FloatArray, angles: Float64Array) -> FloatArray:
    """The sinogram, filtered and weighted so that its plain back-projection is the image.

    Args:
        sinogram: (angles, detectors) line integrals.
        angles: (angles,) radians.

    The detectors' spacing cancels: the kernel has 1/spacing², the convolution's integral dt, and the adjoint hands a
    pixel 1/spacing of a ray.
    """
    detectors = sinogram.shape[1]
    size = 1 << (2 * detectors - 1).bit_length()
    response = np.fft.rfft(ramp_kernel(size)).real
    filtered = np.fft.irfft(np.fft.rfft(sinogram, size, axis=1) * response, size, axis=1)[:, :detectors]
    return np.asarray(filtered * angle_weights(angles)[:, None], np.float32)


def ramp_kernel(size: int) -> Float64Array:
    """h(n) for n = 0 … size/2 and, wrapped around, for negative n."""
    distance = np.minimum(np.arange(size), size - np.arange(size))
    kernel = np.zeros(size)
    kernel[0] = 1 / 4
    odd = distance % 2 == 1
    kernel[odd] = -1 / (np.pi * distance[odd]) ** 2
    return kernel


def angle_weights(angles: Float64Array) -> Float64Array:
    """(angles,) the dθ of each angle: half the gap to its neighbours on the half circle, π in all."""
    turned = np.mod(angles, np.pi)
    order = np.argsort(turned, kind="stable")
    ordered = turned[order]
    gaps = np.diff(np.append(ordered, ordered[0] + np.pi))
    weights = np.empty(len(angles))
    weights[order] = (gaps + np.roll(gaps, 1)) / 2
    return weights
