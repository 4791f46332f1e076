"""The RED baselines and what all baselines share: history, limits, refusals, divergence; where the methods end."""

import json
from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch

from asyncred_gpu import GpuAsyncRED, RadonCT, Result, Status, load_denoiser, snr
from asyncred_gpu.baselines import FullGradient, bc_red, fbp, gm_red, pgm_tv, sirt, sync_red
from asyncred_gpu.baselines.full_gradient import WholeResidual
from asyncred_gpu.blocks import BlockGrid, choose_block_shape
from asyncred_gpu.denoiser import DenoiserSettings
from asyncred_gpu.experiments import retina_problem
from asyncred_gpu.operators.matrix import BlockCS
from asyncred_gpu.result import HISTORY
from asyncred_gpu.settings import make_mask
from asyncred_gpu.solver import intensity_scale_of

from .helpers import LinearResidual, blobs, relative, small_network, small_scan


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Several torch threads on a busy machine wait for each other at every layer of a small image."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def scan():
    return small_scan(size=24, angles=12, noise=0.3)[0]


@pytest.fixture(scope="module")
def compressed():
    """4 blocks of 8×8 pixels, 40 measurements each."""
    matrices = np.random.default_rng(0).standard_normal((4, 40, 64)).astype(np.float32) / np.float32(8)
    pixels = np.stack([block.ravel() for block in BlockGrid((16, 16), (8, 8)).split(blobs(16, 16))])
    return BlockCS(np.einsum("bmn,bn->bm", matrices, pixels), matrices, (16, 16))


# --- GM-RED ----------------------------------------------------------------------------------------------------------


def affine(gradient, shape):
    """H and b of G(x) = H x − b, in float64."""
    constant = gradient(np.zeros(shape, np.float32)).astype(np.float64).ravel()
    pixels = np.eye(constant.size, dtype=np.float32)
    return np.array([gradient(pixel.reshape(shape)).ravel() - constant for pixel in pixels]).T, -constant


@pytest.mark.parametrize("accelerate", [True, False])
@pytest.mark.parametrize("kind", ["ct", "cs"])
def test_gm_red_solves_a_linear_problem_exactly(kind, accelerate, compressed):
    """With a linear residual, G(x) = 0 is a linear system: solved densely in float64."""
    operator = compressed if kind == "cs" else small_scan(size=16, angles=10, noise=0.3)[0]
    exact = np.linalg.solve(*affine(FullGradient(operator, LinearResidual(), 0.1, 1.0), (16, 16))).reshape(16, 16)
    run = partial(gm_red, operator, LinearResidual(), 0.1, intensity_scale=1.0, x0="zeros", accelerate=accelerate)
    found = run(tol=1e-10, max_sweeps=2000)
    assert found.status is Status.CONVERGED and found.history["residual"][-1] <= 1e-10
    assert relative(found.image, exact) < 1e-3 < relative(run(max_sweeps=10).image, exact)


def test_acceleration_takes_fewer_gradients(scan):
    taken = [
        len(gm_red(scan, LinearResidual(), 0.02, tol=1e-6, max_sweeps=1000, accelerate=accelerate).history["update"])
        for accelerate in (True, False)
    ]
    assert taken[0] < taken[1] / 2


@pytest.mark.parametrize("clipped_afterwards", [False, True])
def test_constraints_hold_and_the_image_is_optimal_under_them(scan, clipped_afterwards):
    """G is zero where a pixel is free, and pushes outwards where it is held at 0; not so if only the end is clipped."""
    mask = make_mask("circle", scan.image_shape)
    options = {} if clipped_afterwards else {"nonnegative": True, "field_of_view": "circle"}
    found = gm_red(scan, LinearResidual(), 0.1, intensity_scale=1.0, tol=1e-11, max_sweeps=2000, **options)
    image = np.maximum(found.image * mask, 0)
    if not clipped_afterwards:
        assert found.status is Status.CONVERGED and np.array_equal(image, found.image)
    gradient, inside = FullGradient(scan, LinearResidual(), 0.1, 1.0)(image), mask > 0
    largest = np.abs(scan.gradient(np.zeros_like(image))).max()
    violation = max(np.abs(gradient[inside & (image > 0)]).max(), -gradient[inside & (image == 0)].min()) / largest
    assert (image[inside] == 0).any() and (violation < 1e-4) == (not clipped_afterwards)


def reflected_residual(image, network, halo):
    """The whole image at once, mirrored beyond its border."""
    padded = torch.from_numpy(np.pad(image, halo, mode="reflect"))[None, None]
    return network(padded)[0, 0].numpy()[halo:-halo, halo:-halo]


@pytest.mark.parametrize("wrong", [None, "tiles of their own"])
def test_the_residual_is_the_same_tile_by_tile(wrong):
    network, image = small_network(), blobs(450, 310)
    expected = reflected_residual(image, network, 3)
    tiles = BlockGrid(image.shape, choose_block_shape(image.shape))
    assert len(tiles) == 4
    if wrong is None:
        found = WholeResidual(network, DenoiserSettings(3, "float32", 1.0), image.shape)(image)
    else:
        found = tiles.join([reflected_residual(tile, network, 3) for tile in tiles.split(image)])
    assert (relative(found, expected) < 1e-5) == (wrong is None)


class Looking(LinearResidual):
    """Remembers the largest image it was given."""

    largest = 0

    def forward(self, image):
        self.largest = max(self.largest, image.numel())
        return super().forward(image)


class LookingFar(torch.nn.Module):
    """Says nothing of how far it looks: at the mean of all it is given."""

    largest = 0

    def forward(self, image):
        self.largest = max(self.largest, image.numel())
        return image - image.mean()


def test_a_local_network_never_sees_the_whole_of_a_large_image():
    image, shape = blobs(450, 310), (450, 310)
    local, far = Looking(), LookingFar()
    WholeResidual(local, DenoiserSettings(1, "float32", 1.0), shape)(image)
    assert local.largest == 227 * 157
    WholeResidual(far, DenoiserSettings(2, "float32", 1.0), shape)(image)
    assert far.largest == 454 * 314
    with pytest.raises(ValueError, match="pad='exact' needs the receptive radius"):
        gm_red(small_scan(size=16)[0], far)


def test_the_denoiser_runs_in_the_precision_asked_for(scan):
    """Rounded features move the image, a little; nothing else in the run is rounded."""
    images = {
        precision: gm_red(scan, small_network(), 0.1, precision=precision, max_sweeps=5)
        for precision in ("float32", "bfloat16")
    }
    assert images["bfloat16"].settings["precision"] == "bfloat16"
    assert 1e-6 < relative(images["bfloat16"].image, images["float32"].image) < 1e-2


# --- the block methods -----------------------------------------------------------------------------------------------


def written_out(scan, blocks, sweep, step, tau, order):
    """Block updates with full projections; "serial" from the newest image, "jacobi" in rounds of all blocks."""
    network, image, c = LinearResidual(), scan.fbp(), np.float32(intensity_scale_of(scan.fbp()))
    read = image
    for number, block in enumerate(blocks):
        if order == "serial" or number % sweep == 0:
            read = image.copy()
        gradient = np.float32(scan.scale) * scan.adjoint(scan.forward(read) - scan.sinogram)
        gradient += np.float32(tau) * c * reflected_residual(read / c, network, 1)
        here = scan.grid.window(int(block)).slices
        image[here] -= np.float32(step) * gradient[here]
    return image


@pytest.mark.parametrize("order", ["serial", "jacobi"])
@pytest.mark.parametrize("method", [bc_red, sync_red])
def test_block_methods_are_the_plain_loops(method, order):
    """BC-RED is the serial loop and not Jacobi's; Sync-RED with all blocks in flight the other way round."""
    scan = small_scan(size=24, angles=12, noise=0.3, block=12)[0]
    settings = {"num_workers": 2, "blocks_per_launch": 2} if method is sync_red else {}
    settings |= {"block_shape": (12, 12), "step": 0.5, "precision": "float32", "device": "cpu"}
    found = method(scan, LinearResidual(), 0.1, max_sweeps=6, **settings)
    expected = written_out(scan, found.schedule.block, 4, 0.5, 0.1, order)
    assert found.schedule.staleness.max() == (3 if method is sync_red else 0)
    assert (relative(found.image, expected) < 1e-5) == ((method is bc_red) == (order == "serial"))


def test_all_red_methods_end_at_the_same_image(scan):
    common = {"intensity_scale": 0.5, "x0": "zeros", "tol": 1e-10, "max_sweeps": 1000}
    blocks = {"block_shape": (12, 12), "precision": "float32", "device": "cpu"}

    def asynchronous(operator, network, tau):
        settings = dict(common)
        solver = GpuAsyncRED(
            operator, network, tau, num_workers=2, intensity_scale=settings.pop("intensity_scale"), **blocks
        )
        return solver.run(**settings)

    methods = {
        "GM-RED": partial(gm_red, **common),
        "Sync-RED": partial(sync_red, num_workers=2, **blocks, **common),
        "BC-RED": partial(bc_red, **blocks, **common),
        "Async-RED": asynchronous,
    }
    ends = {name: method(scan, LinearResidual(), 0.1) for name, method in methods.items()}
    assert {end.status for end in ends.values()} == {Status.CONVERGED}
    apart = {(a, b): relative(ends[a].image, ends[b].image) for a, b in combinations(ends, 2)}
    assert max(apart.values()) < 1e-3, apart
    other = gm_red(scan, LinearResidual(), 0.105, **common)
    assert relative(other.image, ends["GM-RED"].image) > 1e-3


def test_asynchronous_runs_end_at_its_fixed_point():
    problem = retina_problem(size=64, angles=30)
    scan = RadonCT(problem.measured.sinogram, problem.measured.angles, (64, 64), center=problem.center)
    network, scale = load_denoiser("dncnn", sigma=5), intensity_scale_of(scan.fbp())
    serial = gm_red(scan, network, 0.02, intensity_scale=scale, tol=1e-7, max_sweeps=2000)
    assert serial.status is Status.CONVERGED
    solver = GpuAsyncRED(scan, network, 0.02, (32, 32), num_workers=2, momentum=0.8, intensity_scale=scale)

    def apart(sweeps):
        image = solver.run(max_sweeps=sweeps, tol=1e-6).image
        return abs(snr(image, problem.reference) - snr(serial.image, problem.reference)), relative(image, serial.image)

    decibels, difference = apart(300)
    assert decibels < 0.05 and difference < 5e-3
    assert min(apart(2)) > 5e-3  # not there yet


# --- what all whole-image methods share ------------------------------------------------------------------------------

WHOLE_IMAGE = {
    "GM-RED": lambda scan, **asked: gm_red(scan, LinearResidual(), 0.1, **asked),
    "PGM-TV": lambda scan, **asked: pgm_tv(scan, 1e-3, **asked),
    "SIRT": sirt,
}


@pytest.mark.parametrize("name", [*WHOLE_IMAGE, "FBP"])
def test_the_history_says_what_happened(name):
    scan, truth = small_scan(size=24, angles=12, noise=0.3)
    told, updates = [], 1 if name == "FBP" else 4
    if name == "FBP":
        result = fbp(scan, reference=truth, callbacks=[told.append])
    else:
        result = WHOLE_IMAGE[name](scan, max_sweeps=4, reference=truth, callbacks=[told.append])
    assert isinstance(result, Result) and result.schedule is None
    assert tuple(result.history) == HISTORY
    counted = np.arange(1, updates + 1)
    for column, expected in {"update": counted, "sweep": counted, "staleness": 0 * counted, "block": -1}.items():
        assert (result.history[column] == expected).all(), column
    assert (np.diff(result.history["seconds"]) >= 0).all() and result.history["seconds"][-1] <= result.timings["run"]
    assert result.history["snr"][-1] == pytest.approx(snr(result.image, truth), abs=1e-3)
    assert np.isnan(result.history["residual"]).all() if name == "FBP" else result.history["residual"][0] == 1
    assert {progress.total_sweeps for progress in told} == {updates}
    for column, values in result.history.items():
        assert np.array_equal([getattr(progress, column) for progress in told], values, equal_nan=True), column
    settings = json.loads(json.dumps(dict(result.settings)))
    assert settings["method"] == name and settings["measurements"] == scan.fingerprint


@pytest.mark.parametrize("name", WHOLE_IMAGE)
def test_runs_end_where_they_should(name, scan):
    run = partial(WHOLE_IMAGE[name], scan)
    nothing = run(max_sweeps=0, x0="adjoint")
    assert nothing.status is Status.MAX_SWEEPS and np.array_equal(nothing.image, scan.start("adjoint"))
    assert not len(nothing.history["update"]) and "snr" not in nothing.history
    assert run(time_limit=0.0).status is Status.TIME_LIMIT
    limited = run(max_sweeps=None, time_limit=0.05)
    assert limited.status is Status.TIME_LIMIT and limited.timings["run"] >= 0.05 and len(limited.history["update"])
    residual = run(max_sweeps=500, tol=1e-3).history["residual"]
    assert residual[-1] <= 1e-3 < residual[-2]


@pytest.mark.parametrize("name", WHOLE_IMAGE)
def test_the_image_is_of_the_sinograms_kind(name, scan):
    as_torch = RadonCT(torch.from_numpy(scan.sinogram), scan.geometry.angles, scan.image_shape)
    found, expected = (WHOLE_IMAGE[name](one, max_sweeps=3).image for one in (as_torch, scan))
    assert isinstance(found, torch.Tensor) and np.array_equal(found.numpy(), expected)


BAD = [
    (dict(max_sweeps=-1), "max_sweeps=-1 can't be. Pass a number >= 0"),
    (dict(max_sweeps=None), "nothing ends the run. Pass one of them"),
    (dict(time_limit=-2), "time_limit=-2 can't be"),
    (dict(tol=float("nan")), "tol=nan can't be"),
    (dict(reference=np.zeros((24, 24))), "reference is zero everywhere"),
    (dict(reference=np.zeros((24, 23))), r"reference has shape \(24, 23\), the image \(24, 24\)"),
    (dict(callbacks=print), r"isn't a list of functions. Pass callbacks=\[function\]"),
    (dict(x0="guess"), "x0='guess' isn't a start"),
    (dict(x0=np.zeros((3, 3))), r"x0 has shape \(3, 3\), the image \(24, 24\)"),
    (dict(x0=np.full((24, 24), np.nan)), "x0 holds 576 NaN"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
@pytest.mark.parametrize("name", WHOLE_IMAGE)
def test_bad_arguments_are_refused_as_by_the_solver(name, bad, message, scan):
    for refuses in (WHOLE_IMAGE[name], lambda scan, **asked: GpuAsyncRED(scan, LinearResidual()).run(**asked)):
        with pytest.raises((ValueError, TypeError), match=message):
            refuses(scan, **bad)


BAD_SETTINGS = [
    (dict(tau=-1), "tau=-1 can't be"),
    (dict(step=0), "step=0 isn't a length"),
    (dict(denoiser="bm4d"), "neither a shipped denoiser"),
    (dict(intensity_scale=0), "intensity_scale=0 can't be"),
    (dict(precision="float16"), "precision='float16' isn't available on the CPU"),
    (dict(field_of_view="square"), "field_of_view='square' isn't known"),
    (dict(pad=-1), "pad=-1 isn't a halo"),
]


@pytest.mark.parametrize(("bad", "message"), BAD_SETTINGS)
def test_bad_settings_are_refused_as_by_the_solver(bad, message, scan):
    for refuses in (gm_red, partial(GpuAsyncRED, device="cpu")):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            refuses(scan, **({"denoiser": LinearResidual()} | bad))


# --- divergence ------------------------------------------------------------------------------------------------------


class Failing(LinearResidual):
    """NaN from the n-th image on."""

    def __init__(self, left):
        super().__init__()
        self.left = left

    def forward(self, image):
        self.left -= 1
        return super().forward(image) * (1.0 if self.left >= 0 else float("nan"))


class Expansive(LinearResidual):
    """R(x) = −9x: no step is short enough."""

    def forward(self, image):
        return -9 * image


def test_a_run_that_is_no_longer_finite_returns_the_last_finite_image(scan):
    failed = gm_red(scan, Failing(3), 0.1)
    assert failed.status is Status.DIVERGED and len(failed.history["update"]) == 3
    assert "After update 3, the next one was infinite or NaN" in failed.notes[-1]
    for updates in (2, 3):
        image = gm_red(scan, LinearResidual(), 0.1, max_sweeps=updates).image
        assert np.array_equal(failed.image, image) == (updates == 3)


def test_an_overflow_is_a_divergence(scan):
    overflowed = gm_red(scan, LinearResidual(), 0.1, step=1e30)
    assert overflowed.status is Status.DIVERGED and np.isfinite(overflowed.image).all()


def test_a_step_too_long_is_halved_until_it_holds(scan, monkeypatch):
    run = partial(gm_red, scan, LinearResidual(), 0.1, step=10.0, tol=1e-6, max_sweeps=300)
    mended = run()
    assert mended.status is Status.CONVERGED and "the step was halved, to 0.5 of what it was" in mended.notes[0]
    monkeypatch.setattr("asyncred_gpu.monitor.StepGuard.judge", lambda self, residual: False)
    assert run().status is not Status.CONVERGED


def test_a_run_that_grows_with_any_step_ends(scan):
    grown = gm_red(scan, Expansive(), 1.0, max_sweeps=2000)
    assert grown.status is Status.DIVERGED and len(grown.notes) == 13 and np.isfinite(grown.image).all()
