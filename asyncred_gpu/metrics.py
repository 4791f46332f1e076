"""How far an image is from its reference: SNR and PSNR in decibels, SSIM without a unit.

SNR(x̂, x) = 20·log10(‖x‖/‖x̂ − x‖), as in Sun et al., ICLR 2021. Sums run in float64, whatever the images are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SSIM_WINDOW = 7


def snr(estimate: ArrayLike, reference: ArrayLike) -> float:
    """Signal-to-noise ratio of `estimate` in dB; inf where the two are equal.

    Raises:
        ValueError: shapes that differ, an empty or a non-finite image, or a reference that is zero everywhere.
    """
    image, truth = _pair(estimate, reference)
    signal = float(np.linalg.norm(truth))
    if signal == 0:
        raise ValueError(
            "the reference is zero everywhere, so no signal-to-noise ratio exists. Pass the image that was measured."
        )
    error = float(np.linalg.norm(image - truth))
    return math.inf if error == 0 else 20 * math.log10(signal / error)


def psnr(estimate: ArrayLike, reference: ArrayLike, data_range: float | None = None) -> float:
    """Peak signal-to-noise ratio in dB, its peak being `data_range` (default: the reference's maximum − minimum).

    Raises:
        ValueError: as `snr`, or a data range that isn't positive.
    """
    image, truth = _pair(estimate, reference)
    peak = _data_range(truth, data_range)
    error = math.sqrt(float(np.mean((image - truth) ** 2)))
    return math.inf if error == 0 else 20 * math.log10(peak / error)


def ssim(estimate: ArrayLike, reference: ArrayLike, data_range: float | None = None) -> float:
    """Structural similarity (Wang et al., IEEE TIP 2004; 7×7 windows), 1 where the two images are equal.

    Raises:
        ValueError: as `psnr`, or images smaller than a window.
    """
    image, truth = _pair(estimate, reference)
    if truth.ndim != 2 or min(truth.shape) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM of an image of shape {truth.shape} can't be taken: it compares windows of "
            f"{SSIM_WINDOW}x{SSIM_WINDOW} pixels. Pass (rows, cols) images at least that large."
        )
    from skimage.metrics import structural_similarity  # a second to import, and the workers don't need it

    peak = _data_range(truth, data_range)
    return float(structural_similarity(truth, image, win_size=SSIM_WINDOW, data_range=peak))


def _pair(estimate: ArrayLike, reference: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    image = _real_array("estimate", estimate)
    truth = _real_array("reference", reference)
    if image.shape != truth.shape:
        raise ValueError(
            f"the estimate has shape {image.shape}, the reference {truth.shape}: they can't be compared pixel by "
            "pixel. Pass two images of one shape."
        )
    return image, truth


def _real_array(name: str, values: ArrayLike) -> NDArray[np.float64]:
    found: NDArray[Any] = np.asarray(values)
    if found.dtype.kind not in "biuf":
        raise ValueError(f"the {name} holds {found.dtype}, which has no distance to a real image. Pass real numbers.")
    array = found.astype(np.float64)
    if array.size == 0:
        raise ValueError(f"the {name} is empty (shape {array.shape}). Pass an image with pixels.")
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise ValueError(
            f"the {name} has {bad} NaN or infinite values of {array.size}, so no distance exists. Remove them first."
        )
    return array


def _data_range(truth: NDArray[np.float64], given: float | None) -> float:
    peak = float(truth.max() - truth.min()) if given is None else float(given)
    if not (math.isfinite(peak) and peak > 0):
        raise ValueError(
            f"data_range={peak:g} is no peak to compare with: it has to be positive"
            + (", and a constant reference gives none. Pass data_range." if given is None else ".")
        )
    return peak
