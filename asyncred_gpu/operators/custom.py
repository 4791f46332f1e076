"""A linear operator of a user's own as a block operator: three methods in torch, which run wherever the run does.

g(x) = ½‖A x − y‖² · scale, A x = Σ_i A_i x_i. Each block's share A_i x_i lies on its footprint, a box of the
measurements; a residual is gathered from the shares whose boxes overlap, as operators/base.py says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ..arrays import as_numpy, checksum
from ..blocks import BlockGrid, FloatArray, IndexArray, Window, choose_block_shape
from ..kernels.launch import Kernels
from ..preconditioner import Preconditioning
from .checks import check_image_shape
from .device import DeviceNeeds, DeviceOperator, Scene
from .power import largest_eigenvalue
from .starts import check_start, fitted

Box = tuple[slice, ...]
STARTS = ("auto", "adjoint", "zeros")
CPU = torch.device("cpu")


@runtime_checkable
class LinearOperator(Protocol):
    """What a user writes. Tensors are float32, on the device where the run is; a block is named by its window.

    image_shape: (rows, cols) of the image. data_shape: of the measurements, any number of axes.
    """

    image_shape: tuple[int, int]
    data_shape: tuple[int, ...]

    def footprint(self, window: Window) -> Box:
        """A slice an axis of the measurements: the box outside of which the block's pixels have no part."""
        ...

    def forward_block(self, window: Window, pixels: Tensor) -> Tensor:
        """A_i x_i: (rows, cols) of the block → its part of the measurements, on its footprint."""
        ...

    def adjoint_block(self, window: Window, values: Tensor) -> Tensor:
        """A_iᵀ v: values on the footprint → (rows, cols)."""
        ...


class CustomOperator:
    """The data term of an operator of your own, for `GpuAsyncRED`.

    Args:
        operator: a `LinearOperator`; `check_operator` says whether it is one.
        measured: y, of the operator's data_shape.
        block_shape: (rows, cols); None: about 200 pixels a side.
        normalize: divide the data term by ‖A‖², so that τ has no unit; as `RadonCT`.
    Raises:
        TypeError: methods or shapes that are missing. ValueError: measurements of another shape, or not finite.
    """

    convolutional = False
    blocks_fixed = False
    # A minibatch draws from these: an operator is one piece.
    measurements = 1

    def __init__(
        self,
        operator: LinearOperator,
        measured: Any,
        block_shape: tuple[int, int] | None = None,
        normalize: bool = True,
    ) -> None:
        missing = [name for name in _names() if not hasattr(operator, name)]
        if missing:
            raise TypeError(
                f"{type(operator).__name__} lacks {', '.join(missing)}. An operator has image_shape, data_shape, "
                "footprint, forward_block and adjoint_block, see LinearOperator."
            )
        self.operator = operator
        self.image_shape = check_image_shape(operator.image_shape)
        self.data_shape = tuple(int(side) for side in operator.data_shape)
        self.measured = as_numpy(measured, "measured", len(self.data_shape))
        if self.measured.shape != self.data_shape:
            raise ValueError(
                f"measured has shape {self.measured.shape}, the operator's data_shape is {self.data_shape}. Pass "
                "measurements of that shape."
            )
        self.normalize = normalize
        self._like = measured
        self._device = CPU
        self._constants: dict[Any, float] = {}
        self._set_grid(BlockGrid(self.image_shape, block_shape or choose_block_shape(self.image_shape)))

    def _set_grid(self, grid: BlockGrid) -> None:
        self.grid = grid
        self.windows = [grid.window(index) for index in range(len(grid))]
        self.boxes = [checked_box(self.operator.footprint(window), self.data_shape) for window in self.windows]
        self.shapes = [tuple(side.stop - side.start for side in box) for box in self.boxes]
        # Of each block: the blocks whose footprints meet its own, where in its own, and where in theirs.
        self.overlaps = [list(_meeting(self.boxes, index)) for index in range(len(self.boxes))]

    def with_blocks(self, grid: BlockGrid) -> Self:
        """The same measurements over other blocks."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._set_grid(grid)
        return other

    # --- constants ---------------------------------------------------------------------------------------------------

    @property
    def scale(self) -> float:
        """What the data term is multiplied with."""
        return 1 / self.norm_squared if self.normalize and self.norm_squared > 0 else 1.0

    @property
    def norm_squared(self) -> float:
        """‖A‖²."""
        return self._constant("norm", lambda: largest_eigenvalue(self._normal, self._noise(self.image_shape)))

    @property
    def lipschitz(self) -> float:
        return self.scale * self.norm_squared

    def block_lipschitz(self, index: int) -> float:
        """Scale · ‖A_i‖²."""
        window = self.windows[index]

        def normal(pixels: FloatArray) -> FloatArray:
            moved = torch.from_numpy(pixels).to(self._device)
            return _numpy(self.block_adjoint(index, self.block_forward(index, moved)))

        key = (window.top, window.bottom, window.left, window.right)
        return self.scale * self._constant(key, lambda: largest_eigenvalue(normal, self._noise(window.shape)))

    def minibatch_factor(self, count: int) -> float:
        """There are no minibatches."""
        return 1.0

    def preconditioning(self, tau: float, shared: float) -> Preconditioning:
        """There is none: nobody says that the operator's curvature is a convolution.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("A CustomOperator has no preconditioned step. Pass step='block'.")

    def _constant(self, key: Any, compute: Any) -> float:
        if key not in self._constants:
            self._constants[key] = float(compute())
        return self._constants[key]

    def _normal(self, image: FloatArray) -> FloatArray:
        return self.adjoint(self.forward(image))

    @staticmethod
    def _noise(shape: tuple[int, ...]) -> FloatArray:
        return np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    # --- the user's methods, checked -------------------------------------------------------------------------------

    def block_forward(self, index: int, pixels: Tensor) -> Tensor:
        """A_i x_i on the footprint."""
        found = self.operator.forward_block(self.windows[index], pixels)
        return checked(found, self.shapes[index], "forward_block", pixels)

    def block_adjoint(self, index: int, values: Tensor) -> Tensor:
        """A_iᵀ v, (rows, cols)."""
        found = self.operator.adjoint_block(self.windows[index], values)
        return checked(found, self.windows[index].shape, "adjoint_block", values)

    def forward(self, image: FloatArray) -> FloatArray:
        """A x of the whole image."""
        moved = torch.from_numpy(np.ascontiguousarray(image)).to(self._device)
        total = torch.zeros(self.data_shape, device=self._device)
        for index, (window, box) in enumerate(zip(self.windows, self.boxes, strict=True)):
            total[box] += self.block_forward(index, moved[window.slices].contiguous())
        return _numpy(total)

    def adjoint(self, values: FloatArray) -> FloatArray:
        """Aᵀ v of all measurements."""
        moved = torch.from_numpy(np.ascontiguousarray(values)).to(self._device)
        image = torch.empty(self.image_shape, device=self._device)
        for index, (window, box) in enumerate(zip(self.windows, self.boxes, strict=True)):
            image[window.slices] = self.block_adjoint(index, moved[box].contiguous())
        return _numpy(image)

    # --- what a worker asks for ------------------------------------------------------------------------------------

    def share_shape(self, index: int) -> tuple[int, ...]:
        return self.shapes[index]

    def residual_shape(self, index: int, count: int) -> tuple[int, ...]:
        return self.shapes[index]

    def forward_block(self, index: int, pixels: FloatArray, *, out: FloatArray) -> FloatArray:
        np.copyto(out, _numpy(self.block_forward(index, torch.from_numpy(np.ascontiguousarray(pixels)))))
        return out

    def residual_block(
        self, index: int, shares: Sequence[FloatArray], *, out: FloatArray, subset: IndexArray | None = None
    ) -> FloatArray:
        np.negative(self.measured[self.boxes[index]], out=out)
        for other, here, there in self.overlaps[index]:
            out[here] += shares[other][there]
        return out

    def gradient_block(
        self,
        index: int,
        pixels: FloatArray,
        residual: FloatArray,
        *,
        out: FloatArray,
        subset: IndexArray | None = None,
    ) -> FloatArray:
        np.multiply(_numpy(self.block_adjoint(index, torch.from_numpy(residual))), np.float32(self.scale), out=out)
        return out

    def gradient(self, image: FloatArray) -> FloatArray:
        return np.float32(self.scale) * self.adjoint(self.forward(image) - self.measured)

    # --- on a GPU --------------------------------------------------------------------------------------------------

    def on_device(self, scene: Scene, count: int) -> DeviceOperator:
        from .custom_device import CustomOnDevice

        return CustomOnDevice(self, scene)

    def device_needs(self, count: int, device: torch.device) -> DeviceNeeds:
        largest = max(math.prod(shape) for shape in self.shapes)
        rows, cols = self.grid.block_shape
        return DeviceNeeds(tables=self.measured.nbytes, floats=largest + rows * cols)

    def prepare_on(self, device: torch.device, kernels: Kernels) -> None:
        self._device = device

    # --- what a run says and begins with ---------------------------------------------------------------------------

    def start(self, kind: str) -> FloatArray:
        """A start image: "adjoint" (also "auto"), Aᵀy scaled to fit y best, or "zeros"."""
        check_start(kind, STARTS)
        if kind == "zeros":
            return np.zeros(self.image_shape, np.float32)
        image = self.adjoint(self.measured)
        return fitted(image, self.forward(image), self.measured)

    @property
    def fingerprint(self) -> str:
        """Of the measurements, and of what the operator makes of noise: its settings aren't known."""
        return checksum(self.measured, self.forward(self._noise(self.image_shape)))

    @property
    def details(self) -> dict[str, Any]:
        return {"operator": type(self.operator).__name__, "normalize": self.normalize}

    def like_input(self, image: FloatArray) -> Any:
        if isinstance(self._like, Tensor):
            return torch.from_numpy(image).to(self._like.device)
        return image

    def __getstate__(self) -> dict[str, Any]:
        """For the workers, who need the shapes and the constants, not what the measurements came in."""
        kept = {"_like": None, "_device": CPU}
        return self.__dict__ | kept


def checked_box(box: Any, data_shape: tuple[int, ...]) -> Box:
    """A footprint as slices with a beginning and an end, inside the measurements.

    Raises:
        TypeError, ValueError: not a slice an axis, empty, with steps, or beyond the measurements.
    """
    if not isinstance(box, tuple) or len(box) != len(data_shape) or not all(isinstance(side, slice) for side in box):
        raise TypeError(f"footprint gave {box!r}. Return a tuple of {len(data_shape)} slices, one an axis of the data.")
    found = []
    for side, size in zip(box, data_shape, strict=True):
        begin, end = 0 if side.start is None else int(side.start), size if side.stop is None else int(side.stop)
        if side.step not in (None, 1) or not 0 <= begin < end <= size:
            raise ValueError(
                f"footprint gave {side} for an axis of {size} measurements. Return slices of at least one measurement, "
                "inside them, without steps."
            )
        found.append(slice(begin, end))
    return tuple(found)


def checked(found: Any, shape: tuple[int, ...], method: str, given: Tensor) -> Tensor:
    """What a method of the user's returned.

    Raises:
        TypeError, ValueError: not a tensor of that shape, of float32, on the device of what it was given.
    """
    if not isinstance(found, Tensor):
        raise TypeError(f"{method} returned a {type(found).__name__}. Return a torch tensor.")
    if tuple(found.shape) != shape:
        raise ValueError(f"{method} returned shape {tuple(found.shape)}, its block has {shape}. Return that shape.")
    if found.dtype != torch.float32 or found.device != given.device:
        raise ValueError(
            f"{method} returned {found.dtype} on {found.device}, and was given float32 on {given.device}. Keep both."
        )
    return found


def _meeting(boxes: Sequence[Box], index: int) -> Iterator[tuple[int, Box, Box]]:
    mine = boxes[index]
    for other, box in enumerate(boxes):
        common = [(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(mine, box, strict=True)]
        if all(begin < end for begin, end in common):
            yield other, _within(common, mine), _within(common, box)


def _within(common: Sequence[tuple[int, int]], box: Box) -> Box:
    return tuple(slice(begin - side.start, end - side.start) for (begin, end), side in zip(common, box, strict=True))


def _names() -> tuple[str, ...]:
    return ("image_shape", "data_shape", "footprint", "forward_block", "adjoint_block")


def _numpy(tensor: Tensor) -> FloatArray:
    found: FloatArray = tensor.detach().cpu().numpy()
    return found
