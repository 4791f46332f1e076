"""ASTRA's projectors: a matched pair on the CPU, an unmatched one on a GPU. ASTRA is known here and in astra_sirt.py.

One unit is one pixel; the rays of a window and its footprint are a geometry of their own, astra_rays.py.
Source: van Aarle et al., Optics Express 2016; ASTRA's sources at 2.5.0 for what its calls do with a GPU.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Protocol

import astra
import numpy as np
import torch
from astra.log import AstraError
from torch import Tensor

from ..blocks import FloatArray, IndexArray, Window
from .astra_rays import AstraRays

# What ASTRA raises: of its own, and for tensors it can't take.
ERRORS = (AstraError, ValueError, BufferError)
UNMATCHED = (
    "ASTRA's back projector on a GPU is pixel-driven and isn't the adjoint of its forward projector (14 % off on noise "
    "with a detector spacing of 1, over 40 % with 0.6 or 1.7), so the run settles near a solution of G(x) = 0, not on "
    "it. projector='joseph' is matched, and faster."
)


def create(kind: str, window: Window, rays: AstraRays, options: Mapping[str, int]) -> int:
    """ASTRA's projector `kind` for one window and its rays."""
    return int(astra.create_projector(kind, *geometries(window, rays), options=dict(options)))


def delete(projectors: Iterable[int]) -> None:
    """Delete projectors; what isn't there is no error."""
    astra.projector.delete(list(projectors))


def geometries(window: Window, rays: AstraRays) -> tuple[Any, Any]:
    """ASTRA's geometries of the rays and of the volume."""
    vectors = rays.vectors.reshape(-1, rays.vectors.shape[-1])
    return astra.create_proj_geom(rays.kind, rays.detectors, vectors), astra.create_vol_geom(*window.shape)


class AstraProjector:
    """ASTRA's matched CPU pair for one window and its rays; owns its ASTRA objects and two buffers until closed."""

    def __init__(self, window: Window, rays: AstraRays) -> None:
        self._window, self._rays = window, rays
        of_rays, volume = geometries(window, rays)
        self._pixels = np.zeros(window.shape, np.float32)
        self._sinogram = np.zeros(rays.shape, np.float32)
        self._projector = create("linear", window, rays, {})
        self._volume_id = astra.data2d.link("-vol", volume, self._pixels)
        self._sinogram_id = astra.data2d.link("-sino", of_rays, self._sinogram)
        self._forward = self._algorithm("FP", "VolumeDataId")
        self._adjoint = self._algorithm("BP", "ReconstructionDataId")
        ids = ([self._forward, self._adjoint], [self._volume_id, self._sinogram_id], [self._projector])
        self._finalizer = weakref.finalize(self, _delete_all, *ids)

    def _algorithm(self, name: str, volume_key: str) -> int:
        settings = astra.astra_dict(name)
        settings["ProjectorId"] = self._projector
        settings["ProjectionDataId"] = self._sinogram_id
        settings[volume_key] = self._volume_id
        return int(astra.algorithm.create(settings))

    def of_angles(self, subset: IndexArray) -> AstraProjector:
        """The pair of some of the angles, with objects of its own."""
        return AstraProjector(self._window, self._rays.of_angles(subset))

    def forward(self, pixels: FloatArray, out: FloatArray) -> None:
        np.copyto(self._pixels, pixels)
        astra.algorithm.run(self._forward)
        np.copyto(out, self._sinogram.reshape(out.shape))

    def adjoint(self, sinogram: FloatArray, out: FloatArray) -> None:
        np.copyto(self._sinogram, sinogram.reshape(self._sinogram.shape))
        astra.algorithm.run(self._adjoint)
        np.copyto(out, self._pixels)

    def close(self) -> None:
        self._finalizer()


def _delete_all(algorithms: list[int], data: list[int], projectors: list[int]) -> None:
    astra.algorithm.delete(algorithms)
    astra.data2d.delete(data)
    delete(projectors)


class AstraCalls(Protocol):
    """ASTRA's calls on tensors of one device, for a projector of `kind` with `options`; `notes` on what they do."""

    @property
    def kind(self) -> str: ...

    @property
    def options(self) -> Mapping[str, int]: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def gpu(self) -> bool: ...

    def forward(self, projector: int, pixels: Tensor, sinogram: Tensor) -> None: ...

    def backward(self, projector: int, sinogram: Tensor, pixels: Tensor) -> None: ...

    def settle(self) -> None:
        """Wait until neither the caller's stream nor ASTRA has anything under way."""
        ...


class HostCalls:
    """ASTRA's matched CPU pair on tensors of the host, for a simulated device."""

    kind = "linear"
    gpu = False
    options: ClassVar[Mapping[str, int]] = {}
    notes: tuple[str, ...] = ()

    def __init__(self) -> None:
        try:
            from astra.projector import direct_BP, direct_FP
        except ImportError as error:
            raise RuntimeError(
                f"ASTRA {astra.__version__} can't project tensors where they lie; 2.5 can. "
                "Install astra-toolbox >= 2.5, or pass projector='joseph'."
            ) from error
        self._forward, self._backward = direct_FP, direct_BP

    def forward(self, projector: int, pixels: Tensor, sinogram: Tensor) -> None:
        self._forward(projector, pixels, out=sinogram)

    def backward(self, projector: int, sinogram: Tensor, pixels: Tensor) -> None:
        self._backward(projector, sinogram, out=pixels)

    def settle(self) -> None:
        """Nothing is under way on the host."""


class CudaCalls:
    """ASTRA's CUDA pair on tensors of one GPU. Only these lines need one: tests run all others.

    ASTRA 2.5.0 takes contiguous float32 matrices on the GPU by DLPack, copies them to buffers allocated for the call,
    projects on a stream made for the call, and copies the result back on the legacy default stream. The texture units
    interpolate with weights of 8 bits: 2e-3 off Joseph's projection on white noise, 5e-5 on images.
    """

    kind = "cuda"
    gpu = True
    notes: tuple[str, ...] = (UNMATCHED,)

    def __init__(self, device: torch.device) -> None:
        if not astra.use_cuda():
            raise RuntimeError(
                f"ASTRA {astra.__version__} finds no GPU it can use: it is built without CUDA, or for a newer driver. "
                "Install astra-toolbox from PyPI or update the driver, or pass projector='joseph'."
            )
        self._device = device
        self._calls = HostCalls()  # the same functions: ASTRA looks where the tensors lie
        self.options: Mapping[str, int] = {"GPUindex": device.index}  # ASTRA may have a CUDA runtime of its own

    def forward(self, projector: int, pixels: Tensor, sinogram: Tensor) -> None:
        with torch.cuda.device(self._device):  # torch hands out tensors of the current device only
            self._calls.forward(projector, pixels, sinogram)

    def backward(self, projector: int, sinogram: Tensor, pixels: Tensor) -> None:
        with torch.cuda.device(self._device):
            self._calls.backward(projector, sinogram, pixels)

    def settle(self) -> None:
        """The streams of torch, of ASTRA and the default stream don't wait for one another."""
        torch.cuda.current_stream(self._device).synchronize()
        torch.cuda.default_stream(self._device).synchronize()
