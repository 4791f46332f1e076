"""The serial full-gradient method, and that asynchronous runs end where it ends."""

import numpy as np
import pytest

from asyncred_gpu import GpuAsyncRED, RadonCT, load_denoiser, snr
from asyncred_gpu.baselines import FullGradient, gm_red
from asyncred_gpu.experiments import retina_problem
from asyncred_gpu.solver import intensity_scale_of

from .helpers import LinearResidual, relative, small_scan


@pytest.mark.parametrize("accelerate", [True, False])
def test_gm_red_solves_a_linear_problem_exactly(accelerate):
    """With a linear residual, G(x) = 0 is a linear system: solved densely in float64."""
    scan, _ = small_scan(size=16, angles=10, noise=0.3)
    gradient = FullGradient(scan, LinearResidual(), 0.1, 1.0)
    zero = np.zeros((16, 16), np.float32)
    constant = gradient(zero).astype(np.float64).ravel()
    columns = [gradient(pixel.reshape(16, 16)).ravel() - constant for pixel in np.eye(256, dtype=np.float32)]
    exact = np.linalg.solve(np.array(columns).T, -constant).reshape(16, 16)
    found = gm_red(scan, LinearResidual(), 0.1, 1.0, zero, tol=1e-10, accelerate=accelerate)
    assert found.residual <= 1e-10 and relative(found.image, exact) < 1e-3 < relative(scan.fbp(), exact)


def test_asynchronous_runs_end_at_its_fixed_point():
    problem = retina_problem(size=96, angles=40)
    scan = RadonCT(problem.measured.sinogram, problem.measured.angles, (96, 96), center=problem.center)
    network, scale = load_denoiser("dncnn", sigma=5), intensity_scale_of(scan.fbp())
    serial = gm_red(scan, network, 0.02, scale, scan.fbp(), tol=1e-8)
    assert serial.residual <= 1e-8
    solver = GpuAsyncRED(scan, network, 0.02, (24, 24), num_workers=2, momentum=0.8, intensity_scale=scale)

    def apart(sweeps):
        image = solver.run(max_sweeps=sweeps, tol=1e-6).image
        return abs(snr(image, problem.reference) - snr(serial.image, problem.reference)), relative(image, serial.image)

    decibels, difference = apart(300)
    assert decibels < 0.05 and difference < 5e-3
    assert min(apart(3)) > 5e-3  # not there yet
