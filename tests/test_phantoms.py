"""Phantoms: reproducible, within range, of every kind, and with edges as a scanner's pixels show them."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch

from asyncred_gpu.models import phantoms
from asyncred_gpu.models.phantoms import KINDS, fields, layers, make_phantoms, packing, scanned, shapes
from asyncred_gpu.models.phantoms.ellipses import container

SIZE = 64


def drawn(kind: str, seed: int, size: int = SIZE) -> np.ndarray:
    return KINDS[kind](np.random.default_rng(seed), size)


# ---- the list


def test_the_same_seed_gives_the_same_images_and_another_seed_others():
    first, again, other = make_phantoms(8, SIZE, 3), make_phantoms(8, SIZE, 3), make_phantoms(8, SIZE, 4)
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))
    assert not any(torch.equal(first[k], first[k + 4]) for k in range(4))


@pytest.mark.parametrize("wrong", [False, True], ids=["as it is", "one generator for all"])
def test_an_image_does_not_depend_on_how_many_are_made(monkeypatch, wrong):
    if wrong:
        make = np.random.default_rng
        shared = make(0)
        monkeypatch.setattr(phantoms.np.random, "default_rng", lambda seed: shared)
    few, many = make_phantoms(3, SIZE, 1), make_phantoms(9, SIZE, 1)
    assert all(map(torch.equal, few, many[:3])) == (not wrong)


@pytest.mark.parametrize("size", [32, 65, 192])
def test_images_are_float32_in_zero_to_one_with_a_bright_object_in_air(size):
    images = make_phantoms(40, size, 0)
    for image in images:
        assert image.shape == (size, size) and image.dtype == torch.float32 and image.is_contiguous()
        assert image.min() >= 0
        assert 0.6 - 1e-6 <= image.max() <= 1
    assert sum(bool((image == 0).float().mean() > 0.1) for image in images) > 20
    assert max(image.max() for image in images) > 0.9 and min(image.max() for image in images) < 0.7


def test_all_kinds_come_in_turn(monkeypatch):
    seen = []

    def noting(name, draw):
        return lambda random, size: seen.append(name) or draw(random, size)

    monkeypatch.setattr(phantoms, "KINDS", {name: noting(name, draw) for name, draw in KINDS.items()})
    make_phantoms(6, SIZE, 0)
    assert seen == ["ellipses", "foam", "cells", "textured", "ellipses", "foam"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_finite_not_negative_varied_and_one_dtype(kind):
    images = [drawn(kind, seed, 48) for seed in range(40)]
    for image in images:
        assert image.dtype == np.float32 and image.shape == (48, 48)
        assert np.isfinite(image).all() and image.min() >= 0 and image.max() > 0.05
    correlations = np.corrcoef([image.ravel() for image in images if image.std() > 0])
    assert np.median(correlations) < 0.8


def test_kinds_differ_in_how_much_of_the_object_is_flat():
    """Share of the object's neighbours with exactly the same value: even regions have many, textures few."""

    def flat(image: np.ndarray) -> float:
        inside = (image[:, 1:] > 0) & (image[:, :-1] > 0)
        return float((image[:, 1:] == image[:, :-1])[inside].mean()) if inside.any() else 0.0

    share = {kind: np.mean([flat(drawn(kind, seed, 128)) for seed in range(40)]) for kind in KINDS}
    assert share["ellipses"] > 0.6 > share["textured"] + 0.2
    assert share["ellipses"] > share["cells"] > 0.05


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((-1, SIZE, 0), "count=-1 and seed=0 must not be below 0"),
        ((1, SIZE, -2), "count=1 and seed=-2 must not be below 0"),
        ((1, 31, 0), "size=31 pixels can't hold a phantom's detail. Pass at least 32"),
    ],
)
def test_what_cannot_be_made_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        make_phantoms(*options)
    assert make_phantoms(0, SIZE, 0) == []


def test_images_are_made_quickly():
    began = time.process_time()
    make_phantoms(12, 128, 5)
    assert time.process_time() - began < 12 * 0.5  # about 0.01 s each on an idle core


# ---- edges


def supersampled(shape: shapes.Shape, size: int, factor: int = 9) -> np.ndarray:
    """The shape's coverage by counting the points inside, factor² a pixel."""
    line = (np.arange(size * factor) + 0.5) / factor - size / 2
    rows, cols = line[:, None].astype(np.float32), line[None, :].astype(np.float32)
    inside = shape.distance(rows - shape.centre[0], cols - shape.centre[1]) < 0
    return inside.reshape(size, factor, size, factor).mean((1, 3))


WAVES = 10 + 2 * np.cos(3 * np.linspace(-math.pi, math.pi, 512, endpoint=False))
SHAPES = {
    "disc": shapes.disc((1.3, -2.2), 9.4),
    "ellipse": shapes.ellipse((-1.2, 0.6), (12.0, 5.0), 0.7),
    "rectangle": shapes.rectangle((2.0, 1.0), (9.0, 4.0), 0.4),
    "outline": shapes.outline((0.5, 0.5), WAVES.astype(np.float32)),
    "segment": shapes.segment((-8.0, -3.0), (6.0, 7.0), 3.0, 1.2),
    "shrunk": shapes.disc((0.0, 0.0), 12.0).shrunk(2.5),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("wrong", [False, True], ids=["as it is", "a pixel is in or out"])
def test_a_pixel_on_an_edge_holds_the_share_inside(name, wrong):
    coverage = SHAPES[name].coverage(36)
    if wrong:
        coverage = np.round(coverage)
    mismatch = np.abs(coverage - supersampled(SHAPES[name], 36)).max()
    assert (mismatch < 0.25) == (not wrong)
    area = abs(coverage.sum() / supersampled(SHAPES[name], 36).sum() - 1)
    assert area < (0.05 if wrong else 0.01)


def test_areas_are_those_of_the_formulas():
    assert shapes.disc((0.2, 0.1), 10.0).coverage(30).sum() == pytest.approx(math.pi * 100, rel=2e-3)
    assert shapes.disc((0.0, 0.0), 10.0).shrunk(3).coverage(30).sum() == pytest.approx(math.pi * 49, rel=1e-2)
    assert shapes.ellipse((0.0, 0.0), (12, 4), 1.0).coverage(30).sum() == pytest.approx(math.pi * 48, rel=1e-2)
    assert shapes.rectangle((0.0, 0.3), (8, 5), 0.5).coverage(30).sum() == pytest.approx(160, rel=1e-2)


def test_axes_and_angles_are_those_of_rows():
    tall = shapes.ellipse((0.0, 0.0), (12, 3)).coverage(30)
    assert (tall.max(axis=1) > 0.5).sum() == 24 and (tall.max(axis=0) > 0.5).sum() == 6
    turned = shapes.rectangle((0.0, 0.0), (12, 3), math.pi / 2).coverage(30)
    np.testing.assert_allclose(turned, shapes.rectangle((0.0, 0.0), (3, 12)).coverage(30), atol=1e-4)


def test_a_shape_partly_or_wholly_outside_the_image_is_cut():
    image = np.zeros((20, 20), np.float32)
    shapes.disc((50.0, 0.0), 5.0).paint(image, 1.0)
    shapes.disc((-50.0, 0.0), 5.0).cover(image)
    assert image.max() == 0
    shapes.disc((10.0, 10.0), 5.0).paint(image, 1.0)
    whole = shapes.disc((0.0, 0.0), 5.0).coverage(40).sum()
    assert image.sum() == pytest.approx(whole / 4, rel=0.15)


@pytest.mark.parametrize("kind", KINDS)
def test_the_edge_of_an_object_in_air_is_between_air_and_object(kind):
    """Going from a pixel of 0 straight to one near the object's level happens on exact alignment only."""
    hard, soft = 0, 0
    for seed in range(12):
        image = drawn(kind, seed, 96)
        left, right = image[:, :-1], image[:, 1:]
        low, high = np.minimum(left, right), np.maximum(left, right)
        soft += int(((low == 0) & (high > 0) & (high < 0.5)).sum())
        hard += int(((low == 0) & (high > 0.999)).sum())
    assert soft > 3 * hard


def test_a_border_of_cells_is_a_mixture_of_both_cells():
    random = np.random.default_rng(0)
    cells = packing.voronoi(packing.jittered_grid(random, SIZE, 14, 0.2), SIZE)
    values = random.integers(0, 2, len(cells.points)).astype(np.float32)
    image, hard = cells.shaded(values), values[cells.nearest]
    assert np.abs(image - hard).max() <= 0.5
    assert 0.02 < ((image > 0.05) & (image < 0.95)).mean() < 0.3
    assert set(np.unique(hard)) == {0, 1}


@pytest.mark.parametrize("wrong", [False, True], ids=["as it is", "only blurred"])
def test_rounding_leaves_straight_borders_where_they_are_and_fills_corners(wrong):
    blur = 3.0
    lift = math.sqrt(2 / math.pi) * blur if wrong else 0
    two = packing.voronoi(np.array([[0.0, -20.0], [0.0, 20.0]]), SIZE)
    assert (abs(two.rounded(blur).min() + lift) < 0.2) == (not wrong)
    three = packing.voronoi(np.array([[0.0, -20.0], [17.0, 10.0], [-17.0, 10.0]]), SIZE)
    assert (three.rounded(blur).min() + lift < -0.3) == (not wrong)
    assert three.rounded(0) is three.border


def test_layers_have_no_jump_where_a_repeat_ends():
    phase = np.array([[0.0, 1 - 1e-6]], np.float32)
    for seed in range(50):
        ends = layers._profile(np.random.default_rng(seed), phase, 8.0)
        assert abs(ends[0, 0] - ends[0, 1]) < 1e-3


# ---- fields and packings


def test_a_field_has_structure_between_its_two_lengths():
    random = np.random.default_rng(0)
    field = fields.random_field(random, 256, 8, 32)
    assert field.mean() == pytest.approx(0, abs=1e-4) and field.std() == pytest.approx(1, abs=1e-4)
    power = np.abs(np.fft.fft2(field)) ** 2
    frequency = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None, :])
    share = [power[(frequency > low) & (frequency < high)].sum() / power.sum() for low, high in ((0, 0.01), (0.25, 1))]
    assert max(share) < 0.01
    stretched = fields.random_field(random, 256, 8, 32, stretch=6)
    steps = [np.abs(np.diff(stretched, axis=axis)).mean() for axis in (0, 1)]
    assert steps[1] > 3 * steps[0]  # long along the rows' direction


@pytest.mark.parametrize("wrong", [False, True], ids=["as it is", "radii not shrunk"])
def test_packed_discs_do_not_overlap_and_stay_inside(wrong):
    random = np.random.default_rng(0)
    wanted = random.uniform(2, 12, 120)
    centres, radii = packing.packed_discs(random, 60, wanted, 1.0)
    if wrong:
        radii = radii * 1.5
    assert len(radii) > 20 and (radii.max() / radii.min() > 2)
    apart = np.hypot(*(centres[:, None] - centres[None]).transpose(2, 0, 1)) - radii[:, None] - radii[None]
    np.fill_diagonal(apart, np.inf)
    inside = 60 - np.hypot(*centres.T) - radii
    assert (min(apart.min(), inside.min()) > 1 - 1e-6) == (not wrong)


def test_a_jittered_grid_covers_the_image_at_its_spacing():
    points = packing.jittered_grid(np.random.default_rng(0), SIZE, 8, 0.05)
    cells = packing.voronoi(points, SIZE)
    inside = (np.abs(points).max(axis=1) < SIZE / 2).sum()
    assert inside == pytest.approx(SIZE**2 / (8**2 * math.sqrt(0.75)), rel=0.15)
    assert 3.5 < cells.border.max() < 6


# ---- intensity


def test_a_scan_keeps_air_at_zero_and_scales_the_brightest():
    image = shapes.disc((0.0, 0.0), 20.0).coverage(SIZE) * np.float32(7)
    results = [scanned(np.random.default_rng(seed), image) for seed in range(30)]
    assert all(result[0, 0] == 0 and 0.6 <= result.max() <= 1 for result in results)
    blurred = sum(bool((result > 0).sum() > (image > 0).sum()) for result in results)
    assert 5 < blurred < 25
    assert scanned(np.random.default_rng(0), np.zeros((SIZE, SIZE), np.float32)).max() == 0


def test_contrast_within_the_object_goes_from_a_few_grey_levels_to_strong():
    spread = []
    for phantom in make_phantoms(80, 96, 0):
        low, high = torch.quantile(phantom[phantom > 0.3 * phantom.max()], torch.tensor([0.2, 0.8]))
        spread.append(float(high - low) * 255)
    assert sum(value < 8 for value in spread) > 10 and sum(value > 25 for value in spread) > 20


def test_containers_leave_air_around_most_samples():
    random = np.random.default_rng(0)
    corners = [container(random, SIZE).coverage(SIZE)[0, 0] for _ in range(100)]
    assert 5 < np.sum(np.array(corners) > 0.5) < 50
