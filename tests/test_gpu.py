"""What only a GPU can show; the same test code runs on the simulated device first, so that it is known to work.

scripts/gpu_acceptance.py runs these on a machine with a GPU: pytest -m gpu.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from asyncred_gpu import GpuAsyncRED, RadonCT
from asyncred_gpu.denoiser import DenoiserSettings
from asyncred_gpu.kernels.host_build import HostKernels
from asyncred_gpu.red import Step
from asyncred_gpu.runtime.base import WorkerSetup
from asyncred_gpu.runtime.cuda_setup import make_cuda_runtime
from asyncred_gpu.runtime.descriptor import RingEntry
from asyncred_gpu.runtime.program import BlockProgram
from asyncred_gpu.runtime.simulated_streams import Machine, SimulatedDevice
from asyncred_gpu.runtime.stage import make_stages
from asyncred_gpu.runtime.stream_policies import POLICIES
from asyncred_gpu.task import Task

from .helpers import ALL_RUNS, gpu_marks, needs_compiler, needs_gpu, relative, small_network, small_scan

pytestmark = needs_compiler
KINDS = ["simulated", pytest.param("cuda", marks=gpu_marks())]


def make_device(kind, index=0):
    if kind == "cuda":
        from asyncred_gpu.runtime.cuda_device import CudaDevice

        return CudaDevice(f"cuda:{index}")
    return SimulatedDevice(Machine(POLICIES["any"](0)), index, HostKernels())


def problem(fan=False, **options):
    scan, image = small_scan(size=96, angles=30, noise=0.5, fan=fan)
    settings = {"block_shape": (28, 36), "num_workers": 3, "precision": "float32", "seed": 3}
    settings["data_updates"] = 1  # so that 60 updates have two groups that ask the denoiser
    return GpuAsyncRED(scan, small_network(0, depth=4, channels=16), **settings | options), image


def run(kind, solver, updates=60, reference=None, replay=None):
    def make(setup, workers, image):
        return make_cuda_runtime([make_device(kind)], setup, workers, image, solver.order == "ordered")

    return solver._run(make, None, updates, None, None, "fbp", reference, (), replay)


# --- one launch, operation by operation -------------------------------------------------------------------------------


STEP = Step(0.7, 0.6, True)


def make_program(device, subset, step):
    """With a minibatch also with a preconditioner."""
    solver, image = problem(nonnegative=True)
    denoiser = DenoiserSettings(solver.halo, "float32", 0.9)
    mask = (np.arange(96)[:, None] + np.zeros(96) > 3).astype(np.float32)
    setup = WorkerSetup(solver.operator, solver.network, denoiser, 0.02, mask, image, 3, subset)
    setup = replace(setup, centered=step.centered, dual=step.dual)
    if subset is not None:
        setup = replace(setup, filter=solver.operator.preconditioning(0.02, 3.0).filter)
    start = solver.operator.start("fbp")
    (stage,) = make_stages([device], setup, start, deterministic=True)
    return BlockProgram(0, stage, [], setup)


def tasks_for(blocks, subset, step):
    """The second one asks the denoiser for nothing, where blocks go along with their centers."""
    random = np.random.default_rng(2)
    slots = random.integers(0, 2, (2, blocks)).astype(np.int8)
    drawn = [None if subset is None else np.sort(random.choice(30, subset, replace=False)) for _ in range(2)]
    steps = [step, step._replace(strength=0.0) if step.centered else step]
    return [Task(n, (1, blocks - 1)[n], slots[n], steps[n], drawn[n], True) for n in range(2)]


def buffers(program):
    batch, scene = program._batch, program._stage.scene
    found = {
        "crops": program._crops, "residual": batch.residual, "noise": program._noise, "gradient": batch.gradient,
        "totals": program._totals, "pixels": batch.pixels, "momentum": program._momentum, "memory": scene.memory,
    }  # fmt: skip
    return found | ({"centers": program._centers} if program.centered else {})


@pytest.mark.parametrize("wrong", [None, "slots", "step"])
@pytest.mark.parametrize("subset", [None, 7])
@pytest.mark.parametrize("step", [STEP, STEP._replace(centered=True), STEP._replace(centered=True, dual=True)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_operation_does_what_the_host_build_does(kind, subset, wrong, step):
    worst = {}
    here, there = (make_program(make_device(k), subset, step) for k in ("simulated", kind))
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal(here._stage.scene.memory.numel(), np.float32))
    tasks = tasks_for(len(here._stage.scene.block_table), subset, step)
    for program in (here, there):
        program._stage.scene.memory.copy_(noise)
        memory = program.device.pinned(program.layout.nbytes)
        entry = RingEntry(program.layout, memory, program.device.event(), ("ring", 0, 0))
        if program is there and wrong == "slots":
            tasks = [Task(t.number, t.block, 1 - t.slots, t.step, t.subset, True) for t in tasks]
        if program is there and wrong == "step":
            tasks = [t._replace(step=t.step._replace(length=0.71)) for t in tasks]
        entry.fill(tasks, program.gradient_scale)
        program.upload(entry, tasks).run()
    for mine, other in zip((*here.read(), *here.work(), *here.publish(0, 3)),
                           (*there.read(), *there.work(), *there.publish(0, 3)), strict=True):  # fmt: skip
        mine.run()
        other.run()
        there.device.synchronize()
        for name, buffer in buffers(here).items():
            found = buffers(there)[name].cpu().double()
            off = float((found - buffer.double()).norm() / buffer.double().norm().clamp_min(1e-30))
            worst[name] = max(worst.get(name, 0.0), off)
    assert np.isfinite(list(worst.values())).all()
    assert (max(worst.values()) < 2e-5) == (wrong is None), worst
    if wrong is None:
        results = [[program.result(place, task) for place, task in enumerate(tasks)] for program in (here, there)]
        for mine, other in zip(*results, strict=True):
            assert other.gradient_squared == pytest.approx(mine.gradient_squared, rel=1e-4)
            assert other.error_squared == pytest.approx(mine.error_squared, rel=1e-4)
            assert (other.finite, other.restarted) == (mine.finite, mine.restarted)


# --- whole runs -------------------------------------------------------------------------------------------------------


FILTERED = {"step": "preconditioned", "nonnegative": True, "field_of_view": "circle"}


WITHOUT = {"data_updates": 0}
PNP = {"prior": "pnp", "momentum": 0}


FAN = {"fan": True}


CASES = [(1, {}), (3, {}), (1, FILTERED), (3, FILTERED), (1, WITHOUT), (3, FILTERED | WITHOUT), (2, FILTERED | PNP)]
CASES += [(2, FAN | FILTERED), (1, FAN), (3, FAN | FILTERED | WITHOUT)]


@pytest.mark.parametrize(
    ("kind", "per_launch", "changes"),
    # On the simulated device so many that the test itself is known to work; test_cuda.py has more of its kind.
    [("simulated", *case) for case in (CASES if ALL_RUNS else CASES[::3])]
    + [pytest.param("cuda", *case, marks=gpu_marks()) for case in CASES],
)
def test_an_ordered_run_is_the_cpus_and_the_same_every_time(kind, per_launch, changes):
    options = {"order": "ordered", "momentum": 0.3, "blocks_per_launch": per_launch, "num_workers": 2} | changes
    solver, image = problem(**options)
    found = run(kind, solver, reference=image)
    cpu, _ = problem(device="cpu", **options)
    expected = cpu.run(max_sweeps=None, max_updates=60, x0="fbp", reference=image)
    assert relative(found.image, expected.image) < 1e-4
    assert np.allclose(found.history["snr"], expected.history["snr"], atol=2e-3)
    assert np.array_equal(run(kind, solver, reference=image).image, found.image)
    other, _ = problem(**(options | {"seed": 4}))
    assert relative(run(kind, other).image, expected.image) > 1e-4


@pytest.mark.parametrize("per_launch", [1, 2])
@pytest.mark.parametrize("minibatch", [None, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_a_free_run_replays_on_the_cpu(kind, minibatch, per_launch, tmp_path):
    options = {"minibatch": minibatch, "blocks_per_launch": per_launch, "momentum": 0.3, "max_staleness": 9}
    solver, _ = problem(**options)
    free = run(kind, solver)
    assert free.schedule.staleness.max() <= 9
    free.schedule.save(tmp_path / "schedule.npz")
    cpu, _ = problem(device="cpu", **options)
    assert relative(cpu.run(x0="fbp", replay=tmp_path / "schedule.npz").image, free.image) < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_denoiser_that_is_given_the_whole_image_is_the_cpus(kind):
    options = {"pad": "full", "order": "ordered", "num_workers": 2}
    found = run(kind, problem(**options)[0])
    expected = problem(device="cpu", **options)[0].run(max_sweeps=None, max_updates=60, x0="fbp")
    assert relative(found.image, expected.image) < 1e-4
    assert relative(run(kind, problem(**(options | {"pad": 1}))[0]).image, expected.image) > 4e-4


@needs_gpu()
def test_tau_is_chosen_on_a_gpu_as_on_the_cpu():
    chosen = {}
    for device in ("cpu", "cuda"):
        solver, image = problem(device=device, tau="auto")
        tuned = solver.tune(reference=image, exhaustive=True, taus=(1e-3, 0.03, 1.0), progress=False)
        chosen[device] = [trial.score.value for trial in tuned.trials]
        assert solver.run(max_sweeps=1).settings["tau"] == tuned.tau
    assert np.allclose(chosen["cuda"], chosen["cpu"], rtol=1e-2)


@needs_gpu()
def test_the_public_interface_on_a_gpu():
    scan, image = small_scan(size=96, angles=30, noise=0.5)
    sinogram = torch.from_numpy(scan.sinogram).cuda()
    on_gpu = RadonCT(sinogram, scan.geometry.angles, (96, 96))
    same = {"seed": 1, "num_workers": 4, "block_shape": (32, 32)}
    result = GpuAsyncRED(on_gpu, "dncnn", device="cuda", **same).run(max_sweeps=20, reference=image)
    assert result.image.device.type == "cuda" and bool(torch.isfinite(result.image).all())
    assert any("precision='auto' took" in note for note in result.notes)
    cpu = GpuAsyncRED(scan, "dncnn", device="cpu", precision="float32", **same).run(max_sweeps=20, reference=image)
    assert result.history["snr"][-1] == pytest.approx(cpu.history["snr"][-1], abs=0.1)


@needs_gpu()
@pytest.mark.parametrize("precision", ["tf32", "float16", "bfloat16"])
def test_reduced_precisions_end_near_float32(precision):
    snr = {}
    for name in ("float32", precision):
        solver, image = problem(precision=name, order="ordered")
        snr[name] = run("cuda", solver, updates=200, reference=image).history["snr"][-1]
    assert snr[precision] == pytest.approx(snr["float32"], abs=0.1)


@needs_gpu()
def test_a_cupy_sinogram_gives_a_cupy_image():
    cupy = pytest.importorskip("cupy")
    scan, _ = small_scan(size=96, angles=30)
    on_gpu = RadonCT(cupy.asarray(scan.sinogram), scan.geometry.angles, (96, 96))
    assert isinstance(GpuAsyncRED(on_gpu, "dncnn", device="cuda").run(max_sweeps=1).image, cupy.ndarray)


@needs_gpu()
def test_what_cannot_fit_is_refused_before_the_run():
    device = make_device("cuda")
    torch.cuda.empty_cache()
    free = device.free_bytes()
    assert 0 < free <= torch.cuda.get_device_properties(0).total_memory
    keep = torch.empty(free - 200 * 2**20, dtype=torch.uint8, device="cuda")
    solver, _ = problem()

    def make(setup, workers, image):
        return make_cuda_runtime([device], setup, workers, image, False)

    with pytest.raises(MemoryError, match="are free"):
        solver._run(make, None, 4, None, None, "fbp", None, (), None)
    del keep
    torch.cuda.empty_cache()


@needs_gpu(2)
def test_two_gpus_give_the_image_of_one():
    images = []
    for device in ("cuda:0", ["cuda:0", "cuda:1"]):
        scan, _ = small_scan(size=96, angles=30, noise=0.5)
        solver = GpuAsyncRED(scan, "dncnn", device=device, order="ordered", num_workers=4, precision="float32")
        images.append(solver.run(max_sweeps=5).image)
    assert relative(images[1], images[0]) < 1e-6
