"""Does the asynchronous run end where a serial full-gradient run ends? Prints the differences, in dB and relative.

python scripts/check_fixed_point.py [--size 256] [--angles 60] [--workers 2]
"""

from __future__ import annotations

import argparse

import numpy as np

from asyncred_gpu import GpuAsyncRED, RadonCT, load_denoiser, snr
from asyncred_gpu.baselines import gm_red
from asyncred_gpu.experiments import retina_problem
from asyncred_gpu.solver import intensity_scale_of

MOST_GRADIENTS = 2000


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--size", type=int, default=256, help="pixels a side")
    options.add_argument("--angles", type=int, default=60, help="projections over 180 degrees")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--tau", type=float, default=0.02)
    options.add_argument("--sweeps", type=float, default=400)
    options.add_argument("--tol", type=float, default=1e-8, help="‖G‖²/‖G₀‖² of the serial run")
    chosen = options.parse_args()

    problem = retina_problem(size=chosen.size, angles=chosen.angles)
    operator = RadonCT(problem.measured.sinogram, problem.measured.angles, problem.image_shape, center=problem.center)
    network, start, truth = load_denoiser("dncnn", sigma=5), operator.fbp(), problem.reference
    assert truth is not None
    scale = intensity_scale_of(start)

    serial = gm_red(
        operator, network, chosen.tau, intensity_scale=scale, x0=start, max_sweeps=MOST_GRADIENTS, tol=chosen.tol
    )
    print(
        f"serial, float32, Nesterov with restart: ‖G‖²/‖G₀‖² = {serial.history['residual'][-1]:.2e} after "
        f"{len(serial.history['update'])} gradients, {serial.timings['run']:.0f} s, "
        f"SNR {snr(serial.image, truth):.4f} dB"
    )
    for precision, momentum in (("float32", 0.8), ("auto", 0.8), ("auto", 0.0)):
        blocks = (chosen.size // 4, chosen.size // 4)
        solver = GpuAsyncRED(
            operator,
            network,
            chosen.tau,
            blocks,
            num_workers=chosen.workers,
            momentum=momentum,
            precision=precision,
            intensity_scale=scale,
        )
        result = solver.run(chosen.sweeps, tol=1e-7 if precision == "float32" else 1e-6)
        apart = float(np.linalg.norm(result.image - serial.image) / np.linalg.norm(serial.image))
        print(
            f"asynchronous, {chosen.workers} workers, {solver.precision}, momentum {momentum}: "
            f"‖G‖²/‖G₀‖² = {result.history['residual'][-1]:.2e} after {result.history['sweep'][-1]:.0f} sweeps, "
            f"{result.timings['run']:.0f} s, SNR {snr(result.image, truth):.4f} dB, "
            f"{snr(result.image, truth) - snr(serial.image, truth):+.4f} dB, image difference {apart:.2e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
