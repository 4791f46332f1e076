"""The CUDA kernels through their host build, against float64 references, numpy, and the CPU's own arithmetic."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace

import astra
import numpy as np
import pytest
import torch

from asyncred_gpu import RadonCT
from asyncred_gpu.blocks import BlockGrid, Window
from asyncred_gpu.kernels import host_build
from asyncred_gpu.kernels.host_build import HostKernels
from asyncred_gpu.kernels.launch import BLOCK, IMAGE, TASK
from asyncred_gpu.kernels.sources import FOLDER, kernel_files, signature
from asyncred_gpu.operators.footprint import Footprint, block_footprint
from asyncred_gpu.operators.geometry import ParallelGeometry
from asyncred_gpu.operators.ray_tables import FAN_RAYS, PARALLEL_RAYS, kernel_ending, parallel_rays, ray_table
from asyncred_gpu.red import Step, follow, move, preconditioned
from asyncred_gpu.slots import slot_layout

from .helpers import ALL_RUNS, NO_COMPILER, geometry_lines, half_turn, joseph_lines, needs_compiler, relative

KERNELS = None if NO_COMPILER else HostKernels()
pytestmark = needs_compiler
LANES = 37  # divides nothing here


def noise(*shape, seed=7):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def poisoned(*shape):
    return torch.full(shape, torch.nan)


def as_bytes(table):
    return torch.from_numpy(np.ascontiguousarray(table).reshape(-1).view(np.uint8).copy())


def random_scan(seed, least=8, most=130, pieces=4, **changes):
    """Any angles over a turn, the special ones among them; any centre and spacing, often a detector too short.

    Every third is a fan, every third a parallel beam whose detector is shifted and tilted from angle to angle.
    """
    random = np.random.default_rng(seed)
    rows, cols = (int(side) for side in random.integers(least, most, 2))
    angles, spacing = random.uniform(0, 2 * np.pi, 9), random.uniform(0.5, 2)
    angles[:3] = random.choice([0, 0.25 * np.pi, 0.5 * np.pi, 0.75 * np.pi, np.pi, 1.5 * np.pi], 3, replace=False)
    detectors = max(4, int(random.uniform(0.5, 1.6) * np.hypot(rows, cols) / spacing))
    center = random.uniform(0.2, 0.8) * (detectors - 1)
    block = tuple(int(random.integers(-(-side // pieces), side + 1)) for side in (rows, cols))
    projector = changes.pop("projector", "joseph")
    sinogram, weights = noise(9, detectors, seed=seed), changes.pop("weights", None)
    beam = {}
    if seed % 3 == 1:
        center, beam = random.uniform(0.2, 0.8, 9) * (detectors - 1), {"detector_tilt": random.uniform(-0.6, 0.6, 9)}
    elif seed % 3 == 2:
        source = np.hypot(rows + 2, cols + 2) * random.uniform(0.8, 2.5)
        beam = dict(source_distance=source, detector_distance=source * random.uniform(0, 1))
        beam["detector_tilt"] = random.uniform(-0.1, 0.1)
        spacing *= 0.6 * (1 + beam["detector_distance"] / source)
    scan = RadonCT(sinogram, angles, (rows, cols), spacing, center, weights=weights, projector=projector, **beam)
    return scan.with_blocks(BlockGrid((rows, cols), changes.pop("block", block)))


def reference(scan, image):
    return joseph_lines(image, *geometry_lines(scan.geometry))


@dataclass
class Scene:
    """A scan's tables and memory, the other slots poisoned; task t works on block t."""

    scan: RadonCT
    image: np.ndarray
    blocks: np.ndarray
    bits: torch.Tensor
    memory: torch.Tensor
    views: list

    @property
    def batch(self):
        return len(self.blocks)

    @property
    def width(self):
        return int(self.blocks["width"].max())

    @property
    def padded(self):
        return self.scan.grid.block_shape

    @property
    def tables(self):
        return as_bytes(self.image), as_bytes(self.blocks)

    @property
    def rays(self):
        g, grid = self.scan.geometry, self.scan.grid
        return as_bytes(np.stack([ray_table(g, grid.window(i), self.scan.footprint(i)) for i in range(self.batch)]))

    def kernel(self, name):
        return name + kernel_ending(self.scan.geometry)

    @property
    def starts(self):
        return torch.from_numpy(np.stack([self.scan.footprint(i).start for i in range(self.batch)]).astype(np.int32))

    def front(self, task, block):
        return self.views[block][int(self.bits[task, block])]

    def back(self, task):
        return self.views[task][1 - int(self.bits[task, task])]

    def tasks(self, **fields):
        table = np.zeros(self.batch, TASK)
        table["block"], table["strength"] = np.arange(self.batch), 1.0
        for name, value in fields.items():
            table[name] = value
        return as_bytes(table)

    def pad(self, parts):
        """Blocks' arrays in a buffer padded to the largest block; NaN elsewhere."""
        buffer = poisoned(self.batch, *self.padded)
        for pixels, part in zip(buffer.numpy(), parts, strict=True):
            pixels[: part.shape[0], : part.shape[1]] = part
        return buffer

    def turned(self, parts):
        """The same with rows and columns exchanged."""
        return self.pad(parts).transpose(1, 2).contiguous()

    def cut(self, buffer):
        """The blocks' own parts of such a buffer."""
        return [pixels[: b["rows"], : b["cols"]] for pixels, b in zip(buffer.numpy(), self.blocks, strict=True)]


def scene(scan, halo=0, seed=0, same_slots=True):
    """Slot bits are drawn for every block, and for every task if not `same_slots`; unread memory is NaN."""
    grid, (rows, cols), (height, width) = scan.grid, scan.image_shape, scan.grid.block_shape
    image = np.zeros(1, IMAGE)
    image[0] = (rows, cols, height, width, grid.layout[1], len(grid), halo, scan.measurements, scan.geometry.detectors)
    layout = slot_layout(scan)
    memory = poisoned(layout.nbytes // 4)
    views = layout.views(memory.numpy())
    blocks = np.zeros(len(grid), BLOCK)
    for index, pair in enumerate(views):
        window = grid.window(index)
        slot = pair[0]
        first, second, *others = (
            (view.ctypes.data - memory.data_ptr()) // 4
            for view in (slot.pixels, pair[1].pixels, slot.momentum, slot.center, slot.share)
        )
        place = (window.top, window.left, *window.shape, scan.footprint(index).width, 0)
        blocks[index] = (*place, (first, second), *(other - first for other in others))
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(0, 2, (len(grid), len(grid)), generator=generator, dtype=torch.int8)
    if same_slots:
        bits[:] = bits[0].clone()
    return Scene(scan, image, blocks, bits, memory, views)


def fill(s, image, shares=False):
    """The image (and its shares) in the slots read, for scenes with the same slots for all tasks."""
    for index, block in enumerate(s.scan.grid.split(image)):
        slot = s.front(0, index)
        slot.pixels[:] = block
        slot.momentum[:] = noise(*block.shape, seed=index)
        slot.center[:] = noise(*block.shape, seed=200 + index)
        if shares:
            s.scan.forward_block(index, np.ascontiguousarray(block), out=slot.share)


def forward(s, pixels):
    """Shares by the kernel, with the rest of the memory poisoned before."""
    s.memory.fill_(torch.nan)
    items, both = s.batch * s.scan.measurements * s.width, (s.pad(pixels), s.turned(pixels))
    KERNELS.launch(s.kernel("forward"), items, *s.tables, s.rays, s.memory, s.tasks(), s.bits, s.batch, s.width, *both)
    return [s.back(task).share.copy() for task in range(s.batch)]


def adjoint(s, residuals, subset=None, parts=1, tasks=None):
    """Sums over parts by the kernel; residuals: (count, width) a block."""
    count = residuals[0].shape[0]
    buffer = poisoned(s.batch, count, s.width)
    for rows, residual in zip(buffer.numpy(), residuals, strict=True):
        rows[:, : residual.shape[1]] = residual
    gradients = poisoned(s.batch, parts, *s.padded)
    sizes = (s.batch, count, s.width, parts)
    tasks = s.tasks() if tasks is None else tasks
    KERNELS.launch(s.kernel("adjoint"), gradients.numel(), *s.tables, s.rays, tasks, subset, *sizes, buffer, gradients)
    assert np.array_equal(gradients.sum((1, 2, 3)).isnan(), np.frombuffer(tasks.numpy(), TASK)["block"] < 0)
    return s.cut(gradients.sum(1))


def with_center(scan, change):
    other = scan.with_blocks(scan.grid)
    g = scan.geometry
    shifted = {"center": g.center + change} if isinstance(g, ParallelGeometry) else {"first": g.first - change * g.step}
    other.geometry = replace(g, **shifted)
    return other


def on_detector(scan, shares):
    sinogram = np.zeros(scan.sinogram.shape)
    for index, share in enumerate(shares):
        sinogram[scan._rays(scan.footprint(index))] += share
    return sinogram


# --- the projector ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, "centre", "shifted", "scaled"])
@pytest.mark.parametrize("seed", range(20))
def test_forward_is_josephs_projection_block_by_block_and_in_sum(seed, wrong):
    s = scene(random_scan(seed))
    if wrong == "centre":
        s.scan = with_center(s.scan, 0.01)
    x, right = noise(*s.scan.image_shape), random_scan(seed)
    shares = forward(s, s.scan.grid.split(x))
    if wrong == "shifted":
        shares = [np.roll(share, 1, axis=1) for share in shares]
    elif wrong == "scaled":
        shares = [share * np.float32(1.0001) for share in shares]
    assert all(np.isfinite(share).all() for share in shares)
    difference = total = 0.0
    for index, share in enumerate(shares):
        alone = np.zeros_like(x)
        window = s.scan.grid.window(index).slices
        alone[window] = x[window]
        expected = reference(right, alone)[s.scan._rays(s.scan.footprint(index))]
        difference += float(np.sum((share - expected) ** 2))
        total += float(np.sum(expected**2))
    whole = reference(right, x)
    assert (difference**0.5 < 1e-5 * total**0.5) == (wrong is None)
    assert (relative(on_detector(s.scan, shares), whole) < 1e-5) == (wrong is None)


def dense(scan):
    """The scan's matrix (rays, pixels) by the float64 reference."""
    rows, cols = scan.image_shape
    units = np.eye(rows * cols).reshape(-1, rows, cols)
    return np.stack([reference(scan, unit).ravel() for unit in units], axis=1)


@pytest.mark.parametrize("seed", range(20))
def test_adjoint_and_backproject_are_the_reference_transposed(seed):
    scan = random_scan(seed, 3, 15)
    s = scene(scan)
    y = noise(*scan.sinogram.shape)
    expected = (dense(scan).T @ y.ravel().astype(float)).reshape(scan.image_shape)
    for wrong in (None, "centre", "shifted", "scaled"):
        t = replace(s, scan=with_center(scan, 0.01)) if wrong == "centre" else s
        blocks = adjoint(t, [y[scan._rays(scan.footprint(index))] for index in range(s.batch)])
        for found in (scan.grid.join(blocks), backproject(t.scan, y)):
            if wrong == "shifted":
                found = np.roll(found, 1, axis=1)
            elif wrong == "scaled":
                found = found * 1.0001
            assert (np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(y)) == (wrong is None)


def backproject(scan, sinogram):
    g, (rows, cols) = scan.geometry, scan.image_shape
    whole = BlockGrid((rows, cols), (rows, cols)).window(0)
    rays = ray_table(g, whole, Footprint(np.zeros(len(g.angles), np.intp), g.detectors))
    image = poisoned(rows, cols)
    sizes = (len(g.angles), g.detectors, rows, cols)
    KERNELS.launch(
        "backproject" + kernel_ending(g), rows * cols, as_bytes(rays), torch.from_numpy(sinogram), *sizes, image
    )
    return image.numpy()


@pytest.mark.parametrize("wrong", [None, "scaled", "flipped", "angles"])
@pytest.mark.parametrize("parts", [1, 2, 7])
@pytest.mark.parametrize("subset", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_adjoint_matches_on_signed_noise(seed, subset, parts, wrong):
    s = scene(random_scan(seed, 30, 90))
    chosen = np.stack([np.random.default_rng(i).permutation(9)[:4] for i in range(s.batch)]) if subset else None
    pixels = [noise(*s.scan.grid.window(index).shape, seed=index) for index in range(s.batch)]
    shares = forward(s, pixels)
    if subset:
        shares = [share[rows] for share, rows in zip(shares, chosen, strict=True)]
    y = [noise(*share.shape, seed=100 + index) for index, share in enumerate(shares)]
    given = torch.from_numpy(chosen.astype(np.int32)) if subset else None
    if wrong == "angles":  # another subset: the order of the angles is wrong
        given = torch.arange(8, 8 - y[0].shape[0], -1, dtype=torch.int32).repeat(s.batch, 1)
    back = adjoint(s, y, given, parts)
    back = {"scaled": [1.001 * b for b in back], "flipped": [b[::-1, ::-1] for b in back]}.get(wrong, back)
    worst = max(
        abs(np.vdot(share.astype(float), r) - np.vdot(x.astype(float), b))
        / (np.linalg.norm(share) * np.linalg.norm(r) + 1e-9)
        for share, r, x, b in zip(shares, y, pixels, back, strict=True)
    )
    assert (worst < 1e-5) == (wrong is None)


@pytest.mark.parametrize("wrong", [None, "centre", "shifted"])
@pytest.mark.parametrize("size", [64, 256])
def test_forward_is_astras_projection(size, wrong):
    angles, detectors = half_turn(12, 0.013), int(size * 1.414)
    scan = RadonCT(np.zeros((12, detectors), np.float32), angles, (size, size), projector="astra")
    s = scene(scan.with_blocks(BlockGrid((size, size), (size // 3, size // 2))))
    if wrong == "centre":
        s.scan = with_center(s.scan, 0.1)
    x = noise(size, size)
    found = on_detector(s.scan, forward(s, s.scan.grid.split(x)))
    projector = astra.create_projector(
        "linear", astra.create_proj_geom("parallel", 1.0, detectors, angles), astra.create_vol_geom(size, size)
    )
    data, expected = astra.create_sino(x, projector)
    astra.data2d.delete(data)
    astra.projector.delete(projector)
    found = np.roll(found, 1, axis=1) if wrong == "shifted" else found
    assert (relative(found, expected) < 2e-3) == (wrong is None)


@pytest.mark.parametrize("factor", [1.0, 1.00001])
@pytest.mark.parametrize("seed", range(6))
def test_both_are_the_cpus_projector(seed, factor):
    s = scene(random_scan(seed))
    pixels = [noise(*s.scan.grid.window(index).shape, seed=index) for index in range(s.batch)]
    shares = forward(s, pixels)
    back = adjoint(s, shares)
    for index, (x, share) in enumerate(zip(pixels, shares, strict=True)):
        expected = s.scan.forward_block(index, x, out=np.empty_like(share))
        assert (np.linalg.norm(share * factor - expected) <= 1e-6 * np.linalg.norm(expected)) == (factor == 1.0)
        gradient = s.scan.adjoint_block(index, share, out=np.empty_like(x))
        assert (np.linalg.norm(back[index] * factor - gradient) <= 1e-6 * np.linalg.norm(gradient)) == (factor == 1.0)


# A window of a scan: (size, place, image side, detectors, whether it is projected on the whole detector)
FAR_WINDOWS = [(64, 8000, 8192, 16_384, True), (64, 0, 8192, 16_384, True), (300, 11_000, 11_500, 16_384, True)]
WINDOWS = [
    *FAR_WINDOWS,
    (64, 8000, 8192, 16_384, False),
    (64, 0, 64, 16_384, False),
    (200, 600, 800, 287, False),
    (2048, 9000, 11_500, 16_384, False),
    (4096, 0, 4096, 16_384, True),
]


def rays_of(window, spacing=1.0):
    """A square window on the diagonal, its rays over a turn, and the same in float64: first, per_ray, per_line."""
    size, place, side, detectors, whole = window
    angles = np.concatenate([np.random.default_rng(size).uniform(0, 2 * np.pi, 12), np.pi / 4 * np.arange(8)])
    g = ParallelGeometry((side, side), angles, detectors, spacing, 0.47 * detectors)
    where = Window(place, place + size, place, place + size)
    footprint = Footprint(np.zeros(len(angles), np.intp), detectors) if whole else block_footprint(g, where)
    rays = parallel_rays(g, where, footprint)
    first, per_ray, per_line = np.empty((3, len(angles)))
    for n, angle in enumerate(angles):
        cos, sin, x, y = np.cos(angle), np.sin(angle), place + 0.5 - side / 2, side / 2 - place - 0.5
        t = (footprint.start[n] - g.center) * spacing
        if rays["along_rows"][n]:
            first[n], per_ray[n], per_line[n] = (t - y * sin) / cos - x, spacing / cos, np.tan(angle)
        else:
            first[n], per_ray[n], per_line[n] = y - (t - x * cos) / sin, -spacing / sin, cos / sin
    return rays, footprint.width, np.stack([first, per_ray, per_line], axis=1)


def rounded_to_one_float(rays):
    naive = rays.copy()
    naive["first_rest"] = naive["per_ray_rest"] = 0
    return naive


def worst_position(window, change=None):
    """How far a position on the last line is from float64's, in ulps of float32 at 2·size.

    Seen through the kernel: where only that line has values, and they are their places, a ray sums to its position.
    """
    size = window[0]
    rays, width, exact = rays_of(window)
    ramp = torch.zeros(size, size)
    ramp[-1] = torch.arange(size)
    seen, worst = 0, 0.0
    for ray, (first, per_ray, per_line) in zip(rays if change is None else change(rays), exact, strict=True):
        position = first + np.arange(width) * per_ray + (size - 1) * per_line
        image, found = ramp if ray["along_rows"] else ramp.T.contiguous(), poisoned(width)
        KERNELS.launch("project", width, as_bytes(ray), image, 1, width, size, size, found)
        inside = (position > 1) & (position < size - 2)
        error = found.numpy()[inside] / np.float64(ray["length"]) - position[inside]
        seen, worst = seen + int(inside.sum()), max(worst, float(np.abs(error).max(initial=0)))
    assert seen > 100
    return worst / float(np.spacing(np.float32(2 * size)))


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_positions_are_right_to_a_float(window):
    assert worst_position(window) < 1.5


@pytest.mark.parametrize("window", FAR_WINDOWS, ids=str)
def test_with_one_float_a_far_windows_positions_are_wrong(window):
    assert worst_position(window, rounded_to_one_float) > 1.5


def without_reach(rays):
    early = rays.copy()
    early["reach"] = 1 / np.abs(rays["per_ray"])
    early["rays_near"] = (2 * early["reach"]).astype(int) + 1
    return early


SEARCHES = [(FAR_WINDOWS[0], 1.0), (FAR_WINDOWS[1], 2.5), (FAR_WINDOWS[2], 1.0)]


@pytest.mark.parametrize(
    ("window", "spacing", "change"),
    [
        *((window, spacing, None) for window in FAR_WINDOWS for spacing in (0.3, 1.0, 2.5)),
        *((*search, without_reach) for search in SEARCHES),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),  # pytest-xdist wants the same names in every process
)
def test_every_ray_near_a_pixel_is_found(window, spacing, change):
    """For the largest detectors, where the search itself rounds the most."""
    size = window[0]
    rays, width, exact = rays_of(window, spacing)
    values, ones, place = np.random.default_rng(3).uniform(0.5, 1, width), np.ones(size), np.arange(size)
    given, worst = torch.from_numpy(values.astype(np.float32)), 0.0
    for ray, (first, per_ray, per_line) in zip(rays if change is None else change(rays), exact, strict=True):
        found, expected = poisoned(size, size), np.zeros((size, size))  # expected: (lines, places)
        KERNELS.launch("backproject", size * size, as_bytes(ray), given, 1, width, size, size, found)
        crossing = first + np.outer(np.arange(size), ones) * per_line
        nearest = np.rint((place - crossing) / per_ray).astype(int)
        for away in range(-5, 6):
            k = nearest + away
            weight = np.clip(1 - np.abs(crossing + k * per_ray - place), 0, None)
            expected += np.where((k >= 0) & (k < width), weight * values[np.clip(k, 0, width - 1)], 0)
        pixels = found.numpy() if ray["along_rows"] else found.numpy().T
        worst = max(worst, float(np.abs(pixels - ray["length"] * expected).max()))
    assert (worst < 8 * float(np.spacing(np.float32(2 * size)))) == (change is None), worst


# --- what an update reads --------------------------------------------------------------------------------------------


def put(s, task, image, dual=None):
    """The image, and a dual variable, in the slots that the task reads; what a denoiser is then to see."""
    s.memory.fill_(torch.nan)
    for index, pixels in enumerate(s.scan.grid.split(image)):
        s.front(task, index).pixels[:] = pixels
    if dual is None:
        return image
    for index, part in enumerate(s.scan.grid.split(dual)):
        s.front(task, index).momentum[:] = part
    return image + dual


@pytest.mark.parametrize("wrong", [None, "slots", "halo", "shifted", "scale"])
@pytest.mark.parametrize("halo", [0, 3, 40])
@pytest.mark.parametrize(("shape", "block"), [((21, 33), (8, 10)), ((12, 12), (12, 12)), ((9, 1), (4, 1))])
@pytest.mark.parametrize("dual", [False, True])
def test_crop_is_a_cut_of_the_mirrored_image(shape, block, halo, wrong, dual):
    scan = RadonCT(noise(5, 20), half_turn(5), shape).with_blocks(BlockGrid(shape, block))
    s = scene(scan, halo, same_slots=False)
    images = [noise(*shape, seed=index) for index in range(s.batch)]  # each task's slots have an image of their own
    height, width = block[0] + 2 * halo, block[1] + 2 * halo
    scale, strength = np.float32(0.37), 1 + np.arange(s.batch, dtype=np.float32) / 2
    for task, image in enumerate(images):
        read = put(s, task, image, noise(*shape, seed=50) if dual else None)
        crops = poisoned(s.batch, height, width)
        bits = 1 - s.bits if wrong == "slots" else s.bits
        stronger = 1 if wrong == "strength" else strength
        only = s.tasks(block=np.where(np.arange(s.batch) == task, task, -1), strength=stronger)
        given = s.image.copy()
        if wrong == "halo":
            given["halo"] = halo + 1
            crops = poisoned(s.batch, height + 2, width + 2)
        divisor = float(scale) * (1.01 if wrong == "scale" else 1)
        arguments = (as_bytes(given), as_bytes(s.blocks), s.memory, only, bits, s.batch, int(dual))
        KERNELS.launch("crop", crops.numel(), *arguments, divisor, crops)
        found = crops.numpy()[:, :height, :width]
        if wrong == "shifted":
            found = np.roll(found, 1, axis=(0, 1, 2) if s.batch > 1 else 2) if max(found.shape[1:]) > 1 else found
        window = scan.grid.window(task)
        mirrored = np.pad(read, halo, mode="reflect") / (scale * strength[task])
        expected = np.zeros((s.batch, height, width), np.float32)
        inside = mirrored[window.top : window.bottom + 2 * halo, window.left : window.right + 2 * halo]
        expected[task, : inside.shape[0], : inside.shape[1]] = inside
        # The first task's strength is 1.
        assert np.array_equal(found, expected) == (wrong is None or (wrong == "strength" and task == 0))


@pytest.mark.parametrize("wrong", [None, "slots", "flipped", "scale", "strength"])
@pytest.mark.parametrize(("shape", "block"), [((21, 33), (8, 10)), ((12, 12), (12, 12)), ((9, 1), (4, 1))])
@pytest.mark.parametrize("dual", [False, True])
def test_whole_is_the_image_that_a_task_reads(shape, block, wrong, dual):
    scan = RadonCT(noise(5, 20), half_turn(5), shape).with_blocks(BlockGrid(shape, block))
    s = scene(scan, halo=3, same_slots=False)
    scale = np.float32(0.37)
    for task in range(s.batch):
        image = put(s, task, noise(*shape, seed=task), noise(*shape, seed=50) if dual else None)
        images = poisoned(s.batch, *shape)
        bits = 1 - s.bits if wrong == "slots" else s.bits
        only = s.tasks(block=np.where(np.arange(s.batch) == task, task, -1), strength=1 if wrong == "strength" else 4)
        divisor = float(scale) * (1.01 if wrong == "scale" else 1)
        start = (*s.tables, s.memory, only, bits, s.batch, int(dual))
        KERNELS.launch("whole", images.numel(), *start, divisor, images)
        expected = np.zeros((s.batch, *shape), np.float32)
        expected[task] = (image[::-1] if wrong == "flipped" else image) / (4 * scale)
        assert np.array_equal(images.numpy(), expected) == (wrong is None)


@pytest.mark.parametrize("wrong", [None, "slots", "starts", "block", "weights", "angles"])
@pytest.mark.parametrize("subset", [False, True])
@pytest.mark.parametrize("seed", range(10 if ALL_RUNS else 5))
def test_residual_is_the_cpus_bit_for_bit(seed, subset, wrong):
    """Many small blocks, ragged, on detectors that often end within the image: the search must miss none of them."""
    random = np.random.default_rng(seed)
    plain = random_scan(seed, 20, 60, projector="astra")
    weights = random.uniform(0.1, 2, plain.sinogram.shape).astype(np.float32)
    block = tuple(int(side) for side in random.integers(2, 9, 2))
    scan = random_scan(seed, 20, 60, weights=weights, block=block)
    s = scene(scan, seed=seed)
    fill(s, noise(*scan.image_shape), shares=True)
    shares = [s.front(0, index).share.copy() for index in range(s.batch)]
    count = 4 if subset else 9
    chosen = np.stack([random.permutation(9)[:count] for _ in range(s.batch)]) if subset else None
    given = torch.from_numpy(chosen.astype(np.int32)) if subset else None
    bits, starts = s.bits, s.starts
    if wrong == "slots":
        bits = 1 - bits
    elif wrong == "starts":
        starts = starts + 1
    elif wrong == "block":
        s.front(0, s.batch // 2).share[:] = 0
    elif wrong == "angles":
        given = torch.arange(8, 8 - count, -1, dtype=torch.int32).repeat(s.batch, 1)
    residuals = poisoned(s.batch, count, s.width)
    padding = -1e9 * torch.ones(2)  # starts + 1 reads one beyond the sinogram
    sinogram, w = (torch.cat([torch.from_numpy(a).reshape(-1), padding]) for a in (scan.sinogram, weights))
    arguments = (*s.tables, s.memory, starts, sinogram, None if wrong == "weights" else w, s.tasks(), bits, given)
    KERNELS.launch("residual", residuals.numel(), *arguments, s.batch, count, s.width, residuals)
    agree = True
    for index in random.permutation(s.batch)[:24]:
        out = np.empty(scan.residual_shape(index, count), np.float32)
        scan.residual_block(index, shares, out=out, subset=None if chosen is None else chosen[index])
        agree &= np.array_equal(residuals.numpy()[index, :, : out.shape[1]], out)
        assert not residuals.numpy()[index, :, out.shape[1] :].any()
    assert wrong == "slots" or bool(residuals.isfinite().all())
    assert agree == (wrong is None)


# --- the step and what it publishes ----------------------------------------------------------------------------------


@dataclass
class Moving:
    """One launch of combine and step over all blocks of a scene, and the same by red.py."""

    scene: Scene
    gradients: torch.Tensor
    combined: torch.Tensor
    pixels: torch.Tensor
    turned: torch.Tensor
    momentum: torch.Tensor
    centers: torch.Tensor
    stepped: torch.Tensor


TAU, SCALE = 0.3, 0.7


def launch_step(s, parts, tasks, data, residual, mask, reference, bits=None, tau=TAU, centered=False, dual=False):
    """`data`, `residual`: (rows, cols) a block; the data gradient is split into parts."""
    bits = s.bits if bits is None else bits
    random = np.random.default_rng(5)
    gradients = poisoned(s.batch, parts, *s.padded)
    shares = random.dirichlet(np.ones(parts)).astype(np.float32)
    for part in range(parts):
        gradients[:, part] = s.pad([shares[part] * block for block in data])
    combined, stepped = poisoned(s.batch, 2, LANES), poisoned(s.batch, 2, LANES)
    pixels, momentum = poisoned(s.batch, *s.padded), poisoned(s.batch, *s.padded)
    turned = poisoned(s.batch, *s.padded[::-1])
    start = (*s.tables, s.memory, tasks, bits, s.batch, parts)
    items = s.batch * LANES
    noises, flag = s.pad(residual), int(centered)
    KERNELS.launch("combine", items, *start, flag, tau, SCALE, mask, noises, gradients, LANES, combined)
    totals, centers = combined.sum(2), poisoned(s.batch, *s.padded)
    if centered:
        moving = (pixels, momentum, centers)
        KERNELS.launch(
            "follow", centers.numel(), *start, int(dual), tau, SCALE, mask, noises, totals, gradients, *moving
        )
    KERNELS.launch("step", items, *start, flag, gradients, totals, reference, pixels, turned, momentum, LANES, stepped)
    return Moving(s, gradients[:, 0], combined.sum(2), pixels, turned, momentum, centers, stepped.sum(2))


def close(found, expected):
    return np.allclose(found, expected, rtol=2e-5, atol=2e-6)


STEPS = [
    (nonnegative, masked, wrong)
    for nonnegative in (False, True)
    for masked in (False, True)
    for wrong in (None, "slots", "tau", "length", "momentum", "gradient_scale", "strength", "nonnegative", "mask")
    if not (wrong == "mask" and not masked) and not (wrong == "nonnegative" and not nonnegative)
]


@pytest.mark.parametrize(("nonnegative", "masked", "wrong"), STEPS)
def test_combine_and_step_are_the_move_of_red(nonnegative, masked, wrong):
    scan = RadonCT(noise(5, 40), half_turn(5), (21, 33)).with_blocks(BlockGrid((21, 33), (8, 10)))
    s = scene(scan)
    fill(s, noise(21, 33))
    step = Step(0.2, 0.8, nonnegative)
    data, residual = ([noise(*s.scan.grid.window(i).shape, seed=k + i) for i in range(s.batch)] for k in (50, 90))
    mask = (noise(21, 33, seed=3) > 0).astype(np.float32) if masked else None
    reference = noise(21, 33, seed=4)
    fields = dict(length=0.2, momentum=0.8, gradient_scale=1.7, strength=3.0, nonnegative=int(nonnegative))
    if wrong in fields:
        fields[wrong] *= 0 if wrong == "nonnegative" else 1.01
    found = launch_step(
        s,
        3,
        s.tasks(**fields),
        data,
        residual,
        None if mask is None or wrong == "mask" else torch.from_numpy(mask),
        torch.from_numpy(reference),
        bits=1 - s.bits if wrong == "slots" else None,
        tau=TAU * (1.01 if wrong == "tau" else 1),
    )
    agree, restarts = [], set()
    for index in range(s.batch):
        slot, window = s.front(0, index), s.scan.grid.window(index).slices
        pixels, momentum, gradient = slot.pixels.copy(), slot.momentum.copy(), np.float32(1.7) * data[index]
        inside = None if mask is None else mask[window]
        moved = move(pixels, momentum, gradient, np.float32(3 * SCALE) * residual[index], TAU, step, inside)
        restarts.add(moved.restarted)
        agree += [
            close(s.cut(found.gradients)[index], gradient),
            close(s.cut(found.pixels)[index], pixels),
            close(s.cut(found.momentum)[index], momentum),
            close(found.combined[index].numpy(), [moved.gradient_squared, np.vdot(gradient, slot.momentum)]),
            close(found.stepped[index].numpy(), [np.sum((pixels - reference[window]) ** 2), 0]),
        ]
    assert all(agree) == (wrong is None)
    assert restarts == {False, True}
    assert torch.equal(found.turned.transpose(1, 2).nan_to_num(7), found.pixels.nan_to_num(7))
    assert wrong == "slots" or not torch.equal(found.turned.reshape(found.pixels.shape), found.pixels)


@pytest.mark.parametrize(("asks", "dual"), [(True, False), (True, True), (False, False)])
@pytest.mark.parametrize(("nonnegative", "masked", "wrong"), STEPS)
def test_combine_follow_and_step_are_the_follow_of_red(nonnegative, masked, wrong, asks, dual):
    scan = RadonCT(noise(5, 40), half_turn(5), (21, 33)).with_blocks(BlockGrid((21, 33), (8, 10)))
    s = scene(scan)
    fill(s, noise(21, 33))
    inertia = 0.8 if asks and not dual else 0.0
    step = Step(0.2, inertia, nonnegative, 3.0 * asks, centered=True, dual=dual)
    data, residual = ([noise(*s.scan.grid.window(i).shape, seed=k + i) for i in range(s.batch)] for k in (50, 90))
    mask = (noise(21, 33, seed=3) > 0).astype(np.float32) if masked else None
    reference = noise(21, 33, seed=4)
    fields = dict(length=0.2, momentum=inertia, gradient_scale=1.7, strength=3.0 * asks)
    fields["nonnegative"] = int(nonnegative)
    if wrong in fields:
        fields[wrong] *= 0 if wrong == "nonnegative" else 1.01
    found = launch_step(
        *(s, 3, s.tasks(**fields), data, residual),
        None if mask is None or wrong == "mask" else torch.from_numpy(mask),
        torch.from_numpy(reference),
        bits=1 - s.bits if wrong == "slots" else None,
        tau=TAU * (1.01 if wrong == "tau" else 1),
        centered=True,
        dual=dual,
    )
    agree, restarts = [], set()
    for index in range(s.batch):
        slot, window = s.front(0, index), s.scan.grid.window(index).slices
        arrays = [part.copy() for part in (slot.pixels, slot.momentum, slot.center)]
        given = (np.float32(1.7) * data[index], np.float32(3 * SCALE) * residual[index])
        moved = follow(*arrays, *given, TAU, step, None if mask is None else mask[window])
        restarts.add(moved.restarted)
        parts = zip((found.pixels, found.momentum, found.centers), arrays, strict=True)
        agree += [close(s.cut(buffer)[index], array) for buffer, array in parts]
        agree += [
            close(found.combined[index, 0].item(), moved.gradient_squared),
            close(found.stepped[index].numpy(), [np.sum((arrays[0] - reference[window]) ** 2), 0]),
        ]
    without = (not asks and wrong == "strength") or (not inertia and wrong == "momentum")  # 0 as it is
    assert all(agree) == (wrong is None or without)
    assert restarts == ({False, True} if inertia else {False})
    assert torch.equal(found.turned.transpose(1, 2).nan_to_num(7), found.pixels.nan_to_num(7))


class Added:
    """A stand-in for a preconditioner: P G = 2G + the place of a pixel, so that every pixel's place counts."""

    least = 0.3

    def __call__(self, gradient):
        rows, cols = gradient.shape
        return 2 * gradient + np.arange(rows)[:, None] + 100 * np.arange(cols)


@pytest.mark.parametrize("wrong", [None, "slots", "least", "mask", "nonnegative", "pitch"])
@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("moved", [False, True])
def test_the_filters_around_a_preconditioner_are_red_pys(nonnegative, wrong, moved):
    """At the slot's pixels, or at those that the block has come to since."""
    scan = RadonCT(noise(5, 40), half_turn(5), (21, 33)).with_blocks(BlockGrid((21, 33), (8, 10)))
    s = scene(scan)
    fill(s, noise(21, 33))
    parts, bits = 2, 1 - s.bits if wrong == "slots" else s.bits
    gradients, mask = poisoned(s.batch, parts, *s.padded), (noise(21, 33, seed=3) > 0).astype(np.float32)
    given = [noise(*scan.grid.window(i).shape, seed=50 + i) * mask[scan.grid.window(i).slices] for i in range(s.batch)]
    gradients[:, 0] = s.pad(given)
    free, filtered = poisoned(s.batch, *s.padded), poisoned(s.batch, 19, 25)
    tasks = s.tasks(nonnegative=int(nonnegative) if wrong != "nonnegative" else 1 - int(nonnegative))
    start = (*s.tables, s.memory, tasks, bits, s.batch, parts)
    pixels = poisoned(s.batch, *s.padded)
    pixels[:] = s.pad([noise(*scan.grid.window(i).shape, seed=70 + i) for i in range(s.batch)])
    there = pixels if moved else None
    KERNELS.launch("filter_in", free.numel(), *start, gradients, there, free)
    filtered[:, : s.padded[0], : s.padded[1]] = torch.from_numpy(np.stack([Added()(block) for block in free.numpy()]))
    least, pitch = (0.31 if wrong == "least" else Added.least), (24 if wrong == "pitch" else 25)
    held_mask = None if wrong == "mask" else torch.from_numpy(mask)
    KERNELS.launch("filter_out", free.numel(), *start, least, held_mask, filtered, 19, pitch, there, gradients)
    agree, any_held = [], False
    for index in range(s.batch):
        gradient, window = given[index], scan.grid.window(index).slices
        now = s.cut(pixels)[index] if moved else s.front(0, index).pixels
        held = (now <= 0) & (gradient > 0) if nonnegative else None
        any_held |= held is not None and bool(held.any())
        moving = gradient if held is None else np.where(held, 0, gradient)
        expected = preconditioned(Added(), gradient, moving, held, mask[window])
        agree += [close(s.cut(free)[index], moving), close(s.cut(gradients[:, 0])[index], expected)]
        beyond = free[index].clone()
        beyond[: gradient.shape[0], : gradient.shape[1]] = 0
        assert not beyond.any()
    assert any_held == nonnegative
    # Where nothing is held neither matters, nor the slot where the block isn't there any more.
    without = (wrong in ("slots", "least") and not nonnegative) or (wrong == "slots" and moved)
    assert all(agree) == (wrong is None or without)


@pytest.mark.parametrize("nonnegative", [0, 1])
def test_values_that_are_not_finite_are_counted_and_kept(nonnegative):
    scan = RadonCT(noise(5, 40), half_turn(5), (8, 10)).with_blocks(BlockGrid((8, 10), (8, 10)))
    s = scene(scan)
    fill(s, noise(8, 10))
    data = [noise(8, 10)]
    data[0][2, 3], data[0][5, 5], data[0][6, 1] = np.nan, np.inf, -np.inf
    tasks = s.tasks(length=0.1, momentum=0.0, gradient_scale=1.0, nonnegative=nonnegative)
    found = launch_step(s, 1, tasks, data, [noise(8, 10)], None, None)
    # +∞ in G sends x to −∞, which a clip brings back to 0; NaN stays.
    assert found.stepped.tolist() == [[0.0, 2.0 if nonnegative else 3.0]]
    assert found.pixels[0, 2, 3].isnan()


def test_tasks_without_a_block_write_zero_sums_and_nothing_else():
    scan = RadonCT(noise(5, 40), half_turn(5), (8, 10)).with_blocks(BlockGrid((8, 10), (4, 5)))
    s = scene(scan)
    fill(s, noise(8, 10), shares=True)
    before, idle = s.memory.numpy().view(np.int32).copy(), s.tasks(block=-1)
    blocks = [noise(4, 5) for _ in range(s.batch)]
    found = launch_step(s, 1, idle, blocks, blocks, None, None)
    assert not found.combined.any() and not found.stepped.any()
    assert found.pixels.isnan().all() and found.turned.isnan().all() and found.momentum.isnan().all()
    adjoint(s, [noise(5, b["width"]) for b in s.blocks], tasks=idle)
    residuals = poisoned(s.batch, 5, s.width)
    starts = (s.starts, torch.from_numpy(scan.sinogram), None, idle, s.bits, None, s.batch, 5, s.width)
    KERNELS.launch("residual", residuals.numel(), *s.tables, s.memory, *starts, residuals)
    assert residuals.isnan().all()
    pixels = s.pad(blocks)
    KERNELS.launch("publish", pixels.numel(), *s.tables, s.memory, idle, s.bits, s.batch, pixels, pixels, pixels)
    KERNELS.launch("forward", 1, *s.tables, s.rays, s.memory, idle, s.bits, s.batch, s.width, pixels, pixels)
    assert np.array_equal(s.memory.numpy().view(np.int32), before)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("wrong", [None, "slots"])
def test_publish_and_forward_write_the_back_slot_only(wrong, centered):
    scan = RadonCT(noise(5, 40), half_turn(5), (21, 33)).with_blocks(BlockGrid((21, 33), (8, 10)))
    s = scene(scan)
    fill(s, noise(21, 33), shares=True)
    before = s.memory.numpy().view(np.int32).copy()
    bits = 1 - s.bits if wrong else s.bits
    shapes = [scan.grid.window(i).shape for i in range(s.batch)]
    pixels, momentum, centers = ([noise(*shape, seed=k + i) for i, shape in enumerate(shapes)] for k in (50, 90, 130))
    start, padded = (s.memory, s.tasks(), bits, s.batch), (s.pad(pixels), s.pad(momentum))
    KERNELS.launch("publish", padded[0].numel(), *s.tables, *start, *padded, s.pad(centers) if centered else None)
    KERNELS.launch("forward", 1, *s.tables, s.rays, *start, s.width, padded[0], s.turned(pixels))
    written = np.zeros(len(before), bool)
    agree = True
    for index in range(s.batch):
        back = s.back(index)
        agree &= np.array_equal(back.pixels, pixels[index]) and np.array_equal(back.momentum, momentum[index])
        agree &= bool(np.isfinite(back.share).all())
        agree &= not centered or np.array_equal(back.center, centers[index])
        for part in (back.pixels, back.momentum, back.share, *([back.center] if centered else [])):
            place = (part.ctypes.data - s.memory.data_ptr()) // 4
            written[place : place + part.size] = True
    unchanged = np.array_equal(s.memory.numpy().view(np.int32)[~written], before[~written])
    assert (agree and unchanged) == (wrong is None)


# --- calling them ----------------------------------------------------------------------------------------------------


def test_structs_are_those_of_numpy():
    sizes = (ctypes.c_int * 5)()
    host_build._built(host_build.KERNELS).struct_sizes(sizes)
    assert list(sizes) == [IMAGE.itemsize, BLOCK.itemsize, TASK.itemsize, PARALLEL_RAYS.itemsize, FAN_RAYS.itemsize]


def test_every_source_is_part_of_the_build():
    assert {file.stem for file in kernel_files()} >= {
        "crop",
        "whole",
        "residual",
        "adjoint",
        "forward",
        "combine",
        "filter_in",
        "filter_out",
        "follow",
        "step",
        "publish",
    }
    assert {file.name for file in FOLDER.iterdir() if file.suffix in {".cu", ".h", ".cuh"}} <= {
        *host_build.KERNELS,
        *host_build.PROJECTOR,
    }


def good_publish():
    s = scene(RadonCT(noise(5, 40), half_turn(5), (8, 10)).with_blocks(BlockGrid((8, 10), (4, 5))))
    return [*s.tables, s.memory, s.tasks(), s.bits, s.batch, *[s.pad([noise(4, 5)] * 4)] * 2, None]


BAD = [
    (5, 4.0, TypeError, r"kernel publish: 4.0 isn't its argument int batch"),
    (5, True, TypeError, r"kernel publish: True isn't its argument int batch"),
    (5, 2**31, ValueError, r"batch=2147483648 doesn't fit into 32 bits"),
    (6, 3, TypeError, r"kernel publish: 3 isn't its argument float \*pixels"),
    (6, None, TypeError, r"kernel publish: None isn't its argument float \*pixels"),
    (6, torch.zeros(4, dtype=torch.float64), TypeError, r"a tensor of torch.float64 isn't its argument float \*pixels"),
    (
        4,
        torch.zeros(4, dtype=torch.int32),
        TypeError,
        r"a tensor of torch.int32 isn't its argument signed char \*slots",
    ),
    (6, torch.zeros(4, 8).T, ValueError, r"pixels isn't contiguous \(shape \(8, 4\), strides \(1, 8\)\)"),
    (6, torch.zeros(4, device="meta"), ValueError, r"pixels lies on meta, the kernel runs on the CPU"),
]


@pytest.mark.parametrize(("place", "bad", "kind", "message"), BAD)
def test_wrong_arguments_are_refused(place, bad, kind, message):
    arguments = good_publish()
    KERNELS.launch("publish", 80, *arguments)
    arguments[place] = bad
    with pytest.raises(kind, match=message):
        KERNELS.launch("publish", 80, *arguments)


def test_a_wrong_number_of_arguments_names_the_kernel():
    with pytest.raises(TypeError, match=r"kernel publish got 8 arguments, it takes 9: Image \*image, .*, int batch"):
        KERNELS.launch("publish", 80, *good_publish()[:-1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("KERNEL other(int n) {}", r"holds the kernels \['other'\], not just planted"),
        ("// none", r"holds the kernels \[\], not just planted"),
        ("KERNEL planted(unsigned n[3]) {}", r"isn't a parameter this reader knows"),
    ],
)
def test_a_source_whose_kernel_cannot_be_read_is_refused(tmp_path, text, message):
    file = tmp_path / "planted.cu"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        signature(file)
