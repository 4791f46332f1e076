"""A padded crop of the image → its residual R_c(x) = c·R(x/c), R(x) = x − D(x) what the network outputs.

A network with receptive radius r gives, inside a crop with r pixels around it, exactly the whole image's residual.
Denoisers are not scale-equivariant: c brings the image to the intensities the network was trained on.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .arrays import checksum
from .blocks import FloatArray
from .models import DnCNN, dncnn_from_state, load_weights, state_from_tensorflow, weights_path

PRECISIONS = ("auto", "float32", "bfloat16")
SHIPPED = ("dncnn",)


@runtime_checkable
class LocalNetwork(Protocol):
    """A network that says how far it looks: a pixel's residual depends on the `receptive_radius` pixels around it."""

    receptive_radius: int


def load_denoiser(denoiser: str | Path | nn.Module = "dncnn", sigma: float = 5) -> nn.Module:
    """A network that returns the residual R(x) of an image (1, 1, rows, cols) in [0, 1].

    Args:
        denoiser: "dncnn" (the shipped weights), a path (.safetensors of ours, .npz of TensorFlow kernels), or any
            torch module that returns the residual; one in training mode is copied and put in evaluation mode.
        sigma: noise level the network was trained for, in grey levels of 255; for shipped weights.
    Raises:
        ValueError, FileNotFoundError: no such weights, or a file that holds none.
    """
    if isinstance(denoiser, nn.Module):
        return copy.deepcopy(denoiser).eval() if denoiser.training else denoiser
    if not isinstance(denoiser, str | Path):
        raise TypeError(
            f"denoiser is a {type(denoiser).__name__}. Pass a torch module that returns the residual x − D(x), "
            f"a shipped denoiser's name ({', '.join(SHIPPED)}), or a path."
        )
    if isinstance(denoiser, str) and denoiser in SHIPPED:
        return load_weights(weights_path(f"{denoiser}_sigma{sigma:g}"))[0]
    path = Path(denoiser)
    if not path.is_file():
        raise FileNotFoundError(
            f"denoiser={str(denoiser)!r} is neither a shipped denoiser ({', '.join(SHIPPED)}) nor a file. "
            "Pass one of these names, the path of a .safetensors or .npz file, or a torch module."
        )
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return dncnn_from_state(state_from_tensorflow(dict(arrays)))
    return load_weights(path)[0]


def network_fingerprint(network: nn.Module) -> str:
    """A checksum of a network's class and weights."""
    state = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    return f"{type(network).__name__}-{checksum(*(value.detach().cpu().float().numpy() for value in state.values()))}"


def resolve_halo(pad: Any, network: nn.Module) -> int:
    """The halo in pixels: `pad` itself, or for "exact" the network's receptive radius.

    Raises:
        ValueError: a negative pad, or "exact" for a network that doesn't say how far it looks.
    """
    if pad == "exact":
        if isinstance(network, LocalNetwork):
            return checked_radius(network.receptive_radius)
        raise ValueError(
            f"pad='exact' needs the receptive radius, and {type(network).__name__} has no attribute "
            "receptive_radius. Set it on your module (the sum of its layers' half widths), or pass pad as a number."
        )
    if isinstance(pad, bool) or not isinstance(pad, int) or pad < 0:
        raise ValueError(f"pad={pad!r} isn't a halo. Pass 'exact' or a number of pixels >= 0.")
    return pad


def checked_radius(radius: Any) -> int:
    """A network's receptive radius as a whole number >= 0."""
    if isinstance(radius, bool) or not isinstance(radius, int) or radius < 0:
        raise ValueError(f"receptive_radius={radius!r} isn't a number of pixels. Set it to a whole number >= 0.")
    return radius


def resolve_precision(precision: str) -> str:
    """The precision meant: "auto" is bfloat16 where this processor multiplies it natively, else float32."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} isn't available on the CPU. Pass one of {', '.join(PRECISIONS)}.")
    if precision != "auto":
        return precision
    return "bfloat16" if _native_bfloat16() else "float32"


def _native_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


@dataclass(frozen=True)
class DenoiserSettings:
    """How a crop is denoised: its halo in pixels, the precision, and the intensity scale c."""

    halo: int
    precision: str
    intensity_scale: float


class BlockDenoiser:
    """Residuals of crops with a halo, on the CPU; holds its own copy of the network in the precision asked for."""

    def __init__(self, network: nn.Module, settings: DenoiserSettings) -> None:
        self.settings = settings
        self._reduced = settings.precision == "bfloat16"
        self._dncnn = network if isinstance(network, DnCNN) else None
        if self._dncnn is not None:
            self._layers = _prepared(self._dncnn, self._reduced)
        # A foreign network stays float32: nobody knows which of its layers bear less.
        self._network = network.eval()

    def residual(self, crop: FloatArray, out: FloatArray) -> FloatArray:
        """R_c of the crop's interior.

        Args:
            crop: (rows + 2·halo, cols + 2·halo) float32.
            out: (rows, cols) float32; overwritten.
        """
        scale = np.float32(self.settings.intensity_scale)
        with torch.inference_mode():
            image = torch.from_numpy(crop / scale)[None, None]
            np.multiply(self._interior(image)[0, 0].float().numpy(), scale, out=out)
        return out

    def _interior(self, image: Tensor) -> Tensor:
        halo = self.settings.halo
        if self._dncnn is not None and halo >= self._dncnn.receptive_radius:
            return self._valid(_trimmed(image, halo - self._dncnn.receptive_radius))
        residual = self._network(image)
        if residual.shape != image.shape:
            raise ValueError(
                f"The denoiser returned {tuple(residual.shape)} for an image {tuple(image.shape)}. "
                "It must return the residual in the image's shape: pad inside the module."
            )
        return _trimmed(residual, halo)

    def _valid(self, features: Tensor) -> Tensor:
        """The DnCNN without padding. The first layer stays float32: rounding the image itself costs most."""
        *hidden, last = self._layers
        for weight, bias in hidden:
            features = features.to(weight.dtype).contiguous(memory_format=torch.channels_last)
            features = F.conv2d(features, weight, bias).relu_()
        return F.conv2d(features.to(last[0].dtype), *last)


def _prepared(network: DnCNN, reduced: bool) -> list[tuple[Tensor, Tensor]]:
    """The layers' weights and biases in channels_last, all but the first in bfloat16 if `reduced`."""
    prepared = []
    state = network.state_dict()
    for index in range(network.receptive_radius):
        dtype = torch.bfloat16 if reduced and index > 0 else torch.float32
        weight = state[f"layers.{index}.weight"].to(dtype).contiguous(memory_format=torch.channels_last)
        prepared.append((weight, state[f"layers.{index}.bias"].to(dtype)))
    return prepared


def _trimmed(image: Tensor, margin: int) -> Tensor:
    return image[..., margin : image.shape[-2] - margin, margin : image.shape[-1] - margin]
