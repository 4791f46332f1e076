"""SIRT against its textbook formula with dense matrices, in our geometry; and FBP as a baseline."""

from itertools import pairwise

import astra
import numpy as np
import pytest
import torch

from asyncred_gpu import DeviceError, RadonCT, Status, snr
from asyncred_gpu.baselines import fbp, sirt
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.operators.astra_sirt import AstraSirt
from asyncred_gpu.operators.matrix import BlockCS
from asyncred_gpu.settings import make_mask

from .helpers import blobs, half_turn, joseph, needs_gpu, relative, small_scan

SHAPE, ANGLES, DETECTORS = (14, 12), half_turn(9, start=0.2), 21
GEOMETRY = {"spacing": 0.9, "center": 8.3}  # the detector's middle is 10
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def dense(projector, spacing, center):
    """A, (rays, pixels): ASTRA's `linear` on the whole image, or Joseph's projector in float64."""
    if projector == "joseph":
        columns = [joseph(pixel, ANGLES, DETECTORS, spacing, center) for pixel in pixels()]
    else:
        empty = np.zeros((len(ANGLES), DETECTORS))
        scan = RadonCT(empty, ANGLES, SHAPE, spacing, center, projector="astra").with_blocks(BlockGrid(SHAPE, SHAPE))
        columns = [scan.forward(pixel) for pixel in pixels()]
    return np.stack([column.ravel() for column in columns], axis=1).astype(np.float64)


def pixels():
    return np.eye(SHAPE[0] * SHAPE[1], dtype=np.float32).reshape(-1, *SHAPE)


def reciprocal(sums):
    return np.where(sums > 1e-6, 1 / np.maximum(sums, 1e-6), 0)


def textbook(a, y, iterations, mask=None, nonnegative=False, rows=True):
    """x ← x + C Aᵀ R (y − A x) from zeros, in float64; `rows` False leaves R out."""
    inside = np.ones(a.shape[1]) if mask is None else mask.ravel()
    a = a * inside
    r, c = reciprocal(a.sum(axis=1)) if rows else 1 / a.sum(axis=1).max(), reciprocal(a.sum(axis=0))
    x = np.zeros(a.shape[1])
    for _ in range(iterations):
        x = x + c * (a.T @ (r * (y.ravel() - a @ x)))
        x = np.maximum(x, 0) if nonnegative else x
    return x.reshape(SHAPE)


@pytest.fixture(scope="module")
def scan():
    """Of an image with negative pixels, so that a constraint shows."""
    image = blobs(*SHAPE) - 0.15
    sinogram = joseph(image, ANGLES, DETECTORS, **GEOMETRY)
    return RadonCT(sinogram, ANGLES, SHAPE, GEOMETRY["spacing"], GEOMETRY["center"])


@pytest.mark.parametrize("projector", ["astra", "joseph"])
def test_sirt_is_the_textbook_formula_in_our_geometry(scan, projector):
    found = sirt(scan, max_sweeps=6).image
    matrix = dense(projector, **GEOMETRY)
    assert relative(found, textbook(matrix, scan.sinogram, 6)) < 1e-5
    wrong = [textbook(matrix, scan.sinogram, 5), textbook(matrix, scan.sinogram, 6, rows=False)]
    for change in ({"center": 8.35}, {"spacing": 0.91}, {"center": 10.0}):
        wrong.append(textbook(dense(projector, **(GEOMETRY | change)), scan.sinogram, 6))
    assert min(relative(found, other) for other in wrong) > 1e-2


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("field_of_view", [None, "circle"])
def test_its_constraints_are_those_of_every_iteration(scan, nonnegative, field_of_view):
    found = sirt(scan, max_sweeps=8, nonnegative=nonnegative, field_of_view=field_of_view).image
    matrix, mask = dense("astra", **GEOMETRY), make_mask("circle", SHAPE)
    for clipped in (False, True):
        for masked in (None, "circle"):
            expected = textbook(matrix, scan.sinogram, 8, None if masked is None else mask, clipped)
            right = (clipped, masked) == (nonnegative, field_of_view)
            assert (relative(found, expected) < 1e-5) == right
    afterwards = textbook(matrix, scan.sinogram, 8)
    afterwards = np.maximum(afterwards, 0) if nonnegative else afterwards
    afterwards = afterwards if field_of_view is None else afterwards * mask
    assert (relative(found, afterwards) < 1e-5) == (not nonnegative and field_of_view is None)


def test_its_residual_is_of_the_update(scan):
    images = [sirt(scan, max_sweeps=count).image for count in range(6)]
    moved = [np.sum(np.square(after - before)) for before, after in pairwise(images)]
    stopped = sirt(scan, tol=1.001 * moved[3] / moved[0])
    assert stopped.status is Status.CONVERGED
    assert np.allclose(stopped.history["residual"], np.array(moved[:4]) / moved[0], rtol=1e-4)


def test_it_starts_where_it_is_told(scan):
    start = blobs(*SHAPE, seed=3)
    found = sirt(scan, x0=start, max_sweeps=0).image
    assert np.array_equal(found, start)
    moved = sirt(scan, x0=sirt(scan, max_sweeps=3).image, max_sweeps=3).image
    whole = sirt(scan, max_sweeps=6).image
    assert relative(moved, whole) < 1e-6 < relative(sirt(scan, max_sweeps=5).image, whole)


def test_it_approaches_the_truth_and_a_wrong_centre_does_not():
    scan, truth = small_scan(size=32, angles=24)
    wrong = RadonCT(scan.sinogram, scan.geometry.angles, scan.image_shape, center=scan.geometry.center + 1)
    right, off = (sirt(one, max_sweeps=60, reference=truth).history["snr"][-1] for one in (scan, wrong))
    assert right > 15 > 10 > off


def test_what_it_can_not_do_is_refused(scan):
    weighted = RadonCT(scan.sinogram, ANGLES, SHAPE, weights=np.ones_like(scan.sinogram))
    with pytest.raises(ValueError, match=r"counts every ray alike.*Pass a RadonCT without weights"):
        sirt(weighted)
    compressed = BlockCS(np.zeros((1, 3)), np.ones((1, 3, 4)), (2, 2))
    for method in (sirt, fbp):
        with pytest.raises(TypeError, match=f"{method.__name__} needs a CT scan, and operator is a BlockCS"):
            method(compressed)
    with pytest.raises(ValueError, match="device='tpu' isn't known"):
        sirt(scan, device="tpu")


@NO_GPU
def test_a_gpu_that_is_not_there_is_refused(scan):
    with pytest.raises(DeviceError, match=r"can't be used: found .* Pass device='cpu'"):
        sirt(scan, device="cuda")
    with pytest.raises(RuntimeError, match=r"finds no GPU it can use.*pass device='cpu'"):
        AstraSirt(scan.geometry, scan.sinogram, np.zeros(SHAPE, np.float32), gpu=0)
    assert sirt(scan, device="auto", max_sweeps=1).settings["device"] == "cpu"


@needs_gpu()
def test_astras_cuda_version_is_near(scan):
    """Its pair isn't matched: near, and no nearer to the wrong centre."""
    found, expected = (sirt(scan, max_sweeps=6, nonnegative=True, device=name).image for name in ("cuda", "cpu"))
    assert relative(found, expected) < 0.05


def test_astras_objects_are_freed(scan):
    solver = AstraSirt(scan.geometry, scan.sinogram, np.zeros(SHAPE, np.float32), make_mask("circle", SHAPE))
    solver.iterate()
    held = solver._finalizer.peek()[2][1]
    assert [astra.data2d.get(one).shape for one in held] == [SHAPE, (len(ANGLES), DETECTORS), SHAPE]
    solver.close()
    for one in held:
        with pytest.raises(astra.log.AstraError, match="Data object not found"):
            astra.data2d.get(one)


# --- FBP -----------------------------------------------------------------------------------------------------------


def test_fbp_is_the_scans_with_the_constraints(scan):
    plain, mask = fbp(scan), make_mask("circle", SHAPE)
    assert plain.status is Status.DIRECT and np.array_equal(plain.image, scan.fbp())
    constrained = fbp(scan, nonnegative=True, field_of_view="circle")
    assert np.array_equal(constrained.image, np.maximum(scan.fbp(), 0) * mask)
    assert not np.array_equal(constrained.image, plain.image)
    assert constrained.settings["nonnegative"] and constrained.settings["field_of_view"] is not None


def test_fbp_needs_the_centre():
    scan, truth = small_scan(size=48, angles=60)
    wrong = RadonCT(scan.sinogram, scan.geometry.angles, scan.image_shape, center=scan.geometry.center + 1)
    assert snr(fbp(scan).image, truth) > 15 > 12 > snr(fbp(wrong).image, truth)
