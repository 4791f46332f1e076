"""Block compressed sensing: every block of the image measured by a matrix of its own."""

import numpy as np
from skimage import data, transform

from asyncred_gpu import BlockCS, GpuAsyncRED, gaussian_matrices, load_denoiser, snr, warm_start

image = transform.resize(data.camera() / 255, (96, 96), anti_aliasing=True).astype(np.float32)
blocks = image.reshape(3, 32, 3, 32).swapaxes(1, 2).reshape(9, 1024)  # 3×3 blocks of 32×32 pixels, row-major
matrices = gaussian_matrices(9, m=716, n=1024)  # 0.7 measurements a pixel
measurements = np.einsum("bmn,bn->bm", matrices, blocks)
cs = BlockCS(measurements, matrices, image_shape=(96, 96))
denoiser = load_denoiser("dncnn", sigma=5)
# From so poor a start a denoiser of weak noise would take hundreds of sweeps; this one is stronger at first.
start = warm_start(cs, denoiser, tau=1.0, intensity_scale=1.0)
solver = GpuAsyncRED(cs, denoiser, tau=1.0, intensity_scale=1.0)
result = solver.run(max_sweeps=15, x0=start, reference=image)
print(f"{result.status.name}: {snr(cs.start('auto'), image):.1f} dB before, {result.history['snr'][-1]:.1f} dB after")
