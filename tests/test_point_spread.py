"""The beam's point spread against A_iᵀA_i itself, averaged over where the rays lie between the pixels."""

import numpy as np
import pytest

from asyncred_gpu import RadonCT
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.operators.geometry import ParallelGeometry
from asyncred_gpu.operators.point_spread import cubic_spline, padded_shape, point_spread, symbol

from .helpers import relative

ANGLES = np.array([0.0, 0.2, 0.7, np.pi / 4, 1.1, np.pi / 2, 1.9, 2.6])  # in no symmetry
SIDE, SHIFTS = 15, 20


def geometry(angles=ANGLES, spacing=1.0):
    return ParallelGeometry((SIDE, SIDE), angles, 61, spacing, 30.0)


def averaged_response(spacing, weights):
    """AᵀWA of the middle pixel, for rays at evenly spread places between the pixels."""
    delta = np.zeros((SIDE, SIDE), np.float32)
    delta[SIDE // 2, SIDE // 2] = 1
    total = np.zeros((SIDE, SIDE))
    for shift in range(SHIFTS):
        scan = RadonCT(np.zeros((len(ANGLES), 61)), ANGLES, (SIDE, SIDE), spacing, 30 + (shift + 0.5) / SHIFTS)
        scan = scan.with_blocks(BlockGrid((SIDE, SIDE), (SIDE, SIDE)))
        total += scan.adjoint(weights[:, None].astype(np.float32) * scan.forward(delta))
    return total / SHIFTS


def centred(spread):
    return np.roll(spread, (SIDE // 2, SIDE // 2), (0, 1))[:SIDE, :SIDE]


@pytest.mark.parametrize("wrong", [None, "mirrored", "turned", "spacing", "weights"])
@pytest.mark.parametrize("spacing", [1.0, 0.6])
def test_it_is_the_mean_response_of_the_beam(spacing, wrong):
    weights = np.linspace(0.5, 2, len(ANGLES))
    found = point_spread(
        geometry(-ANGLES if wrong == "mirrored" else ANGLES, 1.1 * spacing if wrong == "spacing" else spacing),
        np.ones(len(ANGLES)) if wrong == "weights" else weights,
        (31, 32),
    )
    found = centred(found)
    expected = averaged_response(spacing, weights)
    assert (relative(found.T if wrong == "turned" else found, expected) < 5e-3) == (wrong is None)


def test_the_spline_is_the_triangle_convolved_with_itself():
    t = np.linspace(-3, 3, 6001)
    triangle = np.maximum(1 - np.abs(t), 0)
    expected = np.convolve(triangle, triangle, "same") * (t[1] - t[0])
    assert np.abs(cubic_spline(t) - expected).max() < 1e-5 < np.abs(cubic_spline(t + 1e-3) - expected).max()


@pytest.mark.parametrize("wave", [(0, 0), (3, 2), (7, 0), (2, 9), (12, 5)])
def test_the_symbol_is_the_curvature_of_a_wave_cut_to_the_block(wave):
    weights = np.linspace(0.5, 2, len(ANGLES))
    found = symbol([geometry()], weights, (SIDE, SIDE))
    rows, cols = padded_shape((SIDE, SIDE))
    assert rows >= 2 * SIDE and found.shape == (rows, cols // 2 + 1) and found.min() >= 0
    y, x = np.mgrid[:SIDE, :SIDE]
    phase = 2 * np.pi * (wave[0] * y / rows + wave[1] * x / cols)
    energy = 0.0
    for shift in range(SHIFTS):
        scan = RadonCT(np.zeros((len(ANGLES), 61)), ANGLES, (SIDE, SIDE), 1.0, 30 + (shift + 0.5) / SHIFTS)
        for part in (np.cos(phase), np.sin(phase)):
            energy += np.sum(weights[:, None] * scan.forward(part.astype(np.float32)) ** 2) / SHIFTS
    assert found[wave] == pytest.approx(energy / SIDE**2, rel=0.01)
