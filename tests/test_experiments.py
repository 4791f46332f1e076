"""The problems: the noise that was asked for, the views that were left out, and how a prediction is judged."""

from __future__ import annotations

import numpy as np
import pytest

from asyncred_gpu import RadonCT
from asyncred_gpu.experiments import Views, prediction_error, retina_image, retina_problem, split_views
from asyncred_gpu.operators.radon import project


@pytest.mark.parametrize("wrong", [False, True])
def test_the_noise_is_as_strong_as_asked_for(wrong: bool) -> None:
    clean = retina_problem(64, 40, noise_db=300).measured.sinogram
    noisy = retina_problem(64, 40, noise_db=35 if wrong else 30, seed=1).measured.sinogram
    found = 20 * np.log10(np.linalg.norm(clean) / np.linalg.norm(noisy - clean))
    assert (abs(found - 30) < 0.01) == (not wrong)


def test_the_default_is_the_crop_itself() -> None:
    image = retina_image(800)
    assert image.shape == (800, 800)
    assert image.dtype == np.float32
    assert 0 <= image.min() < 0.25 < 0.6 < image.max() <= 1
    small = retina_image(200)
    assert np.abs(small - image.reshape(200, 4, 200, 4).mean(axis=(1, 3))).max() < 0.1 < image.max() - image.min()


def test_the_seed_makes_the_noise() -> None:
    first, again, other = (retina_problem(32, 20, seed=seed).measured.sinogram for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_every_second_view_is_left_out_and_none_twice() -> None:
    views = Views(np.arange(14, dtype=np.float32).reshape(7, 2), np.arange(7.0))
    kept, left = split_views(views, 2)
    assert left is not None
    np.testing.assert_array_equal(kept.angles, [0, 2, 4, 6])
    np.testing.assert_array_equal(left.angles, [1, 3, 5])
    np.testing.assert_array_equal(left.sinogram[:, 0], [2, 6, 10])
    assert split_views(views, 1)[1] is None


@pytest.mark.parametrize("size", [31, 16385, 2**31])
def test_sizes_that_show_nothing_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=rf"size={size} .* Pass 32 to 16384 pixels a side"):
        retina_problem(size)


@pytest.mark.parametrize("every", [0, 4])
def test_too_few_views_left_are_refused(every: int) -> None:
    views = Views(np.zeros((7, 2), np.float32), np.arange(7.0))
    with pytest.raises(ValueError, match=rf"every={every} keeps too little of 7 projections.* Pass 1 to 3"):
        split_views(views, every)


@pytest.mark.parametrize("wrong", [None, "center", "angles", "scale"])
def test_the_true_image_predicts_the_left_out_views(wrong: str | None) -> None:
    problem = retina_problem(64, 40, noise_db=80, center=46.5, every=2)
    assert problem.reference is not None and problem.left_out is not None
    image = problem.reference * (1.01 if wrong == "scale" else 1)
    if wrong == "center":
        image = np.roll(image, 1, axis=1)
    if wrong == "angles":
        image = image[::-1].copy()
    error = prediction_error(image, problem, None)
    assert error is not None
    assert (error < 2e-4) == (wrong is None)


def test_with_a_circle_only_its_pixels_and_rays_count() -> None:
    size, angles = 64, np.arange(40) * np.pi / 40
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    mask = (x**2 + y**2 <= (size / 2) ** 2).astype(np.float32)
    problem = retina_problem(size, 40, every=2)
    seen = project(mask, angles[1::2], problem.measured.sinogram.shape[1])
    inside = type(problem)(**{**vars(problem), "left_out": Views(seen, angles[1::2])})
    assert prediction_error(mask + 5 * (1 - mask), inside, mask) == pytest.approx(0, abs=1e-6)
    unmasked = prediction_error(mask + 5 * (1 - mask), inside, None)
    assert unmasked is not None and unmasked > 0.1


def test_fbp_of_the_problem_has_its_centre() -> None:
    problem = retina_problem(96, 120, detectors=160, center=70.25)
    views = problem.measured

    def inner_error(center: float) -> float:
        fbp = RadonCT(views.sinogram, views.angles, problem.image_shape, center=center).fbp()[20:-20, 20:-20]
        assert problem.reference is not None
        truth = problem.reference[20:-20, 20:-20]
        return float(np.linalg.norm(fbp - truth) / np.linalg.norm(truth))

    assert inner_error(problem.center) < 0.7 * min(inner_error(69.25), inner_error(71.25))
