"""What the solver asks of a forward operator A, block by block: A x = Σ_i A_i x_i.

Each block's share s_i = A_i x_i is kept only where it can be nonzero (its footprint). The gradient of the data term
g(x) = ½‖A x − y‖²_W · scale for block i is scale · A_iᵀ W (Σ_j s_j − y), Sun et al. ICLR 2021, eq. 4. Where blocks
share no measurement, shares and residuals are empty, and a gradient is computed from the block's own pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

import torch

from ..blocks import BlockGrid, FloatArray, IndexArray
from ..kernels.launch import Kernels
from ..preconditioner import Preconditioning
from .device import DeviceNeeds, DeviceOperator, Scene


class WindowProjector(Protocol):
    """A matched pair for one window of the image and one footprint."""

    def forward(self, pixels: FloatArray, out: FloatArray) -> None: ...

    def adjoint(self, sinogram: FloatArray, out: FloatArray) -> None: ...

    def of_angles(self, subset: IndexArray) -> WindowProjector:
        """The pair of some of the angles; to be closed by itself."""
        ...

    def close(self) -> None: ...


class BlockOperator(Protocol):
    """A linear operator seen block by block; picklable, so that a worker in another process can hold a copy."""

    @property
    def image_shape(self) -> tuple[int, int]: ...

    @property
    def grid(self) -> BlockGrid:
        """The blocks that every `index` below means."""
        ...

    @property
    def blocks_fixed(self) -> bool:
        """Whether the measurements were taken block by block, so that no other grid will do."""
        ...

    @property
    def measurements(self) -> int:
        """How many measurements a minibatch draws from: angles in CT, rows of a block's matrix in CS."""
        ...

    @property
    def lipschitz(self) -> float:
        """Lipschitz constant L of ∇g, the scale included."""
        ...

    def block_lipschitz(self, index: int) -> float:
        """Lipschitz constant L_i of ∇g along block `index` alone."""
        ...

    @property
    def convolutional(self) -> bool:
        """Whether a block's curvature U_iᵀ∇²g U_i is nearly a convolution, so that there is a `preconditioning`."""
        ...

    def preconditioning(self, tau: float, shared: float) -> Preconditioning:
        """What takes s times the curvature, and τ of the denoiser's, out of a step.

        Args:
            shared: s, see `sharing` of preconditioner.py.
        """
        ...

    def minibatch_factor(self, count: int) -> float:
        """How many times larger the Lipschitz constant of a scaled minibatch of `count` measurements is than L."""
        ...

    def with_blocks(self, grid: BlockGrid) -> Self:
        """The same operator over other blocks; shares data and caches.

        Raises:
            ValueError: its blocks are fixed, and these are others.
        """
        ...

    def share_shape(self, index: int) -> tuple[int, ...]:
        """Shape of s_i."""
        ...

    def residual_shape(self, index: int, count: int) -> tuple[int, ...]:
        """Shape of the residual on the footprint of block `index`, for `count` measurements."""
        ...

    def forward_block(self, index: int, pixels: FloatArray, *, out: FloatArray) -> FloatArray:
        """s_i = A_i x_i."""
        ...

    def residual_block(
        self, index: int, shares: Sequence[FloatArray], *, out: FloatArray, subset: IndexArray | None = None
    ) -> FloatArray:
        """W (Σ_j s_j − y) on the footprint of block `index`, for all measurements or a subset."""
        ...

    def gradient_block(
        self,
        index: int,
        pixels: FloatArray,
        residual: FloatArray,
        *,
        out: FloatArray,
        subset: IndexArray | None = None,
    ) -> FloatArray:
        """U_iᵀ∇g from x_i and that residual; a subset's is scaled by (all / count), so that its mean is ∇g."""
        ...

    def gradient(self, image: FloatArray) -> FloatArray:
        """∇g(x) of the whole image, (rows, cols), from all measurements."""
        ...

    def on_device(self, scene: Scene, count: int) -> DeviceOperator:
        """The operator's kernels on a GPU, for gradients of `count` measurements."""
        ...

    def device_needs(self, count: int, device: torch.device) -> DeviceNeeds:
        """What that will take of the GPU's memory, besides what lies there already."""
        ...

    def prepare_on(self, device: torch.device, kernels: Kernels) -> None:
        """Compute what comes before a run, the start image and the Lipschitz constants, on this device."""
        ...

    def start(self, kind: str) -> FloatArray:
        """A start image by name: "zeros", "adjoint", what else the operator offers, or "auto", its own choice."""
        ...

    @property
    def fingerprint(self) -> str:
        """A checksum of the measurements and the geometry: a schedule replays on the same ones only."""
        ...

    @property
    def details(self) -> dict[str, Any]:
        """What a run's settings say of the operator, ready for JSON."""
        ...

    def like_input(self, image: FloatArray) -> Any:
        """The image as the kind of array the measurements came in."""
        ...
