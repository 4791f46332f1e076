"""GpuAsyncRED through its public face: on the pool of processes, or simulated where they don't matter."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from asyncred_gpu import DeviceError, GpuAsyncRED, RadonCT, Status, WorkerError, snr
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.method import BLOCK_METHOD
from asyncred_gpu.runtime.cpu import CpuRuntime

from .helpers import LinearResidual, blobs, half_turn, rarely, relative, small_network, small_scan


class WithRadius(LinearResidual):
    def __init__(self, radius):
        super().__init__()
        self.receptive_radius = radius


@pytest.fixture(scope="module")
def scan():
    return small_scan(size=48, angles=24, noise=0.5)


@pytest.fixture(scope="module")
def network():
    return small_network()


def serial_loop(scan, network, tau, steps, blocks, c, x):
    """Async-RED at λ = 0 with one worker, as anybody would write it: full projections, the whole image denoised."""
    halo, rows, cols = network.receptive_radius, *scan.image_shape
    for block in blocks:
        gradient = scan.scale * scan.adjoint(scan.forward(x) - scan.sinogram)
        mirrored = torch.from_numpy(np.pad(x / np.float32(c), halo, mode="reflect"))[None, None]
        residual = c * network(mirrored)[0, 0].numpy()[halo : halo + rows, halo : halo + cols]
        here = scan.grid.window(block).slices
        x[here] -= np.float32(steps[block]) * (gradient + np.float32(tau) * residual)[here]
    return x


@pytest.mark.parametrize("order", ["epoch", "reversed"])
def test_one_worker_equals_a_plain_serial_loop(scan, network, order):
    operator, _ = scan
    solver = GpuAsyncRED(
        *(operator, network, 0.1),
        **BLOCK_METHOD,
        momentum=0.0,
        block_shape=(20, 16),
        num_workers=1,
        max_staleness=0,
        precision="float32",
    )
    result = solver.run(max_sweeps=4)
    schedule, operator = result.schedule, solver.operator
    blocks = schedule.block if order == "epoch" else schedule.block[::-1]
    steps = [1 / (operator.block_lipschitz(i) + 0.2) for i in range(len(operator.grid))]
    c = np.percentile(operator.fbp(), 99.9)
    expected = serial_loop(operator, network, 0.1, steps, blocks, c, operator.fbp())
    assert (relative(result.image, expected) < 1e-6) == (order == "epoch")
    assert (schedule.staleness == 0).all()


@pytest.mark.parametrize("order", ["ordered", "free", "sync"])
def test_ordered_gives_the_same_image_twice_and_free_replays(scan, network, order, tmp_path):
    operator, _ = scan
    solver = GpuAsyncRED(operator, network, block_shape=(12, 12), num_workers=2, order=order, momentum=0.8, minibatch=9)
    first = solver.run(max_sweeps=4)
    first.schedule.save(tmp_path / "schedule.npz")
    second = solver.run() if order == "free" else solver.run(max_sweeps=4)
    if order != "free":
        assert np.array_equal(first.image, second.image)
    assert np.array_equal(solver.run(replay=tmp_path / "schedule.npz").image, first.image)
    with pytest.raises(FileExistsError):
        first.schedule.save(tmp_path / "schedule.npz")


def test_asynchronous_and_serial_reach_the_same_fixed_point(scan):
    operator, _ = scan
    ends = [
        GpuAsyncRED(
            operator, LinearResidual(), 0.1, (12, 12), num_workers=workers, precision="float32", momentum=momentum
        ).run(max_sweeps=300, tol=1e-8)
        for workers, momentum in ((1, 0.0), (2, 0.8))
    ]
    assert all(end.status is Status.CONVERGED for end in ends)
    assert relative(ends[1].image, ends[0].image) < 1e-3 < relative(operator.fbp(), ends[0].image)


@pytest.mark.parametrize("intensity_scale", ["auto", 1.0])
def test_a_scaled_sinogram_gives_the_scaled_image(scan, network, intensity_scale, one_process):
    operator, _ = scan

    def image(factor):
        scaled = RadonCT(factor * operator.sinogram, operator.geometry.angles, operator.image_shape)
        solver = GpuAsyncRED(scaled, network, 1.0, (24, 24), intensity_scale=intensity_scale, order="ordered")
        return solver.run(max_sweeps=10).image

    assert (relative(image(0.01), 0.01 * image(1.0)) < 1e-3) == (intensity_scale == "auto")


def test_field_of_view_nonnegativity_reference_and_history(scan, network):
    operator, truth = scan
    told = []
    result = GpuAsyncRED(operator, network, 0.05, (16, 16), field_of_view="circle", nonnegative=True).run(
        max_sweeps=5, reference=truth, callbacks=[told.append]
    )
    y, x = np.mgrid[:48, :48] - 23.5
    outside = x**2 + y**2 > 24**2
    assert not result.image[outside].any() and result.image.min() == 0 and result.image[~outside].any()
    history = result.history
    assert {len(column) for column in history.values()} == {len(told)} == {len(result.schedule)}
    assert (result.schedule.strength > 0).sum() == 45
    assert (
        history["snr"][-1] == pytest.approx(snr(result.image, truth), abs=1e-3) == pytest.approx(told[-1].snr, abs=1e-3)
    )
    assert history["sweep"][-1] == 5 and list(history["update"][:3]) == [1, 2, 3]
    assert np.all(np.diff(history["seconds"]) >= 0)
    assert history["residual"][-1] < history["residual"][np.flatnonzero(history["sweep"] == 1)[0]]
    json.dumps(result.settings)


def test_a_truncated_schedule_is_refused(scan, network, tmp_path, one_process):
    solver = GpuAsyncRED(scan[0], network, block_shape=(24, 24))
    solver.run(max_updates=3).schedule.save(tmp_path / "whole.npz")
    content = (tmp_path / "whole.npz").read_bytes()
    for cut in (10, len(content) // 2, len(content) - 5):
        (tmp_path / "cut.npz").write_bytes(content[:cut])
        with pytest.raises(ValueError, match="isn't a saved schedule"):
            solver.run(replay=tmp_path / "cut.npz")


def test_nonnegative_runs_can_meet_a_tolerance(scan, one_process):
    solver = GpuAsyncRED(scan[0], LinearResidual(), 0.1, (24, 24), nonnegative=True)
    result = solver.run(max_sweeps=400, tol=1e-6)
    assert result.status is Status.CONVERGED and (result.image == 0).any()


def test_blocks_that_no_ray_meets_stay_as_they_are(network, one_process):
    angles = np.array([0.0, 0.05, 0.1])
    narrow = RadonCT(np.ones((3, 20), np.float32), angles, (64, 64))
    result = GpuAsyncRED(narrow, network, 0.0, (16, 16)).run(max_sweeps=2, x0="zeros")
    assert np.isfinite(result.image).all() and not result.image[:, :16].any() and result.image.any()


def test_limits_end_a_run(scan, network, one_process):
    operator, _ = scan
    solver = GpuAsyncRED(operator, network, block_shape=(24, 24))
    assert solver.run(max_updates=3).status is Status.MAX_UPDATES
    assert len(solver.run(max_updates=3).schedule) == 3
    assert solver.run(max_sweeps=2).status is Status.MAX_SWEEPS
    assert solver.run(max_sweeps=None, time_limit=0.2).status is Status.TIME_LIMIT
    start = blobs(48, 48)
    paper = GpuAsyncRED(operator, network, block_shape=(24, 24), method="paper")
    assert np.array_equal(paper.run(max_updates=0, x0=start).image, start)


def test_a_time_limit_ends_a_run_in_time(scan, network):
    timed = GpuAsyncRED(scan[0], network, block_shape=(24, 24)).run(max_sweeps=1e6, time_limit=0.5)
    assert timed.status is Status.TIME_LIMIT and 0.4 < timed.timings["run"] < 2.0


@pytest.mark.parametrize("per_launch", [1, 2])
def test_blocks_per_launch(scan, network, per_launch):
    operator, _ = scan
    result = GpuAsyncRED(operator, network, block_shape=(12, 12), num_workers=2, blocks_per_launch=per_launch).run(5)
    assert len(result.schedule) == 16 * 5 * (1 + 3)
    assert result.schedule.staleness.max() <= 16
    assert (result.schedule.staleness[8:] >= per_launch - 1).any()


def test_torch_in_torch_out(scan, network, one_process):
    operator, _ = scan
    angles = torch.from_numpy(operator.geometry.angles)
    from_torch = RadonCT(torch.from_numpy(operator.sinogram), angles, operator.image_shape)
    image = GpuAsyncRED(from_torch, network, block_shape=(24, 24), order="ordered").run(2).image
    assert isinstance(image, torch.Tensor) and image.dtype == torch.float32
    same = GpuAsyncRED(operator, network, block_shape=(24, 24), order="ordered").run(2).image
    assert np.array_equal(image.numpy(), same)


class Broken(torch.nn.Module):
    receptive_radius = 1

    def forward(self, image):
        raise RuntimeError("the cat sat on the weights")


class Shrinking(WithRadius):
    def forward(self, image):
        return image[..., 1:-1, 1:-1]


def test_a_denoiser_that_changes_the_shape_is_named(scan):
    with pytest.raises(WorkerError, match=r"The denoiser returned \(1, 1, 24, 24\) for an image \(1, 1, 26, 26\)"):
        GpuAsyncRED(scan[0], Shrinking(1), block_shape=(24, 24)).run(1)


def test_the_users_module_stays_in_training_mode(scan):
    module = LinearResidual().train()
    GpuAsyncRED(scan[0], module, block_shape=(24, 24))
    assert module.training


def test_an_object_outside_the_field_of_view_is_noted(scan, network, one_process):
    mask = np.zeros((48, 48))
    mask[:24] = 1
    solver = GpuAsyncRED(scan[0], network, block_shape=(24, 24), field_of_view=mask)
    assert "of the start image lies outside the field of view" in solver.run(max_updates=1).notes[0]
    assert not GpuAsyncRED(scan[0], network, block_shape=(24, 24), field_of_view="circle").run(max_updates=1).notes


def test_a_run_that_diverges_beside_a_reference(scan, one_process):
    result = GpuAsyncRED(scan[0], LinearResidual(), step=1e15, num_workers=1).run(20, reference=scan[1])
    assert result.status is Status.DIVERGED and np.isfinite(result.image).all()
    assert result.notes


def test_a_denoiser_that_raises_is_named_with_its_traceback(scan):
    with pytest.raises(WorkerError, match=r"(?s)worker \d failed: RuntimeError: the cat sat.*Traceback.*in forward"):
        GpuAsyncRED(scan[0], Broken(), block_shape=(24, 24)).run(1)


def test_a_foreign_module_from_the_users_own_file_travels(scan):
    result = GpuAsyncRED(scan[0], LinearResidual(), 0.1, block_shape=(24, 24)).run(max_sweeps=300, tol=1e-6)
    assert result.status is Status.CONVERGED


BAD = [
    (dict(tau=-1), "tau=-1 can't be"),
    (dict(tau=float("nan")), "tau=nan can't be"),
    (dict(tau="big"), "tau='big' can't be"),
    (dict(block_shape=(100, 10)), r"block_shape=\(100, 10\) is larger than the image \(48, 48\)"),
    (dict(block_shape=(0, 10)), "holds no pixel"),
    (dict(block_shape=7), r"block_shape=7 isn't \(rows, cols\)"),
    (dict(pad=-3), "pad=-3 isn't a halo"),
    (dict(pad="wide"), "pad='wide' isn't a halo"),
    (dict(num_workers=0), "num_workers=0 is too small"),
    (dict(num_workers=2.0), "num_workers=2.0 isn't a whole number"),
    (dict(num_workers=4, max_staleness=2), "max_staleness=2 cannot hold for 4 workers: the last of them waits for 3"),
    (dict(num_workers=2, blocks_per_launch=2, max_staleness=1), "cannot hold for 4 updates in flight"),
    (dict(num_workers=5, block_shape=(24, 24)), "5 updates in flight, and the image has 4 blocks"),
    (dict(max_staleness=-1), "max_staleness=-1 is too small"),
    (dict(minibatch=0), "minibatch=0 is too small"),
    (dict(minibatch=25), "minibatch=25 is more than the 24 measurements"),
    (dict(step="long"), "step='long' isn't a step"),
    (dict(step=0.0), "step=0.0 isn't a length"),
    (dict(momentum=0.5, num_workers=3, block_shape=(24, 24)), "3 updates in flight of 4 blocks diverges"),
    (dict(momentum=1.0), "momentum=1.0 can't be. Pass a number >= 0 and < 1"),
    (dict(sampling="random"), "sampling='random' isn't known"),
    (dict(prior="tv"), "prior='tv' isn't known"),
    (dict(prior="pnp", tau=0.0), "prior='pnp' with tau=0 isn't to be had"),
    (dict(prior="pnp", tau="auto"), """prior='pnp' with tau="auto" or sigma="auto" isn't to be had"""),
    (dict(prior="pnp", method="paper"), "method='paper', .* isn't to be had with prior='pnp'"),
    (dict(prior="pnp", momentum=0.3), "momentum=0.3, .* isn't to be had with prior='pnp'"),
    (dict(prior="pnp", data_updates=0), "data_updates=0 isn't to be had with prior='pnp'"),
    (dict(order="sorted"), "order='sorted' isn't known"),
    (dict(intensity_scale=0), "intensity_scale=0 can't be"),
    (dict(intensity_scale="bright"), "intensity_scale='bright' can't be"),
    (dict(field_of_view="square"), "field_of_view='square' isn't known"),
    (dict(field_of_view=np.ones((3, 3))), r"field_of_view has shape \(3, 3\), the image \(48, 48\)"),
    (dict(field_of_view=np.zeros((48, 48))), "some pixel True"),
    (dict(precision="int8"), "precision='int8' isn't available"),
    (dict(blocks_per_launch=0), "blocks_per_launch=0 is too small"),
    (dict(device="tpu"), "device='tpu' isn't known"),
    (dict(seed=-1), "seed=-1 is too small"),
    (dict(denoiser="bm4d"), "neither a shipped denoiser"),
    (dict(denoiser=5.0), "denoiser is a float. Pass a torch module"),
    (dict(denoiser=WithRadius(-1)), "receptive_radius=-1 isn't a number of pixels"),
    (dict(denoiser=WithRadius("x")), "receptive_radius='x' isn't a number of pixels"),
]
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def test_bad_input_is_refused_before_a_device_is_opened(scan, network, monkeypatch):
    opened = []
    monkeypatch.setattr(GpuAsyncRED, "_open", lambda self: opened.append(self) or CpuRuntime)
    solver = GpuAsyncRED(scan[0], network)
    with pytest.raises(ValueError, match="max_sweeps=-1"):
        solver.run(max_sweeps=-1)
    with pytest.raises(ValueError, match="reference is zero"):
        solver.run(reference=np.zeros((48, 48)))
    assert not opened
    solver.run(max_updates=1)
    assert opened == [solver]


@NO_GPU
@pytest.mark.parametrize("device", ["cuda", "cuda:1", ["cuda:0", "cuda:1"]])
def test_a_gpu_that_is_not_there_is_named_with_what_to_install(device):
    scan, _ = small_scan()
    with pytest.raises(DeviceError, match=r"can't be used: found .*\. To mend it, .*\. Pass device='cpu'"):
        GpuAsyncRED(scan, small_network(), device=device)


BAD_RUN = [
    (dict(max_sweeps=-1), "max_sweeps=-1 can't be"),
    (dict(max_sweeps=None), "nothing ends the run"),
    (dict(reference=np.zeros((48, 48))), "reference is zero everywhere"),
    (dict(callbacks=print), r"isn't a list of functions. Pass callbacks=\[function\]"),
    (dict(replay=7), "replay is a int. Pass result.schedule"),
    (dict(max_updates=1.5), "max_updates=1.5 isn't a whole number"),
    (dict(time_limit=-2), "time_limit=-2 can't be"),
    (dict(tol=float("nan")), "tol=nan can't be"),
    (dict(x0="guess"), "x0='guess' isn't a start"),
    (dict(x0=np.zeros((3, 3))), r"x0 has shape \(3, 3\), the image \(48, 48\)"),
    (dict(x0=np.full((48, 48), np.nan)), "x0 holds 2304 NaN"),
    (dict(reference=np.zeros((48, 47))), r"reference has shape \(48, 47\)"),
    (dict(replay=__file__), "isn't a saved schedule"),
    (dict(replay="nowhere.npz"), "nowhere.npz"),
    (dict(replay=Path(__file__).parent), "isn't a saved schedule"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_bad_settings_are_refused_before_work(scan, network, bad, message, monkeypatch):
    monkeypatch.setattr("asyncred_gpu.solver.CpuRuntime", None)  # a start of the pool would fail otherwise
    with pytest.raises((ValueError, TypeError, FileNotFoundError, DeviceError), match=message):
        GpuAsyncRED(scan[0], **({"denoiser": network} | bad))


@pytest.mark.parametrize(("bad", "message"), BAD_RUN)
def test_bad_run_arguments_are_refused_before_work(scan, network, bad, message, monkeypatch):
    monkeypatch.setattr("asyncred_gpu.solver.CpuRuntime", None)
    solver = GpuAsyncRED(scan[0], network)
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        solver.run(**bad)


@pytest.mark.parametrize(
    ("in_flight", "blocks"),
    [(1, 16), (4, 16), (16, 16), (1, 64), (24, 64), (64, 64), *rarely((2, 16), (8, 16), (8, 64))],
)
def test_the_default_step_converges_for_any_number_in_flight(in_flight, blocks):
    residual, notes = default_step_residual(in_flight, blocks, "block")
    assert residual < 1e-3 and not notes  # the guard had nothing to mend


@pytest.mark.parametrize(("in_flight", "blocks"), [(16, 16), (24, 64)])
def test_the_plain_block_step_diverges_where_the_default_does_not(in_flight, blocks, monkeypatch):
    monkeypatch.setattr("asyncred_gpu.red.overlap_factor", lambda constants: 1.0)
    monkeypatch.setattr("asyncred_gpu.monitor.StepGuard.judge", lambda self, residual: False)
    residual, _ = default_step_residual(in_flight, blocks, "block", sweeps=20)
    assert residual > 100


def default_step_residual(in_flight, blocks, step, sweeps=200):
    """‖G‖²/‖G₀‖² at the end of a simulated run with random durations, from FBP; and what the guard noted."""
    from asyncred_gpu.runtime.simulated import RandomDurations, SimulatedRuntime

    side = {16: 12, 64: 6}[blocks]
    operator, _ = small_scan(size=48, angles=24, noise=0.5)
    solver = GpuAsyncRED(
        operator, LinearResidual(), 0.02, (side, side), num_workers=in_flight, step=step, precision="float32"
    )
    assert len(solver.operator.grid) == blocks == len(BlockGrid((48, 48), (side, side)))

    def make(setup, workers, image):
        return SimulatedRuntime(setup, workers, image, RandomDurations(workers, 0))

    result = solver._run(make, sweeps, None, None, 9e-4, "fbp", None, (), None)
    return result.history["residual"][-1], result.notes


def test_angles_in_any_number_type(network, one_process):
    operator, _ = small_scan(size=32, angles=12)
    listed = RadonCT(operator.sinogram.tolist(), list(half_turn(12)), [32, 32])
    assert np.array_equal(listed.fbp(), operator.fbp())
