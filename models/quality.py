"""How well a network denoises: PSNR in dB of images in [0, 1], before and after, with noise from a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


def psnr(estimate: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images in [0, 1]."""
    return float(-10 * torch.log10(F.mse_loss(estimate, truth)))


def noisy(image: Tensor, sigma: float, seed: int) -> Tensor:
    """The image with white Gaussian noise of `sigma` grey levels of 255."""
    noise = np.random.default_rng(seed).standard_normal(tuple(image.shape)).astype(np.float32)
    return image + sigma / 255 * torch.from_numpy(noise)


def psnr_before_after(network: nn.Module, image: Tensor, sigma: float, seed: int) -> tuple[float, float]:
    """PSNR in dB of the image with noise, and denoised; the whole image at once, zero padding.

    Args:
        sigma: noise, in grey levels of 255.
    """
    rough = noisy(image, sigma, seed)
    with torch.inference_mode():
        denoised = rough - network(rough[None, None])[0, 0]
    return psnr(rough, image), psnr(denoised, image)


def validate(network: nn.Module, images: Sequence[Tensor], sigma: float) -> list[tuple[float, float]]:
    """PSNR in dB (with noise, denoised) of each image, the noise seeded by the image's index."""
    return [psnr_before_after(network, image, sigma, seed) for seed, image in enumerate(images)]
