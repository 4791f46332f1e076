"""The DnCNN without padding, on any device and in any precision; each layer a convolution, a bias and a ReLU.

The first layer stays float32 without TF32: rounding the image itself costs most. Activations lie in channels_last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .models import DnCNN

# What the layers but the first hold their weights and features in; tf32 rounds inside the convolution.
DTYPES = {
    "float32": torch.float32,
    "tf32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


@dataclass(frozen=True)
class Layer:
    """A convolution's weight (out, in, 3, 3) in channels_last and bias (out,) or None, on the device."""

    weight: Tensor
    bias: Tensor | None
    allow_tf32: bool


Convolution = Callable[[Tensor, Layer], Tensor]


class ValidDnCNN:
    """(n, 1, rows, cols) → (n, 1, rows − 2·radius, cols − 2·radius), in the last layer's precision.

    Args:
        activate: a convolution and its ReLU, for the reduced layers, where one call does both.
    """

    def __init__(
        self,
        network: DnCNN,
        precision: str,
        device: torch.device,
        convolve: Convolution,
        activate: Convolution | None = None,
    ) -> None:
        self._layers = prepared(network, precision, device)
        self._convolve = convolve
        self._activate = activate

    def __call__(self, features: Tensor) -> Tensor:
        *hidden, last = self._layers
        for layer in hidden:
            features = features.to(layer.weight.dtype).contiguous(memory_format=torch.channels_last)
            if self._activate is not None and layer.weight.dtype != torch.float32:
                features = self._activate(features, layer)
            else:
                features = self._convolve(features, layer).relu_()
        return self._convolve(features.to(last.weight.dtype), last)

    def into(self, crops: Tensor, out: Tensor) -> None:
        """The residual of float32 crops, converted into `out`."""
        out.copy_(self(as_channels_last(crops)))


def plain(features: Tensor, layer: Layer) -> Tensor:
    return F.conv2d(features, layer.weight, layer.bias)


def cudnn_convolution(deterministic: bool) -> Convolution:
    """A convolution by cuDNN, told what F.conv2d takes from torch's global settings: nobody has to touch those."""

    def convolve(features: Tensor, layer: Layer) -> Tensor:
        found = torch.cudnn_convolution(
            features, layer.weight, (0, 0), (1, 1), (1, 1), 1, not deterministic, deterministic, layer.allow_tf32
        )
        return found if layer.bias is None else found.add_(layer.bias[:, None, None])

    return convolve


def cudnn_activated(features: Tensor, layer: Layer) -> Tensor:
    """Convolution, bias and ReLU in one kernel, without two passes over the features.

    It can't be told to be deterministic, and takes `benchmark` from torch's settings.
    """
    return torch.cudnn_convolution_relu(features, layer.weight, layer.bias, (1, 1), (0, 0), (1, 1), 1)


def as_channels_last(crops: Tensor) -> Tensor:
    """(n, 1, rows, cols) contiguous, with strides that say channels_last, so that cuDNN's output is too."""
    return crops.squeeze(1).unsqueeze(-1).permute(0, 3, 1, 2)


def prepared(network: DnCNN, precision: str, device: torch.device) -> list[Layer]:
    """The network's layers, each in what it is held in."""
    layers = []
    state = network.state_dict()
    for index in range(network.receptive_radius):
        dtype = DTYPES[precision] if index > 0 else torch.float32
        weight = state[f"layers.{index}.weight"].to(device, dtype).contiguous(memory_format=torch.channels_last)
        bias = state[f"layers.{index}.bias"].to(device, dtype)
        layers.append(Layer(weight, bias, precision == "tf32" and index > 0))
    return layers
