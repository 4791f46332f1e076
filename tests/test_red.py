"""The mathematics of a step against plain formulas."""

import numpy as np
import pytest

from asyncred_gpu.red import Step, StepConstants, check_step, move, step_length

CONSTANTS = StepConstants(lipschitz=1.0, block_lipschitz=0.25, tau=0.1, staleness=4, in_flight=6, blocks=4)


def test_step_lengths_are_the_papers_formulas():
    assert step_length("theory", CONSTANTS) == pytest.approx(1 / (9 * 1.2))
    assert step_length("global", CONSTANTS) == pytest.approx(1 / 1.2)
    assert step_length("block", CONSTANTS) == pytest.approx(1 / (4 * 0.25 + 0.2))  # β = 6·4/(1.5·4) = 4
    assert step_length(0.3, CONSTANTS) == 0.3


@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), float("inf"), "fast", True, None])
def test_bad_steps_are_refused(bad):
    with pytest.raises(ValueError, match=r"step=.* isn't a (step|length)"):
        check_step(bad)


def arrays():
    random = np.random.default_rng(0)
    return [random.standard_normal((4, 5)).astype(np.float32) for _ in range(4)]


def test_a_plain_step_is_x_minus_gamma_g():
    x, m, gradient, residual = arrays()
    expected = x - 0.3 * (gradient + 0.1 * residual)
    m[:] = 0
    moved = move(x, m, gradient.copy(), residual, 0.1, Step(0.3, 0.0, False), None)
    assert np.allclose(x, expected, atol=1e-6) and not np.allclose(x, expected + 1e-4, atol=1e-6)
    assert moved.gradient_squared == pytest.approx(np.sum((gradient + 0.1 * residual) ** 2), rel=1e-5)
    assert moved.finite and not moved.restarted


@pytest.mark.parametrize("uphill", [False, True])
def test_heavy_ball_and_its_restart(uphill):
    x, m, gradient, residual = arrays()
    total = gradient + 0.1 * residual
    m[:] = total if uphill else -total
    before, ball = x.copy(), m.copy()
    moved = move(x, m, gradient, residual, 0.1, Step(0.3, 0.5, False), None)
    beta = 0.0 if uphill else 0.5
    assert moved.restarted == uphill
    assert np.allclose(x, before + beta * ball - 0.3 * total, atol=1e-6)
    assert np.allclose(m, x - before, atol=1e-6)


def test_nonnegative_and_field_of_view():
    x, m, gradient, residual = arrays()
    x, m, mask = np.abs(x), m * 0, np.zeros((4, 5), np.float32)
    mask[1:3] = 1
    before = x.copy()
    move(x, m, gradient, residual, 0.1, Step(50.0, 0.0, True), mask)
    assert (x >= 0).all() and (x == 0).any()
    assert np.array_equal(x[mask == 0], before[mask == 0])
    assert np.allclose(m, x - before)  # the ball rolls as far as the pixels did


def test_pixels_held_at_zero_do_not_count_as_gradient():
    """Near a solution they push hard and the others hardly: their difference to the sum of all is rounding only."""
    x, gradient = np.array([[0, 1, 0, 2]], np.float32), np.array([[1e3, 1e-3, 7e3, 2e-3]], np.float32)
    everything = float(np.vdot(gradient, gradient))
    held = gradient[x == 0]
    moved = move(x, x * 0, gradient, x * 0, 0.0, Step(1e-9, 0.0, True), None)
    assert moved.gradient_squared == pytest.approx(5e-6, rel=1e-5)
    assert abs(everything - float(np.vdot(held, held)) - 5e-6) > 1e-6  # the difference isn't


def test_an_infinite_gradient_is_told():
    x, m, gradient, residual = arrays()
    gradient[0, 0] = np.inf
    assert not move(x, m * 0, gradient, residual, 0.1, Step(0.3, 0.0, False), None).finite
