"""Block compressed sensing: every block x_i is measured by a dense matrix of its own, y_i = A_i x_i.

g(x) = ½ Σ_i ‖A_i x_i − y_i‖², so ∇g is block by block, and only the denoiser couples blocks. Nothing of a block is
needed by another's gradient but pixels: shares are empty. Source: Sun et al., Async-RED, ICLR 2021, section 5.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
import torch
from scipy.sparse.linalg import cg
from torch import Tensor

from ..arrays import as_numpy, checksum, converter_like
from ..blocks import BlockGrid, FloatArray, IndexArray
from ..kernels.launch import Kernels
from ..preconditioner import Preconditioning
from .checks import check_image_shape
from .device import DeviceNeeds, DeviceOperator, Scene
from .matrix_checks import (
    as_tensor,
    block_grid,
    check_form,
    check_matrices,
    check_room,
    check_size,
    check_storage,
    stored,
)
from .matrix_device import NormalOnDevice, RowsOnDevice, normal_needs, rows_needs
from .matrix_norms import largest_eigenvalue, minibatch_factor, normal_operator
from .matrix_rows import BlockForm, NormalForm, RowsForm
from .starts import check_start, fitted

START_KINDS = ("auto", "adjoint", "least-squares", "zeros")
# Conjugate gradients for the least-squares start: ‖AᵀA x − Aᵀy‖ ≤ this · ‖Aᵀy‖.
LEAST_SQUARES_TOL = 1e-3
LEAST_SQUARES_ITERATIONS = 200


class BlockCS:
    """Block compressed sensing, and the data term g(x) = ½ Σ_i ‖A_i x_i − y_i‖².

    Args:
        measurements: (blocks, m) of the blocks in row-major order; numpy, torch or CuPy.
        matrices: (blocks, m, n), a block's n pixels in row-major order. Kept where they lie and, if they are contiguous
            and of the storage's precision already, not copied: don't change them while the operator is in use.
        image_shape: (rows, cols).
        block_shape: (rows, cols) of a block; None: the squarest that fits.
        normalize: divide the data term by its Lipschitz constant, so that L = 1 and τ has no units. The paper doesn't.
        storage: "float32", or "float16": half the memory, sums in float32 all the same.
        form: "rows" computes Aᵀ(A x − y); "normal" N x − c with N = AᵀA, c = Aᵀy made before a run (2·m·n² operations
            and n² numbers a block; minibatches use the rows all the same); "auto": "rows" on the CPU, where a row is
            read once for both products; on a GPU "normal" if n < 2m, which is then fewer bytes, in float32.
    Attributes:
        blocks_fixed: True: each block was measured for itself.
    Raises:
        ValueError, TypeError, MemoryError: input that can't be, with what was found and what to do.
    """

    convolutional = False
    blocks_fixed = True

    def __init__(
        self,
        measurements: Any,
        matrices: Any,
        image_shape: tuple[int, int],
        block_shape: tuple[int, int] | None = None,
        normalize: bool = False,
        storage: str = "float32",
        form: str = "auto",
    ) -> None:
        dtype = check_storage(storage)
        self.form = check_form(form, dtype)
        self.normalize = bool(normalize)
        self._convert = converter_like(measurements)
        measured = as_numpy(measurements, "measurements", 2)
        given = as_tensor(matrices)
        check_matrices(given, measured.shape)
        self.image_shape = check_image_shape(image_shape)
        self.grid = block_grid(len(given), given.shape[2], self.image_shape, block_shape)
        self._rows = RowsForm(stored(given, dtype), torch.from_numpy(measured).to(given.device))
        self._normal: NormalForm | None = None
        self._constants: dict[Any, Any] = {}  # Lipschitz constants and the checksum

    def with_blocks(self, grid: BlockGrid) -> Self:
        """The operator itself: its blocks are those that were measured.

        Raises:
            ValueError: other blocks.
        """
        if grid != self.grid:
            raise ValueError(
                f"block_shape={grid.block_shape} isn't how the image was measured: each matrix has a block of "
                f"{self.grid.block_shape} pixels. Pass block_shape=None."
            )
        return self

    def with_measurements(self, measurements: Any) -> Self:
        """The same matrices with other measurements, (blocks, m): what was computed of the matrices is kept.

        Raises:
            ValueError, TypeError: measurements that can't be.
        """
        measured = as_numpy(measurements, "measurements", 2)
        check_matrices(self._rows.matrices, measured.shape)
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._convert = converter_like(measurements)
        other._rows = RowsForm(self._rows.matrices, torch.from_numpy(measured).to(self._rows.matrices.device))
        other._normal = None if self._normal is None else self._normal.with_constant_of(other._rows)
        other._constants = {key: value for key, value in self._constants.items() if key != "fingerprint"}
        return other

    def restricted(self, indices: IndexArray) -> Self:
        """The same with some rows of every block's matrix, which are copied; normalized anew.

        Args:
            indices: (n,) of the rows, in any order.
        """
        rows = torch.from_numpy(np.asarray(indices)).to(self._rows.matrices.device)
        matrices = self._rows.matrices[:, rows]
        measured = self._rows.measurements[:, rows]
        other = type(self)(
            measured, matrices, self.image_shape, self.grid.block_shape, self.normalize, self.storage, self.form
        )
        other._convert = self._convert
        return other

    @property
    def measured(self) -> FloatArray:
        """The measurements y, (blocks, m)."""
        return np.asarray(self._rows.measurements.cpu().numpy(), np.float32)

    @property
    def precision_weights(self) -> FloatArray | None:
        """None: every measurement counts alike."""
        return None

    @property
    def measurements(self) -> int:
        """m, the rows of a block's matrix."""
        return self._rows.matrices.shape[1]

    @property
    def storage(self) -> str:
        """The precision the matrices are kept in."""
        return str(self._rows.matrices.dtype).removeprefix("torch.")

    # --- one block -------------------------------------------------------------------------------------------------

    def share_shape(self, index: int) -> tuple[int, ...]:
        """Nothing: no other block's gradient depends on A_i x_i."""
        return (0,)

    def residual_shape(self, index: int, count: int) -> tuple[int, ...]:
        """Nothing: a gradient computes its own."""
        return (0,)

    def forward_block(self, index: int, pixels: FloatArray, *, out: FloatArray) -> FloatArray:
        """Nothing to publish."""
        return out

    def residual_block(
        self, index: int, shares: Sequence[FloatArray], *, out: FloatArray, subset: IndexArray | None = None
    ) -> FloatArray:
        """Nothing to gather."""
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
        """U_iᵀ∇g = A_iᵀ(A_i x_i − y_i), (rows, cols); that of a subset S of rows, (m/w)·A_Sᵀ(A_S x_i − y_S).

        Raises:
            ValueError: an empty subset.
        """
        if subset is not None and len(subset) == 0:
            raise ValueError("The minibatch is empty: no gradient is defined. Pass at least one row.")
        form = self._cpu_form() if subset is None else self._rows
        device = self._rows.matrices.device
        rows = None if subset is None else torch.from_numpy(np.asarray(subset, np.int64)).to(device)
        found = form.gradient(index, self._vector(pixels), rows)
        all_over_count = 1.0 if subset is None else self.measurements / len(subset)
        found *= self.scale * all_over_count
        np.copyto(out, self._pixels(found))
        return out

    def _cpu_form(self) -> BlockForm:
        return self._normal_form() if self.form == "normal" else self._rows

    def _normal_form(self) -> NormalForm:
        if self._normal is None:
            self._normal = NormalForm.of(self._rows)
        return self._normal

    def _vector(self, block: FloatArray) -> Tensor:
        """The block's pixels as the matrices' columns count them."""
        return torch.from_numpy(np.ascontiguousarray(block, np.float32).reshape(-1)).to(self._rows.matrices.device)

    def _pixels(self, vector: Tensor) -> FloatArray:
        found: FloatArray = vector.cpu().numpy().reshape(self.grid.block_shape)
        return found

    # --- the whole image -------------------------------------------------------------------------------------------

    def forward(self, image: FloatArray) -> FloatArray:
        """A x: (rows, cols) → (blocks, m)."""
        check_size("image", image, self.image_shape)
        blocks = self.grid.split(image)
        return np.stack([self._rows.forward(i, self._vector(block)).cpu().numpy() for i, block in enumerate(blocks)])

    def adjoint(self, values: FloatArray) -> FloatArray:
        """Aᵀ r: (blocks, m) → (rows, cols)."""
        check_size("values", values, tuple(self._rows.measurements.shape))
        device = self._rows.matrices.device
        moved = torch.from_numpy(np.ascontiguousarray(values, np.float32)).to(device)
        return self.grid.join([self._pixels(self._rows.adjoint(i, row)) for i, row in enumerate(moved)])

    def gradient(self, image: FloatArray) -> FloatArray:
        """∇g(x) = Aᵀ(A x − y), (rows, cols)."""
        check_size("image", image, self.image_shape)
        found = np.empty(self.image_shape, np.float32)
        nothing = np.empty(0, np.float32)
        for index, block in enumerate(self.grid.split(image)):
            self.gradient_block(index, block, nothing, out=found[self.grid.window(index).slices])
        return found

    def start(self, kind: str) -> FloatArray:
        """A start image: "adjoint" (or "auto": Aᵀy scaled to fit y best), "zeros", "least-squares" (of least norm)."""
        check_start(kind, START_KINDS)
        if kind == "zeros":
            return np.zeros(self.image_shape, np.float32)
        measured = self._rows.measurements.cpu().numpy()
        image = self.adjoint(measured)
        if kind == "least-squares":
            return self.grid.join([self._least_squares(i, block) for i, block in enumerate(self.grid.split(image))])
        return fitted(image, self.forward(image), measured)

    def _least_squares(self, index: int, adjoint: FloatArray) -> FloatArray:
        """AᵀA x = Aᵀy by conjugate gradients from zero, which stay in the range of Aᵀ: the solution of least norm."""
        solution, _ = cg(
            normal_operator(self._rows, index),
            adjoint.reshape(-1),
            rtol=LEAST_SQUARES_TOL,
            maxiter=LEAST_SQUARES_ITERATIONS,
        )
        return np.asarray(solution, np.float32).reshape(self.grid.block_shape)

    # --- on a GPU --------------------------------------------------------------------------------------------------

    def prepare_on(self, device: torch.device, kernels: Kernels) -> None:
        """Keep the matrices on this device: the start image and the Lipschitz constants are then computed there."""
        if self._rows.matrices.device != device:
            check_room(device, self._rows.matrices)
            self._rows = RowsForm(self._rows.matrices.to(device), self._rows.measurements.to(device))
            self._normal = None

    def on_device(self, scene: Scene, count: int) -> DeviceOperator:
        """The operator's kernels on a GPU, for gradients of `count` rows."""
        if self._normal_on_device(count):
            form = self._normal_form()
            normal, constant = (table.to(scene.device) for table in (form.normal_matrices, form.constant))
            return NormalOnDevice(normal, constant, self.scale, scene)
        matrices, measured = (table.to(scene.device) for table in (self._rows.matrices, self._rows.measurements))
        return RowsOnDevice(matrices, measured, self.scale, scene, count)

    def device_needs(self, count: int, device: torch.device) -> DeviceNeeds:
        """What `on_device` takes of the GPU's memory besides what lies there already."""
        here = self._rows.matrices.device == device
        if self._normal_on_device(count):
            needs, there = normal_needs(self.grid), here and self._normal is not None
        else:
            needs, there = rows_needs(self.grid, self.measurements, count, self._rows.matrices.dtype), here
        return DeviceNeeds(0, needs.floats) if there else needs

    def _normal_on_device(self, count: int) -> bool:
        _, m, n = self._rows.matrices.shape
        cheaper = n < 2 * m and self._rows.matrices.dtype == torch.float32
        return count == m and (self.form == "normal" or (self.form == "auto" and cheaper))

    # --- what a run says of it, and what travels to its workers ------------------------------------------------------

    @property
    def fingerprint(self) -> str:
        """A checksum of the measurements and the matrices."""
        return str(self._constant("fingerprint", self._checksum))

    def _checksum(self) -> str:
        measured = checksum(
            self._rows.measurements.cpu().numpy(),
            np.array([*self.grid.block_shape, self.normalize, self.form == "normal"]),
        )
        return f"{measured}-{self._constant('matrices', self._checksum_of_matrices)}"

    def _checksum_of_matrices(self) -> str:
        return checksum(*(matrix.cpu().numpy() for matrix in self._rows.matrices))

    @property
    def details(self) -> dict[str, Any]:
        """What a run's settings say of the measurements."""
        return {"form": self.form, "storage": self.storage, "normalize": self.normalize}

    def like_input(self, image: FloatArray) -> Any:
        """The image as the kind of array the measurements came in."""
        return self._convert(image)

    def __getstate__(self) -> dict[str, Any]:
        # As numpy, whose memory a process pool shares without copies (runtime/shared.py). Made here once, not there.
        form = self._cpu_form()
        normal = (form.normal_matrices, form.constant) if isinstance(form, NormalForm) else ()
        tables = [table.cpu().numpy() for table in (self._rows.matrices, self._rows.measurements, *normal)]
        return self.__dict__ | {"_rows": None, "_normal": None, "_tables": tables}

    def __setstate__(self, state: dict[str, Any]) -> None:
        tables = [torch.from_numpy(table) for table in state.pop("_tables")]
        self.__dict__.update(state)
        self._rows = RowsForm(*tables[:2])
        self._normal = NormalForm(*tables[2:]) if len(tables) > 2 else None

    # --- Lipschitz constants -----------------------------------------------------------------------------------------

    @property
    def scale(self) -> float:
        """What the data term is multiplied with: 1/max ‖A_i‖² if normalized, else 1.

        Raises:
            ValueError: normalized, and the matrices are zero.
        """
        if not self.normalize:
            return 1.0
        if self._norm_squared == 0:
            raise ValueError("The matrices are all zero: normalize=True can't divide by ‖A‖² = 0. Pass other matrices.")
        return 1.0 / self._norm_squared

    @property
    def lipschitz(self) -> float:
        """Lipschitz constant L of ∇g, the largest block's."""
        return self.scale * self._norm_squared

    def block_lipschitz(self, index: int) -> float:
        """Lipschitz constant L_i = ‖A_i‖² of ∇g along block `index`."""
        return self.scale * self._norm_squared_of(index)

    @property
    def _norm_squared(self) -> float:
        return max(self._norm_squared_of(index) for index in range(len(self.grid)))

    def _norm_squared_of(self, index: int) -> float:
        return float(self._constant(index, lambda: largest_eigenvalue(self._rows, index)))

    def preconditioning(self, tau: float, shared: float) -> Preconditioning:
        """There is none: AᵀA of any matrix is no convolution.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"{type(self).__name__} isn't convolutional. Pass step='block'.")

    def minibatch_factor(self, count: int) -> float:
        """The Lipschitz constant of a scaled minibatch of `count` random rows over L_i, the largest of a few draws."""
        return float(self._constant(("minibatch", count), lambda: self._measure_minibatch(count)))

    def _measure_minibatch(self, count: int) -> float:
        norms = [self._norm_squared_of(index) for index in range(len(self.grid))]
        return minibatch_factor(self._rows, count, norms)

    def _constant(self, key: Any, compute: Callable[[], Any]) -> Any:
        if key not in self._constants:
            self._constants[key] = compute()
        return self._constants[key]
