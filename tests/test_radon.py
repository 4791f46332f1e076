"""The CT operator against ASTRA's own projection, a float64 reference, and dense matrices; signed noise throughout."""

import os
import pickle
import signal
import threading
import time

import astra
import numpy as np
import pytest
import torch

from asyncred_gpu import RadonCT
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.kernels.host_build import HostBuildError, host_kernels
from asyncred_gpu.operators import footprint as footprints
from asyncred_gpu.operators.radon import project
from asyncred_gpu.operators.threads import in_order

from .helpers import alive, blobs, half_turn, joseph, needs_compiler, relative, small_scan

RANDOM = np.random.default_rng(0)
TURN = 2 * half_turn(20)
PROJECTORS = ["astra", pytest.param("joseph", marks=needs_compiler)]
GEOMETRIES = {
    "plain": dict(image=(48, 48), block=(16, 16), angles=half_turn(20), detectors=69, spacing=1.0, center=None),
    "ragged": dict(image=(45, 37), block=(16, 20), angles=half_turn(17, 0.1), detectors=61, spacing=1.0, center=None),
    "off centre": dict(image=(40, 40), block=(13, 20), angles=half_turn(15), detectors=80, spacing=1.0, center=31.3),
    "spacing": dict(image=(40, 40), block=(20, 20), angles=half_turn(15), detectors=50, spacing=1.7, center=None),
    "fine": dict(image=(32, 32), block=(16, 8), angles=half_turn(15), detectors=90, spacing=0.6, center=40.2),
    "truncated": dict(image=(48, 48), block=(16, 16), angles=half_turn(20), detectors=31, spacing=1.0, center=12.0),
    "turn": dict(
        image=(32, 32), block=(16, 16), angles=RANDOM.uniform(0, 2 * np.pi, 21), detectors=50, spacing=1.0, center=None
    ),
    "shifted": dict(
        **dict(image=(32, 36), block=(16, 20), angles=half_turn(16), detectors=60),
        **dict(spacing=1.0, center=RANDOM.uniform(22, 33, 16)),
    ),
    "tilted": dict(
        **dict(image=(32, 36), block=(16, 20), angles=half_turn(16), detectors=75),
        **dict(spacing=RANDOM.uniform(0.8, 1.2, 16), center=35.2, detector_tilt=RANDOM.uniform(-0.7, 0.7, 16)),
    ),
    "fan": dict(
        **dict(image=(48, 48), block=(16, 16), angles=TURN, detectors=80, spacing=1.5, center=None),
        **dict(source_distance=150.0, detector_distance=70.0),
    ),
    "near fan": dict(
        **dict(image=(40, 34), block=(20, 12), angles=TURN + 0.2, detectors=70, spacing=1.5, center=40.5),
        **dict(source_distance=32.0, detector_distance=21.0, detector_tilt=0.15),
    ),
    "truncated fan": dict(
        **dict(image=(48, 48), block=(16, 16), angles=TURN, detectors=37, spacing=1.3, center=15.5),
        **dict(source_distance=110.0, detector_distance=60.0, detector_tilt=RANDOM.uniform(-0.2, 0.2, 20)),
    ),
    "fine fan": dict(
        **dict(image=(24, 40), block=(11, 40), angles=half_turn(16), detectors=150, spacing=0.35, center=70.0),
        **dict(source_distance=160.0, detector_distance=0.0),
    ),
}
BEAM = ("detector_tilt", "source_distance", "detector_distance")


def noise(*shape):
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def make(name, projector="astra", **changes):
    g = GEOMETRIES[name] | changes
    sinogram = noise(len(g["angles"]), g["detectors"])
    scan = RadonCT(sinogram, g["angles"], g["image"], g["spacing"], g["center"], projector=projector, **beam_of(g))
    return scan.with_blocks(BlockGrid(g["image"], g["block"]))


def beam_of(g):
    return {key: g[key] for key in BEAM if key in g}


def reference(name, image, sign=1, center=0.0):
    """Joseph's projection in float64, from the numbers above."""
    g = GEOMETRIES[name]
    middle = (g["detectors"] - 1) / 2 if g["center"] is None else g["center"]
    return joseph(image, sign * g["angles"], g["detectors"], g["spacing"], middle + center, **beam_of(g))


def mismatch(operator_x, y, x, back_y):
    dot = abs(np.vdot(operator_x.astype(float), y) - np.vdot(x.astype(float), back_y))
    return dot / (np.linalg.norm(operator_x) * np.linalg.norm(y))


@pytest.mark.parametrize("wrong", [None, "scaled", "flipped", "shifted"])
@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("projector", PROJECTORS)
def test_block_adjoint_matches_for_every_block_and_subset(projector, name, wrong):
    scan = make(name, projector)
    worst = 0.0
    for index in range(len(scan.grid)):
        for subset in (None, np.array([2]), np.array([0, 3, 4, 11])):
            x = noise(*scan.grid.window(index).shape)
            share = scan.forward_block(index, x, out=np.empty(scan.share_shape(index), np.float32))
            share = share if subset is None else share[subset]
            y = noise(*share.shape)
            back = scan.adjoint_block(index, y, out=np.empty_like(x), subset=subset)
            if wrong == "scaled":
                back = back * 1.01
            elif wrong == "flipped":
                back = back[::-1]
            elif wrong == "shifted":
                back = np.roll(back, 1, axis=1)
            if np.linalg.norm(share) > 0:
                worst = max(worst, mismatch(share, y, x, back))
    # Both sides are sums of about 1e4 float32 products of either sign: 1e-5 of the norms' product.
    assert (worst < 1e-5) == (wrong is None)


@pytest.mark.parametrize("narrowed", [False, True])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_footprint_loses_nothing_of_the_full_detector(name, narrowed, monkeypatch):
    if narrowed:
        monkeypatch.setattr(footprints, "REACH", -4.0)
    scan = make(name)
    lost = total = 0.0
    for index in range(len(scan.grid)):
        window = scan.grid.window(index)
        x = np.zeros(scan.image_shape, np.float32)
        x[window.slices] = noise(*window.shape)
        full = reference(name, x)
        outside = np.ones(full.shape, bool)
        outside[scan._rays(scan.footprint(index))] = False
        lost += float(np.abs(full[outside]).sum())
        total += float(np.abs(full).sum())
    assert (lost <= 1e-12 * total) == (not narrowed)


WRONG = {
    "right": {},
    "centre": {"center": 1.0},
    "sign": {"sign": -1},
    "shift": {"shift": 1},
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("projector", PROJECTORS)
def test_blocks_add_up_to_the_reference(projector, name, wrong):
    """Σ A_i x_i against Joseph in float64; ASTRA's float32 ray positions drift by up to 1e-4 of a pixel a window."""
    changes = WRONG[wrong]
    scan = make(name, projector)
    x = noise(*scan.image_shape)
    expected = reference(name, x, changes.get("sign", 1), changes.get("center", 0.0))
    found = np.roll(scan.forward(x), changes.get("shift", 0), axis=1)
    tolerance = 1e-3 if projector == "astra" else 1e-5
    assert (relative(found, expected) < tolerance) == (wrong == "right")


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(("kind", "size", "tolerance"), [("noise", 240, 2e-3), ("retina", 800, 1e-3)])
@pytest.mark.parametrize("projector", PROJECTORS)
def test_blocks_add_up_to_astras_projection(projector, kind, size, tolerance, wrong):
    image = noise(size, size) if kind == "noise" else retina()
    angles, detectors = half_turn(12, 0.013), int(size * 1.414)
    changes = WRONG[wrong]
    center = (detectors - 1) / 2 + changes.get("center", 0)
    measured = np.zeros((12, detectors), np.float32)
    scan = RadonCT(measured, changes.get("sign", 1) * angles, image.shape, center=center, projector=projector)
    found = np.roll(scan.forward(image), changes.get("shift", 0), axis=1)
    geometry = astra.create_proj_geom("parallel", 1.0, detectors, angles)
    projector = astra.create_projector("linear", geometry, astra.create_vol_geom(size, size))
    data, expected = astra.create_sino(image, projector)
    astra.data2d.delete(data)
    astra.projector.delete(projector)
    assert (relative(found, expected) < tolerance) == (wrong == "right")


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("kind", ["parallel_vec", "fanflat", "fanflat_vec"])
@pytest.mark.parametrize("projector", PROJECTORS)
def test_blocks_add_up_to_astras_projection_of_other_beams(projector, kind, wrong):
    """ASTRA's `linear` for parallel_vec; of a fan its CPU knows rays' lengths in pixels: 1e-3 off on a smooth image."""
    from scipy.ndimage import gaussian_filter

    size, angles, detectors, changes = 128, 2 * half_turn(40, 0.013), 230, WRONG[wrong]
    image = noise(size, size) if kind == "parallel_vec" else gaussian_filter(blobs(size, size), 3)
    fan = astra.create_proj_geom("fanflat", 1.4, detectors, angles, 300.0, 150.0)
    geometry = {"fanflat": fan, "fanflat_vec": astra.geom_2vec(fan), "parallel_vec": some_vectors(detectors)}[kind]
    volume = astra.create_vol_geom(size, size)
    name = "linear" if kind == "parallel_vec" else "line_fanflat"
    used = astra.create_projector(name, geometry, volume)
    data, expected = astra.create_sino(image, used)
    astra.data2d.delete(data)
    astra.projector.delete(used)
    measured = np.zeros(expected.shape, np.float32)
    scan = RadonCT.from_astra(measured, geometry, volume, projector=projector)
    if wrong in ("centre", "sign"):
        g = scan.geometry
        turned = changes.get("sign", 1) * g.angles
        if kind == "parallel_vec":
            scan = RadonCT(measured, turned, (size, size), np.abs(g.spacing), g.center + changes.get("center", 0))
        else:
            center = (detectors - 1) / 2 + changes.get("center", 0)
            beam = dict(source_distance=300.0, detector_distance=150.0)
            scan = RadonCT(measured, turned, (size, size), 1.4, center, **beam)
    found = np.roll(scan.forward(image), changes.get("shift", 0), axis=1)
    tolerance = 2e-3 if kind == "parallel_vec" else 4e-3
    assert (relative(found, expected) < tolerance) == (wrong == "right"), relative(found, expected)


def some_vectors(detectors):
    """A parallel_vec geometry whose detectors are tilted, shifted, and farther from the beam now and then."""
    random, vectors = np.random.default_rng(4), []
    for angle in half_turn(40):
        tilt, shift = random.uniform(-0.5, 0.5), random.uniform(-8, 8)
        ray, along = np.array([np.sin(angle), -np.cos(angle)]), np.array([np.cos(angle + tilt), np.sin(angle + tilt)])
        vectors.append([*(3.0 * ray), *(shift * along + random.uniform(-50, 50) * ray), *(1.1 * along)])
    return astra.create_proj_geom("parallel_vec", detectors, np.array(vectors))


def retina():
    from skimage import color, data

    grey = color.rgb2gray(data.retina()).astype(np.float32)
    return np.ascontiguousarray(grey[305:1105, 305:1105])


def shares_of(scan, image):
    return [
        scan.forward_block(i, np.ascontiguousarray(block), out=np.empty(scan.share_shape(i), np.float32))
        for i, block in enumerate(scan.grid.split(image))
    ]


@needs_compiler
@pytest.mark.parametrize("changes", [{}, dict(image=(256, 256), block=(128, 128), angles=half_turn(60), detectors=363)])
def test_threads_change_no_bit(changes, one_thread):
    scan = make("ragged", "joseph", **changes)
    image = noise(*scan.image_shape)
    alone = scan.forward(image), scan.adjoint(scan.sinogram)
    torch.set_num_threads(3)
    for _ in range(5):
        threads = scan.forward(image), scan.adjoint(scan.sinogram)
        assert all(np.array_equal(found, expected) for found, expected in zip(threads, alone, strict=True))
    copied = pickle.loads(pickle.dumps(scan))
    assert np.array_equal(copied.forward(image), alone[0])


@pytest.mark.parametrize("threads", [1, 2, 3, 20])
def test_threads_give_their_results_in_order_and_few_wait(threads):
    running, most, random = set(), [0], np.random.default_rng(threads)
    naps = random.uniform(0, 0.003, 40)

    def work(item):
        running.add(item)
        time.sleep(naps[item])
        return item

    for item in in_order(work, range(40), threads):
        running.remove(item)
        most.append(len(running))
        assert item == len(most) - 2
    assert max(most) <= threads


@pytest.mark.parametrize("threads", [1, 3])
def test_what_a_thread_raises_is_raised(threads):
    def work(item):
        return 1 // (5 - item)

    found = in_order(work, range(9), threads)
    assert [next(found) for _ in range(5)] == [0, 0, 0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(found)


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize("subset", [None, [1, 5, 14]])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_residual_on_a_footprint_is_the_whole_residual(name, subset, forgotten):
    scan = make(name)
    image = noise(*scan.image_shape)
    shares = shares_of(scan, image)
    if forgotten:
        shares[0] = np.zeros_like(shares[0])
    angles = np.arange(scan.measurements) if subset is None else np.array(subset)
    whole = scan.forward(image) - scan.sinogram
    difference = 0.0
    for index in range(len(scan.grid)):
        out = np.empty(scan.residual_shape(index, len(angles)), np.float32)
        scan.residual_block(index, shares, out=out, subset=None if subset is None else angles)
        expected = whole[scan._rays(scan.footprint(index))][angles]
        difference = max(difference, relative(out, expected))
    assert (difference < 1e-5) == (not forgotten)


@pytest.mark.parametrize("scaled", [True, False])
def test_minibatch_gradients_average_to_the_gradient(scaled):
    scan = make("off centre")
    image = noise(*scan.image_shape)
    shares = shares_of(scan, image)
    parts = np.array_split(np.random.default_rng(3).permutation(scan.measurements), 3)

    def gradient(index, subset):
        count = scan.measurements if subset is None else len(subset)
        residual = scan.residual_block(
            index, shares, out=np.empty(scan.residual_shape(index, count), np.float32), subset=subset
        )
        pixels = image[scan.grid.window(index).slices]
        out = np.empty(pixels.shape, np.float32)
        found = scan.gradient_block(index, pixels, residual, out=out, subset=subset).copy()
        return found if scaled or subset is None else found * len(subset) / scan.measurements

    for index in range(len(scan.grid)):
        mean = sum(gradient(index, np.sort(part)) for part in parts) / 3
        assert (relative(mean, gradient(index, None)) < 1e-5) == scaled


def dense(scan):
    rows, cols = scan.image_shape
    columns = [scan.forward(pixel.reshape(rows, cols)).ravel() for pixel in np.eye(rows * cols, dtype=np.float32)]
    return np.array(columns, np.float64).T


@pytest.mark.parametrize("weighted", [False, True])
def test_lipschitz_constants_are_the_largest_singular_values(weighted):
    sinogram = noise(9, 21)
    weights = np.random.default_rng(1).uniform(0, 2, sinogram.shape) if weighted else None
    grid = BlockGrid((12, 14), (6, 7))
    scan = RadonCT(sinogram, half_turn(9), (12, 14), weights=weights, normalize=False).with_blocks(grid)
    matrix = dense(scan) * (1 if weights is None else np.sqrt(weights).reshape(-1, 1))
    exact = np.linalg.norm(matrix, 2) ** 2
    # Power iteration stops at a change of 1e-3 and comes from below.
    assert exact * 0.99 < scan.lipschitz <= exact * 1.0001
    normalized = RadonCT(sinogram, half_turn(9), (12, 14), weights=weights).with_blocks(grid)
    assert normalized.lipschitz == pytest.approx(1.0)
    inside = np.arange(12 * 14).reshape(12, 14)
    for index in range(len(scan.grid)):
        block = np.linalg.norm(matrix[:, inside[scan.grid.window(index).slices].ravel()], 2) ** 2
        assert block * 0.99 < scan.block_lipschitz(index) <= block * 1.0001
        assert normalized.block_lipschitz(index) == pytest.approx(scan.block_lipschitz(index) / scan.lipschitz)
        assert block < 0.9 * exact  # the whole constant would be a wrong answer here


def test_weights_enter_the_gradient():
    weights = np.random.default_rng(1).uniform(0, 2, (9, 21)).astype(np.float32)
    scan = RadonCT(noise(9, 21), half_turn(9), (12, 14), weights=weights, normalize=False)
    scan = scan.with_blocks(BlockGrid((12, 14), (6, 7)))
    image = noise(12, 14)
    expected = scan.adjoint(weights * (scan.forward(image) - scan.sinogram))
    shares = shares_of(scan, image)
    for index in range(len(scan.grid)):
        window = scan.grid.window(index)
        residual = scan.residual_block(index, shares, out=np.empty(scan.residual_shape(index, 9), np.float32))
        gradient = scan.gradient_block(index, image[window.slices], residual, out=np.empty(window.shape, np.float32))
        assert relative(gradient, expected[window.slices]) < 1e-5
        assert relative(gradient, scan.adjoint(scan.forward(image) - scan.sinogram)[window.slices]) > 1e-2


@pytest.mark.parametrize("shift", [0.0, 2.0])
@pytest.mark.parametrize(
    ("spacing", "center", "angles"),
    [
        (1.0, None, half_turn(180)),
        (0.5, 190.3, half_turn(180)),
        (1.0, 80.0, np.sort(RANDOM.uniform(0, np.pi, 300))),
        (1.0, 85.0, 2 * half_turn(240)),
    ],
)
def test_fbp_returns_the_image_in_attenuation_a_pixel(spacing, center, angles, shift):
    from scipy.ndimage import gaussian_filter

    image = gaussian_filter(blobs(100, 100), 1.5)
    detectors = int(170 / spacing)
    sinogram = project(image, angles, detectors, spacing, center)
    axis = (detectors - 1) / 2 if center is None else center
    found = RadonCT(sinogram, angles, (100, 100), spacing, axis + shift).fbp()
    assert (relative(found, image) < 0.08) == (shift == 0.0)


def test_starts():
    scan, image = small_scan()
    assert relative(scan.start("fbp"), image) < relative(scan.start("adjoint"), image) < 1.0
    assert np.array_equal(scan.start("auto"), scan.start("fbp"))
    assert not scan.start("zeros").any()
    with pytest.raises(ValueError, match="x0='best' isn't a start"):
        scan.start("best")


@needs_compiler
@pytest.mark.parametrize("seed", range(20))
def test_joseph_agrees_with_the_reference_for_random_geometries(seed):
    """20 random scans; a float32 position has a rounding error of about 1e-5 pixels."""
    random = np.random.default_rng(seed)
    rows, cols, detectors = (int(side) for side in random.integers(8, 130, 3))
    angles, spacing = random.uniform(-np.pi, np.pi, 9), random.uniform(0.4, 2.5)
    angles[:3] = random.choice([0, np.pi / 4, np.pi / 2, -np.pi / 4, np.pi, 0.75 * np.pi], 3)
    center = random.uniform(0, detectors - 1)
    empty = np.zeros((9, detectors), np.float32)
    scan = RadonCT(empty, angles, (rows, cols), spacing, center, projector="joseph")
    scan = scan.with_blocks(
        BlockGrid((rows, cols), (int(random.integers(1, rows + 1)), int(random.integers(1, cols + 1))))
    )
    x, y = noise(rows, cols), noise(9, detectors)
    expected = joseph(x, angles, detectors, spacing, center)
    assert np.linalg.norm(scan.forward(x) - expected) < 1e-5 * np.linalg.norm(expected) + 1e-9
    assert mismatch(expected, y, x, scan.adjoint(y)) < 1e-6 < mismatch(expected, y, x, 1.01 * scan.adjoint(y))


def test_without_a_compiler_auto_is_astra(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr("asyncred_gpu.operators.checks.host_kernels", host_kernels.__wrapped__)
    with pytest.warns(UserWarning, match=r"ASTRA's projectors are used.*No C\+\+ compiler"):
        assert RadonCT(noise(9, 21), half_turn(9), (12, 14)).projector == "astra"
    with pytest.raises(HostBuildError, match=r"No C\+\+ compiler .* is on the path. Install one"):
        RadonCT(noise(9, 21), half_turn(9), (12, 14), projector="joseph")


@needs_compiler
def test_a_damaged_library_is_compiled_again(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    host_kernels.__wrapped__()
    (library,) = tmp_path.glob("asyncred_gpu/*.so")
    library.unlink()  # it may be mapped still: writing into it would crash this process
    library.write_bytes(b"no library")
    assert host_kernels.__wrapped__().joseph_forward


@needs_compiler
def test_a_compiler_that_fails_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("asyncred_gpu.kernels.host_build.FLAGS", ("--no-such-flag",))
    with pytest.raises(HostBuildError, match=r"no-such-flag.* failed"):
        host_kernels.__wrapped__()
    assert not list(tmp_path.glob("asyncred_gpu/*"))


def test_an_interrupted_compiler_leaves_nothing(monkeypatch, tmp_path):
    """Neither it nor what it started, and no file: a compiler that starts `sleep`, and writes beside its output."""
    compiler, started = tmp_path / "c++", tmp_path / "started"
    compiler.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exit\ntouch "$TMPDIR/a.s"\nsleep 300 &\necho $! > {started}\nwait\n'
    )
    compiler.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", str(compiler))

    def interrupt():
        while not (started.is_file() and started.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with pytest.raises(KeyboardInterrupt):
        thread.start()
        host_kernels.__wrapped__()
    thread.join()
    assert not list(tmp_path.glob("asyncred_gpu/*"))
    for _ in range(100):  # killed, which takes a moment
        if not alive(int(started.read_text())):
            break
        time.sleep(0.01)
    assert not alive(int(started.read_text()))


@pytest.mark.parametrize("projector", PROJECTORS)
def test_arrays_of_another_shape_are_refused(projector):
    scan = make("plain", projector)
    pixels, share = np.zeros((16, 16), np.float32), np.zeros(scan.share_shape(0), np.float32)
    for bad in (pixels[1:], pixels.astype(np.float64)):
        with pytest.raises(ValueError, match=r"pixels is .* this block's is \(16, 16\) float32"):
            scan.forward_block(0, bad, out=share)
    with pytest.raises(ValueError, match=r"out is .* this block's is"):
        scan.forward_block(0, pixels, out=share[1:])
    with pytest.raises(ValueError, match=r"sinogram is .* this block's is"):
        scan.adjoint_block(0, share, out=pixels, subset=np.array([1, 2]))


def test_a_copy_in_another_process_gives_the_same_numbers():
    import pickle

    scan, image = small_scan()
    expected = scan.forward(image)  # makes ASTRA objects that can't travel
    assert np.array_equal(pickle.loads(pickle.dumps(scan)).forward(image), expected)


BAD = [
    (dict(sinogram=np.zeros((3, 4, 5))), "sinogram has shape \\(3, 4, 5\\), it must have 2 dimensions"),
    (dict(sinogram=np.full((10, 20), np.nan)), "sinogram holds 200 NaN or infinite values of 200"),
    (dict(sinogram=np.empty((0, 20))), "it is empty"),
    (dict(sinogram=np.full((10, 20), 1e300)), "which overflow float32"),
    (dict(sinogram=np.zeros((10, 20), complex)), "must hold real numbers"),
    (dict(sinogram=np.array([["a"] * 20] * 10)), "must hold real numbers"),
    (dict(angles=half_turn(9)), "angles has 9 entries and the sinogram 10 rows"),
    (dict(angles=np.arange(0, 180, 18)), "degrees\\? RadonCT takes radians"),
    (dict(angles=np.full(10, np.inf)), "angles holds 10 NaN or infinite"),
    (dict(angles=np.zeros((10, 1))), "angles has shape \\(10, 1\\)"),
    (dict(image_shape=(16,)), "isn't \\(rows, cols\\)"),
    (dict(image_shape=(16.5, 16)), "isn't \\(rows, cols\\)"),
    (dict(image_shape=(0, 16)), "holds no pixel"),
    (dict(image_shape=(2**40, 2**40)), "more than a 32-bit index can count"),
    (dict(detector_spacing=0), "detector_spacing=0 isn't a distance"),
    (dict(detector_spacing=float("nan")), "isn't a distance"),
    (dict(center=25.0), "center=25.0 isn't on the detector"),
    (dict(center=float("inf")), "isn't on the detector"),
    (dict(weights=np.ones((10, 19))), "weights has shape \\(10, 19\\), the sinogram \\(10, 20\\)"),
    (dict(weights=-np.ones((10, 20))), "weights holds 200 negative values"),
    (dict(weights=np.zeros((10, 20))), "weights are all zero"),
    (dict(projector="strip"), "projector='strip' isn't available"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_bad_input_is_refused(bad, message):
    good = dict(sinogram=np.zeros((10, 20), np.float32), angles=half_turn(10), image_shape=(16, 16))
    RadonCT(**good)
    with pytest.raises((ValueError, TypeError), match=message):
        RadonCT(**(good | bad))
