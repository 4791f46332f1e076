"""BlockCS's kernels with their DeviceOperators, against float64 formulas of a block; on the host, and on a GPU."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from asyncred_gpu import GpuAsyncRED
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.kernels.cuda_build import THREADS
from asyncred_gpu.kernels.host_build import HostBuildError, HostKernels
from asyncred_gpu.kernels.launch import TASK
from asyncred_gpu.kernels.sources import FOLDER
from asyncred_gpu.operators import matrix_device
from asyncred_gpu.operators.device import Batch, DeviceOperator, Scene
from asyncred_gpu.operators.matrix import BlockCS
from asyncred_gpu.operators.matrix_device import LANES, NormalOnDevice, RowsOnDevice, normal_needs, rows_needs
from asyncred_gpu.runtime.cuda_setup import make_cuda_runtime
from asyncred_gpu.runtime.simulated import RandomOrder, SimulatedRuntime
from asyncred_gpu.runtime.simulated_streams import Machine, SimulatedDevice
from asyncred_gpu.runtime.stage import make_scene
from asyncred_gpu.runtime.stream_policies import POLICIES
from asyncred_gpu.slots import SlotLayout

from .helpers import blobs, gpu_marks, relative, small_network

PLACES = ["cpu", pytest.param("cuda", marks=gpu_marks())]
SCALE = 0.37
# (block shape, rows m, rows of a minibatch). A row is read in pieces of four, or one by one where n is odd: more than 8
# a lane, and fewer than lanes. More rows than lanes, or than parts, and fewer; parts of more than 8 rows.
SHAPES = {
    "pieces": ((8, 12), 70, 9),
    "odd": ((5, 7), 20, 3),
    "long": ((36, 32), 40, 33),
    "long and odd": ((17, 19), 70, 2),
    "tiny": ((2, 4), 3, 2),
}
pytestmark = pytest.mark.parametrize("place", PLACES)


@functools.cache
def kernels_on(place):
    if place == "cuda":
        from asyncred_gpu.kernels.cuda_build import CudaKernels

        return CudaKernels(0)
    try:
        return HostKernels()
    except HostBuildError as error:
        pytest.skip(str(error))


def noise(*shape, seed=7):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@dataclass
class Problem:
    """A scene of 2 × 3 blocks, NaN but for the pixels, and what an operator there is made of; all of it noise."""

    scene: Scene
    matrices: torch.Tensor
    measurements: torch.Tensor
    pixels: torch.Tensor  # (blocks, 2 slots, n)

    @property
    def normal(self):
        """N and c, in float32."""
        a = self.matrices.double()
        return (a.mT @ a).float(), (a.mT @ self.measurements.double()[..., None])[..., 0].float()

    def operator(self, form="rows", count=None) -> DeviceOperator:
        if form == "normal":
            return NormalOnDevice(*self.normal, SCALE, self.scene)
        return RowsOnDevice(self.matrices, self.measurements, SCALE, self.scene, count)


def make_problem(place, block, rows, storage=torch.float32, layout=(2, 3)) -> Problem:
    grid = BlockGrid((layout[0] * block[0], layout[1] * block[1]), block)
    slots = SlotLayout(pixels=(block,) * len(grid), shares=((0,),) * len(grid))
    where = SimpleNamespace(torch=torch.device(place), kernels=kernels_on(place))
    scene = make_scene(where, grid, slots, 0, np.zeros(grid.image_shape, np.float32))
    size = block[0] * block[1]
    pixels = noise(len(grid), 2, size, seed=1)
    memory = torch.full(scene.memory.shape, torch.nan)
    for pair, values in zip(slots.views(memory.numpy()), pixels.numpy(), strict=True):
        for slot, value in zip(pair, values, strict=True):
            slot.pixels[:] = value.reshape(block)
    scene.memory.copy_(memory)
    matrices = noise(len(grid), rows, size, seed=2).to(place, storage)
    return Problem(scene, matrices, noise(len(grid), rows, seed=3).to(place), pixels)


@dataclass
class Launch:
    """Tasks for the last block, none, the first and the third, each with slots and a minibatch of its own."""

    batch: Batch
    blocks: tuple[int, ...]
    slots: np.ndarray
    subset: np.ndarray | None

    def tasks(self):
        """(place, block, its front slot, its rows or None) of what there is to do."""
        for place, block in enumerate(self.blocks):
            if block >= 0:
                yield place, block, self.slots[place, block], None if self.subset is None else self.subset[place]


def make_launch(problem, operator, count, seed=5, blocks=(5, -1, 0, 2)) -> Launch:
    random, scene, rows = np.random.default_rng(seed), problem.scene, problem.matrices.shape[1]
    size, height, width = len(blocks), *(int(scene.image_table[0][side]) for side in ("block_rows", "block_cols"))
    table = np.zeros(size, TASK)
    table["block"] = blocks
    slots = random.integers(0, 2, (size, len(scene.block_table))).astype(np.int8)
    subset = None
    if count is not None:
        subset = np.stack([random.choice(rows, count, replace=False) for _ in blocks]).astype(np.int32)
    count = count or rows

    def poisoned(*shape):
        return torch.full(shape, torch.nan, device=scene.device)

    batch = Batch(
        size=size,
        count=count,
        tasks=torch.from_numpy(table.view(np.uint8).reshape(-1)).to(scene.device),
        slots=torch.from_numpy(slots).to(scene.device),
        subset=None if subset is None else torch.from_numpy(subset).to(scene.device),
        residual=poisoned(size, *operator.residual_shape(count)),
        gradient=poisoned(size, operator.parts, height, width),
        pixels=poisoned(size, height, width),
        turned=poisoned(size, width, height),
        host_tasks=list,
    )
    return Launch(batch, tuple(blocks), slots, subset)


def run(operator, now):
    """All of an operator's part in an update."""
    for job in (operator.residual(now.batch), operator.gradient(now.batch), operator.forward(now.batch, 0, 2)):
        job()


def gradients(operator, now):
    """(tasks, rows, cols) as the step sees them: the sum of the parts, scaled; tasks without a block left out."""
    found = now.batch.gradient.double().sum(1) * operator.gradient_scale(now.batch.count)
    return found[[place for place, *_ in now.tasks()]].cpu().numpy()


WRONG = {
    "another slot": lambda x, a, y: (x.flip(1), a, y),
    "another block's matrix": lambda x, a, y: (x, a.roll(1, 0), y),
    "another block's measurements": lambda x, a, y: (x, a, y.roll(1, 0)),
    "the next row's measurement": lambda x, a, y: (x, a, y.roll(1, 1)),
    "no measurements": lambda x, a, y: (x, a, 0 * y),
    "a pixel further": lambda x, a, y: (x.roll(1, 2), a, y),
}


def expected(problem, now, wrong=None):
    """scale · m/w · A_Sᵀ(A_S x − y_S) in float64, A as it is stored."""
    x, a, y = problem.pixels.double(), problem.matrices.cpu().double(), problem.measurements.cpu().double()
    if wrong in WRONG:
        x, a, y = WRONG[wrong](x, a, y)
    height, width = now.batch.gradient.shape[2:]
    found = []
    for _, block, slot, rows in now.tasks():
        chosen = slice(None) if rows is None else torch.from_numpy(rows.astype(np.int64))
        if wrong == "one row less":
            chosen = torch.arange(a.shape[1])[chosen][:-1]
        matrix, scale = a[block, chosen], SCALE if wrong == "unscaled" else SCALE * a.shape[1] / now.batch.count
        gradient = (scale * matrix.T @ (matrix @ x[block, slot] - y[block, chosen])).reshape(height, width)
        found.append(gradient.T.reshape(height, width) if wrong == "transposed" else gradient)
    return torch.stack(found).numpy()


# --- the gradient ----------------------------------------------------------------------------------------------------


ANY_WRONG = [None, *WRONG, "one row less", "transposed"]


@pytest.mark.parametrize(
    ("minibatch", "wrong"),
    [*((minibatch, wrong) for minibatch in (False, True) for wrong in ANY_WRONG), (True, "unscaled")],
)
@pytest.mark.parametrize("storage", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", SHAPES)
def test_rows_give_the_gradient_of_every_task(place, name, minibatch, storage, wrong):
    block, rows, subset = SHAPES[name]
    problem = make_problem(place, block, rows, storage)
    operator = problem.operator()
    now = make_launch(problem, operator, subset if minibatch else None)
    run(operator, now)
    assert (relative(gradients(operator, now), expected(problem, now, wrong)) < 1e-5) == (wrong is None)


@pytest.mark.parametrize("wrong", ANY_WRONG)
@pytest.mark.parametrize("name", SHAPES)
def test_the_normal_equations_give_the_same(place, name, wrong):
    block, rows, _ = SHAPES[name]
    problem = make_problem(place, block, rows)
    operator = problem.operator("normal")
    now = make_launch(problem, operator, None)
    run(operator, now)
    assert (relative(gradients(operator, now), expected(problem, now, wrong)) < 1e-5) == (wrong is None)


@pytest.mark.parametrize("storage", [torch.float32, torch.float16])
def test_float16_is_the_matrix_rounded_and_nothing_else(place, storage):
    exact = make_problem(place, (8, 12), 70)
    stored = replace(exact, matrices=exact.matrices.to(storage))
    operator = stored.operator()
    now = make_launch(stored, operator, None)
    run(operator, now)
    off = relative(gradients(operator, now), expected(exact, now))
    assert (off < 1e-5) == (storage == torch.float32)
    assert off < 1e-3


def test_every_float16_is_read_as_it_is(place):
    """Also what isn't normal or finite: the residual of x = 1 and y = 0 is the matrix."""
    values = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.float16)
    problem = make_problem(place, (1, 1), len(values), torch.float16, layout=(1, 1))
    problem.matrices[0, :, 0] = values.to(place)
    problem.measurements.zero_()
    problem.scene.memory.fill_(1.0)
    operator = problem.operator()
    now = make_launch(problem, operator, None, blocks=(0,))
    run(operator, now)
    found = now.batch.residual[0].cpu()
    assert bool(((found == values.float()) | (found.isnan() & values.isnan())).all())
    assert bool((found != values.float().roll(1)).any())


def test_residuals_are_those_of_the_rows_and_zero_without_a_block(place):
    problem = make_problem(place, (5, 7), 20)
    operator = problem.operator()
    now = make_launch(problem, operator, 6)
    run(operator, now)
    a, y = problem.matrices.cpu().double(), problem.measurements.cpu().double()
    for task, block, slot, rows in now.tasks():
        exact = (a[block, rows] @ problem.pixels[block, slot].double() - y[block, rows]).numpy()
        found = now.batch.residual[task].cpu().numpy()
        assert relative(found, exact) < 1e-5 < relative(found[::-1], exact)
    assert now.batch.residual[1].tolist() == [0.0] * 6


# --- what is touched -------------------------------------------------------------------------------------------------


def bits(tensor):
    return tensor.cpu().contiguous().view(torch.uint8).clone()


@pytest.mark.parametrize("form", ["rows", "normal"])
@pytest.mark.parametrize("name", SHAPES)
def test_nothing_but_the_residual_and_the_gradient_is_written(place, name, form):
    block, rows, subset = SHAPES[name]
    problem = make_problem(place, block, rows)
    operator = problem.operator(form)
    now = make_launch(problem, operator, None if form == "normal" else subset)
    kept = [problem.scene.memory, problem.matrices, problem.measurements, now.batch.pixels, now.batch.turned]
    kept += [now.batch.tasks, now.batch.slots, *([] if now.batch.subset is None else [now.batch.subset])]
    before = [bits(tensor) for tensor in kept]
    run(operator, now)
    assert all(torch.equal(bits(tensor), old) for tensor, old in zip(kept, before, strict=True))
    idle = now.batch.gradient.isnan().flatten(1)
    assert idle.all(1).tolist() == idle.any(1).tolist() == [False, True, False, False]
    assert problem.scene.memory.isnan().any()  # what a kernel may not read is there to be seen


@pytest.mark.parametrize("form", ["rows", "normal"])
def test_gathering_and_publishing_do_nothing(place, form):
    problem = make_problem(place, (5, 7), 20)
    operator = problem.operator(form)
    now = make_launch(problem, operator, None)
    for job in (operator.residual(now.batch), operator.forward(now.batch, 0, 4)):
        job()
    assert now.batch.residual.isnan().all() and now.batch.gradient.isnan().all()
    assert operator.capturable and operator.notes == ()


def captured(job):
    """The job as a CUDA graph's replay."""
    job()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        job()
    return graph.replay


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("form", ["rows", "normal"])
def test_a_job_follows_its_descriptor(place, form, wrong):
    """Static buffers: the job is made once, and captured where there is a GPU."""
    problem = make_problem(place, (8, 12), 70)
    operator, count = problem.operator(form), None if form == "normal" else 9
    first = make_launch(problem, operator, count)
    job = operator.gradient(first.batch)
    job = captured(job) if place == "cuda" else job
    job()
    other = make_launch(problem, operator, count, seed=6, blocks=(-1, 4, 3, 1))
    if not wrong:
        for name in ("tasks", "slots", *(["subset"] if count else [])):
            getattr(first.batch, name).copy_(getattr(other.batch, name))
    job()
    now = replace(other, batch=first.batch)
    assert (relative(gradients(operator, now), expected(problem, now)) < 1e-5) == (not wrong)


def test_two_workers_share_the_matrices(place):
    problem = make_problem(place, (8, 12), 70)
    operator = problem.operator()
    launches = [make_launch(problem, operator, 9, seed=seed) for seed in (5, 6)]
    jobs = [operator.gradient(now.batch) for now in launches]
    for job in (*jobs, jobs[0]):
        job()
    for now, other in zip(launches, launches[::-1], strict=True):
        assert relative(gradients(operator, now), expected(problem, now)) < 1e-5
        assert relative(gradients(operator, now), expected(problem, other)) > 1e-5


def test_matrices_of_more_than_2_to_the_31_elements_are_read_to_their_end(place, tmp_path):
    if place == "cuda":
        pytest.skip("the host shows it without the memory")
    block, rows = (128, 128), 2**16 + 4
    size = block[0] * block[1]
    # A file without content: only the pages that are read or written exist.
    table = np.memmap(tmp_path / "matrices", np.float16, "w+", shape=(3, rows, size))
    assert 2 * rows * size > 2**31  # where the last block's begin
    problem = make_problem(place, block, 1, layout=(3, 1))
    chosen = [rows - 1, 5, rows - 3]
    table[2, chosen] = noise(3, size, seed=9).numpy()
    few = replace(problem, matrices=torch.from_numpy(table), measurements=noise(3, rows, seed=3))
    operator = few.operator()
    now = make_launch(few, operator, 3, blocks=(2,))
    now.subset[:] = chosen
    now.batch.subset.copy_(torch.from_numpy(now.subset))
    run(operator, now)
    a, x = torch.from_numpy(table[2, chosen]).double(), few.pixels[2, now.slots[0, 2]].double()
    exact = (SCALE * rows / 3 * a.T @ (a @ x - few.measurements[2, chosen].double())).numpy()
    found = gradients(operator, now).ravel()
    assert relative(found, exact) < 1e-5 < relative(np.roll(found, 1), exact)


# --- a whole run -----------------------------------------------------------------------------------------------------


def device_at(place):
    if place == "cuda":
        from asyncred_gpu.runtime.cuda_device import CudaDevice

        return CudaDevice("cuda:0")
    return SimulatedDevice(Machine(POLICIES["any"](0)), 0, kernels_on(place))


def sensed(matrices, **options):
    """Blobs of 16 × 36 as six blocks, each measured by its matrix."""
    grid = BlockGrid((16, 36), (8, 12))
    image = np.stack([block.ravel() for block in grid.split(blobs(16, 36))])
    measured = np.einsum("bmn,bn->bm", matrices, image)
    return lambda given: BlockCS(measured, given, grid.image_shape, grid.block_shape, **options)


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize(
    ("form", "storage", "minibatch", "blocks_per_launch"),
    [
        ("rows", "float32", None, 1),
        ("rows", "float16", 9, 2),
        ("normal", "float32", None, 2),
        ("auto", "float32", 9, 1),
        ("auto", "float32", 40, 1),  # a minibatch of all rows
    ],
)
def test_a_run_gives_the_cpus_image(place, form, storage, minibatch, blocks_per_launch, wrong):
    matrices = noise(6, 40, 96).numpy() / np.float32(40**0.5)
    make = sensed(matrices, form=form, storage=storage)
    options = {"num_workers": 3, "precision": "float32", "seed": 3, "order": "ordered", "minibatch": minibatch}
    stop = (None, 60, None, None, "adjoint", None, (), None)

    def run_on(runtime, operator):
        settings = options | {"blocks_per_launch": blocks_per_launch}
        return GpuAsyncRED(operator, small_network(0, depth=2, channels=4), **settings)._run(runtime, *stop).image

    def on_device(*setup):
        return make_cuda_runtime([device_at(place)], *setup, deterministic=True)

    expected = run_on(lambda *setup: SimulatedRuntime(*setup, RandomOrder(0)), make(matrices))
    found = run_on(on_device, make(matrices * np.float32(1.001) if wrong else matrices))
    assert relative(expected, make(matrices).start("adjoint")) > 0.1  # the run does something
    assert (relative(found, expected) < 1e-5) == (not wrong)


# --- sizes, and what is refused --------------------------------------------------------------------------------------


def test_parts_fill_a_device_with_some_rows_each(place):
    literal = {  # (rows, pixels)
        (1120, 1600): 70,
        (20, 35): 1,
        (1, 8): 1,
        (32, 35): 2,
        (10**5, 1600): 82,
        (10**5, 2**17): 1,
        (10**5, 10**6): 1,
    }
    assert {sizes: matrix_device._parts(*sizes) for sizes in literal} == literal


def test_python_and_the_kernels_agree_on_their_numbers(place):
    text = (FOLDER / "rows.h").read_text()
    assert f"#define WIDE {matrix_device.WIDE}\n" in text
    assert f"__launch_bounds__({THREADS}, 4)" in text  # a launch of more threads would fail


@pytest.mark.parametrize("minibatch", [None, 9])
@pytest.mark.parametrize("storage", [torch.float32, torch.float16])
def test_needs_are_what_is_there(place, storage, minibatch):
    problem = make_problem(place, (8, 12), 70, storage)
    grid, operator = BlockGrid((16, 36), (8, 12)), problem.operator(count=minibatch)
    now = make_launch(problem, operator, minibatch)
    count = now.batch.count
    needs = rows_needs(grid, 70, count, storage)
    assert needs.tables == problem.matrices.nbytes + problem.measurements.nbytes
    assert needs.floats == now.batch.residual[0].numel() + now.batch.gradient[0].numel() + count * LANES
    assert needs != rows_needs(grid, 70, count, torch.float64)
    tables, normal = problem.normal, problem.operator("normal")
    needs = normal_needs(grid)
    assert needs.tables == sum(table.nbytes for table in tables)
    assert needs.floats == make_launch(problem, normal, None).batch.gradient[0].numel()
    assert normal.gradient_scale(70) == SCALE and operator.gradient_scale(35) == 2 * SCALE


REFUSED = [
    (lambda p: (p.matrices[:5], p.measurements), r"\(5, 70, 96\) aren't one for each of 6 blocks of \[96\] pixels"),
    (lambda p: (p.matrices[..., :95], p.measurements), r"\(6, 70, 95\) aren't one for each of 6 blocks"),
    (lambda p: (p.matrices[0], p.measurements), r"\(70, 96\) aren't one for each .* Pass \(blocks, m, pixels\)"),
    (lambda p: (p.matrices, p.measurements[:, 1:]), r"\(6, 69\) don't fit .*\(6, 70, 96\).* Pass \(6, 70\)"),
    (lambda p: (p.matrices.double(), p.measurements), r"are torch.float64. Pass torch.float32 or torch.float16"),
    (lambda p: (p.matrices.bfloat16(), p.measurements), r"are torch.bfloat16. Pass torch.float32 or torch.float16"),
    (lambda p: (shifted(p.matrices), p.measurements), r"begin at address \d+, and .* 16 bytes .*matrices.clone\(\)"),
]


def shifted(matrices):
    """The same one element further in memory."""
    memory = torch.empty(matrices.numel() + 1, dtype=matrices.dtype, device=matrices.device)
    return memory[1:].view(matrices.shape).copy_(matrices)


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_tables_that_are_not_the_scenes_are_refused(place, change, message):
    problem = make_problem(place, (8, 12), 70)
    RowsOnDevice(problem.matrices, problem.measurements, SCALE, problem.scene)
    with pytest.raises(ValueError, match=message):
        RowsOnDevice(*change(problem), SCALE, problem.scene)


def test_blocks_of_several_sizes_are_refused(place):
    problem = make_problem(place, (8, 12), 70)
    problem.scene.block_table["cols"][-1] = 11
    with pytest.raises(ValueError, match=r"blocks of \[88, 96\] pixels. Pass .* blocks of one size"):
        problem.operator()


def test_a_minibatch_of_the_normal_equations_is_refused(place):
    problem = make_problem(place, (5, 7), 20)
    operator = problem.operator("normal")
    with pytest.raises(ValueError, match=r"no minibatches of 3. Pass minibatch=None, or form='rows'"):
        operator.gradient(make_launch(problem, operator, 3).batch)


def test_what_is_not_contiguous_is_refused_by_the_launch(place):
    problem = make_problem(place, (5, 7), 20)
    turned = replace(problem, matrices=problem.matrices.mT.contiguous().mT)
    operator = turned.operator()
    with pytest.raises(ValueError, match=r"kernel rows_forward_float32: matrices isn't contiguous"):
        run(operator, make_launch(turned, operator, None))
