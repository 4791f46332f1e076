"""DnCNN as a residual denoiser: R(x) = x - D(x), seven 3x3 convolutions with 64 channels.

Zhang et al., IEEE TIP 2017, without batch normalization, as Async-RED uses it (Sun et al., ICLR 2021).
Images are (batch, 1, rows, cols) in units of an image in [0, 1].
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DnCNN(nn.Module):
    """The noise in an image: returns the residual R(x), so the denoised image is x - R(x).

    Args:
        depth: number of 3x3 convolutions; a pixel's residual depends on the `depth` pixels around it.
        channels: feature channels of the hidden layers.
    """

    def __init__(self, depth: int = 7, channels: int = 64) -> None:
        super().__init__()
        widths = [1, *[channels] * (depth - 1), 1]
        layers = [nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths)]
        self.layers = nn.ModuleList(layers)
        for name, parameter in self.layers.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
            else:
                nn.init.zeros_(parameter)

    @property
    def receptive_radius(self) -> int:
        """How many pixels on each side a pixel's residual depends on."""
        return len(self.layers)

    def forward(self, image: Tensor, shift: Tensor | None = None) -> Tensor:
        """Residual of (batch, 1, rows, cols), the shape of the input; zeros beyond the border.

        Args:
            shift: added to the first layer's features (batch, channels, rows, cols), or what broadcasts to them.
        """
        return self._chain(image, 1, shift)

    def interior(self, image: Tensor) -> Tensor:
        """Residual without the border: (batch, 1, rows - 2·radius, cols - 2·radius), no padding anywhere."""
        return self._chain(image, 0, None)

    def _chain(self, features: Tensor, padding: int, shift: Tensor | None) -> Tensor:
        *hidden, last = cast("list[nn.Conv2d]", list(self.layers))
        for layer in hidden:
            features = F.conv2d(features, layer.weight, layer.bias, padding=padding)
            if shift is not None and layer is hidden[0]:
                features = features + shift
            features = features.relu_()
        return F.conv2d(features, last.weight, last.bias, padding=padding)

    def operations_per_pixel(self) -> int:
        """Floating point operations for one pixel of the residual: two a multiply-add."""
        return sum(2 * weight.numel() for name, weight in self.named_parameters() if name.endswith("weight"))


def state_from_tensorflow(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The state of a DnCNN from kernels named `layer_k….kernel` (3, 3, in, out) and `….bias` (out,).

    Raises:
        ValueError: no kernel is found, or a kernel has no bias.
    """
    kernels = sorted(name for name in arrays if name.endswith(".kernel"))
    if not kernels:
        raise ValueError(
            f"No array is named '….kernel' among {sorted(arrays)[:4]}: these aren't weights of a DnCNN. "
            "Pass an .npz with kernels as (3, 3, in, out) and biases as (out,)."
        )
    state = {}
    for index, name in enumerate(kernels):
        bias = name.removesuffix("kernel") + "bias"
        if bias not in arrays:
            raise ValueError(f"{name} has no {bias} beside it. Pass an .npz with a bias for each kernel.")
        state[f"layers.{index}.weight"] = torch.from_numpy(arrays[name].transpose(3, 2, 0, 1).copy())
        state[f"layers.{index}.bias"] = torch.from_numpy(arrays[bias].copy())
    return state


def dncnn_from_state(state: dict[str, Tensor]) -> DnCNN:
    """A DnCNN of the depth and width its state has, in evaluation mode.

    Raises:
        ValueError: the names or shapes aren't a DnCNN's.
    """
    depth = sum(name.endswith(".weight") for name in state)
    first = state.get("layers.0.weight")
    if first is None or first.ndim != 4 or first.shape[1:] != (1, 3, 3):
        found = None if first is None else tuple(first.shape)
        raise ValueError(
            f"layers.0.weight is {found}, a DnCNN's first layer is (channels, 1, 3, 3). "
            "Pass weights saved from asyncred_gpu.models.DnCNN."
        )
    network = DnCNN(depth, first.shape[0])
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"The weights don't fit a DnCNN with {depth} layers: {error}") from error
    return network.eval().requires_grad_(False)
