"""A denoiser tried on random images: what does a patch in the middle see? One unit is one pixel.

Gradients say how far it looks, on several images since a ReLU hides what is behind it; so do changes far away, also of
a callable that has no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor, nn

# The pixels looked at are this many a side, in the middle: of a median filter's a single one shows little.
PATCH = 8
# How far each random image departs from 0.5: from noise that any threshold keeps to what total variation makes flat,
# where it sees far and otherwise doesn't.
AMPLITUDES = (0.5, 0.05, 0.005)
# What lies beyond a radius is made darker or brighter, so that statistics of the whole image change, too.
CHANGES = (0.5, 2.0, 0.5)
# What sums in another order may differ by, as shares of the largest residual and of the largest pixel. Measured: with a
# halo one pixel too small the shipped network's residual is 4e-3 off, that of 20 layers without training 8e-5.
ROUNDING, PIXEL_ROUNDING = 1e-5, 1e-6
# Of the largest residual, what a step to the side may change before it counts as a stride. Pixels at the border, too
# weak to be seen in changes, do less.
STRIDE = 1e-4


class Probe:
    """A network on random images of one size, seen from a patch of pixels in their middle."""

    def __init__(self, network: nn.Module, side: int) -> None:
        self.network = network
        self.side = side
        self.first = (side - PATCH) // 2
        self.room = self.first - 1  # the largest radius that can be seen to end
        self._device = device_of(network)

    @cached_property
    def images(self) -> Sequence[Tensor]:
        return [random_image(self.side, self.side, seed, self._device) for seed in range(len(AMPLITUDES))]

    def patch(self, image: Tensor) -> Tensor:
        return image[..., self.first : self.first + PATCH, self.first : self.first + PATCH]

    def residual(self, image: Tensor) -> Tensor:
        """The patch's residual."""
        with torch.no_grad():
            return self.patch(self.network(image.clone()))

    def residual_of(self, number: int) -> Tensor:
        """That of an image, computed once."""
        while len(self._residuals) <= number:
            self._residuals.append(self.residual(self.images[len(self._residuals)]))
        return self._residuals[number]

    @cached_property
    def _residuals(self) -> list[Tensor]:
        return []

    def sees_beyond(self, radius: int) -> bool:
        """Whether changes further away than `radius` change the patch's residual."""
        inside = slice(self.first - radius, self.first + PATCH + radius)
        for number, image in enumerate(self.images):
            changed = CHANGES[number] * random_image(self.side, self.side, len(AMPLITUDES) + number, self._device)
            changed[..., inside, inside] = image[..., inside, inside]
            if not agree(self.residual(changed), self.residual_of(number), image):
                return True
        return False

    def by_gradient(self) -> int | None:
        """How far the patch's gradient reaches; None: there is no gradient."""
        reach = 0
        for seed, image in enumerate(self.images):
            gradient = self._gradient(image.clone(), seed)
            if gradient is None:
                return None
            for axis in (-1, -2):
                seen = gradient.flatten(0, 1).any(0).any(axis).nonzero().flatten()
                if len(seen):
                    reach = max(reach, self.first - int(seen[0]), int(seen[-1]) - (self.first + PATCH - 1))
            if reach > self.room:
                break
        return reach

    def _gradient(self, image: Tensor, seed: int) -> Tensor | None:
        """Of the patch's pixels, in a random mixture so that none cancels another."""
        mixture = self.patch(random_image(self.side, self.side, seed, self._device))
        try:
            with torch.enable_grad():
                image.requires_grad_()
                patch = self.patch(self.network(image))
                return torch.autograd.grad(patch, image, mixture)[0] if patch.requires_grad else None
        except RuntimeError:  # what torch raises where numpy, or an operation in place, comes between
            return None

    def strided(self) -> bool:
        """Whether the patch's residual is another one a pixel further; if nothing is seen beyond `room`."""
        moved = self.images[0].roll((1, 1), (-2, -1))
        with torch.no_grad():
            found = self.patch(self.network(moved).roll((-1, -1), (-2, -1)))
        return not agree(found, self.residual_of(0), moved, STRIDE)

    def by_changes(self) -> int:
        """The smallest radius beyond which no change is seen; there is one below `room`."""
        low, high = 0, self.room
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self.sees_beyond(middle) else (low, middle)
        return low


def agree(found: Tensor, expected: Tensor, image: Tensor, share: float = ROUNDING) -> bool:
    """Whether two residuals of `image` are equal, up to a share of the largest."""
    allowed = share * float(expected.abs().max()) + PIXEL_ROUNDING * float(image.abs().max())
    return found.shape == expected.shape and float((found - expected).abs().max()) <= allowed  # which no NaN is


def random_image(rows: int, cols: int, seed: int, device: torch.device) -> Tensor:
    """(1, 1, rows, cols) of noise around 0.5, uniform; a function of the arguments alone."""
    noise = torch.rand((1, 1, rows, cols), generator=torch.Generator().manual_seed(seed), device="cpu")
    return (0.5 + AMPLITUDES[seed % len(AMPLITUDES)] * (2 * noise - 1)).to(device)


def device_of(network: nn.Module) -> torch.device:
    """Where its weights are."""
    weights = chain(network.parameters(), network.buffers())
    return next((weight.device for weight in weights), torch.device("cpu"))
