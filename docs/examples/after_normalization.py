"""From normalized projections, as TomoPy or algotom make them, to a volume: arrays in memory, no files.

TomoPy: proj = tomopy.minus_log(tomopy.normalize(proj, flat, dark)); here numpy stands for it.
"""

import numpy as np

from asyncred_gpu import GpuAsyncRED, RadonCT, load_denoiser
from asyncred_gpu.io import estimate_center
from asyncred_gpu.operators.radon import project

# A scan: counts (angles, rows, detectors), flat and dark fields, angles in radians.
theta = np.linspace(0, np.pi, 90, endpoint=False)
disc = np.hypot(*(np.mgrid[:96, :96] - 47.5)) < 40
objects = [0.02 * disc * (1 + 0.3 * np.sin(np.arange(96) / (5 + row)))[:, None] for row in range(2)]
transmission = np.exp(-np.stack([project(one.astype(np.float32), theta, 96, center=49.0) for one in objects], axis=1))
flat, dark = np.full((5, 2, 96), 40_000.0), np.full((5, 2, 96), 100.0)
counts = np.random.default_rng(0).poisson(transmission * 39_900) + 100

# Normalize, as tomopy.normalize and tomopy.minus_log do.
beam, black = flat.mean(axis=0), dark.mean(axis=0)
projections = -np.log(np.clip((counts - black) / (beam - black), 1e-6, None)).astype(np.float32)

center = estimate_center(projections[:, 0], theta)
denoiser = load_denoiser("dncnn", sigma=5)
volume, start = [], "auto"
for row in range(projections.shape[1]):
    ct = RadonCT(np.ascontiguousarray(projections[:, row]), theta, image_shape=(96, 96), center=center)
    solver = GpuAsyncRED(ct, denoiser, tau=0.02, field_of_view="circle")
    result = solver.run(max_sweeps=6, x0=start)
    volume.append(result.image)
    start = result.image  # the next slice looks much the same
error = np.linalg.norm(volume[0] - objects[0]) / np.linalg.norm(objects[0])
print(f"rotation centre {center:.1f}, volume {np.stack(volume).shape}, relative error {error:.3f}")
