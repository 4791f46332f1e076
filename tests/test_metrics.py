"""SNR, PSNR and SSIM against their definitions, and what has no distance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from asyncred_gpu.metrics import psnr, snr, ssim

RNG = np.random.default_rng(0)
TRUTH = RNG.random((32, 24))
NOISE = RNG.standard_normal(TRUTH.shape)


def scaled_to(decibels: float) -> np.ndarray:
    """An estimate that is `decibels` from the truth."""
    return TRUTH + NOISE * np.linalg.norm(TRUTH) / np.linalg.norm(NOISE) * 10 ** (-decibels / 20)


@pytest.mark.parametrize("wrong", [False, True])
def test_snr_is_that_of_the_noise_added(wrong: bool) -> None:
    found = snr(scaled_to(30), TRUTH)
    if wrong:  # energies instead of norms
        found = 10 * math.log10(np.linalg.norm(TRUTH) / np.linalg.norm(scaled_to(30) - TRUTH))
    assert (abs(found - 30) < 1e-9) == (not wrong)


def test_snr_is_relative_to_the_reference_not_the_estimate() -> None:
    assert snr(2 * TRUTH, TRUTH) == 0
    assert snr(TRUTH, 2 * TRUTH) == pytest.approx(20 * math.log10(2), abs=1e-12)


def test_float32_images_are_summed_in_float64() -> None:
    truth = np.full((2000, 2000), 0.1, np.float32)
    estimate = truth + np.float32(0.001)
    exact = 20 * math.log10(0.1 / 0.001)
    naive = 20 * math.log10(np.sqrt(np.cumsum(truth**2)[-1]) / np.sqrt(np.cumsum((estimate - truth) ** 2)[-1]))
    assert abs(snr(estimate, truth) - exact) < 1e-4 < abs(naive - exact)


def test_psnr_takes_the_references_range_unless_told() -> None:
    estimate = TRUTH + 0.01
    peak = TRUTH.max() - TRUTH.min()
    assert psnr(estimate, TRUTH) == pytest.approx(20 * math.log10(peak / 0.01), abs=1e-9)
    assert psnr(estimate, TRUTH, data_range=1) == pytest.approx(40, abs=1e-9)


def test_equal_images_are_infinitely_close() -> None:
    assert snr(TRUTH, TRUTH) == math.inf
    assert psnr(TRUTH, TRUTH) == math.inf
    assert ssim(TRUTH, TRUTH) == 1
    assert ssim(scaled_to(10), TRUTH) < 0.95


@pytest.mark.parametrize("metric", [snr, psnr, ssim])
@pytest.mark.parametrize(
    ("estimate", "reference", "message"),
    [
        (TRUTH[:5], TRUTH, r"shape \(5, 24\), the reference \(32, 24\)"),
        (np.where(TRUTH > 0.9, np.nan, TRUTH), TRUTH, r"the estimate has \d+ NaN or infinite values of 768"),
        (TRUTH, TRUTH + np.inf, r"the reference has \d+ NaN or infinite"),
        (TRUTH[:0], TRUTH[:0], r"the estimate is empty \(shape \(0, 24\)\)"),
        (TRUTH * 1j, TRUTH, "the estimate holds complex128"),
        (TRUTH, 0 * TRUTH, "zero everywhere|data_range=0 is no peak"),
    ],
)
def test_what_has_no_distance_is_refused(metric, estimate, reference, message) -> None:  # type: ignore[no-untyped-def]
    with np.errstate(divide="ignore"), pytest.raises(ValueError, match=message):
        metric(estimate, reference)


def test_a_peak_has_to_be_positive() -> None:
    with pytest.raises(ValueError, match=r"data_range=-1 is no peak to compare with: it has to be positive"):
        psnr(TRUTH, TRUTH + 1, data_range=-1)


def test_ssim_needs_a_window() -> None:
    with pytest.raises(ValueError, match="windows of 7x7 pixels"):
        ssim(TRUTH[:6], TRUTH[:6])
