"""One DnCNN for many noise levels: R(x, σ), the level a second input channel (Zhang, Zuo, Zhang, IEEE TIP 2018).

Only the first layer sees the level, so for one level over the whole image it is a DnCNN with another first bias.
Images are (batch, 1, rows, cols) in units of an image in [0, 1], and so are levels: 5 grey levels are 5/255.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .dncnn import DnCNN, dncnn_from_state

LEVEL_WEIGHT = "level.weight"
INNER = "dncnn."


class ConditionalDnCNN(nn.Module):
    """The noise in an image, whose level is told.

    Args:
        depth, channels: of the DnCNN within, `dncnn`, whose first layer gets the convolved level added.
    """

    def __init__(self, depth: int = 7, channels: int = 64) -> None:
        super().__init__()
        self.dncnn = DnCNN(depth, channels)
        self.level = nn.Conv2d(1, channels, 3, bias=False)
        nn.init.kaiming_normal_(self.level.weight, nonlinearity="relu")

    def forward(self, image: Tensor, level: Tensor) -> Tensor:
        """Residual of (batch, 1, rows, cols), its shape; zeros beyond the image's border, the level goes on there.

        Args:
            level: noise as a standard deviation, (batch, 1, 1, 1) for all pixels or (batch, 1, rows, cols).
        """
        if level.shape[-2:] == (1, 1):
            shift = level * self.level.weight.sum(dim=(1, 2, 3))[:, None, None]
        else:
            shift = F.conv2d(F.pad(level, (1, 1, 1, 1), mode="replicate"), self.level.weight)
        return cast(Tensor, self.dncnn(image, shift))

    def at(self, level: float) -> DnCNN:
        """The DnCNN for one level, with the same residual."""
        network = copy.deepcopy(self.dncnn)
        first = cast(nn.Conv2d, network.layers[0])
        with torch.no_grad():
            cast(Tensor, first.bias).add_(level * self.level.weight.sum(dim=(1, 2, 3)))
        return network.eval().requires_grad_(False)


def network_from_state(state: dict[str, Tensor]) -> DnCNN | ConditionalDnCNN:
    """The network whose state it is, in evaluation mode.

    Raises:
        ValueError: the names or shapes are neither network's.
    """
    if LEVEL_WEIGHT not in state:
        return dncnn_from_state(state)
    inner = dncnn_from_state({name.removeprefix(INNER): value for name, value in state.items() if name != LEVEL_WEIGHT})
    channels = cast(nn.Conv2d, inner.layers[0]).out_channels
    if state[LEVEL_WEIGHT].shape != (channels, 1, 3, 3):
        raise ValueError(
            f"{LEVEL_WEIGHT} is {tuple(state[LEVEL_WEIGHT].shape)}, beside a first layer of {channels} channels it is "
            f"({channels}, 1, 3, 3). Pass weights saved from asyncred_gpu.models.ConditionalDnCNN."
        )
    network = ConditionalDnCNN(inner.receptive_radius, channels)
    network.dncnn = inner
    with torch.no_grad():
        network.level.weight.copy_(state[LEVEL_WEIGHT])
    return network.eval().requires_grad_(False)
