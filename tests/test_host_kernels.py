"""The compiled loops on every kind of vector register, against a float64 reference; and the gather against numpy's."""

import ctypes
import platform
import subprocess

import numpy as np
import pytest

from asyncred_gpu import RadonCT
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.kernels.host_build import FLAGS, declared, find_compiler
from asyncred_gpu.kernels.sources import FOLDER
from asyncred_gpu.operators import joseph as projectors
from asyncred_gpu.operators.ray_tables import kernel_ending, ray_table
from asyncred_gpu.operators.shares import CompiledGather, Gather

from .helpers import half_turn, joseph, needs_compiler, relative

pytestmark = needs_compiler
on_x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="flags of x86-64 processors")
# The machine's own registers, those of AVX2 where it has wider ones, and loops for any processor.
REGISTERS = {"native": (), "avx2": ("-mno-avx512f",), "plain": ("-DPLAIN_LANES",)}
SPACINGS = {"gathered, fine": 0.3, "fine": 0.7, "one": 1.0, "wide": 1.3, "gathered, wide": 4.0}


@pytest.fixture(scope="module", params=["native", pytest.param("avx2", marks=on_x86), "plain"])
def kernels(request, tmp_path_factory):
    library = tmp_path_factory.mktemp("host") / "host.so"
    command = [find_compiler(), *FLAGS, *REGISTERS[request.param], str(FOLDER / "host.cpp"), "-o", str(library)]
    subprocess.run(command, check=True, timeout=120)
    return declared(ctypes.CDLL(str(library)))


def noise(*shape):
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


BEAMS = {"parallel": {}, "fan": dict(source_distance=75.0, detector_distance=30.0, detector_tilt=0.1)}


def scan_of(spacing, block=(23, 40), image=(60, 73), beam="parallel"):
    """A fan's detectors are as close together on the axis."""
    detectors, center = int(110 / spacing), 0.47 * int(110 / spacing)
    angles = np.concatenate([half_turn(13, 0.1), [0.0, np.pi / 2, np.pi / 4, np.pi]])
    spacing *= 1.4 if beam == "fan" else 1.0
    measured = noise(len(angles), detectors)
    scan = RadonCT(measured, angles, image, spacing, center, projector="joseph", **BEAMS[beam])
    return scan.with_blocks(BlockGrid(image, block))


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("spacing", SPACINGS.values(), ids=SPACINGS)
@pytest.mark.parametrize("beam", BEAMS)
def test_the_pair_is_josephs_on_all_registers(kernels, beam, spacing, wrong, monkeypatch):
    monkeypatch.setattr(projectors, "host_kernels", lambda: kernels)
    scan, image = scan_of(spacing, beam=beam), noise(60, 73)
    detectors, used = scan.geometry.detectors, spacing * (1.4 if beam == "fan" else 1.0)
    center = 0.47 * detectors + (0.01 if wrong else 0)
    expected = joseph(image, scan.geometry.angles, detectors, used, center, **BEAMS[beam])
    assert (relative(scan.forward(image), expected) < 1e-5) == (not wrong)
    rays = noise(*scan.sinogram.shape)
    back = np.roll(scan.adjoint(rays), wrong, axis=1)
    dot = abs(np.vdot(expected, rays) - np.vdot(image.astype(float), back))
    assert (dot / (np.linalg.norm(expected) * np.linalg.norm(rays)) < 1e-6) == (not wrong)


@pytest.mark.parametrize("block", [(1, 1), (3, 50), (60, 2)])
@pytest.mark.parametrize("beam", BEAMS)
def test_narrow_windows(kernels, beam, block, monkeypatch):
    """Windows smaller than a register."""
    monkeypatch.setattr(projectors, "host_kernels", lambda: kernels)
    image = noise(60, 50)
    found = scan_of(1.0, block, (60, 50), beam)
    whole = scan_of(1.0, (60, 50), (60, 50), beam)
    assert relative(found.forward(image), whole.forward(image)) < 1e-5
    assert relative(found.adjoint(whole.sinogram), whole.adjoint(whole.sinogram)) < 1e-5


@pytest.mark.parametrize("spacing", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("beam", BEAMS)
def test_the_scratch_is_as_large_as_they_say(kernels, beam, spacing):
    """What lies behind it stays as it was."""
    scan = scan_of(spacing, block=(17, 19), beam=beam)
    ending = kernel_ending(scan.geometry)
    rows, cols = shape = scan.grid.window(0).shape
    footprint = scan.footprint(0)
    table = ray_table(scan.geometry, scan.grid.window(0), footprint)
    count, width = len(table), footprint.width
    sizes = {
        "joseph_forward": kernels.joseph_forward_scratch(*shape, width),
        "joseph_adjoint": getattr(kernels, f"joseph_adjoint_scratch{ending}")(*shape, table.ctypes.data, count, width),
    }
    for name, size in sizes.items():
        pixels, rays = noise(rows, cols), noise(count, width)
        source, target = (pixels, rays) if name == "joseph_forward" else (rays, pixels)
        target[:] = np.nan
        scratch = np.full(size + 100, np.nan, np.float32)
        getattr(kernels, name + ending)(
            *(
                source.ctypes.data,
                rows,
                cols,
                table.ctypes.data,
                count,
                width,
                target.ctypes.data,
                scratch.ctypes.data,
            )
        )
        assert np.isfinite(target).all()
        assert np.isnan(scratch[size:]).all()
        assert not np.isnan(scratch[:size]).all()


@pytest.mark.parametrize("bad", [lambda share: share.astype(np.float64), lambda share: share[:, :-1]])
def test_shares_that_are_not_the_blocks_are_refused(bad):
    scan = scan_of(1.0, block=(20, 25))
    gather = CompiledGather(scan.sinogram, None, [scan.footprint(index) for index in range(len(scan.grid))])
    shares = [noise(*scan.share_shape(index)) for index in range(len(scan.grid))]
    out = np.empty(scan.residual_shape(0, 17), np.float32)
    with pytest.raises(ValueError, match=r"A share is .*, its block's .* float32. Pass what forward_block filled"):
        gather.residual(0, [bad(shares[0]), *shares[1:]], None, out)
    with pytest.raises(ValueError, match="is longer than argument 1"):
        gather.residual(0, shares[:-1], None, out)


@pytest.mark.parametrize("subset", [None, [1, 5, 12]])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("wrong", [False, True])
def test_the_compiled_gather_is_numpys_bit_for_bit(weighted, subset, wrong):
    scan = scan_of(1.0, block=(20, 25))
    weights = np.random.default_rng(1).uniform(0, 2, scan.sinogram.shape).astype(np.float32) if weighted else None
    footprints = [scan.footprint(index) for index in range(len(scan.grid))]
    shares = [noise(*scan.share_shape(index)) for index in range(len(scan.grid))]
    angles = None if subset is None else np.array(subset)
    expected, found = (kind(scan.sinogram, weights, footprints) for kind in (Gather, CompiledGather))
    for index in range(len(scan.grid)):
        one, other = (np.empty(scan.residual_shape(index, 17 if subset is None else 3), np.float32) for _ in range(2))
        expected.residual(index, shares, angles, one)
        found.residual((index + wrong) % len(scan.grid), shares, angles, other)
        assert np.array_equal(one, other) == (not wrong)
