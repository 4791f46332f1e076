"""The CUDA runtime with the real kernels' host build on simulated streams: the same results as the CPU's runtime."""

import gc
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from asyncred_gpu import GpuAsyncRED, Status, WorkerError, engine, launches
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.denoiser import DenoiserSettings, activation_bytes
from asyncred_gpu.kernels.host_build import HostKernels
from asyncred_gpu.operators.device import DeviceNeeds
from asyncred_gpu.runtime import cuda, cuda_setup
from asyncred_gpu.runtime.base import WorkerSetup
from asyncred_gpu.runtime.cuda_setup import MemoryNeeded, check_memory, make_cuda_runtime, memory_needed
from asyncred_gpu.runtime.simulated import RandomOrder, SimulatedRuntime
from asyncred_gpu.runtime.simulated_streams import Machine, SimulatedDevice
from asyncred_gpu.runtime.stream_policies import POLICIES

from .helpers import ALL_RUNS, LinearResidual, needs_compiler, relative, small_network, small_scan

pytestmark = needs_compiler
UPDATES = 80
SEEDS = range(3) if ALL_RUNS else (0,)  # of the orders of the streams


class LookingFar(torch.nn.Module):
    """R(x) = x − its mean: of each image, as far as it reaches."""

    def forward(self, image):
        return 0.5 * (image - image.mean((-2, -1), keepdim=True))


VARIANTS = {
    "plain": {},
    "momentum": {"momentum": 0.8},
    "minibatch": {"minibatch": 3},
    "nonnegative": {"nonnegative": True, "momentum": 0.5},
    "circle": {"field_of_view": "circle"},
    "ragged": {"block_shape": (7, 9)},
    "scaled": {"intensity_scale": 0.37},
    "several a launch": {"blocks_per_launch": 3, "num_workers": 2},
    "ragged, several, minibatch": {"block_shape": (9, 7), "blocks_per_launch": 2, "minibatch": 5, "momentum": 0.3},
    "foreign network": {"network": LinearResidual()},
    "no data updates": {"data_updates": 0},
    "no data updates, momentum, nonnegative": {"data_updates": 0, "momentum": 0.5, "nonnegative": True},
    "data updates, the block's step": {"data_updates": 2, "step": "block", "momentum": 0.5, "nonnegative": True},
    "fan beam": {"fan": True, "momentum": 0.3},
    "fan beam, ragged, minibatch": {"fan": True, "block_shape": (7, 9), "minibatch": 3, "blocks_per_launch": 2},
    "plug and play": {"prior": "pnp", "data_updates": 2},
    "plug and play, ragged, several": {
        **{"prior": "pnp", "block_shape": (9, 7), "blocks_per_launch": 2, "num_workers": 2, "minibatch": 5},
        **{"nonnegative": True, "field_of_view": "circle"},
    },
    "plug and play, whole image": {"prior": "pnp", "pad": "full", "network": LookingFar()},
    "whole image": {"pad": "full", "network": LookingFar(), "momentum": 0.5},
    "whole image, padded by the network": {"pad": "full", "intensity_scale": 0.37},
    "whole image, ragged, several": {
        **{"pad": "full", "network": LookingFar(), "block_shape": (9, 7), "field_of_view": "circle"},
        **{"blocks_per_launch": 2, "num_workers": 2, "minibatch": 5},
    },
}


def problem(network=None, weights=False, projector="auto", fan=False, **options):
    scan, image = small_scan(size=24, angles=8, noise=0.5, projector=projector, fan=fan)
    if weights:
        rays = np.random.default_rng(4).uniform(0.5, 1.5, scan.sinogram.shape)
        scan = type(scan)(scan.sinogram, scan.geometry.angles, scan.image_shape, weights=rays)
    settings = {"block_shape": (6, 6), "num_workers": 3, "precision": "float32", "seed": 3, "intensity_scale": 1.0}
    settings["data_updates"] = 1  # so that UPDATES has three groups that ask the denoiser
    return GpuAsyncRED(scan, network or small_network(0, depth=2, channels=4), **(settings | options)), image


def on_cpu(solver, reference=None, replay=None):
    return solver._run(
        lambda setup, workers, image: SimulatedRuntime(setup, workers, image, RandomOrder(0)),
        *(None, UPDATES, None, None, "fbp", reference, (), replay),
    )


def on_streams(solver, reference=None, replay=None, policy="any", seed=0, devices=1, updates=UPDATES):
    machine = Machine(POLICIES[policy](seed))
    found = [SimulatedDevice(machine, index, HostKernels()) for index in range(devices)]

    def make(setup, workers, image):
        return make_cuda_runtime(found, setup, workers, image, deterministic=True)

    return solver._run(make, None, updates, None, None, "fbp", reference, (), replay)


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_ordered_run_gives_the_cpus_image(variant):
    solver, _ = problem(order="ordered", **VARIANTS[variant])
    expected, found = on_cpu(solver), on_streams(solver)
    moved = relative(expected.image, solver.operator.start("fbp") * (1 if solver.mask is None else solver.mask))
    assert moved > 1e-2  # the run does something
    assert relative(found.image, expected.image) < 1e-5
    assert np.array_equal(found.schedule.block, expected.schedule.block)
    assert np.allclose(found.history["residual"], expected.history["residual"], rtol=1e-4)
    for change in ({"step": 0.6}, {"seed": 4}):  # which make it another run
        other, _ = problem(order="ordered", **(VARIANTS[variant] | change))
        assert relative(on_streams(other).image, expected.image) > 1e-5


def test_weighted_rays_count_as_on_the_cpu():
    solver, _ = problem(order="ordered", weights=True)
    plain, _ = problem(order="ordered")
    assert relative(on_streams(solver).image, on_cpu(solver).image) < 1e-5
    assert relative(on_streams(plain).image, on_cpu(solver).image) > 1e-4


@pytest.mark.parametrize("devices", [1, 2, 3])
@pytest.mark.parametrize("policy", POLICIES)
def test_an_ordered_run_is_the_same_bit_for_bit_in_any_order_of_the_streams(policy, devices):
    solver, _ = problem(order="ordered", momentum=0.5, blocks_per_launch=2)
    first = on_streams(solver)
    for seed in SEEDS:
        assert np.array_equal(on_streams(solver, policy=policy, seed=seed, devices=devices).image, first.image)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_run_on_whole_images_is_the_same_in_any_order_of_the_streams(policy):
    """Also if the host has gone on to another launch's tasks: each network finds those of its own."""
    settings = {"pad": "full", "order": "ordered", "block_shape": (9, 7), "blocks_per_launch": 2}
    solver, _ = problem(LookingFar(), **settings)
    first = on_streams(solver, policy="ahead")
    for seed in SEEDS:
        assert np.array_equal(on_streams(solver, policy=policy, seed=seed, devices=2).image, first.image)


@pytest.mark.parametrize(
    ("policy", "devices"),
    [
        (policy, count)
        for place, policy in enumerate(POLICIES)
        for count in (1, 2)
        if ALL_RUNS or count == 1 + place % 2
    ],
)
def test_a_free_run_replays_on_the_cpu(policy, devices, tmp_path):
    solver, _ = problem(num_workers=4, max_staleness=20, momentum=0.4, minibatch=5)
    free = on_streams(solver, policy=policy, seed=7, devices=devices)
    free.schedule.save(tmp_path / "schedule.npz")
    replayed = on_cpu(solver, replay=tmp_path / "schedule.npz")
    assert replayed.status is Status.REPLAYED
    assert relative(replayed.image, free.image) < 1e-5
    again = on_streams(solver, replay=tmp_path / "schedule.npz", policy="any", seed=8)
    assert np.array_equal(again.image, free.image)


def test_the_snr_comes_from_the_device():
    solver, image = problem(order="ordered", block_shape=(7, 9), step="block", continuation=1)
    found, expected = on_streams(solver, reference=image), on_cpu(solver, reference=image)
    assert np.allclose(found.history["snr"], expected.history["snr"], atol=1e-3)
    assert abs(found.history["snr"][-1] - found.history["snr"][0]) > 0.1


def test_a_run_that_diverges_keeps_the_last_finite_image():
    solver, _ = problem(step=1e30)
    result = on_streams(solver)
    assert result.status is Status.DIVERGED and np.isfinite(result.image).all()


# --- errors -----------------------------------------------------------------------------------------------------------


class Failing(HostKernels):
    """Kernels of which one fails at its n-th launch."""

    def __init__(self, name, after, error):
        super().__init__()
        self._name, self._after, self._error = name, after, error

    def launch(self, name, items, *arguments):
        self._after -= name == self._name
        if self._after < 0:
            raise self._error
        super().launch(name, items, *arguments)


class Explaining(SimulatedDevice):
    """A device that knows its errors."""

    def explain(self, error):
        return f"explained: {error}" if "CUDA" in str(error) else None


def failing(kernel, error, after=30):
    solver, _ = problem()
    device = Explaining(Machine(POLICIES["any"](0)), 0, Failing(kernel, after, error))
    return solver._run(
        lambda setup, workers, image: make_cuda_runtime([device], setup, workers, image, True),
        *(None, 2 * UPDATES, None, None, "fbp", None, (), None),
    )


@pytest.mark.parametrize("kernel", ["crop", "residual", "combine", "step", "publish", "forward"])
def test_an_error_of_the_device_names_the_worker(kernel):
    with pytest.raises(WorkerError, match=r"worker \d on simulated device 0 failed while .*: explained: CUDA error"):
        failing(kernel, RuntimeError("CUDA error: misaligned address"))


def test_other_errors_pass_as_they_are():
    with pytest.raises(RuntimeError, match="somebody else's") as raised:
        failing("combine", RuntimeError("somebody else's"))
    assert not isinstance(raised.value, WorkerError)


def test_somebody_elses_error_while_capturing_passes_as_it_is():
    with pytest.raises(RuntimeError, match=r"^somebody else's$") as raised:
        failing("crop", RuntimeError("somebody else's"), after=0)
    assert not isinstance(raised.value, WorkerError)


def test_an_error_while_capturing_says_so():
    with pytest.raises(WorkerError, match=r"worker 0 on simulated device 0 failed while being set up: explained"):
        failing("crop", RuntimeError("CUDA out of memory"), after=0)


class Small(SimulatedDevice):
    """A device with hardly any memory."""

    def free_bytes(self):
        return 3 * 2**20


def test_a_run_that_cannot_fit_is_refused_with_an_estimate():
    solver, _ = problem()
    device = Small(Machine(POLICIES["any"](0)), 0, HostKernels())
    with pytest.raises(MemoryError, match=r"needs about .* GiB on simulated device 0 \(.*slots .* 3 workers .*\), and"):
        solver._run(
            lambda setup, workers, image: make_cuda_runtime([device], setup, workers, image, True),
            *(None, UPDATES, None, None, "fbp", None, (), None),
        )


@pytest.mark.parametrize("pad", ["exact", "full"])
def test_the_estimate_counts_what_is_allocated(pad):
    """Against the tensors that are really made: slots, tables and workers' buffers; the network's part is a guess."""
    solver, image = problem(blocks_per_launch=2, minibatch=3, field_of_view="circle", pad=pad)
    made, needed = {}, {}

    def make(setup, workers, start):
        needed["bytes"] = memory_needed(setup, workers, torch.device("cpu"))
        runtime = make_cuda_runtime(
            [SimulatedDevice(Machine(POLICIES["any"](0)), 0, HostKernels())], setup, workers, start, True
        )
        programs = [worker.program for worker in runtime._workers]
        made["workers"] = sum(nbytes_of(vars(program)) + nbytes_of(vars(program._batch)) for program in programs)
        stage = programs[0]._stage
        made["slots"] = nbytes_of({"memory": stage.scene.memory})
        made["tables"] = nbytes_of(vars(stage.operator)) + nbytes_of(vars(stage))
        return runtime

    solver._run(make, None, 2, None, None, "fbp", image, (), None)
    for name in ("slots", "tables"):
        assert made[name] == pytest.approx(getattr(needed["bytes"], name), rel=0.2)
    assert 0.8 * made["workers"] < needed["bytes"].workers


@pytest.mark.parametrize("pad", [1, "full"])
def test_the_estimate_counts_whole_images(pad):
    """Images and features of 1000² pixels for blocks of 100²; one at a time goes through the network."""
    solver, _ = problem(pad=pad, blocks_per_launch=2, num_workers=1)
    settings = DenoiserSettings(solver.halo, "float16", 1.0, solver.whole)
    operator = SimpleNamespace(
        grid=BlockGrid((1000, 1000), (100, 100)), image_shape=(1000, 1000), device_needs=lambda *_: DeviceNeeds(0, 0)
    )
    setup = SimpleNamespace(
        operator=operator, per_launch=2, denoiser=settings, count=3, network=solver.network, filter=None
    )
    setup.centered = False
    setup.mask = setup.reference = None
    setup.crop_shape = WorkerSetup.crop_shape.fget(setup)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_setup, "slot_layout", lambda operator: SimpleNamespace(nbytes=0))
        needed = memory_needed(setup, 1, torch.device("cpu"))
    images, features = 2 * 4 * 1000**2, activation_bytes(solver.network, 1, 1000, 1000, "float32")
    assert (images + features < needed.workers < 1.3 * (images + features)) == (pad == "full")


def nbytes_of(names):
    tensors = {id(t): t for t in names.values() if isinstance(t, torch.Tensor)}
    return sum(t.numel() * t.element_size() for t in tensors.values())


def test_a_hung_worker_ends_the_run_with_an_error_that_says_what_to_do():
    """The first update never ends: its worker counts as hung, on a clock that runs fast."""
    solver, _ = problem()

    class Stuck(SimulatedDevice):
        def pause(self, waited):
            time.sleep(0.01)

    class Never:
        def choose(self, ready, must):
            return None

    def make(setup, workers, image):
        machine = Machine(POLICIES["ahead"](0))
        runtime = make_cuda_runtime([Stuck(machine, 0, HostKernels())], setup, workers, image, True)
        prime = runtime.prime

        def prime_and_stop():
            prime()
            machine._policy = Never()

        runtime.prime = prime_and_stop
        return runtime

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launches, "FIRST_SECONDS", 0.2)
        patch.setattr(engine, "LOOK_SECONDS", 0.05)
        patch.setattr(cuda, "CLOSE_SECONDS", 0.2)
        begun = time.perf_counter()
        with pytest.raises(WorkerError, match=r"worker 0 on simulated device 0 gave no result in time, .*nvidia-smi"):
            solver._run(make, None, 4, None, None, "fbp", None, (), None)
        assert time.perf_counter() - begun < 20


def test_memory_that_nobody_knows_is_not_refused():
    needed = MemoryNeeded(slots=2**60, tables=0, workers=0)
    check_memory(SimulatedDevice(Machine(POLICIES["any"](0))), needed, 1)
    with pytest.raises(MemoryError):
        check_memory(Small(Machine(POLICIES["any"](0))), needed, 1)


def test_closing_waits_for_the_start_image():
    """Whoever interrupts the priming must not free what kernels still write."""
    solver, _ = problem(num_workers=2)
    left = []

    class Interrupted(Exception):
        pass

    def make(setup, workers, image):
        machine = Machine(POLICIES["oldest"](0))
        runtime = make_cuda_runtime([SimulatedDevice(machine, 0, HostKernels())], setup, workers, image, True)

        def prime():
            runtime._workers[1].prime([cuda.prime_task(0, 16)])
            left.append([stream for stream in machine._streams if len(stream)])
            raise Interrupted

        runtime.prime = prime
        left.append(machine)
        return runtime

    with pytest.raises(Interrupted):
        solver._run(make, None, 4, None, None, "fbp", None, (), None)
    machine, waiting = left
    assert waiting and not any(len(stream) for stream in machine._streams)


def test_nothing_of_a_run_outlives_it():
    """Device memory is freed with the last reference, not whenever the garbage collector comes by."""
    solver, _ = problem(num_workers=2)
    programs = []

    def make(setup, workers, image):
        device = SimulatedDevice(Machine(POLICIES["any"](0)), 0, HostKernels())
        runtime = make_cuda_runtime([device], setup, workers, image, True)
        programs.extend(weakref.ref(worker.program) for worker in runtime._workers)
        return runtime

    gc.collect()
    gc.disable()
    try:
        solver._run(make, None, 4, None, None, "fbp", None, (), None)
        assert [program() for program in programs] == [None, None]
    finally:
        gc.enable()


def test_closing_twice_and_with_updates_under_way_is_no_error():
    solver, _ = problem(num_workers=4)
    result = on_streams(solver, policy="newest", updates=7)
    assert len(result.schedule) == 7
    assert isinstance(cuda.CudaRuntime([], None, 0).close(), type(None))


@pytest.mark.parametrize("policy", ["oldest", "newest", "any"])
def test_an_operator_that_cannot_be_captured_sees_its_own_tasks(policy):
    """ASTRA's projectors run from the host's list of tasks: however late, not from that of a later launch."""
    solver, _ = problem(order="ordered", num_workers=2, projector="astra")
    assert np.array_equal(on_streams(solver, policy=policy).image, on_streams(solver, policy="ahead").image)
    assert relative(on_streams(solver, policy=policy).image, on_cpu(solver).image) < 1e-4
