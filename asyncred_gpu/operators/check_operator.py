"""Whether an operator of a user's own is one: linear, its blocks' pairs adjoint, its footprints large enough.

Signed noise throughout: positive images hide a mismatch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..blocks import choose_block_shape
from .custom import CustomOperator, LinearOperator

# Of ⟨A x, v⟩ and ⟨x, Aᵀ v⟩, over ‖A x‖‖v‖: float32 sums of a million values stay well below; a wrong adjoint is off by
# percents. And of A(x + a z) − A x − a A z over ‖A x‖ + |a| ‖A z‖.
TOLERANCE = 1e-4


class OperatorError(ValueError):
    """The operator isn't what it must be; says what was found, and what to look for."""


@dataclass(frozen=True)
class Checked:
    """What was found right. mismatch, nonlinearity: the largest, relative. norm_squared: ‖A‖², by power iteration."""

    blocks: int
    mismatch: float
    nonlinearity: float
    norm_squared: float

    def __str__(self) -> str:
        return (
            f"{self.blocks} blocks: adjoint to {self.mismatch:.1e}, linear to {self.nonlinearity:.1e}, ‖A‖² = "
            f"{self.norm_squared:.4g}"
        )


def check_operator(
    operator: LinearOperator, block_shape: tuple[int, int] | None = None, device: str = "cpu", seed: int = 0
) -> Checked:
    """Try the operator on noise, every block of it.

    Args:
        operator: what `CustomOperator` takes.
        block_shape: (rows, cols) of the blocks; None: as `CustomOperator` has them. Try one that cuts the image
            unevenly, too.
        device: where: "cpu", "cuda".
    Raises:
        TypeError, ValueError: methods that are missing, or return something else than they must.
        OperatorError: not linear, not deterministic, not adjoint, or dependent on how the image is cut.
    """
    shape = block_shape or choose_block_shape(operator.image_shape)
    made = CustomOperator(operator, np.zeros(operator.data_shape, np.float32), shape)
    made.prepare_on(torch.device(device), None)  # type: ignore[arg-type]
    random = np.random.default_rng(seed)

    def noise(sides: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(random.standard_normal(sides).astype(np.float32)).to(device)

    mismatch = nonlinearity = 0.0
    for index, window in enumerate(made.windows):
        pixels, others, values = noise(window.shape), noise(window.shape), noise(made.shapes[index])
        where = f"block {index}, rows {window.top}:{window.bottom}, columns {window.left}:{window.right}"
        projected = made.block_forward(index, pixels.clone())
        _same(projected, made.block_forward(index, pixels.clone()), where)
        nonlinearity = max(nonlinearity, _linear(made, index, pixels, others, projected, where))
        mismatch = max(mismatch, _adjoint(made, index, pixels, values, projected, where))
    _cut(made, noise(made.image_shape))
    return Checked(len(made.windows), mismatch, nonlinearity, made.norm_squared)


def _same(first: Tensor, second: Tensor, where: str) -> None:
    if not torch.equal(first, second):
        raise OperatorError(
            f"{where}: forward_block gave two results for the same pixels. It must not draw at random, nor change what "
            "it was given."
        )
    if not bool(torch.isfinite(first).all()):
        raise OperatorError(f"{where}: forward_block of finite noise has NaN or infinite values.")


def _linear(made: CustomOperator, index: int, pixels: Tensor, others: Tensor, projected: Tensor, where: str) -> float:
    factor = 2.5
    together = made.block_forward(index, pixels + factor * others)
    apart = made.block_forward(index, others.clone())
    scale = float(projected.norm() + factor * apart.norm())
    off = float((together - projected - factor * apart).norm()) / scale if scale else 0.0
    if not off <= TOLERANCE:
        zero = made.block_forward(index, torch.zeros_like(pixels))
        hint = "A(0) isn't 0: leave constants out, or subtract them from the measurements." if zero.any() else ""
        raise OperatorError(
            f"{where}: forward_block isn't linear: A(x + 2.5 z) differs from A x + 2.5 A z by {off:.2g} of their size. "
            f"{hint}".rstrip()
        )
    return off


def _adjoint(made: CustomOperator, index: int, pixels: Tensor, values: Tensor, projected: Tensor, where: str) -> float:
    back = made.block_adjoint(index, values.clone())
    forward = float(torch.sum(projected.double() * values.double()))
    backward = float(torch.sum(pixels.double() * back.double()))
    size = float(projected.double().norm() * values.double().norm())
    off = abs(forward - backward) / size if size else abs(backward)
    if not off <= TOLERANCE:
        raise OperatorError(
            f"{where}: adjoint_block isn't the adjoint of forward_block: ⟨A x, v⟩ = {forward:.6g}, ⟨x, Aᵀ v⟩ = "
            f"{backward:.6g}. {_reason(made, pixels.device)}"
        )
    return off


def _reason(made: CustomOperator, device: torch.device) -> str:
    """What the usual mistakes look like, of the whole image as one block: a flip, a kernel, a factor; else a way on."""
    whole = _in_one_block(made, device)
    random = torch.Generator().manual_seed(1)
    pairs = [
        tuple(torch.randn(shape, generator=random).to(device) for shape in (whole.image_shape, whole.shapes[0]))
        for _ in range(2)
    ]

    def fits(adjoint: Callable[[Tensor], Tensor]) -> bool:
        """Whether ⟨A x, v⟩ = ⟨x, adjoint(v)⟩ for every pair: one alone may agree by chance."""
        for pixels, values in pairs:
            projected = whole.block_forward(0, pixels.clone())
            apart = torch.sum(projected.double() * values) - torch.sum(pixels.double() * adjoint(values.clone()))
            if not abs(float(apart)) <= TOLERANCE * float(projected.norm() * values.norm()):
                return False
        return True

    def back(values: Tensor) -> Tensor:
        return whole.block_adjoint(0, values)

    if fits(back):
        return "Of the whole image as one block it is: look at what a block does at its borders."
    for name, dims in (("rows", (0,)), ("columns", (1,)), ("rows and columns", (0, 1))):
        if fits(lambda values, dims=dims: back(values).flip(dims)):  # type: ignore[misc]
            return f"Its {name} come out in reverse."
        if pairs[0][1].ndim == 2 and fits(lambda values, dims=dims: back(values.flip(dims)).flip(dims)):  # type: ignore[misc]
            return f"It is with its {name} turned round: the adjoint of a convolution has the kernel turned round."
    pixels, _ = pairs[0]
    projected = whole.block_forward(0, pixels.clone())
    factor = float(torch.sum(pixels * back(projected.clone())) / torch.sum(projected**2))
    if factor > 0 and fits(lambda values: back(values) / factor):
        return f"It is the adjoint times {factor:.4g}: divide by that."
    return "Write A as a matrix of a few pixels, and compare adjoint_block with its transpose."


def _in_one_block(made: CustomOperator, device: torch.device) -> CustomOperator:
    """The whole image."""
    one = CustomOperator(made.operator, made.measured, made.image_shape)
    one.prepare_on(device, None)  # type: ignore[arg-type]
    return one


def _cut(made: CustomOperator, image: Tensor) -> None:
    """The whole image in one block, if that can be, gives the sum of the blocks' shares."""
    one = _in_one_block(made, image.device)
    host = image.cpu().numpy()
    whole, summed = one.forward(host), made.forward(host)
    scale = float(np.linalg.norm(whole))
    off = float(np.linalg.norm(whole - summed)) / scale if scale else float(np.linalg.norm(summed))
    if not off <= TOLERANCE:
        raise OperatorError(
            f"The blocks' shares add up to another A x than the image as one block gives: {off:.2g} of its size apart. "
            "Look at footprint: it must hold all that a block reaches; and at the blocks' borders, where a block must "
            "act as if the rest of the image were zero."
        )
