"""Denoisers that aren't ours as a torch module that returns the residual: R(x) = x − D(x), or R itself.

Such a module travels to worker processes by cloudpickle, with everything its denoiser refers to.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType

import torch
from torch import Tensor, nn

from .probe import device_of
from .receptive import LocalNetwork

PREDICTS = ("residual", "image")
PROBE_SIDE = 64
# Of the probe's norm. A denoiser takes about the noise away, 4 % here, so its residual is that small and its image that
# close. Measured: ours and the authors' 2 and 3 %; median, TV, non-local means and Gaussian filters 0.1 to 11 %; the
# mean of the whole image 20 %. What departs more from the image, and from zero, could be either: nothing is said.
CLEARLY = 0.25


class ForeignDenoiser(nn.Module):
    """R(x) of a denoiser: a torch module, or any callable.

    Args:
        denoiser: (n, 1, rows, cols) float32 → a tensor of the same shape; may work in place.
        predicts: what it returns, "residual" or "image".
        name: of the denoiser, for errors and schedules.
    Attributes:
        receptive_radius: in pixels, set by whoever knows it (denoiser.py).
    """

    receptive_radius: int

    def __init__(self, denoiser: Callable[[Tensor], Tensor], predicts: str, name: str) -> None:
        super().__init__()
        self.eval()
        self.denoiser = denoiser
        self.predicts = predicts
        self.name = name

    def forward(self, image: Tensor) -> Tensor:
        """R, on the image's device.

        Raises:
            TypeError, ValueError: the denoiser returned something else than a tensor of the image's shape.
        """
        found = self.denoiser(image.clone())
        if not isinstance(found, Tensor):
            raise TypeError(
                f"The denoiser {self.name} returned a {type(found).__name__}. It must return a torch tensor: of a "
                "numpy array make one with torch.from_numpy."
            )
        check_shape(found, image)
        found = found.to(image)  # numpy's float64 on the host is as welcome
        return found if self.predicts == "residual" else image - found


def as_residual(denoiser: Callable[[Tensor], Tensor], predicts: str) -> nn.Module:
    """A module that returns the residual, ready to be evaluated: the denoiser itself where it is one.

    Raises:
        ValueError: see `check_predicts`.
    """
    check_predicts(denoiser, predicts)
    ready = evaluating(denoiser) if isinstance(denoiser, nn.Module) else denoiser
    if not isinstance(ready, LocalNetwork):
        return ForeignDenoiser(ready, predicts, name_of(denoiser))
    if isinstance(ready, nn.Module) and predicts == "residual":
        return ready
    network = ForeignDenoiser(ready, predicts, name_of(denoiser))
    network.receptive_radius = ready.receptive_radius
    return network


def evaluating(network: nn.Module) -> nn.Module:
    """The network in evaluation mode: a copy, if it is in training mode."""
    return copy.deepcopy(network).eval() if network.training else network


def name_of(denoiser: object) -> str:
    """What to call it."""
    if isinstance(denoiser, FunctionType | BuiltinFunctionType | MethodType):
        return denoiser.__qualname__
    return type(denoiser).__name__


def check_shape(found: Tensor, image: Tensor) -> None:
    """Raise a ValueError if what a denoiser returned hasn't the image's shape."""
    if found.shape != image.shape:
        raise ValueError(
            f"The denoiser returned {tuple(found.shape)} for an image {tuple(image.shape)}. "
            "It must return a tensor of the image's shape: pad inside."
        )


def check_predicts(denoiser: Callable[[Tensor], Tensor], predicts: str) -> None:
    """Refuse a denoiser that clearly returns the other of residual and image.

    Raises:
        ValueError: it does, or `predicts` isn't known.
    """
    if predicts not in PREDICTS:
        raise ValueError(f"predicts={predicts!r} isn't known. Pass one of {', '.join(map(repr, PREDICTS))}.")
    probe = probe_image()
    found = _tried(denoiser, probe)
    if found is None:
        return
    size, change = _share(found, probe), _share(found - probe, probe)
    tried = f"{name_of(denoiser)} was tried on a smooth image with noise of 5 grey levels, and returned"
    if predicts == "residual" and change < CLEARLY:
        raise ValueError(
            f"{tried} nearly that image (all but {100 * change:.1f} %), which is no residual x − D(x). It seems to "
            "return the denoised image: pass predicts='image'."
        )
    if predicts == "image" and size < CLEARLY:
        raise ValueError(
            f"{tried} {100 * size:.1f} % of its norm, which is no denoised image. It seems to return the residual "
            "x − D(x): pass predicts='residual'."
        )


def probe_image() -> Tensor:
    """(1, 1, 64, 64): smooth, between 0.3 and 0.7, with noise of σ = 5/255."""
    place = torch.linspace(0, 6, PROBE_SIDE, device="cpu")
    smooth = 0.5 + 0.2 * torch.sin(place)[:, None] * torch.cos(1.3 * place)
    noise = torch.randn((PROBE_SIDE, PROBE_SIDE), generator=torch.Generator().manual_seed(0), device="cpu")
    return (smooth + 5 / 255 * noise)[None, None]


def _tried(denoiser: Callable[[Tensor], Tensor], image: Tensor) -> Tensor | None:
    """What it returns for the image; None if that can't be judged."""
    device = device_of(denoiser) if isinstance(denoiser, nn.Module) else image.device
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            # A copy: one that remembers its calls mustn't remember this.
            found = copy.deepcopy(denoiser)(image.to(device, copy=True))
            return found.to(image) if isinstance(found, Tensor) and found.shape == image.shape else None
    except Exception:  # whatever it is, the run meets it too, and names the worker and the line
        return None


def _share(part: Tensor, whole: Tensor) -> float:
    return float(torch.linalg.vector_norm(part) / torch.linalg.vector_norm(whole))
