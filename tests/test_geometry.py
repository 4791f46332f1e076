"""Beams that aren't plain parallel ones: where points fall, what is refused, ASTRA's geometries, the start of a fan."""

import astra
import numpy as np
import pytest

from asyncred_gpu import GpuAsyncRED, RadonCT, snr
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.operators.footprint import block_footprints
from asyncred_gpu.operators.geometry import FanGeometry, ParallelGeometry
from asyncred_gpu.operators.radon import project
from asyncred_gpu.operators.ray_tables import SEARCH_ROUNDING, fan_rays, ray_table
from asyncred_gpu.operators.rebin import rebinned
from asyncred_gpu.operators.scan import scan_geometry

from .helpers import blobs, geometry_lines, half_turn, needs_compiler, relative

TURN = 2 * half_turn(24, 0.1)
FAN = dict(source_distance=120.0, detector_distance=50.0)
NEAR = dict(source_distance=37.0, detector_distance=43.0)  # the image's corners are 33 from the axis
SHAPE = (40, 52)


def fan(detectors=90, spacing=1.4, center=41.3, angles=TURN, tilt=0.15, **changes):
    return scan_geometry(SHAPE, angles, (len(angles), detectors), spacing, center, tilt, **(FAN | changes))


def parallel(detectors=80, spacing=1.1, center=37.0, tilt=0.2):
    return scan_geometry(SHAPE, TURN, (24, detectors), spacing, center, tilt)


# --- where points fall -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("make", [fan, parallel])
def test_a_point_on_a_ray_falls_on_its_detector(make, wrong):
    geometry = make()
    points, directions = geometry_lines(geometry)
    worst = 0.0
    for angle, detector, way in [(0, 3, 0.2), (7, 40, -0.7), (23, 60, 0.4)]:
        x, y = points[angle, detector] + way * directions[angle, detector] * (1 if make is fan else 30)
        found = geometry.coordinates(x, y + 0.5 * wrong)[angle]
        worst = max(worst, abs(found - detector))
    assert (worst < 1e-9) == (not wrong)


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("make", [fan, parallel])
def test_nearby_a_beam_looks_parallel(make, wrong):
    """Direction and spacing by a finite difference of the coordinates."""
    geometry, (x, y), h = make(), (11.0, -7.0), 1e-4
    seen = geometry.seen_from(x, y)
    across = np.stack([np.cos(seen.angles + 0.01 * wrong), np.sin(seen.angles + 0.01 * wrong)])
    slope = np.array([geometry.coordinates(x + h, y) - geometry.coordinates(x - h, y),
                      geometry.coordinates(x, y + h) - geometry.coordinates(x, y - h)]) / (2 * h)  # fmt: skip
    assert np.allclose(slope * seen.spacing, across, atol=1e-6) == (not wrong)


def test_the_axis_falls_on_the_center_whatever_the_tilt():
    for tilt in (0.0, 0.3, np.linspace(-0.4, 0.4, 24)):
        assert np.allclose(fan(tilt=tilt).coordinates(0, 0), 41.3)
        assert np.allclose(scan_geometry(SHAPE, TURN, (24, 80), 1.0, 33.0, tilt).coordinates(0, 0), 33.0)
    assert np.allclose(fan(center=np.linspace(30, 40, 24)).coordinates(0, 0), np.linspace(30, 40, 24))


def test_angles_are_those_given():
    assert np.allclose(np.exp(1j * fan().angles), np.exp(1j * TURN))
    assert np.array_equal(fan().of_angles(np.array([3, 1])).angles, fan().angles[[3, 1]])
    one = scan_geometry(SHAPE, TURN, (24, 9), np.linspace(1, 2, 24), None, 0.0).of_angles(np.array([5]))
    assert isinstance(one, ParallelGeometry) and one.spacing == np.linspace(1, 2, 24)[5]


def test_every_ray_is_in_one_segment():
    geometry = fan(angles=np.linspace(0, 2 * np.pi, 97), source_distance=45.0, detector_distance=30.0)
    for index, footprint in enumerate(block_footprints(geometry, BlockGrid(SHAPE, (13, 17)))):
        table = fan_rays(geometry, BlockGrid(SHAPE, (13, 17)).window(index), footprint)
        assert np.array_equal(table["from"][:, 0], np.zeros(97)) and (table["to"][:, 0] > 0).all()
        assert np.array_equal(table["from"][:, 1], table["to"][:, 0])
        assert np.array_equal(table["to"][:, 1], np.full(97, footprint.width))
        both = table["from"][:, 1] < table["to"][:, 1]
        assert np.array_equal(table["along_rows"][both, 0], 1 - table["along_rows"][both, 1])
    assert both.any() and not both.all()


def test_footprints_of_a_fan_are_equally_wide_and_start_one_way():
    """What kernels/residual.cu's search relies on; it allows for four rays."""
    random = np.random.default_rng(0)
    for _ in range(20):
        detectors, center = int(random.integers(20, 120)), random.uniform(0.2, 0.8)
        geometry = fan(detectors, random.uniform(0.6, 2), center * detectors, source_distance=random.uniform(40, 200))
        grid = BlockGrid(SHAPE, (8, 9))
        found = block_footprints(geometry, grid)
        assert len({footprint.width for footprint in found}) == 1
        for row in range(grid.layout[0]):
            across = found[row * grid.layout[1] : (row + 1) * grid.layout[1]]
            steps = np.diff(np.stack([footprint.start for footprint in across]), axis=0)
            assert ((steps >= -1).all(axis=0) | (steps <= 1).all(axis=0)).all()


@needs_compiler
@pytest.mark.parametrize("change", [None, "reach"])
def test_every_ray_near_a_pixel_is_found(change, monkeypatch):
    """Of a source just outside the image, where a pixel has few rays or many."""
    geometry = fan(120, 0.9, 60.0, tilt=0.0, **NEAR)
    if change:
        real = fan_rays
        monkeypatch.setattr("asyncred_gpu.operators.ray_tables.fan_rays", lambda *a: short_of_reach(real(*a)))
    scan = RadonCT(np.zeros((24, 120), np.float32), TURN, SHAPE, 0.9, 60.0, projector="joseph", **NEAR)
    assert all(np.array_equal(a, b) for a, b in zip(scan.geometry.arrays(), geometry.arrays(), strict=True))
    for index in range(len(scan.grid)):
        share = np.ones(scan.share_shape(index), np.float32)
        pixels = np.empty(scan.grid.window(index).shape, np.float32)
        scan.adjoint_block(index, share, out=pixels)
        columns = np.empty_like(pixels)
        for place in np.ndindex(*pixels.shape):
            unit = np.zeros_like(pixels)
            unit[place] = 1
            columns[place] = scan.forward_block(index, unit, out=np.empty_like(share)).sum()
        assert (relative(pixels, columns) < 1e-5) == (change is None)


def short_of_reach(table):
    table["spread"] *= 0.6
    table["spread_line"] *= 0.6
    return table


def test_the_searchs_rounding_is_small():
    window = BlockGrid(SHAPE, SHAPE).window(0)
    footprint = block_footprints(fan(), BlockGrid(SHAPE, SHAPE))[0]
    rounding = ray_table(fan(), window, footprint)["rounding"]
    assert rounding[rounding > 0].min() > 0 and rounding.max() < 1000 * SEARCH_ROUNDING


# --- what is refused -------------------------------------------------------------------------------------------------

BAD = [
    (dict(detector_tilt=1.6), "detector_tilt reaches 1.6, a quarter turn or more"),
    (dict(detector_tilt=float("nan")), "detector_tilt=nan isn't finite"),
    (dict(detector_tilt=np.zeros(9)), "detector_tilt has 9 entries for 10 angles"),
    (dict(center=np.full(9, 5.0)), "center has 9 entries for 10 angles"),
    (dict(center=np.linspace(3, 25, 10)), "center, from 3 to 25, isn't on the detector"),
    (dict(detector_spacing=np.linspace(-1, 1, 10)), "detector_spacing holds 5 values that aren't positive"),
    (dict(source_distance=50.0), "source_distance is given and detector_distance isn't"),
    (dict(detector_distance=50.0), "detector_distance is given and source_distance isn't"),
    (dict(source_distance=-50.0, detector_distance=5.0), "source_distance=-50.0, .* aren't distances"),
    (dict(source_distance=50.0, detector_distance=float("inf")), "aren't distances"),
    (dict(source_distance=8.0, detector_distance=50.0), "a source 8 pixels from the axis isn't in front of"),
    (dict(source_distance=20.0, detector_distance=0.0, detector_tilt=1.4), "isn't in front of the whole image"),
    (dict(source_distance=13.0, detector_distance=0.0, detector_spacing=4.0), "opens by a quarter turn or more"),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_bad_beams_are_refused(bad, message):
    good = dict(sinogram=np.zeros((10, 20), np.float32), angles=half_turn(10), image_shape=(16, 16))
    RadonCT(**good, source_distance=40.0, detector_distance=0.0)
    with pytest.raises(ValueError, match=message):
        RadonCT(**good, **bad)


# --- ASTRA's geometries ----------------------------------------------------------------------------------------------


def test_astras_fan_is_ours():
    given = astra.create_proj_geom("fanflat", 1.4, 90, TURN, 120.0, 50.0)
    ours = scan_geometry(SHAPE, TURN, (24, 90), 1.4, None, 0.0, 120.0, 50.0)
    for geometry in (given, astra.geom_2vec(given)):
        found = RadonCT.from_astra(np.zeros((24, 90), np.float32), geometry, astra.create_vol_geom(*SHAPE)).geometry
        assert isinstance(found, FanGeometry)
        assert all(np.allclose(a, b) for a, b in zip(found.arrays(), ours.arrays(), strict=True))


def test_astras_parallel_beam_is_ours():
    given = astra.create_proj_geom("parallel", 1.3, 81, TURN)
    for geometry in (given, astra.geom_2vec(given)):
        found = RadonCT.from_astra(np.zeros((24, 81), np.float32), geometry, astra.create_vol_geom(*SHAPE)).geometry
        assert isinstance(found, ParallelGeometry)
        assert np.allclose(np.exp(1j * found.angles), np.exp(1j * TURN))
        assert np.allclose(found.spacing, 1.3) and np.allclose(found.center, 40.0)


def vectors(*rows):
    return astra.create_proj_geom("parallel_vec", 20, np.array(rows, float))


ASTRA_BAD = [
    (vectors([0, -1, 0, 0, 0, 1]), {}, "vector 0 has its detectors along its rays"),
    (vectors([0, -1, 0, 0, np.nan, 1]), {}, "or not finite. Pass six finite numbers an angle"),
    (astra.create_proj_geom("parallel3d", 1, 1, 20, 20, [0.0]), {}, "proj_geom is of type 'parallel3d'"),
    (vectors([0, -1, 0, 0, 1, 0]), {"shape": (2, 20)}, r"sinogram is \(2, 20\), proj_geom has \(1, 20\)"),
    (vectors([0, -1, 0, 0, 1, 0]), {"volume": (16, 16, -1, 1, -1, 1)}, "vol_geom has WindowMinX=-1"),
    (vectors([0, -1, 0, 0, 1, 0]), {"volume": (16, 16, 16)}, "vol_geom has slices"),
    (astra.create_proj_geom("fanflat", 1.0, 20, [0.0], 8.0, 8.0), {}, "isn't in front of the whole image"),
]


@pytest.mark.parametrize(("geometry", "changes", "message"), ASTRA_BAD)
def test_other_geometries_of_astra_are_refused(geometry, changes, message):
    volume = astra.create_vol_geom(*changes.get("volume", (16, 16)))
    with pytest.raises(ValueError, match=message):
        RadonCT.from_astra(np.zeros(changes.get("shape", (1, 20)), np.float32), geometry, volume)


def test_a_detector_that_counts_the_other_way_sees_the_mirror_image():
    image = blobs(24, 24)
    counted = [np.array([np.sin(a), -np.cos(a), 0, 0, np.cos(a), np.sin(a)]) for a in half_turn(7)]
    back = [row * [1, 1, 1, 1, -1, -1] for row in counted]
    volume = astra.create_vol_geom(24, 24)
    one, other = (
        RadonCT.from_astra(np.zeros((7, 20), np.float32), vectors(*rows), volume).forward(image)
        for rows in (counted, back)
    )
    assert relative(other[:, ::-1], one) < 1e-5 < relative(other, one)


# --- the start of a fan, and its run ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0.0, 6.0])
@pytest.mark.parametrize(
    ("angles", "changes"),
    [
        (2 * half_turn(240), {}),
        (2 * half_turn(301), {"center": 120.3, "detector_tilt": 0.1}),
        (np.linspace(-0.4, np.pi + 0.4, 210), {}),  # a short scan: half a turn and the fan
        (np.random.default_rng(0).permutation(2 * half_turn(240)), {"source_distance": 90.0, "detector_spacing": 1.4}),
    ],
)
def test_fbp_of_a_fan_returns_the_image(angles, changes, shift):
    from scipy.ndimage import gaussian_filter

    image = gaussian_filter(blobs(100, 100), 1.5)
    center = changes.get("center", 119.5)
    beam = dict(detector_spacing=1.0, source_distance=300.0, detector_distance=100.0) | changes
    beam.pop("center", None)
    sinogram = project(image, angles, 240, center=center, **beam)
    found = RadonCT(sinogram, angles, (100, 100), center=center + shift, **beam).fbp()
    assert (relative(found, image) < 0.08) == (shift == 0.0), relative(found, image)


def test_rebinned_is_the_parallel_scan():
    """Of a smooth image, with more views than needed."""
    from scipy.ndimage import gaussian_filter

    image, angles = gaussian_filter(blobs(64, 64), 2), 2 * half_turn(360)
    sinogram = project(image, angles, 150, 1.2, source_distance=150.0, detector_distance=60.0)
    geometry = scan_geometry((64, 64), angles, (360, 150), 1.2, None, 0.0, 150.0, 60.0)
    assert isinstance(geometry, FanGeometry)
    found, beam = rebinned(sinogram, geometry)
    expected = project(image, beam.angles, beam.detectors, beam.spacing, beam.center)
    assert found.shape == expected.shape == (180, beam.detectors)
    assert relative(found, expected) < 5e-3 < relative(np.roll(found, 1, axis=1), expected)


def test_a_missing_wedge_stays_missing():
    angles = np.linspace(0, 1.2, 60)
    sinogram = project(blobs(40, 40), angles, 90, 1.4, **FAN)
    geometry = scan_geometry((40, 40), angles, (60, 90), 1.4, None, 0.0, **FAN)
    assert isinstance(geometry, FanGeometry)
    found, beam = rebinned(sinogram, geometry)
    assert len(found) < 100 and np.isfinite(found).all() and beam.angles.max() < np.pi


@pytest.mark.parametrize("wrong", [False, True])
def test_a_fans_run_ends_within_half_a_decibel_of_the_parallel_beams(wrong):
    """The same image, as many views, detectors as close together on the axis. Wrong: the source further away."""
    image, views = blobs(64, 64), 45
    image[np.hypot(*(np.mgrid[:64, :64] - 31.5)) > 31] = 0
    beam = dict(source_distance=128.0, detector_distance=64.0)
    levels = {}
    for name, angles, spacing, rays in (
        ("parallel", half_turn(views), 1.0, {}),
        ("fan", 2 * half_turn(views), 1.5, beam),
    ):
        sinogram = project(image, angles, 92, spacing, **rays)
        sinogram = sinogram + 0.05 * np.random.default_rng(1).standard_normal(sinogram.shape).astype(np.float32)
        believed = rays | ({"source_distance": 150.0} if wrong and rays else {})
        scan = RadonCT(sinogram, angles, (64, 64), spacing, **believed)
        solver = GpuAsyncRED(scan, "dncnn", tau=0.02, device="cpu", num_workers=1, field_of_view="circle", seed=1)
        levels[name] = snr(solver.run(max_sweeps=12).image, image)
    assert (abs(levels["fan"] - levels["parallel"]) < 0.5) == (not wrong), levels


def test_a_copy_and_some_angles_are_the_same_scan():
    sinogram = project(blobs(40, 40), TURN, 90, 1.4, **FAN)
    scan = RadonCT(sinogram, TURN, (40, 40), 1.4, **FAN)
    some = scan.restricted(np.array([0, 5, 7]))
    assert relative(some.forward(blobs(40, 40)), sinogram[[0, 5, 7]]) < 1e-5
    assert scan.fingerprint != RadonCT(sinogram, TURN, (40, 40), 1.4, **(FAN | {"source_distance": 121.0})).fingerprint
    assert scan.with_measurements(2 * sinogram).geometry is scan.geometry
