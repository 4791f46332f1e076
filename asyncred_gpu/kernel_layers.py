"""The DnCNN without padding in float16 or bfloat16, with kernels of our own for all but the convolutions in between.

The first layer is one kernel, from the crops to rounded features; the bias and the ReLU of the others are one pass over
their features. By the bytes they move, torch's own operations take about as long for these as for the convolutions; no
GPU has timed it yet.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from .kernels.launch import Kernels
from .layers import Convolution, prepared
from .models import DnCNN

PRECISIONS = ("float16", "bfloat16")
# Channels in the 16 bytes that a thread of a kernel reads and writes at once; and what tensor cores like in multiples.
TOGETHER = 8
# PIXELS of first_layer.h
PIXELS = 3


def fits(network: DnCNN, precision: str) -> bool:
    """Whether the kernels are made for this network."""
    channels = len(network.state_dict()["layers.0.weight"])
    return precision in PRECISIONS and network.receptive_radius > 1 and channels % TOGETHER == 0


class KernelDnCNN:
    """(n, 1, rows, cols) float32 → (n, 1, rows − 2·radius, cols − 2·radius) float32; see ValidDnCNN.

    Rounds as ValidDnCNN does, but adds the last layer's bias in float32.

    Args:
        network: one that `fits`.
        convolve: adds no bias where a layer has none.
        pad_last: seven more outputs of the last layer, all zero, for cuDNN's tensor core kernels; nobody reads them.
    """

    def __init__(
        self,
        network: DnCNN,
        precision: str,
        device: torch.device,
        convolve: Convolution,
        kernels: Kernels,
        *,
        pad_last: bool = False,
    ) -> None:
        layers = prepared(network, precision, device)
        self._precision = precision
        self._kernels = kernels
        self._convolve = convolve
        self._layers = [replace(layer, bias=None) for layer in layers]
        # Copies, since the kernels need them at multiples of 16 bytes, and a file's may lie anywhere in its memory.
        self._biases = [layer.bias.clone() for layer in layers if layer.bias is not None]
        first, last = layers[0].weight, layers[-1].weight
        # (9, 2, channels / 8, 4) of first_layer.h
        self._taps = first.reshape(-1, 2, 4, 9).permute(3, 1, 0, 2).contiguous()
        self._last_bias = network.state_dict()[f"layers.{len(layers) - 1}.bias"].to(device, torch.float32)
        if pad_last:
            self._layers[-1] = replace(self._layers[-1], weight=_padded(last))

    def into(self, crops: Tensor, out: Tensor) -> None:
        """The residual, written into `out` by the sum of the last layer and its bias."""
        features = self._first(crops.contiguous())
        for layer, bias in zip(self._layers[1:-1], self._biases[1:-1], strict=True):
            features = self._activated(self._convolve(features, layer), bias)
        torch.add(self._convolve(features, self._layers[-1])[:, :1], self._last_bias, out=out)

    def _first(self, crops: Tensor) -> Tensor:
        batch, _, rows, cols = crops.shape
        channels = len(self._taps[0, 0]) * TOGETHER
        shape, dtype = (batch, channels, rows - 2, cols - 2), self._layers[1].weight.dtype
        features = torch.empty(shape, dtype=dtype, device=crops.device, memory_format=torch.channels_last)
        items = batch * (rows - 2) * -(-(cols - 2) // PIXELS) * (channels // TOGETHER)
        self._kernels.launch(
            *(f"first_layer_{self._precision}", items, crops, self._taps, self._biases[0]),
            *(batch, rows, cols, channels, _pixels_first(features)),
        )
        return features

    def _activated(self, features: Tensor, bias: Tensor) -> Tensor:
        """max(features + bias, 0), in place."""
        features = features.contiguous(memory_format=torch.channels_last)
        channels = features.shape[1]
        self._kernels.launch(
            *(f"activate_{self._precision}", features.numel() // TOGETHER, _pixels_first(features), bias),
            *(features.numel() // channels, channels),
        )
        return features


def _pixels_first(features: Tensor) -> Tensor:
    """(n, rows, cols, channels), as features lie in memory."""
    return features.permute(0, 2, 3, 1)


def _padded(weight: Tensor) -> Tensor:
    """Zero weights for outputs up to a multiple of 8."""
    more = -len(weight) % TOGETHER
    return F.pad(weight, (0, 0, 0, 0, 0, 0, 0, more)).contiguous(memory_format=torch.channels_last)
