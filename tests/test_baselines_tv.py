"""PGM-TV: its proximal map, and its minimum against one found by ADMM with dense float64 matrices."""

from functools import partial

import numpy as np
import pytest
from skimage.data import shepp_logan_phantom
from skimage.restoration import denoise_tv_chambolle
from skimage.transform import resize

from asyncred_gpu import RadonCT, Status, snr
from asyncred_gpu.baselines import fbp, pgm_tv
from asyncred_gpu.baselines.pgm_tv import tv_prox
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.operators.matrix import BlockCS
from asyncred_gpu.operators.radon import project

from .helpers import blobs, half_turn, relative, small_scan

SIDE = 12


def differences(side=SIDE):
    """(2·side², side²): downwards, then to the right; 0 in the last row and column."""
    step = np.diff(np.eye(side), axis=0, append=np.eye(side)[-1:])
    return np.vstack([np.kron(step, np.eye(side)), np.kron(np.eye(side), step)])


D = differences()


def total_variation(image):
    return float(np.hypot(*(D @ np.asarray(image, np.float64).ravel()).reshape(2, -1)).sum())


def admm(hessian, constant, weight, nonnegative=False, iterations=20000):
    """argmin ½xᵀHx − cᵀx + weight·TV(x): Boyd et al. 2011, with z = Dx and v = x split off; (side, side) float64."""
    penalty, pixels = 5 * weight, len(constant)
    inverse = np.linalg.inv(hessian + penalty * (D.T @ D + np.eye(pixels)))
    z = dual = np.zeros(2 * pixels)
    v = bound = np.zeros(pixels)
    for _ in range(iterations):
        x = inverse @ (constant + penalty * (D.T @ (z - dual) + v - bound))
        slopes = (D @ x + dual).reshape(2, -1)
        shrunk = np.maximum(0, 1 - weight / penalty / np.maximum(np.hypot(*slopes), 1e-300))
        before, z = z, (slopes * shrunk).ravel()
        dual = slopes.ravel() - z
        v = np.maximum(x + bound, 0) if nonnegative else x + bound
        bound = x + bound - v
        if max(np.abs(D @ x - z).max(), np.abs(x - v).max(), np.abs(z - before).max()) < 1e-9:
            return v.reshape(SIDE, SIDE)
    raise AssertionError("ADMM hasn't converged")


# --- the proximal map ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [1e-3, 1e-2, 0.05])
def test_the_proximal_map_minimises_half_the_square_plus_weight_times_tv(weight):
    """scikit-image's weight is that of TV beside ½‖u − f‖², not beside ‖u − f‖²; its own tolerance is far too loose."""
    noisy = (blobs(SIDE, SIDE) + 0.1 * np.random.default_rng(0).standard_normal((SIDE, SIDE))).astype(np.float32)
    exact = admm(np.eye(SIDE**2), noisy.ravel().astype(np.float64), weight)

    def error(found):
        return np.linalg.norm(found - exact) / np.linalg.norm(noisy - exact)

    assert error(tv_prox(noisy, weight)) < 1e-3
    for wrong in (weight / 2, 1.02 * weight, 2 * weight):
        assert error(tv_prox(noisy, wrong)) > 1e-2
    assert error(denoise_tv_chambolle(noisy, weight)) > 1e-2


def test_without_weight_the_proximal_map_does_nothing():
    image = blobs(SIDE, SIDE)
    assert np.array_equal(tv_prox(image, 0.0), image) and not np.array_equal(tv_prox(image, 1e-3), image)


# --- the minimum ---------------------------------------------------------------------------------------------------


def compressed():
    """4 blocks of 6×6 pixels, 20 noisy measurements each."""
    random = np.random.default_rng(0)
    matrices = random.standard_normal((4, 20, 36)).astype(np.float32) / np.float32(6)
    pixels = np.stack([block.ravel() for block in BlockGrid((SIDE, SIDE), (6, 6)).split(blobs(SIDE, SIDE))])
    measured = np.einsum("bmn,bn->bm", matrices, pixels) + 0.05 * random.standard_normal((4, 20))
    return BlockCS(measured, matrices, (SIDE, SIDE))


OPERATORS = {"ct": lambda: small_scan(size=SIDE, angles=8, noise=0.3)[0], "cs": compressed}


class Objective:
    """g(x) − g(0) + weight·TV(x), g's Hessian and slope at 0 from the operator's gradients, in float64."""

    def __init__(self, operator, weight):
        zero = np.zeros((SIDE, SIDE), np.float32)
        self.weight, self.constant = weight, -operator.gradient(zero).ravel().astype(np.float64)
        pixels = np.eye(SIDE**2, dtype=np.float32).reshape(-1, SIDE, SIDE)
        hessian = np.array([operator.gradient(pixel).ravel() + self.constant for pixel in pixels])
        self.hessian = (hessian + hessian.T) / 2

    def __call__(self, image):
        x = np.asarray(image, np.float64).ravel()
        return 0.5 * x @ self.hessian @ x - self.constant @ x + self.weight * total_variation(image)

    def minimum(self, nonnegative):
        return admm(self.hessian, self.constant, self.weight, nonnegative)


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("kind", OPERATORS)
def test_it_ends_at_the_minimum(kind, nonnegative):
    operator, weight = OPERATORS[kind](), 5e-3
    objective = Objective(operator, weight)
    exact = objective.minimum(nonnegative)
    run = partial(pgm_tv, operator, nonnegative=nonnegative, x0="zeros", max_sweeps=2000)
    found = run(weight, tol=1e-9)
    assert found.status is Status.CONVERGED and (found.image.min() >= 0 or not nonnegative)
    assert relative(found.image, exact) < 3e-3
    unlike = partial(pgm_tv, operator, nonnegative=not nonnegative, x0="zeros", max_sweeps=2000)
    wrong = [run(1.05 * weight, tol=1e-6), run(weight, max_sweeps=10), unlike(weight, tol=1e-6)]
    assert all(relative(other.image, exact) > 3e-3 for other in wrong)
    # No image nearby is better; the one for another weight could be.
    random = np.random.default_rng(0)
    nearby = [found.image + random.normal(0, size, (SIDE, SIDE)) for size in (1e-3, 1e-2, 0.1) for _ in range(20)]
    assert all(objective(found.image) < objective(np.maximum(image, 0)) for image in nearby)
    assert objective(wrong[0].image) > objective(0.1 * wrong[0].image + 0.9 * found.image)


def test_acceleration_takes_fewer_gradients():
    operator = OPERATORS["ct"]()
    taken = [
        len(pgm_tv(operator, 1e-3, accelerate=accelerate, tol=1e-5, max_sweeps=2000).history["update"])
        for accelerate in (True, False)
    ]
    assert taken[0] < taken[1] / 2


def test_the_intensity_scale_makes_the_weight_independent_of_units():
    scan = OPERATORS["ct"]()
    bright = RadonCT(1000 * scan.sinogram, scan.geometry.angles, scan.image_shape)
    for scale in ("auto", 1.0):
        dim, lit = (pgm_tv(one, 0.01, intensity_scale=scale, max_sweeps=20).image for one in (scan, bright))
        assert (relative(lit / 1000, dim) < 1e-3) == (scale == "auto")


@pytest.mark.parametrize("weight", [-1.0, float("nan"), "strong", None])
def test_a_weight_that_can_not_be_is_refused(weight):
    with pytest.raises(ValueError, match=f"weight={weight!r} can't be. Pass a number >= 0"):
        pgm_tv(OPERATORS["ct"](), weight)


@pytest.mark.parametrize("weight", [1e-4, 1e-7])
def test_it_denoises_a_phantom_of_constant_pieces_better_than_fbp(weight):
    """With next to no weight it doesn't."""
    truth = resize(shepp_logan_phantom(), (64, 64), anti_aliasing=True).astype(np.float32)
    clean = project(truth, half_turn(40), 91)
    noise = 0.02 * np.linalg.norm(clean) / np.sqrt(clean.size) * np.random.default_rng(0).standard_normal(clean.shape)
    scan = RadonCT(clean + noise, half_turn(40), (64, 64))
    found = pgm_tv(scan, weight, max_sweeps=60, reference=truth)
    gained = snr(found.image, truth) - snr(fbp(scan).image, truth)
    assert found.history["snr"][-1] == pytest.approx(snr(found.image, truth), abs=1e-3)
    assert (gained > 6) == (weight == 1e-4), gained
