"""The mathematics of one update, free of devices: x_i ← x_i − γ·P_i·(U_iᵀ∇g(x̃) + τ·U_iᵀ(x̃ − D(x̃))).

Sun, Liu, Sun, Wohlberg, Kamilov, Async-RED, ICLR 2021, where P_i = 1. The block step, a P_i (preconditioner.py), the
momentum and centers (`follow`) are outside its theorems.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from .blocks import FloatArray

STEP_POLICIES = ("theory", "global", "block", "preconditioned")

# Of P_i times the curvature at a step of 1: what is above 2 grows.
LARGEST_EIGENVALUE = 1.9


@dataclass(frozen=True)
class StepConstants:
    """What a step's length depends on.

    Args:
        lipschitz: L of ∇g (of a scaled minibatch, if there is one).
        block_lipschitz: L_i of ∇g along the block (likewise).
        tau: weight of the residual; R has Lipschitz constant ≤ 2.
        staleness: λ, the most commits between a read and its commit.
        in_flight: P, updates at work at once.
        blocks: b.
        preconditioned: μ_i, the largest eigenvalue of P_i(U_iᵀ∇²g U_i + τ).
    """

    lipschitz: float
    block_lipschitz: float
    tau: float
    staleness: int
    in_flight: int
    blocks: int
    preconditioned: float = 1.0


def step_length(policy: str | float, constants: StepConstants) -> float:
    """γ for one block.

    "theory": 1/((1+2λ)(L+2τ)), Theorem 1 of the paper. "global": 1/(L+2τ). "block": 1/(βL_i+2τ), with
    β = max(1, Pω/(1.5 b)) and ω = L/L_i: P updates in flight act on x together, and overlap with weight ω/b.
    "preconditioned": along P_i G, where β is a part of P_i, 1/max(1, μ_i/1.9): from 2/μ_i on it would grow. A number is
    taken as it is.
    """
    c = constants
    if policy == "theory":
        return 1 / ((1 + 2 * c.staleness) * (c.lipschitz + 2 * c.tau))
    if policy == "global":
        return 1 / (c.lipschitz + 2 * c.tau)
    if policy == "block":
        curvature = overlap_factor(c) * c.block_lipschitz + 2 * c.tau
        return 1 / curvature if curvature > 0 else 0.0
    if policy == "preconditioned":
        return 1 / max(1.0, c.preconditioned / LARGEST_EIGENVALUE)
    return float(policy)


def overlap_factor(constants: StepConstants) -> float:
    """β = max(1, Pω/(1.5 b)): how much several updates in flight sharpen a block's curvature."""
    c = constants
    if c.block_lipschitz == 0:  # a block that no ray meets: nothing to overlap with
        return 1.0
    omega = c.lipschitz / c.block_lipschitz
    return max(1.0, c.in_flight * omega / (1.5 * c.blocks))


def check_step(policy: Any) -> str | float:
    """A step policy's name, or a positive number."""
    if policy in STEP_POLICIES:
        return str(policy)
    if isinstance(policy, str | bool) or not isinstance(policy, int | float):
        raise ValueError(f"step={policy!r} isn't a step. Pass one of {', '.join(STEP_POLICIES)}, or a positive number.")
    if not math.isfinite(policy) or policy <= 0:
        raise ValueError(f"step={policy} isn't a length. Pass a positive number, or one of {', '.join(STEP_POLICIES)}.")
    return float(policy)


class Precondition(Protocol):
    """P: symmetric and positive on a block's pixels."""

    @property
    def least(self) -> float:
        """A factor no larger than P's."""
        ...

    def __call__(self, gradient: FloatArray) -> FloatArray:
        """P G, (rows, cols); may be a buffer, valid until the next call."""
        ...


class Step(NamedTuple):
    """How far a block moves: γ, the heavy ball's β, whether x stays ≥ 0; and f of R_{fc}, 1 but at a run's begin.

    centered: by `follow`, else by `move`. There f = 0 says that the denoiser isn't asked.
    dual: by `follow` to plug-and-play's solution; m is then its dual variable u.
    """

    length: float
    momentum: float
    nonnegative: bool
    strength: float = 1.0
    centered: bool = False
    dual: bool = False

    @property
    def keeps(self) -> bool:
        """Whether the denoiser isn't asked: an update of the data term alone."""
        return self.strength == 0


class Moved(NamedTuple):
    """What a step says of itself: ‖G_i‖², whether the momentum was dropped, whether all is finite.

    `error_squared` is ‖x_i − reference‖² where the device has computed it.
    """

    gradient_squared: float
    restarted: bool
    finite: bool
    error_squared: float | None = None


def move(
    pixels: FloatArray,
    momentum: FloatArray,
    data_gradient: FloatArray,
    residual: FloatArray,
    tau: float,
    step: Step,
    mask: FloatArray | None,
    precondition: Precondition | None = None,
) -> Moved:
    """One heavy-ball step, in place: G = ∇g + τR; m ← βm − γPG; x ← x + m.

    The momentum of a block is dropped where it points uphill, ⟨G, m⟩ > 0 (O'Donoghue and Candès 2015).

    Args:
        pixels, momentum: (rows, cols) x_i and m_i; overwritten.
        data_gradient: (rows, cols) U_iᵀ∇g(x̃); overwritten.
        residual: (rows, cols) U_iᵀR(x̃).
        mask: (rows, cols) of 0 and 1, the field of view, or None.
        precondition: P, or None for 1.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # a run that diverges is told by `finite`
        gradient = data_gradient
        held, free, squared, restarted = _judged(gradient, pixels, momentum, residual, tau, step, mask)
        momentum *= np.float32(0.0 if restarted else step.momentum)
        direction = gradient if precondition is None else preconditioned(precondition, gradient, free, held, mask)
        momentum -= np.float32(step.length) * direction
        moved = pixels + momentum
        if step.nonnegative:
            np.maximum(moved, 0, out=moved)
            np.subtract(moved, pixels, out=momentum)
        np.copyto(pixels, moved)
    return Moved(squared, restarted, math.isfinite(squared) and bool(np.isfinite(pixels).all()))


def follow(
    pixels: FloatArray,
    momentum: FloatArray,
    center: FloatArray,
    data_gradient: FloatArray,
    residual: FloatArray,
    tau: float,
    step: Step,
    mask: FloatArray | None,
    precondition: Precondition | None = None,
) -> Moved:
    """One step of min g(x) + τ/2‖x − z‖², in place: x ← x + (z⁺ − z) − γP(∇g + τ(x − z)).

    z⁺ = x − R + βm = D(x) + βm where the denoiser is asked, else z. m is z's last move, m⁺ = z⁺ − z, and is dropped
    where it points uphill. The block goes with its center: where the data say nothing, x = z⁺ at once, however small P
    is there, and the data's part x − z is kept. At rest m = 0, so z = D(x) and G(x) = 0.

    With `step.dual` it is plug-and-play ADMM: the denoiser was asked for s = x + u, and u⁺ = s − D(s), z⁺ = D(s) − u⁺,
    u in the momentum's place. At rest x = D(x + u), z = x − u and ∇g + τu = 0, so x = D(x − ∇g(x)/τ). Steps take the
    place of the exact argmin of Venkatakrishnan, Bouman, Wohlberg, GlobalSIP 2013, whose dual variable is u.

    Args:
        pixels, momentum, center: (rows, cols) x_i, m_i and z_i; overwritten.
        data_gradient: (rows, cols) U_iᵀ∇g(x̃); overwritten.
        residual: (rows, cols) U_iᵀR(x̃), or of R(x̃ + ũ); not read where the step keeps z.
        mask, precondition: as for `move`.
    Returns:
        Of G where the denoiser is asked, else of ∇g + τ(x − z).
    """
    still, plain, about_it = np.zeros_like(momentum), step._replace(momentum=0.0), None
    with np.errstate(over="ignore", invalid="ignore"):
        if not step.keeps:
            _, _, squared, restarted = _judged(data_gradient.copy(), pixels, momentum, residual, tau, step, mask)
            about_it = squared, restarted
            ahead = _next_center(pixels, momentum, center, residual, 0.0 if restarted else step.momentum, step, mask)
            held, _ = _held_and_free(pixels, data_gradient + np.float32(tau) * (pixels - ahead), step)
            _go_along(pixels, center, ahead, held, mask)
        moved = move(pixels, still, data_gradient, pixels - center, tau, plain, mask, precondition)
    if about_it is None:
        return moved
    return Moved(*about_it, moved.finite and math.isfinite(about_it[0]))


def _next_center(
    pixels: FloatArray,
    momentum: FloatArray,
    center: FloatArray,
    residual: FloatArray,
    inertia: float,
    step: Step,
    mask: FloatArray | None,
) -> FloatArray:
    """z⁺; and m⁺ (or u⁺, 0 beyond the field of view) in the place of m."""
    if step.dual:
        ahead = pixels + momentum - np.float32(2) * residual
        np.copyto(momentum, residual if mask is None else mask * residual)
        return ahead
    ahead = pixels - residual + np.float32(inertia) * momentum
    np.subtract(ahead, center, out=momentum)
    return ahead


def _judged(
    gradient: FloatArray,
    pixels: FloatArray,
    momentum: FloatArray,
    residual: FloatArray,
    tau: float,
    step: Step,
    mask: FloatArray | None,
) -> tuple[Any, FloatArray, float, bool]:
    """Make G of ∇g, in place; which pixels are held, G of the others, its ‖G‖², and whether m points uphill."""
    gradient += np.float32(tau) * residual
    if mask is not None:
        gradient *= mask
    held, free = _held_and_free(pixels, gradient, step)
    uphill = step.momentum > 0 and float(np.vdot(gradient, momentum)) > 0
    return held, free, float(np.vdot(free, free)), uphill


def _go_along(pixels: FloatArray, center: FloatArray, ahead: FloatArray, held: Any, mask: FloatArray | None) -> None:
    """Set x ← x + (z⁺ − z) and z ← z⁺, but for pixels held at 0 (None: x may be negative)."""
    shift = ahead - center if held is None else np.where(held, 0, np.maximum(ahead, 0) - np.maximum(center, 0))
    if mask is not None:
        shift *= mask
    pixels += shift
    np.copyto(center, ahead)


def _held_and_free(pixels: FloatArray, gradient: FloatArray, step: Step) -> tuple[Any, FloatArray]:
    """Which pixels are held at 0 (None: none), where they should be; and G of the others: the projected gradient."""
    if not step.nonnegative:
        return None, gradient
    held = (pixels <= 0) & (gradient > 0)
    return held, np.where(held, 0, gradient)


def preconditioned(
    precondition: Precondition, gradient: FloatArray, free: FloatArray, held: Any, mask: FloatArray | None
) -> FloatArray:
    """P G among the pixels that may move; those held at 0 go on with a multiple of their own gradient.

    Bertsekas' two-metric projection: with a full P a projected step would have other fixed points.
    Source: Bertsekas, SIAM J. Control Optim. 1982.
    """
    direction = precondition(free)
    if mask is not None:
        direction = direction * mask
    return direction if held is None else np.where(held, np.float32(precondition.least) * gradient, direction)
