"""How many pixels around a pixel its residual depends on, found by trying; one unit is one pixel.

Gradients propose a radius, changes beyond it decide (probe.py). Crops at odd offsets confirm it: a network with strides
or pooling depends on where its crop begins, and then no halo is enough.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .probe import AMPLITUDES, Probe, agree, device_of, random_image
from .tf32 import float32_rules

# Sides of the images tried; U-Nets want multiples of 8 or 16.
SIDES = (64, 128, 256)
# Crops that must agree with the whole image: (rows, cols) of the block, and how far it lies from the middle.
CROPS = (((16, 16), (0, 0)), ((13, 17), (1, 0)), ((17, 12), (-2, 3)), ((11, 14), (7, -5)))
WHAT_TO_DO = (
    "Pass pad='full', with which every update denoises the whole image; or pad as a number of pixels, if you accept "
    "the error at the blocks' borders."
)


@runtime_checkable
class LocalNetwork(Protocol):
    """A network that says how far it looks: a pixel's residual depends on the `receptive_radius` pixels around it."""

    receptive_radius: int


def measured_radius(network: nn.Module, name: str) -> int:
    """The receptive radius of a network that returns the residual.

    Always the same for the same network; leaves it, torch's random numbers and its gradient mode as they were. Seconds
    for a DnCNN of 20 layers; minutes for a denoiser that iterates a thousand times.

    Args:
        network: (1, 1, rows, cols) float32 → the same shape.
        name: of the denoiser, for errors.
    Raises:
        ValueError: there is no such radius below 123 pixels, or the network can't be tried: why, and what to do.
    """
    network = copy.deepcopy(network).eval()  # one that remembers its calls mustn't remember these
    rules = float32_rules(allow_tf32=False, deterministic=True)
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]), rules:
        probes = [Probe(network, side) for side in SIDES]
        _check_repeats(probes[0], name)
        with _named(name, f"on images of up to {SIDES[-1]}² pixels"):
            radius = _found(probes)
        if radius is None:
            raise ValueError(
                f"{_needs(name)}, and a pixel's residual still depends on pixels {probes[-1].room} away. It isn't "
                f"local (a U-Net, attention, a transform or a statistic of the whole image?). {WHAT_TO_DO}"
            )
        _check_crops(network, radius, name)
        return radius


def _found(probes: Sequence[Probe]) -> int | None:
    """The radius, on the smallest images that hold it; None: they all are too small. Crops have the last word."""
    for probe in probes:
        if probe.sees_beyond(probe.room):
            continue
        if probe.strided():  # the crops will say so; it needn't be measured
            return probe.room
        guess = probe.by_gradient()
        if guess is not None and guess > probe.room and probe is not probes[-1]:
            continue  # too weak to be seen in changes, but there; larger images show where it ends
        if guess is None or guess > probe.room or probe.sees_beyond(guess):
            return probe.by_changes()
        return guess
    return None


def _check_repeats(probe: Probe, name: str) -> None:
    """Twice the same image gives twice the same residual.

    Raises:
        ValueError: it doesn't, or it isn't finite, or the network fails.
    """
    image = probe.images[0]
    with _named(name, "on an image of one channel", "Pass a denoiser of such images."):
        first, second = probe.residual_of(0), probe.residual(image)
    if not first.isfinite().all():
        raise ValueError(
            f"{_needs(name)}, and of an image in [0, 1] it returned infinite values or NaN. Pass one that is finite "
            "there."
        )
    if not agree(second, first, image):
        raise ValueError(
            f"{_needs(name)}, and it returned two residuals for one image. It draws random numbers, or keeps something "
            "from call to call. Make it a function of the image alone, or pass pad as a number of pixels."
        )


def _check_crops(network: nn.Module, radius: int, name: str) -> None:
    """Crops with a halo of `radius` give the whole image's residual inside, wherever they begin.

    Raises:
        ValueError: they don't, or the network fails on one.
    """
    side = max(SIDES[1], -(-(2 * radius + 48) // 32) * 32)
    for seed in (0, len(AMPLITUDES) - 1):
        image = random_image(side, side, seed, device_of(network))
        with _named(name, "on crops of odd sizes, as a halo makes them"), torch.no_grad():
            same = _crops_agree(network, image, radius)
        if not same:
            raise ValueError(
                f"{_needs(name)}, and its residual depends on where a crop begins, as with strides, pooling or "
                f"coordinates: no halo gives the whole image's residual. {WHAT_TO_DO}"
            )


def _crops_agree(network: nn.Module, image: Tensor, radius: int) -> bool:
    """Whether all CROPS of the image have the whole image's residual."""
    whole, side = network(image.clone()), image.shape[-1]
    for (rows, cols), (down, across) in CROPS:
        top, left = (side - rows) // 2 + down, (side - cols) // 2 + across
        crop = image[..., top - radius : top + rows + radius, left - radius : left + cols + radius]
        inside = network(crop.clone())[..., radius : radius + rows, radius : radius + cols]
        if not agree(inside, whole[..., top : top + rows, left : left + cols], image):
            return False
    return True


def _needs(name: str) -> str:
    return f"pad='exact' needs the receptive radius of {name}"


@contextmanager
def _named(name: str, where: str, what_to_do: str = WHAT_TO_DO) -> Iterator[None]:
    """An error of the denoiser as one that says what was tried, and what to do."""
    try:
        yield
    except Exception as error:  # it is the user's code: anything
        raise ValueError(
            f"{_needs(name)}, so it was tried, and failed {where}: {type(error).__name__}: {error}. {what_to_do}"
        ) from error
