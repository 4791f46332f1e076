"""Deblurring with an operator of your own: three methods, and it runs asynchronously, on the CPU or a GPU.

    y = k ∗ x + noise,   k a Gaussian,   x zero outside the image

A block's pixels reach `radius` pixels beyond it, so that is the block's footprint on the blurred image.
"""

import numpy as np
import torch
from skimage import data
from torch.nn.functional import conv2d, pad

from asyncred_gpu import CustomOperator, GpuAsyncRED, check_operator, load_denoiser, snr


class Blur:
    """y = k ∗ x for a kernel k of (2·radius + 1)² pixels."""

    def __init__(self, kernel: np.ndarray, image_shape: tuple[int, int]) -> None:
        self.kernel, self.radius = torch.from_numpy(kernel), len(kernel) // 2
        self.image_shape = self.data_shape = image_shape

    def footprint(self, window):
        """Where the block's pixels come to lie."""
        (rows, cols), r = self.image_shape, self.radius
        top, bottom = max(0, window.top - r), min(rows, window.bottom + r)
        left, right = max(0, window.left - r), min(cols, window.right + r)
        return slice(top, bottom), slice(left, right)

    def margins(self, window):
        """How far the footprint lies beyond the block: left, right, top, bottom, as torch's pad has them."""
        down, across = self.footprint(window)
        return (
            window.left - across.start,
            across.stop - window.right,
            window.top - down.start,
            down.stop - window.bottom,
        )

    def forward_block(self, window, pixels):
        """Convolve the block with zeros around it."""
        wide = pad(pixels, self.margins(window))[None, None]
        flipped = self.kernel.to(pixels.device).flip(0, 1)  # conv2d correlates
        return conv2d(wide, flipped[None, None], padding=self.radius)[0, 0]

    def adjoint_block(self, window, values):
        """Correlate, and keep the block."""
        back = conv2d(values[None, None], self.kernel.to(values.device)[None, None], padding=self.radius)[0, 0]
        left, _, top, _ = self.margins(window)
        rows, cols = window.shape
        return back[top : top + rows, left : left + cols]


def main(size: int = 256, sweeps: float = 30) -> None:
    truth = data.camera()[100 : 100 + size, 120 : 120 + size].astype(np.float32) / 255
    steps = np.arange(-6, 7)
    line = np.exp(-(steps**2) / (2 * 1.6**2))
    kernel = (np.outer(line, line) / line.sum() ** 2).astype(np.float32)
    blur = Blur(kernel, truth.shape)
    print("the operator:", check_operator(blur, block_shape=(50, 70)))
    clean = CustomOperator(blur, np.zeros_like(truth)).forward(truth)
    noisy = clean + np.random.default_rng(0).normal(0, 2 / 255, clean.shape).astype(np.float32)
    deblur = CustomOperator(blur, noisy)
    solver = GpuAsyncRED(deblur, load_denoiser("dncnn", sigma=5), tau=0.02, intensity_scale=1.0)
    result = solver.run(max_sweeps=sweeps, x0=noisy, reference=truth)
    print(f"SNR: blurred {snr(noisy, truth):.2f} dB, deblurred {snr(result.image, truth):.2f} dB. {result.status.name}")


if __name__ == "__main__":
    main()
