"""The norm of a Jacobian against dense singular values, known norms, and plain power iteration."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from asyncred_gpu.blocks import BlockGrid, halo_crop
from asyncred_gpu.models import jacobian
from asyncred_gpu.models.jacobian import PATIENCE, JacobianNorm, jacobian_norm, operator_norm, random_direction
from asyncred_gpu.models.lipschitz import convolution_norm, torus_norm
from asyncred_gpu.models.measure import frozen_residual, mirrored_residual, norms_at

from .helpers import blobs, small_network


def test_image(rows=10, cols=10, seed=0):
    return torch.from_numpy(blobs(rows, cols, seed)).double()


test_image.__test__ = False


def network_in_double(seed=0):
    # Far from linear: without biases, and at 1.5, hardly a ReLU would open or shut between two images.
    return small_network(seed, bound=6.0).double()


def dense(function, image):
    """The Jacobian as a matrix, by torch's reverse mode."""
    matrix = torch.autograd.functional.jacobian(function, image)
    return matrix.reshape(-1, image.numel()).numpy()


def zero_padded(network):
    return lambda image: network(image[None, None])[0, 0]


def zero_padded_denoiser(network):
    return lambda image: image - network(image[None, None])[0, 0]


# ---- against what is known


@pytest.mark.parametrize("kind", [zero_padded, zero_padded_denoiser])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_norm_is_the_dense_jacobians_largest_singular_value(kind, seed):
    function, image = kind(network_in_double(seed)), test_image(seed=seed)
    found = jacobian_norm(function, image, tolerance=1e-12)
    expected = np.linalg.svd(dense(function, image), compute_uv=False)
    assert found.converged
    assert found.value == pytest.approx(expected[0], rel=1e-9)
    assert abs(expected[1] / expected[0] - 1) > 1e-6  # the second largest isn't taken for it
    elsewhere = jacobian_norm(function, test_image(seed=seed + 7) - 0.3, tolerance=1e-12)
    assert abs(elsewhere.value / expected[0] - 1) > 1e-6


@pytest.mark.parametrize("wrong", [None, "J instead of Jᵀ", "another image's Jᵀ"])
def test_the_adjoint_is_the_transpose_at_the_same_image(wrong):
    function, image = zero_padded(network_in_double()), test_image()
    matrix = torch.from_numpy(dense(function, image))
    other = torch.from_numpy(dense(function, test_image(seed=7) - 0.3))
    back = {None: matrix.T, "J instead of Jᵀ": matrix, "another image's Jᵀ": other.T}[wrong]
    found = operator_norm(
        lambda change: (matrix @ change.flatten()).reshape(10, 10),
        lambda change: (back @ change.flatten()).reshape(10, 10),
        random_direction(image, 0),
        tolerance=1e-12,
        most=200,
    )
    assert (abs(found.value / np.linalg.norm(matrix, 2) - 1) < 1e-9) == (wrong is None)


@pytest.mark.parametrize("grid", [8, 9])
def test_a_periodic_convolution_has_the_torus_norm(grid):
    kernel = torch.randn(1, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def convolve(image):
        return F.conv2d(F.pad(image[None, None], (1, 1, 1, 1), mode="circular"), kernel)[0, 0]

    found = jacobian_norm(convolve, test_image(grid, grid), tolerance=1e-12)
    assert found.value == pytest.approx(torus_norm(kernel, grid), rel=1e-9)
    assert abs(found.value / convolution_norm(kernel) - 1) > 1e-4  # no torus of 8 or 9 has the peak's frequency


def test_of_a_function_between_shapes():
    """x ↦ the sums of its rows: norm √cols."""
    assert jacobian_norm(lambda image: image.sum(dim=1), test_image(6, 9)).value == pytest.approx(3)


@pytest.mark.parametrize(("factor", "expected"), [(0.0, 0.0), (-3.0, 3.0)])
def test_multiples_of_the_identity_are_done_at_once(factor, expected):
    found = jacobian_norm(lambda image: factor * image, test_image().float())
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert (found.iterations, found.change, found.converged) == (1, 0.0, True)


# ---- convergence


def crowded(image):
    """Diagonal, its singular values 1, 0.99, 0.98, …: close together at the top, as a denoiser's."""
    return image * torch.linspace(1.0, 0.01, image.numel(), dtype=image.dtype).reshape(image.shape)


@pytest.mark.parametrize("steps", [1, 5, 20, 40])
def test_every_step_is_a_lower_bound_and_above_power_iteration(steps):
    image = test_image()
    found = jacobian_norm(crowded, image, tolerance=1e-15, most=steps)
    direction = random_direction(image, 0)
    for _ in range(steps - 1):
        direction = crowded(crowded(direction))
    power = float(crowded(direction).norm() / direction.norm())
    assert found.iterations == steps
    assert power * (1 - 1e-12) <= found.value <= 1 + 1e-12
    if steps >= 5:
        assert 1 - found.value < 0.5 * (1 - power)


def test_it_says_whether_it_converged():
    image = test_image()
    short = jacobian_norm(crowded, image, tolerance=1e-9, most=8)
    assert (short.iterations, short.converged) == (8, False)
    assert 1e-9 < short.change < math.inf
    whole = jacobian_norm(crowded, image, tolerance=1e-9)
    assert whole.converged
    assert whole.change <= 1e-9
    assert 8 < whole.iterations < 100
    assert 1 - whole.value < 1e-6 < 1 - short.value
    assert jacobian_norm(crowded, image, most=3) == JacobianNorm(
        pytest.approx(0.9, abs=0.1), iterations=3, change=math.inf, converged=False
    )


@pytest.mark.parametrize("patience", [1, PATIENCE])
def test_a_rest_at_the_second_largest_value_is_no_end(patience, monkeypatch):
    """The largest is ten thousand times fainter in the first direction: for two steps nothing of it shows."""
    monkeypatch.setattr(jacobian, "PATIENCE", patience)
    values = torch.linspace(0.6, 0.01, 100, dtype=torch.float64)
    values[:2] = torch.tensor([1.0, 0.9])
    start = torch.ones(100, dtype=torch.float64)
    start[0] = 1e-4
    found = operator_norm(lambda x: values * x, lambda x: values * x, start, tolerance=1e-4, most=200)
    assert (abs(found.value - 1) < 1e-4) == (patience == PATIENCE)


@pytest.mark.parametrize("factor", [1e-5, 1e5])
def test_what_is_left_is_judged_by_the_norm(factor):
    image = test_image().float()
    found = jacobian_norm(lambda x: factor * crowded(x), image)
    assert found.iterations > 5
    assert found.value == pytest.approx(factor * jacobian_norm(crowded, image).value, rel=1e-5)


def test_the_same_seed_gives_the_same_bits():
    function, image = zero_padded(small_network()), test_image().float()
    first = jacobian_norm(function, image, most=6)
    assert jacobian_norm(function, image, most=6) == first
    assert jacobian_norm(function, image, most=6, seed=1).value != first.value


def test_float32_is_enough():
    network, image = small_network(bound=6.0), test_image().float()
    single = jacobian_norm(zero_padded(network), image, tolerance=1e-6)
    double = jacobian_norm(zero_padded(network.double()), image.double(), tolerance=1e-12)
    assert single.value == pytest.approx(double.value, rel=1e-5)


# ---- what the solver applies


@pytest.mark.parametrize("border", ["reflect", "replicate", "constant"])
def test_the_residual_measured_is_the_solvers(border):
    """Put together from blocks with halos, the image mirrored at its border; other borders give something else."""
    network, image = small_network(bound=6.0), blobs(20, 17) + np.float32(0.1)
    grid = BlockGrid((20, 17), (7, 9))
    blocks = []
    for index in range(len(grid)):
        crop = torch.from_numpy(halo_crop(grid, index, network.receptive_radius).of(image))
        blocks.append(network.interior(crop[None, None])[0, 0].numpy())
    expected = torch.from_numpy(grid.join(blocks))
    if border == "reflect":
        found = mirrored_residual(network, torch.from_numpy(image))
    else:
        found = network.interior(F.pad(torch.from_numpy(image)[None, None], (3,) * 4, mode=border))[0, 0]
    assert torch.allclose(found, expected, atol=1e-6) == (border == "reflect")


@pytest.mark.parametrize("wrong", [False, True], ids=["as it is", "frozen at another image"])
def test_the_frozen_network_is_the_jacobian(wrong):
    network, image = network_in_double(), test_image(12, 11)
    frozen_at = test_image(12, 11, seed=7) - 0.3 if wrong else image
    change = random_direction(image, 0)
    pushed = torch.func.jvp(lambda x: mirrored_residual(network, x), (image,), (change,))[1]
    assert torch.allclose(frozen_residual(network, frozen_at)(change), pushed, atol=1e-12) == (not wrong)


def test_both_norms_are_those_of_the_dense_jacobian():
    network, image = network_in_double(), test_image(11, 9)
    found = norms_at(network, image, tolerance=1e-12)
    matrix = dense(lambda x: mirrored_residual(network, x), image)
    assert found.residual.value == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-9)
    assert found.denoiser.value == pytest.approx(np.linalg.norm(np.eye(99) - matrix, 2), rel=1e-9)
    assert abs(found.denoiser.value / found.residual.value - 1) > 1e-3
    plain = jacobian_norm(lambda x: x - mirrored_residual(network, x), image, tolerance=1e-12)
    assert replace(found.denoiser, value=0.0, change=0.0) == replace(plain, value=0.0, change=0.0)


# ---- what can't be


def infinite(image):
    return (image / 0.0).nan_to_num(0.0) + image / 0.0


@pytest.mark.parametrize(
    ("function", "image", "options", "error", "text"),
    [
        (crowded, torch.zeros(4, 4, dtype=torch.int64), {}, ValueError, r"image is torch\.int64, derivatives need"),
        (crowded, torch.zeros(4, 4), {"tolerance": 0}, ValueError, "tolerance=0 and most=200 must be above 0"),
        (crowded, torch.zeros(4, 4), {"tolerance": math.nan}, ValueError, "tolerance=nan and most=200 must be"),
        (crowded, torch.zeros(4, 4), {"most": 0}, ValueError, "most=0 must be above 0"),
        (infinite, torch.ones(4, 4), {}, FloatingPointError, "of a direction is (nan|inf) after 1 steps"),
    ],
    ids=["integers", "tolerance 0", "tolerance NaN", "no step", "infinite derivative"],
)
def test_what_cannot_be_measured_is_refused(function, image, options, error, text):
    with pytest.raises(error, match=text):
        jacobian_norm(function, image, **options)


@pytest.mark.parametrize("shape", [(3, 9), (9, 3), (1, 9, 9)])
def test_an_image_too_small_to_be_mirrored_is_refused(shape):
    with pytest.raises(ValueError, match=r"can't be mirrored by the network's radius 3.*at least 4 pixels a side"):
        norms_at(small_network(), torch.zeros(shape))
