"""Denoisers of DeepInverse (deepinv.org): D(x, σ) → the image, σ in units of an image in [0, 1]. The only room for it.

deepinv isn't imported here: whoever has one of its denoisers has imported it. In a worker's process its pickle does.
"""

from __future__ import annotations

import copy
import sys
from typing import TypeGuard

from torch import Tensor, nn

from .foreign import ForeignDenoiser, evaluating

GREY_LEVELS = 255


class AtNoiseLevel(nn.Module):
    """A deepinv denoiser for one noise level: x → D(x, σ).

    Args:
        denoiser: of deepinv.models, for images of one channel.
        sigma: noise level in grey levels of 255.
    """

    def __init__(self, denoiser: nn.Module, sigma: float) -> None:
        super().__init__()
        self.eval()
        self.denoiser = denoiser
        self.sigma = sigma / GREY_LEVELS

    def forward(self, image: Tensor) -> Tensor:
        # TVDenoiser and its kin begin from the image they returned last. On a copy (of the object, not of its weights)
        # that is forgotten, and D is a function of its image, as the method needs it.
        denoised: Tensor = copy.copy(self.denoiser)(image, self.sigma)
        return denoised


def adapted(denoiser: nn.Module, sigma: float) -> ForeignDenoiser:
    """A denoiser of deepinv as a module that returns the residual; `sigma` in grey levels of 255."""
    name = f"{type(denoiser).__name__}, sigma {sigma:g}"
    return ForeignDenoiser(AtNoiseLevel(evaluating(denoiser), sigma), "image", name)


def is_deepinv(denoiser: object) -> TypeGuard[nn.Module]:
    """Whether it is a denoiser of deepinv."""
    models = sys.modules.get("deepinv.models")
    return models is not None and isinstance(denoiser, models.Denoiser)
