"""The preconditioner as a matrix, its norm, and steps with it: the solutions stay where they are."""

import numpy as np
import pytest
import scipy.optimize
import torch

from asyncred_gpu import BlockCS, GpuAsyncRED, RadonCT, Status, gaussian_matrices, load_denoiser, preconditioner
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.experiments import retina_problem
from asyncred_gpu.operators import radon
from asyncred_gpu.operators.point_spread import padded_shape, point_spread
from asyncred_gpu.preconditioner import BlockPreconditioner, Filter, HostPreconditioner, preconditioned_norm
from asyncred_gpu.red import Step, move

from .helpers import LinearResidual, half_turn, relative, small_network, small_scan

TAU, SHAPE = 0.05, (7, 9)


def a_filter(tau=TAU, shared=2.0, shape=SHAPE):
    scan = RadonCT(np.zeros((20, 40)), half_turn(20, 0.1), (28, 36)).with_blocks(BlockGrid((28, 36), shape))
    return scan.preconditioning(tau, shared).filter


def matrix(precondition, shape=SHAPE):
    pixels = np.eye(int(np.prod(shape)), dtype=np.float32).reshape(-1, *shape)
    return np.array([precondition(pixel).ravel().copy() for pixel in pixels], np.float64).T


@pytest.mark.parametrize("wrong", [False, True])
def test_it_is_the_convolution_with_the_inverse_symbol_cut_to_the_block(wrong):
    filter_ = a_filter()
    kernel = np.fft.irfft2(filter_.inverse.astype(np.float64), filter_.shape)
    rows, cols = np.divmod(np.arange(63), 9)
    expected = kernel[np.subtract.outer(rows, rows) + wrong, np.subtract.outer(cols, cols)]
    assert (relative(matrix(HostPreconditioner(filter_)), expected) < 1e-5) == (not wrong)


def test_it_is_symmetric_and_positive_and_no_less_than_its_least_factor():
    filter_ = a_filter()
    found = matrix(HostPreconditioner(filter_))
    assert relative(found, found.T) < 1e-5
    least = np.linalg.eigvalsh((found + found.T) / 2)[0]
    assert 0 < filter_.least <= least * (1 + 1e-4)


def test_a_batch_is_filtered_block_by_block():
    blocks = np.random.default_rng(0).standard_normal((3, *SHAPE)).astype(np.float32)
    one = HostPreconditioner(a_filter())
    found = BlockPreconditioner(a_filter(), torch.device("cpu"), 3)(torch.from_numpy(blocks)).numpy()
    assert all(np.allclose(part, one(block), rtol=1e-5, atol=1e-6) for part, block in zip(found, blocks, strict=True))


def test_zeros_beyond_a_smaller_block_change_nothing():
    """A device filters every block in the largest one's place."""
    block = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
    one = HostPreconditioner(a_filter())
    alone = one(block).copy()
    padded = one(np.pad(block, ((0, 2), (0, 3))))[:5, :6]
    assert np.allclose(alone, padded, rtol=1e-5, atol=1e-6)


def test_no_curvature_at_all_is_refused():
    with pytest.raises(ValueError, match=r"No ray meets the image and tau=0.*Pass step='block'"):
        Filter.of(np.zeros((4, 3), np.float32), 0.0, (4, 4))


def test_a_small_tau_does_not_stand_for_what_the_symbol_left_out():
    symbol = np.array([[1.0, 0.5], [0.0, 1e-9]], np.float32)
    inverse = Filter.of(symbol, 1e-6, (2, 2)).inverse
    assert inverse.max() == pytest.approx(1000, rel=1e-3)
    assert inverse[0].tolist() == pytest.approx([1, 2], rel=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_norm_is_the_largest_eigenvalue(weighted):
    weights = np.random.default_rng(1).uniform(0, 2, (20, 40)) if weighted else None
    scan = RadonCT(np.zeros((20, 40)), half_turn(20, 0.1), (28, 36), weights=weights)
    scan = scan.with_blocks(BlockGrid((28, 36), SHAPE))
    conditioning = scan.preconditioning(TAU, 1.0)
    index = 5
    hessian = scan.scale * matrix(lambda block: scan._normal_of_block(index, block))
    p = matrix(HostPreconditioner(conditioning.filter))
    eigenvalues = np.linalg.eigvals(p @ (hessian + TAU * np.eye(63))).real
    assert 0.95 * eigenvalues.max() < conditioning.norm(index) < 1.001 * eigenvalues.max()
    # What it is for: the curvature is a unit matrix, but for a few directions.
    assert 0.4 < np.median(eigenvalues) < 1.5
    assert np.ptp(np.linalg.eigvalsh(hessian + TAU * np.eye(63))) > 3 * TAU


def test_the_norm_of_a_known_operator():
    unit = Filter(np.ones((8, 5), np.float32), (8, 8))
    found = preconditioned_norm(lambda block: 3 * block, unit, 0.0, (4, 4))
    assert found == pytest.approx(3.0, rel=1e-4)


@pytest.mark.parametrize("right", [True, False])
def test_nonnegative_steps_end_at_the_constrained_solution(right):
    """min ½‖Bx − y‖² over x ≥ 0, against Lawson and Hanson's active sets; a projected step P G ends elsewhere."""
    random = np.random.default_rng(3)
    b, y = random.standard_normal((80, 20)), random.standard_normal(80)
    expected = scipy.optimize.nnls(b, y)[0].reshape(4, 5)
    p = np.linalg.inv(b.T @ b + 5 * np.eye(20))

    class Full:
        least = float(np.linalg.eigvalsh(p)[0])

        def __call__(self, gradient):
            return (p @ gradient.ravel()).reshape(4, 5).astype(np.float32)

    x, zero = np.ones((4, 5), np.float32), np.zeros((4, 5), np.float32)
    for _ in range(400):
        gradient = (b.T @ (b @ x.ravel() - y)).reshape(4, 5).astype(np.float32)
        if right:
            move(x, zero.copy(), gradient, zero, 0.0, Step(0.5, 0.0, True), None, Full())
        else:
            np.maximum(x - 0.5 * Full()(gradient), 0, out=x)
    assert (np.abs(x - expected).max() < 1e-5) == right


def test_the_mask_holds_its_pixels():
    mask = np.zeros(SHAPE, np.float32)
    mask[2:5, 3:8] = 1
    random = np.random.default_rng(0)
    x, gradient = (random.standard_normal(SHAPE).astype(np.float32) for _ in range(2))
    before, zero = x.copy(), np.zeros(SHAPE, np.float32)
    p = HostPreconditioner(a_filter())
    expected = before - 0.5 * mask * p(mask * gradient)
    move(x, zero.copy(), gradient.copy(), zero, TAU, Step(0.5, 0.0, False), mask, p)
    assert np.array_equal(x[mask == 0], before[mask == 0])
    assert np.allclose(x, expected, atol=1e-6) and not np.allclose(x, before - 0.5 * p(mask * gradient), atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{}, {"nonnegative": True}, {"field_of_view": "circle"}, {"num_workers": 1, "momentum": 0.0}],
    ids=["plain", "nonnegative", "circle", "one worker"],
)
def test_runs_end_where_the_block_step_ends(options, one_process):
    operator, _ = small_scan(size=48, angles=24, noise=0.5)
    common = {"tau": 0.1, "block_shape": (12, 12), "precision": "float32", "num_workers": 2, "momentum": 0.5} | options
    ends = {
        step: GpuAsyncRED(operator, LinearResidual(), step=step, **common).run(max_sweeps=500, tol=1e-9)
        for step in ("block", "preconditioned")
    }
    assert all(end.status is Status.CONVERGED for end in ends.values())
    assert relative(ends["preconditioned"].image, ends["block"].image) < 2e-4
    assert relative(operator.fbp(), ends["block"].image) > 1e-2
    after_five = {step: end.history["residual"][end.history["sweep"] <= 5][-1] for step, end in ends.items()}
    assert after_five["preconditioned"] < after_five["block"]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("in_flight", [8, 16])
def test_it_is_stable_for_any_number_in_flight(in_flight, shared, one_process, monkeypatch):
    if not shared:
        monkeypatch.setattr(preconditioner, "LEAST_SHARING", 1.0)
        monkeypatch.setattr(preconditioner, "SHARING", 0.0)
    operator, _ = small_scan(size=48, angles=30, noise=0.5)
    momentum = 0.3 if in_flight <= 8 else 0.0
    options = {"momentum": momentum, "num_workers": 1, "order": "ordered", "precision": "float32"}
    solver = GpuAsyncRED(
        operator, LinearResidual(), 0.02, (12, 12), step="preconditioned", blocks_per_launch=in_flight, **options
    )
    result = solver.run(max_sweeps=12)
    residual = result.history["residual"]
    stable = result.status is Status.MAX_SWEEPS and not result.notes and residual[-1] < 0.1 * residual.max()
    assert stable == shared


def test_it_is_stable_between_the_spokes_of_few_angles(one_process, monkeypatch):
    """With the symbol of a periodic image, there is no curvature between them."""
    problem, network = retina_problem(size=64, angles=24), load_denoiser("dncnn", sigma=5)
    scan = RadonCT(problem.measured.sinogram, problem.measured.angles, problem.image_shape)
    ends = []
    for periodic in (False, True):
        if periodic:
            monkeypatch.setattr(radon, "symbol", periodic_symbol)
        options = {"num_workers": 2, "precision": "float32", "order": "ordered", "data_updates": 0}
        solver = GpuAsyncRED(scan, network, 0.005, (32, 32), **options)
        ends.append(solver.run(max_sweeps=4, reference=problem.reference).history["snr"][-1])
    assert ends[0] > 29 and ends[1] < 20


def periodic_symbol(beams, weights, block_shape):
    spread = point_spread(beams[0], weights, padded_shape(block_shape))
    return np.maximum(np.fft.rfft2(spread).real, 0).astype(np.float32)


def test_minibatches_weights_and_wide_detectors_run_without_the_guard(one_process):
    base, _ = small_scan(size=48, angles=24, noise=0.5)
    weights = np.random.default_rng(0).uniform(0.1, 2, base.sinogram.shape)
    wide = RadonCT(base.sinogram[:, ::3].copy(), base.geometry.angles, (48, 48), detector_spacing=3.0)
    weighted = RadonCT(base.sinogram, base.geometry.angles, (48, 48), weights=weights)
    for operator, options, most in ((base, {"minibatch": 6}, 0.7), (weighted, {}, 0.2), (wide, {}, 0.2)):
        solver = GpuAsyncRED(
            operator, LinearResidual(), 0.05, (12, 12), step="preconditioned", momentum=0.3, num_workers=2, **options
        )
        result = solver.run(max_sweeps=10)
        assert result.status is Status.MAX_SWEEPS and not result.notes
        assert result.history["residual"][-1] < most * result.history["residual"].max()


def test_a_replay_uses_the_recorded_sharing(one_process):
    """s depends on the blocks in flight, and a replay may have fewer."""
    operator, _ = small_scan(size=48, angles=24, noise=0.5)
    common = {"tau": 0.05, "block_shape": (12, 12), "precision": "float32", "step": "preconditioned"}
    recorded = GpuAsyncRED(operator, LinearResidual(), num_workers=8, **common).run(max_sweeps=3)
    solver = GpuAsyncRED(operator, LinearResidual(), num_workers=1, **common)
    assert np.array_equal(solver.run(replay=recorded.schedule).image, recorded.image)
    assert solver.run(max_sweeps=1).settings["preconditioned"] < recorded.settings["preconditioned"]
    block = GpuAsyncRED(operator, LinearResidual(), num_workers=1, **(common | {"step": "block"}))
    with pytest.raises(ValueError, match=r"recorded with other settings: preconditioned was [\d.]+, is None"):
        block.run(replay=recorded.schedule)


def test_block_cs_has_none():
    matrices = gaussian_matrices(4, 40, 64)
    operator = BlockCS(np.ones((4, 40), np.float32), matrices, image_shape=(16, 16))
    with pytest.raises(ValueError, match=r"step='preconditioned' needs an operator whose curvature.*Pass step='block'"):
        GpuAsyncRED(operator, small_network(), 0.1, step="preconditioned")


def test_the_padded_place_holds_two_blocks():
    assert all(padded >= 2 * side for padded, side in zip(padded_shape((13, 200)), (13, 200), strict=True))
