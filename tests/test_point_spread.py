"""The beam's point spread against A_iᵀA_i itself, averaged over where the rays lie between the pixels."""

import numpy as np
import pytest

from asyncred_gpu import RadonCT
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.operators.footprint import ParallelGeometry
from asyncred_gpu.operators.point_spread import cubic_spline, padded_shape, point_spread, symbol

from .helpers import half_turn, relative

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


def test_the_symbol_is_its_spectrum_on_a_padded_grid():
    rows, cols = padded_shape((15, 22))
    assert rows >= 30 and cols >= 44
    found = symbol(geometry(half_turn(40)), np.ones(40), (15, 22))
    assert found.shape == (rows, cols // 2 + 1) and found.min() >= 0
    spread = point_spread(geometry(half_turn(40)), np.ones(40), (rows, cols))
    assert found[0, 0] == pytest.approx(spread.sum(), rel=1e-5)
    phase = 2 * np.pi * (3 * np.arange(rows)[:, None] / rows + 2 * np.arange(cols) / cols)
    assert found[3, 2] == pytest.approx(np.sum(spread * np.cos(phase)), rel=1e-4)
