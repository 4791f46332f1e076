"""Bringing a start to its data: against the dense solution and SciPy's conjugate gradients, and in runs."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse.linalg
from scipy.ndimage import gaussian_filter

from asyncred_gpu import GpuAsyncRED, RadonCT, data_start, load_denoiser, snr
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.data_start import ITERATIONS, blurred, meet_data, usual_blur
from asyncred_gpu.experiments import retina_problem
from asyncred_gpu.preconditioner import HostPreconditioner

from .helpers import blobs, half_turn, relative, small_network, small_scan

SIZE, TAU = 12, 0.05


def tiny_scan(weighted):
    """Of unequal blocks, with fewer rays than pixels."""
    random = np.random.default_rng(0)
    angles, shape = half_turn(7, 0.1), (SIZE, SIZE + 2)
    weights = random.uniform(0.2, 2, (7, 17)).astype(np.float32) if weighted else None
    scan = RadonCT(np.zeros((7, 17), np.float32), angles, shape, weights=weights)
    measured = scan.forward(blobs(*shape)) + random.standard_normal((7, 17)).astype(np.float32)
    return scan.with_measurements(measured).with_blocks(BlockGrid(shape, (5, 8)))


def dense_curvature(scan):
    """∇²g, from the gradient of every pixel alone."""
    count = SIZE * (SIZE + 2)
    zero = scan.gradient(np.zeros(scan.image_shape, np.float32))
    columns = [scan.gradient(pixel.reshape(scan.image_shape)) - zero for pixel in np.eye(count, dtype=np.float32)]
    return np.array([column.ravel() for column in columns], np.float64).T


def a_mask(scan, masked):
    rows, cols = np.indices(scan.image_shape)
    return ((rows - 5.5) ** 2 + (cols - 6.5) ** 2 < 36).astype(np.float32) if masked else None


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("masked", [False, True])
class TestAgainstOthers:
    def start(self, scan, masked):
        mask = a_mask(scan, masked)
        start = blobs(SIZE, SIZE + 2, seed=1)
        return (start if mask is None else start * mask), mask

    def test_it_ends_at_the_dense_solution(self, weighted, masked):
        scan = tiny_scan(weighted)
        start, mask = self.start(scan, masked)
        free = np.flatnonzero(np.ones(start.size) if mask is None else mask)
        matrix = (dense_curvature(scan) + TAU * np.eye(start.size))[np.ix_(free, free)]
        expected = start.ravel().astype(np.float64)
        expected[free] -= np.linalg.solve(matrix, scan.gradient(start).ravel()[free])
        found = meet_data(scan, start, TAU, mask, 60)
        assert relative(found, expected.reshape(start.shape)) < 1e-5
        assert mask is None or not found[mask == 0].any()

    @pytest.mark.parametrize("iterations", [1, 2, 5])
    def test_on_the_way_it_is_where_scipy_is(self, weighted, masked, iterations):
        scan = tiny_scan(weighted)
        start, mask = self.start(scan, masked)
        free = np.flatnonzero(np.ones(start.size) if mask is None else mask)
        precondition = HostPreconditioner(scan.preconditioning(TAU, 1.0).filter)

        def of_blocks(values):
            image = np.zeros(start.size, np.float32)
            image[free] = values
            pieces = [precondition(piece).copy() for piece in scan.grid.split(image.reshape(start.shape))]
            return scan.grid.join(pieces).ravel()[free]

        matrix = (dense_curvature(scan) + TAU * np.eye(start.size))[np.ix_(free, free)]
        conditioned = scipy.sparse.linalg.LinearOperator(matrix.shape, of_blocks, dtype=np.float64)
        away, _ = scipy.sparse.linalg.cg(
            matrix, -scan.gradient(start).ravel()[free].astype(np.float64), maxiter=iterations, rtol=0, M=conditioned
        )
        expected = start.ravel().astype(np.float64)
        expected[free] += away
        found = meet_data(scan, start, TAU, mask, iterations)
        assert relative(found, expected.reshape(start.shape)) < 1e-4
        one_less = meet_data(scan, start, TAU, mask, iterations - 1)
        assert relative(one_less, expected.reshape(start.shape)) > 1e-3


def test_where_nothing_is_left_to_go_it_stays():
    """Without noise, at the truth."""
    scan = tiny_scan(weighted=False)
    truth = blobs(*scan.image_shape)
    clean = scan.with_measurements(scan.forward(truth))
    assert np.array_equal(meet_data(clean, truth, TAU, None), truth)


def test_a_small_tau_brings_back_more_so_more_is_blurred():
    assert usual_blur(0.0025) > usual_blur(0.05) > 0


def test_six_are_enough_and_without_the_point_spread_they_are_not(monkeypatch):
    problem = retina_problem(size=96, angles=30)
    scan = RadonCT(problem.measured.sinogram, problem.measured.angles, problem.image_shape)
    scan = scan.with_blocks(BlockGrid((96, 96), (32, 32)))
    start, tau = scan.fbp(), 0.0025
    left = {}
    for plain in (False, True):
        if plain:
            monkeypatch.setattr(data_start._EveryBlock, "__call__", lambda self, gradient: gradient)
        image = meet_data(scan, start, tau, None)
        remaining = scan.gradient(image) + np.float32(tau) * (image - start)
        left[plain] = np.linalg.norm(remaining) / np.linalg.norm(scan.gradient(start))
    assert 3 * left[False] < 0.015 < left[True]


@pytest.fixture(scope="module")
def scan():
    return small_scan(size=48, angles=24, noise=0.5, block=24)[0]


@pytest.fixture(scope="module")
def network():
    return small_network()


def solver(scan, network, **settings):
    usual = {"tau": 0.1, "block_shape": (24, 24), "num_workers": 2, "precision": "float32", "device": "cpu"}
    return GpuAsyncRED(scan, network, **usual | settings)


@pytest.mark.usefixtures("one_process")
class TestRuns:
    """On simulated workers."""

    @pytest.mark.parametrize("x0", ["auto", "zeros", "an image"])
    def test_a_run_with_data_updates_begins_there(self, scan, network, x0):
        begin = blobs(48, 48, seed=3) if x0 == "an image" else x0
        image = begin if x0 == "an image" else scan.start(x0)
        if x0 == "auto":
            image = gaussian_filter(image, usual_blur(0.1))
        result = solver(scan, network).run(max_sweeps=0, x0=begin)
        assert np.array_equal(result.image, meet_data(scan, image, 0.1, None))
        assert 0 < result.timings["fit"] < result.timings["setup"]
        assert result.settings["fit"] == ITERATIONS
        assert result.settings["blur"] == (usual_blur(0.1) if x0 == "auto" else None)

    def test_without_data_updates_it_begins_at_its_x0(self, scan, network):
        for settings in ({"method": "paper"}, {"data_updates": 0}, {"step": "block"}):
            result = solver(scan, network, **settings).run(max_sweeps=0)
            assert np.array_equal(result.image, scan.fbp())
            assert result.settings["fit"] is None and result.settings["blur"] is None

    def test_within_its_bounds(self, scan, network):
        bounded = solver(scan, network, nonnegative=True, field_of_view="circle")
        begun = blurred(np.maximum(scan.fbp() * bounded.mask, 0), usual_blur(0.1), bounded.mask)
        assert not begun[bounded.mask == 0].any()
        free = meet_data(scan, begun, 0.1, bounded.mask)
        assert (free < 0).any() and free[0, 0] == 0
        assert np.array_equal(bounded.run(max_sweeps=0).image, np.maximum(free, 0))

    def test_a_schedule_from_before_there_was_one_has_none(self, scan, network):
        result = solver(scan, network).run(max_sweeps=1)
        settings = {name: value for name, value in result.settings.items() if name != "fit"}
        old = dataclasses.replace(result.schedule, settings=settings)
        again = solver(scan, network).run(replay=old)
        assert again.settings["fit"] is None and not np.array_equal(again.image, result.image)

    def test_from_few_angles_workers_that_do_not_wait_stay_on_course(self, monkeypatch):
        """Without it the SNR falls from one sweep to the next, and from zeros faster yet."""
        problem = retina_problem(size=128, angles=12, noise_db=50)
        scan = RadonCT(problem.measured.sinogram, problem.measured.angles, problem.image_shape)
        settings = {"block_shape": (43, 43), "num_workers": 3, "tau": 0.005}
        ends = {}
        for fitted in (True, False):
            if not fitted:
                monkeypatch.setattr("asyncred_gpu.solver.meet_data", lambda operator, image, *rest: image)
            for x0 in ("fbp", "zeros"):
                image = solver(scan, load_denoiser("dncnn"), **settings).run(max_sweeps=6, x0=x0).image
                ends[fitted, x0] = snr(image, problem.reference)
        assert ends[True, "fbp"] > ends[False, "fbp"] + 8
        assert ends[True, "zeros"] > ends[False, "zeros"] + 20
