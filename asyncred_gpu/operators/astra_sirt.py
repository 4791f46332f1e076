"""ASTRA's SIRT of a scan, iteration by iteration: x ← x + C Aᵀ R (y − A x).

R and C hold the reciprocals of A's row and column sums (0 where a sum is 0). Gilbert 1972; Gregor and Benson, IEEE TMI
2008. A is ASTRA's `linear` (Joseph) on the CPU, on a GPU its CUDA pair, where Aᵀ isn't quite the adjoint.
"""

from __future__ import annotations

import weakref

import astra

from ..blocks import FloatArray
from .astra_projectors import create, delete, geometries
from .astra_rays import astra_rays
from .footprint import whole_window
from .geometry import Geometry


class AstraSirt:
    """Owns ASTRA's objects, the sinogram and the image, until closed.

    Args:
        geometry: the scan's.
        sinogram: (angles, detectors) float32 line integrals.
        start: (rows, cols) float32.
        mask: (rows, cols), 1 where the image is reconstructed; the rest is neither projected nor changed. None: all.
        nonnegative: negative pixels become zero after every iteration.
        gpu: index of the GPU to use, or None for the CPU.
    Raises:
        RuntimeError: a GPU is asked for and ASTRA can't use one.
    """

    def __init__(
        self,
        geometry: Geometry,
        sinogram: FloatArray,
        start: FloatArray,
        mask: FloatArray | None = None,
        nonnegative: bool = False,
        gpu: int | None = None,
    ) -> None:
        if gpu is not None and not astra.use_cuda():
            raise RuntimeError(
                f"ASTRA {astra.__version__} finds no GPU it can use: it is built without CUDA, or for a newer driver. "
                "Install astra-toolbox from PyPI or update the driver, or pass device='cpu'."
            )
        window, whole = whole_window(geometry)
        rays = astra_rays(geometry, window, whole, gpu is not None)
        of_rays, volume = geometries(window, rays)
        self.image = start.copy()
        measured = sinogram.reshape(rays.shape)
        self._held = (measured, mask)  # ASTRA reads them where they lie
        image_id = astra.data2d.link("-vol", volume, self.image)
        sinogram_id = astra.data2d.link("-sino", of_rays, measured)
        data = [image_id, sinogram_id]
        device = {} if gpu is None else {"GPUindex": gpu}
        options: dict[str, float] = {**device, **({"MinConstraint": 0.0} if nonnegative else {})}
        if mask is not None:
            data.append(astra.data2d.link("-vol", volume, mask))
            options["ReconstructionMaskId"] = data[-1]
        projector = create("linear" if gpu is None else "cuda", window, rays, device)
        settings = astra.astra_dict("SIRT" if gpu is None else "SIRT_CUDA")
        settings |= {"ProjectorId": projector, "ProjectionDataId": sinogram_id, "ReconstructionDataId": image_id}
        settings["option"] = options
        self._algorithm = int(astra.algorithm.create(settings))
        self._finalizer = weakref.finalize(self, _delete_all, self._algorithm, data, projector)

    def iterate(self) -> FloatArray:
        """One iteration; returns the image, which the next one overwrites."""
        astra.algorithm.run(self._algorithm, 1)
        return self.image

    def close(self) -> None:
        self._finalizer()


def _delete_all(algorithm: int, data: list[int], projector: int) -> None:
    astra.algorithm.delete(algorithm)
    astra.data2d.delete(data)
    delete([projector])
