"""CT with a parallel or a fan beam, block by block: A x is the sinogram of line integrals.

A is defined as Σ_i A_i x_i, each A_i Joseph's projector (ours or ASTRA's `linear`) on the block's window and footprint:
one and the same operator for data, solver and metrics (ASTRA adds up ray positions in float32, so its projection of the
whole image differs by 1e-2 on noise at 800²). One unit is one pixel; both pairs are matched (ASTRA's on the CPU only).
Source: Joseph, IEEE TMI 1982; van Aarle et al., Optics Express 2016 (ASTRA).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch

from ..arrays import as_numpy, checksum, converter_like
from ..blocks import BlockGrid, FloatArray, IndexArray, choose_block_shape
from ..kernels.launch import Kernels
from ..preconditioner import Filter, Preconditioning, preconditioned_norm
from .astra_device import AstraOnDevice
from .astra_projectors import AstraProjector
from .astra_rays import astra_rays, from_astra
from .base import WindowProjector
from .checks import check_projector, check_shape, check_weights
from .device import DeviceNeeds, DeviceOperator, Scene
from .doubts import doubts_about_center, doubts_about_values
from .footprint import Footprint, block_footprints
from .geometry import FanGeometry, Float64Array, Geometry, ParallelGeometry, centre_of, gaps, missing_angle
from .joseph import JosephProjector, Scratch
from .point_spread import padded_shape, symbol
from .power import largest_eigenvalue
from .radon_device import JosephOnDevice, joseph_needs
from .ramp import ramp_filtered
from .ray_tables import ray_table
from .rebin import rebinned
from .scan import check_fan, scan_geometry
from .shares import CompiledGather, Gather
from .starts import check_start, fitted
from .threads import in_order
from .whole_device import WholeImage

START_KINDS = ("auto", "fbp", "adjoint", "zeros")
# A scaled minibatch's Lipschitz constant depends on the draw: this many draws are measured, the largest counts.
MINIBATCH_DRAWS = 3
# A fan looks different from every place; its curvature is the most of up to so many.
MOST_BEAMS = 32


class RadonCT:
    """A CT scan of one slice, and the data term g(x) = ½‖A x − y‖²_W / ‖A‖²; a parallel beam, or a fan.

    Args:
        sinogram: (angles, detectors) line integrals, one unit = one pixel; numpy, torch or CuPy.
        angles: (angles,) radians, in any order and spacing. At angle θ the point (x, y), x to the right and y up from
            the rotation axis, falls on the detector coordinate (x·cos θ + y·sin θ)/detector_spacing + center; detector
            and pixel coordinates count from the middle of the first one, and row 0 is on top. (scikit-image's `radon`
            turns the same way, about an axis half a pixel off the middle for even sizes.)
        image_shape: (rows, cols) of unit pixels, centred on the rotation axis.
        detector_spacing: distance of two detectors, in pixels; of a fan beam on the detector, not on the axis. One
            number, or (angles,).
        center: detector coordinate of the rotation axis, in detectors; None: (detectors − 1)/2, and a run's notes say
            if that plainly isn't it. One number, or (angles,), where projections are shifted.
        weights: statistical weights of the rays, (angles, detectors) ≥ 0, or None for 1.
        projector: "joseph" (ours, compiled once by the machine's C++ compiler), "astra" (ASTRA's `linear` on the CPU),
            or "auto": "joseph" where there is a compiler, else "astra". The attribute `projector` says which it is.
            On a GPU, ASTRA's CUDA projectors are used for "astra" only: slow, one projection at a time, and the back
            projector isn't the adjoint (14 % off on noise; far more if detector_spacing isn't 1), so a run settles
            near a solution of G(x) = 0, not on it.
        normalize: divide the data term by its Lipschitz constant, so that L = 1 and τ has no units.
        detector_tilt: angle between the row of detectors and the plane square to the beam, in radians, turned as θ is,
            about where the axis falls; one number, or (angles,).
        source_distance, detector_distance: of a fan beam with a flat detector: from the rotation axis to the source and
            to the detector, in pixels. The source is at (sin θ, −cos θ)·source_distance, as in ASTRA's `fanflat`.
            None: a parallel beam.
    Raises:
        ValueError, TypeError: input that can't be, with what was found and what to do.

    Not for use by several threads at once: the projectors' buffers are shared.
    """

    convolutional = True
    blocks_fixed = False

    def __init__(
        self,
        sinogram: Any,
        angles: Any,
        image_shape: tuple[int, int],
        detector_spacing: Any = 1.0,
        center: Any = None,
        weights: Any = None,
        projector: str = "auto",
        normalize: bool = True,
        *,
        detector_tilt: Any = 0.0,
        source_distance: float | None = None,
        detector_distance: float | None = None,
    ) -> None:
        values = as_numpy(sinogram, "sinogram", 2)
        beam = (detector_spacing, center, detector_tilt, source_distance, detector_distance)
        geometry = scan_geometry(image_shape, angles, (len(values), values.shape[1]), *beam)
        self._take(sinogram, values, geometry, weights, projector, normalize)
        self._middle_taken = center is None and isinstance(geometry, ParallelGeometry)

    @classmethod
    def from_astra(
        cls,
        sinogram: Any,
        proj_geom: Mapping[str, Any],
        vol_geom: Mapping[str, Any],
        weights: Any = None,
        projector: str = "auto",
        normalize: bool = True,
    ) -> Self:
        """A scan that ASTRA's geometries describe.

        Args:
            proj_geom: `parallel`, `parallel_vec`, `fanflat` or `fanflat_vec`, as astra.create_proj_geom makes it.
            vol_geom: unit pixels about the origin, as astra.create_vol_geom(rows, cols) makes it.
            sinogram, weights, projector, normalize: as of the class.
        Raises:
            ValueError, TypeError: input that can't be, with what was found and what to do.
        """
        values = as_numpy(sinogram, "sinogram", 2)
        geometry = from_astra(proj_geom, vol_geom)
        expected = (len(geometry.angles), geometry.detectors)
        if values.shape != expected:
            raise ValueError(
                f"sinogram is {values.shape}, proj_geom has {expected} (angles, detectors). Pass what belongs."
            )
        if isinstance(geometry, FanGeometry):
            check_fan(geometry)
        made = object.__new__(cls)
        made._take(sinogram, values, geometry, weights, projector, normalize)
        return made

    def _take(
        self,
        sinogram: Any,
        values: FloatArray,
        geometry: Geometry,
        weights: Any,
        projector: str,
        normalize: bool,
    ) -> None:
        self._convert = converter_like(sinogram)
        self.sinogram, self.geometry = values, geometry
        self.weights = check_weights(weights, self.sinogram.shape)
        self.projector = check_projector(projector)
        self._astra_on_device = projector == "astra"  # "auto" may have taken ASTRA for want of a compiler
        self.normalize = normalize
        self._whole: WholeImage | None = None
        self._middle_taken = False  # for want of a centre
        self._doubts: dict[str, tuple[str, ...]] = {}  # of these measurements, shared between block grids
        self._constants: dict[Any, float] = {}  # Lipschitz constants of the raw operator, shared between block grids
        # Constants of the whole operator are computed on these blocks, so that they never differ in their last bits.
        self._default_grid = BlockGrid(self.geometry.image_shape, choose_block_shape(self.geometry.image_shape))
        self._set_grid(self._default_grid)

    def _set_grid(self, grid: BlockGrid) -> None:
        self.grid = grid
        self._footprints = block_footprints(self.geometry, grid)
        # Of this grid and in this process; each is made when it is first needed.
        self._projectors: dict[int, WindowProjector] = {}
        self._scratch = Scratch()
        self._gather: Gather | CompiledGather | None = None

    def with_blocks(self, grid: BlockGrid) -> Self:
        """The same scan over other blocks; data and constants are shared, projectors aren't."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._set_grid(grid)
        return other

    def doubts(self) -> tuple[str, ...]:
        """What in the measurements looks like a mistake, in sentences; looked for once, with a UserWarning each.

        Counts or transmissions instead of line integrals; and, where no centre was given, that the middle isn't it
        (where all rays count, since what dead detectors measured turns about nothing).
        """
        if "found" not in self._doubts:
            found = doubts_about_values(self.sinogram)
            if not found and self._middle_taken and (self.weights is None or self.weights.all()):
                found = doubts_about_center(self.sinogram, self.geometry.angles)
            self._doubts["found"] = found
            for doubt in found:
                warnings.warn(doubt, stacklevel=2)
        return self._doubts["found"]

    def with_measurements(self, sinogram: Any) -> Self:
        """The same scan with another sinogram, (angles, detectors): what was computed of the geometry is kept.

        Raises:
            ValueError, TypeError: a sinogram that can't be.
        """
        values = as_numpy(sinogram, "sinogram", 2)
        if values.shape != self.sinogram.shape:
            raise ValueError(
                f"sinogram is {values.shape}, this scan's is {self.sinogram.shape} (angles, detectors). Pass one of "
                "that shape, or make another RadonCT."
            )
        other = self.with_blocks(self.grid)
        other.sinogram, other._convert, other._doubts = values, converter_like(sinogram), {}
        return other

    def restricted(self, indices: IndexArray) -> Self:
        """The scan of some of its angles alone, on the same blocks; normalized anew.

        Args:
            indices: (n,) of the angles, in any order.
        """
        weights = None if self.weights is None else self.weights[indices]
        other = object.__new__(type(self))
        geometry = self.geometry.of_angles(indices)
        other._take(self.sinogram, self.sinogram[indices], geometry, weights, self.projector, self.normalize)
        other._convert, other._astra_on_device = self._convert, self._astra_on_device
        return other.with_blocks(self.grid)

    def __getstate__(self) -> dict[str, Any]:
        # ASTRA's objects live in one process, a device's tables on it.
        return self.__dict__ | {"_projectors": {}, "_scratch": Scratch(), "_gather": None, "_whole": None}

    def prepare_on(self, device: torch.device, kernels: Kernels) -> None:
        """Compute what comes before a run, the start image and the Lipschitz constants, on this device."""
        self._whole = WholeImage(self.geometry, kernels, device)

    @property
    def image_shape(self) -> tuple[int, int]:
        return self.geometry.image_shape

    @property
    def measurements(self) -> int:
        """The number of angles."""
        return len(self.geometry.angles)

    @property
    def missing_angle(self) -> float:
        """Directions in a row without a view, in radians; see `geometry.missing_angle`."""
        return missing_angle(self.geometry.angles)

    @property
    def measured(self) -> FloatArray:
        """The measurements y: the sinogram."""
        return self.sinogram

    @property
    def precision_weights(self) -> FloatArray | None:
        """The rays' statistical weights W, (angles, detectors), or None for 1."""
        return self.weights

    # --- one block -------------------------------------------------------------------------------------------------

    def footprint(self, index: int) -> Footprint:
        """The detectors block `index` can reach, at each angle."""
        return self._footprints[index]

    def share_shape(self, index: int) -> tuple[int, int]:
        """(angles, footprint) of s_i."""
        return self.measurements, self._footprints[index].width

    def residual_shape(self, index: int, count: int) -> tuple[int, int]:
        """(count, footprint): the residual of `count` angles on the footprint of block `index`."""
        return count, self._footprints[index].width

    def _projector(self, index: int) -> WindowProjector:
        if index not in self._projectors:
            self._projectors[index] = self._make_projector(index)
        return self._projectors[index]

    def _make_projector(self, index: int) -> WindowProjector:
        window, footprint = self.grid.window(index), self._footprints[index]
        if self.projector == "joseph":
            rays = ray_table(self.geometry, window, footprint)
            return JosephProjector(window.shape, footprint.width, rays, self._scratch)
        return AstraProjector(window, astra_rays(self.geometry, window, footprint))

    def forward_block(self, index: int, pixels: FloatArray, *, out: FloatArray) -> FloatArray:
        """Share of block `index` in the sinogram: s_i = A_i x_i.

        Args:
            pixels: (rows, cols) of the block, float32, attenuation a pixel.
            out: (angles, footprint) float32; overwritten.
        Raises:
            ValueError: a shape that isn't the block's.
        """
        check_shape("pixels", pixels, self.grid.window(index).shape)
        check_shape("out", out, self.share_shape(index))
        self._projector(index).forward(pixels, out)
        return out

    def adjoint_block(
        self, index: int, sinogram: FloatArray, *, out: FloatArray, subset: IndexArray | None = None
    ) -> FloatArray:
        """A_iᵀ r, r on the footprint of block `index`: (angles or subset, footprint) → (rows, cols)."""
        count = self.measurements if subset is None else len(subset)
        check_shape("sinogram", sinogram, self.residual_shape(index, count))
        check_shape("out", out, self.grid.window(index).shape)
        if subset is None:
            self._projector(index).adjoint(sinogram, out)
            return out
        projector = self._projector(index).of_angles(subset)
        try:
            projector.adjoint(sinogram, out)
        finally:
            projector.close()
        return out

    def residual_block(
        self, index: int, shares: Sequence[FloatArray], *, out: FloatArray, subset: IndexArray | None = None
    ) -> FloatArray:
        """W (Σ_j s_j − y) on the footprint of block `index`: (angles or subset, footprint)."""
        check_shape("out", out, self.residual_shape(index, self.measurements if subset is None else len(subset)))
        if self._gather is None:
            gather = CompiledGather if self.projector == "joseph" else Gather
            self._gather = gather(self.sinogram, self.weights, self._footprints)
        self._gather.residual(index, shares, subset, out)
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
        """U_iᵀ∇g = scale · A_iᵀ W (A x − y), of that residual alone; a subset's is scaled by (all / count)."""
        self.adjoint_block(index, residual, out=out, subset=subset)
        all_over_count = 1.0 if subset is None else self.measurements / len(subset)
        out *= np.float32(self.scale * all_over_count)
        return out

    def on_device(self, scene: Scene, count: int) -> DeviceOperator:
        """The operator on a GPU: our own Joseph kernels, or ASTRA's projectors if they were asked for."""
        joseph = JosephOnDevice(
            self.geometry, self.grid, self._footprints, self.sinogram, self.weights, self.scale, scene
        )
        if self._astra_on_device:
            return AstraOnDevice(joseph, self.geometry, self.grid, self._footprints, scene)
        return joseph

    def device_needs(self, count: int, device: torch.device) -> DeviceNeeds:
        """What `on_device` takes of a GPU's memory."""
        return joseph_needs(self.geometry, self.grid, self._footprints, self.weights is not None, count)

    # --- the whole image -------------------------------------------------------------------------------------------

    def forward(self, image: FloatArray) -> FloatArray:
        """A x: (rows, cols) → (angles, detectors)."""
        if self._whole is not None:
            return self._whole.forward(image)

        def share_of(index: int) -> FloatArray:
            share = np.empty(self.share_shape(index), np.float32)
            return self.forward_block(index, image[self.grid.window(index).slices], out=share)

        sinogram = np.zeros(self.sinogram.shape, np.float32)
        shares = in_order(share_of, range(len(self.grid)), self._threads())
        for footprint, share in zip(self._footprints, shares, strict=True):
            sinogram[self._rays(footprint)] += share
        return sinogram

    def adjoint(self, sinogram: FloatArray) -> FloatArray:
        """Aᵀ r: (angles, detectors) → (rows, cols)."""
        if self._whole is not None:
            return self._whole.adjoint(sinogram)

        def pixels_of(index: int) -> FloatArray:
            pixels = np.empty(self.grid.window(index).shape, np.float32)
            return self.adjoint_block(index, sinogram[self._rays(self._footprints[index])], out=pixels)

        image = np.empty(self.image_shape, np.float32)
        for index, pixels in enumerate(in_order(pixels_of, range(len(self.grid)), self._threads())):
            image[self.grid.window(index).slices] = pixels
        return image

    def _threads(self) -> int:
        """Of the whole image's projections: torch's, unless it is ASTRA that projects, whose objects are global."""
        if self.projector != "joseph":
            return 1
        self._projector(0)  # which compiles the kernels, if nothing has yet: once
        return min(torch.get_num_threads(), len(self.grid))

    def gradient(self, image: FloatArray) -> FloatArray:
        """∇g(x) = scale · Aᵀ W (A x − y) of the whole image."""
        residual = self.forward(image) - self.sinogram
        if self.weights is not None:
            residual *= self.weights
        return self.adjoint(residual) * np.float32(self.scale)

    def _rays(self, footprint: Footprint) -> tuple[IndexArray, IndexArray]:
        return np.arange(self.measurements)[:, None], footprint.start[:, None] + np.arange(footprint.width)

    def fbp(self) -> FloatArray:
        """Filtered back-projection with the Ram-Lak filter: (rows, cols), attenuation a pixel; of a fan beam rebinned.

        Source: Kak and Slaney, Principles of Computerized Tomographic Imaging, 1988, sections 3.3 and 3.4.3.
        """
        if isinstance(self.geometry, FanGeometry):
            return self._parallel_twin(self.geometry).fbp()
        return self.adjoint(ramp_filtered(self.sinogram, self.geometry.angles))

    def _parallel_twin(self, geometry: FanGeometry) -> RadonCT:
        """The scan that a parallel beam would have made, where this one is computed."""
        sinogram, parallel = rebinned(self.sinogram, geometry)
        twin = object.__new__(RadonCT)
        twin._take(sinogram, sinogram, parallel, None, self.projector, self.normalize)
        if self._whole is not None:
            twin._whole = self._whole.of(twin.geometry)
        return twin

    def start(self, kind: str) -> FloatArray:
        """A start image: "fbp" (also "auto"), "adjoint" (Aᵀy scaled to fit y best), or "zeros"."""
        check_start(kind, START_KINDS)
        if kind == "zeros":
            return np.zeros(self.image_shape, np.float32)
        if kind in ("auto", "fbp"):
            return self.fbp()
        image = self.adjoint(self.sinogram)
        return fitted(image, self.forward(image), self.sinogram)

    @property
    def fingerprint(self) -> str:
        """A checksum of the measurements and the geometry."""
        g = self.geometry
        numbers = np.array([self.normalize, self.projector == "joseph"], np.float64)
        return checksum(self.sinogram, numbers, *g.arrays(), *(() if self.weights is None else (self.weights,)))

    @property
    def details(self) -> dict[str, Any]:
        """What a run's settings say of the scan."""
        return {"projector": self.projector, "normalize": self.normalize}

    def like_input(self, image: FloatArray) -> Any:
        """The image as the kind of array the sinogram came in."""
        return self._convert(image)

    # --- Lipschitz constants ---------------------------------------------------------------------------------------

    @property
    def scale(self) -> float:
        """What the data term is multiplied with: 1/‖A‖² if normalized, else 1."""
        return 1.0 / self._norm_squared if self.normalize else 1.0

    @property
    def lipschitz(self) -> float:
        """Lipschitz constant L of ∇g: 1 if normalized, else ‖A‖²."""
        return self.scale * self._norm_squared

    @property
    def _norm_squared(self) -> float:
        """‖W^½ A‖² by power iteration; A has entries ≥ 0, so ones aren't orthogonal to the leading vector."""
        return self._constant("whole", lambda: self._largest(None))

    def _largest(self, subset: IndexArray | None) -> float:
        weights = np.ones_like(self.sinogram) if self.weights is None else self.weights.copy()
        if subset is not None:
            left_out = np.setdiff1d(np.arange(self.measurements), subset)
            weights[left_out] = 0
        whole = self if self.grid == self._default_grid else self.with_blocks(self._default_grid)
        return largest_eigenvalue(
            lambda image: whole.adjoint(weights * whole.forward(image)), np.ones(self.image_shape, np.float32), 1e-3
        )

    def block_lipschitz(self, index: int) -> float:
        """Lipschitz constant L_i of ∇g along block `index`, by power iteration on A_iᵀ W A_i."""
        return self.scale * self._constant(self._block_key(index), lambda: self._largest_of_block(index))

    def _block_key(self, index: int) -> Any:
        window, width = self.grid.window(index), self._footprints[index].width
        # Of a parallel beam, blocks of one shape that the detector sees whole differ by a shift only without weights.
        if self.weights is not None or not isinstance(self.geometry, ParallelGeometry):
            return window
        middle = self.geometry.coordinates(*centre_of(self.geometry.image_shape, window))
        whole = (middle > width / 2) & (middle < self.geometry.detectors - 1 - width / 2)
        return window.shape if whole.all() else window

    def _largest_of_block(self, index: int) -> float:
        pixels = np.ones(self.grid.window(index).shape, np.float32)
        normal = self._normal_of_block if self._whole is None else self._normal_of_block_on_device
        return largest_eigenvalue(lambda block: normal(index, block), pixels, 1e-3)

    def _normal_of_block(self, index: int, block: FloatArray) -> FloatArray:
        """A_iᵀ W A_i x_i."""
        share = self.forward_block(index, block, out=np.empty(self.share_shape(index), np.float32))
        if self.weights is not None:
            share *= self.weights[self._rays(self._footprints[index])]
        return self.adjoint_block(index, share, out=np.empty_like(block))

    def _normal_of_block_on_device(self, index: int, block: FloatArray) -> FloatArray:
        """The same by way of the whole image: what the device has kernels for outside a run."""
        image = np.zeros(self.image_shape, np.float32)
        image[self.grid.window(index).slices] = block
        sinogram = self.forward(image)
        if self.weights is not None:
            sinogram *= self.weights
        return np.ascontiguousarray(self.adjoint(sinogram)[self.grid.window(index).slices])

    # --- the block's curvature as a convolution ----------------------------------------------------------------------

    def preconditioning(self, tau: float, shared: float) -> Preconditioning:
        """From the beam's point spread, one for all blocks; a ray's weight is taken for its angle's mean."""
        angle_means = np.ones(self.measurements) if self.weights is None else self.weights.mean(axis=1, dtype=float)
        shape = self.grid.block_shape
        spectrum = np.float32(self.scale) * symbol(self._beams(), angle_means, shape)
        found = Filter.of(spectrum, tau, padded_shape(shape), shared)
        normal = self._normal_of_block if self._whole is None else self._normal_of_block_on_device

        def norm(index: int) -> float:
            return preconditioned_norm(
                lambda block: np.float32(self.scale) * normal(index, block), found, tau, self.grid.window(index).shape
            )

        def remembered(index: int) -> float:
            return self._constant(("preconditioned", tau, shared, shape, self._block_key(index)), lambda: norm(index))

        return Preconditioning(found, remembered)

    def _beams(self) -> list[ParallelGeometry]:
        """What the scan looks like from anywhere: a fan as on the axis, turned so far that gaps between views close.

        From another place all its directions differ, and so do the gaps between few views, which the block's curvature
        has at one place and not at another; but no direction differs by more than the fan opens.
        """
        axis = self.geometry.seen_from(0.0, 0.0)
        if isinstance(self.geometry, ParallelGeometry):
            return [axis]
        rows, cols = self.image_shape
        corners = [self.geometry.seen_from(x * cols / 2, y * rows / 2) for x in (-1, 1) for y in (-1, 1)]
        opening = max(float(np.abs(_turned(one.angles - axis.angles)).max()) for one in corners)
        step = min(float(gaps(axis.angles).max()), 2 * opening)
        # A block of side s sees a direction to within 2/s radians.
        count = int(np.clip(np.ceil(step * max(self.grid.block_shape)), 1, MOST_BEAMS))
        return [replace(axis, angles=axis.angles + step * ((k + 0.5) / count - 0.5)) for k in range(count)]

    def minibatch_factor(self, count: int) -> float:
        """The Lipschitz constant of a scaled minibatch of `count` random angles over L, the largest of a few draws."""
        return self._constant(("minibatch", count), lambda: self._measure_minibatch(count))

    def _measure_minibatch(self, count: int) -> float:
        random = np.random.default_rng(0)
        draws = (np.sort(random.choice(self.measurements, count, replace=False)) for _ in range(MINIBATCH_DRAWS))
        largest = max(self._largest(draw) for draw in draws)
        return max(1.0, self.measurements / count * largest / self._norm_squared)

    def _constant(self, key: Any, compute: Any) -> float:
        if key not in self._constants:
            self._constants[key] = float(compute())
        return self._constants[key]


def _turned(angles: Float64Array) -> Float64Array:
    """Between −π and π."""
    return np.asarray((angles + np.pi) % (2 * np.pi) - np.pi)


def project(
    image: Any, angles: Any, detectors: int, detector_spacing: Any = 1.0, center: Any = None, **beam: Any
) -> FloatArray:
    """The sinogram of an image, A x = Σ A_i x_i: (rows, cols) → (angles, detectors).

    Args: as for `RadonCT`, with detector_tilt, source_distance and detector_distance; `detectors` is their number.
    """
    pixels = as_numpy(image, "image", 2)
    empty = np.zeros((len(angles), detectors), np.float32)
    rows, cols = pixels.shape
    return RadonCT(empty, angles, (rows, cols), detector_spacing, center, **beam).forward(pixels)
