"""The solver's settings, checked before any work: what was found, why it can't be, what to do (design: Errors)."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .arrays import as_numpy
from .blocks import BlockGrid, FloatArray, choose_block_shape
from .choices import PRIORS

# At least, if nobody names a shape: on the camera man (400², 90 angles) two workers on 4 blocks had 25.0 to 25.4 dB
# after ten sweeps, on 8 26.2 to 26.3. Those in flight don't see each other.
BLOCKS_A_WORKER = 4


@dataclass(frozen=True)
class Parallelism:
    """How many updates are under way, and how stale a read may be.

    workers × per_launch = in_flight ≤ blocks, and max_staleness ≥ in_flight − 1.
    """

    workers: int
    per_launch: int
    max_staleness: int

    @property
    def in_flight(self) -> int:
        return self.workers * self.per_launch


def is_auto(value: Any) -> bool:
    """Whether it is to be chosen; an array isn't compared with a word."""
    return isinstance(value, str) and value == "auto"


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"{name}={value!r} isn't known. Pass one of {', '.join(choices)}.")
    return str(value)


def check_count(name: str, value: Any, least: int) -> int:
    """A whole number of at least `least`."""
    try:
        if isinstance(value, bool):
            raise TypeError
        count = operator.index(value)
    except TypeError:
        raise ValueError(f"{name}={value!r} isn't a whole number. Pass a whole number >= {least}.") from None
    if count < least:
        raise ValueError(f"{name}={count} is too small. Pass a whole number >= {least}.")
    return count


def check_number(name: str, value: Any, least: float, below: float = math.inf) -> float:
    """A finite number in [least, below)."""
    right = not isinstance(value, bool | str) and isinstance(value, int | float | np.number)
    if not right or not math.isfinite(value) or not least <= value < below:
        limit = "" if below == math.inf else f" and < {below:g}"
        raise ValueError(f"{name}={value!r} can't be. Pass a number >= {least:g}{limit}.")
    return float(value)


def check_tau(tau: Any) -> float:
    return check_number("tau", tau, 0.0)


def check_scale(scale: Any) -> float | None:
    """The intensity scale, or None for "auto"."""
    if is_auto(scale):
        return None
    if isinstance(scale, str) or check_number("intensity_scale", scale, 0.0) == 0.0:
        raise ValueError(f"intensity_scale={scale!r} can't be. Pass 'auto' or a positive number (1.0 is off).")
    return float(scale)


def check_image(name: str, image: Any, image_shape: tuple[int, int]) -> FloatArray:
    """(rows, cols) float32 of the operator's shape."""
    checked = as_numpy(image, name, 2)
    if checked.shape != image_shape:
        raise ValueError(f"{name} has shape {checked.shape}, the image {image_shape}. Pass an image of its shape.")
    return checked


def check_reference(reference: Any, image_shape: tuple[int, int]) -> FloatArray:
    """The true image: one that an SNR can be taken against."""
    truth = check_image("reference", reference, image_shape)
    if not truth.any():
        raise ValueError("reference is zero everywhere: no SNR is defined. Pass the true image, or None.")
    return truth


def make_grid(block_shape: Any, default: BlockGrid, workers: int, fixed: bool) -> BlockGrid:
    """The blocks asked for; None: the operator's own, or smaller ones if they are fewer than twice the workers.

    Args:
        fixed: the operator has no others.
    """
    if block_shape is None:
        if fixed or len(default) >= BLOCKS_A_WORKER * workers:
            return default
        return BlockGrid(default.image_shape, choose_block_shape(default.image_shape, BLOCKS_A_WORKER * workers))
    try:
        rows, cols = (operator.index(side) for side in block_shape)
    except (TypeError, ValueError):
        raise ValueError(f"block_shape={block_shape!r} isn't (rows, cols). Pass two whole numbers, or None.") from None
    return BlockGrid(default.image_shape, (rows, cols))


def check_parallelism(
    workers: int, per_launch: int, max_staleness: Any, blocks: int, order: str = "free"
) -> Parallelism:
    """Staleness that can hold: the last of P updates in flight waits for P − 1 commits; unless free, for no more."""
    in_flight = workers * per_launch
    if in_flight > blocks:
        raise ValueError(
            f"{workers} workers × {per_launch} blocks a launch are {in_flight} updates in flight, and the image has "
            f"{blocks} blocks: one update a block at a time. Use fewer workers, or a smaller block_shape."
        )
    usual = max(4 * workers, blocks) if order == "free" else in_flight - 1
    staleness = usual if max_staleness is None else check_count("max_staleness", max_staleness, 0)
    if staleness < in_flight - 1:
        who = f"{in_flight} workers" if per_launch == 1 else f"{in_flight} updates in flight"
        raise ValueError(
            f"max_staleness={staleness} cannot hold for {who}: the last of them waits for {in_flight - 1} commits. "
            f"Pass max_staleness >= {in_flight - 1}, or use fewer workers."
        )
    return Parallelism(workers, per_launch, staleness)


def check_callbacks(callbacks: Any) -> None:
    if not isinstance(callbacks, list | tuple) or not all(callable(callback) for callback in callbacks):
        raise TypeError(f"callbacks={callbacks!r} isn't a list of functions. Pass callbacks=[function].")


def check_prior(prior: Any, tau: float, chosen: bool) -> str:
    """Whose solution is looked for, "red" or "pnp".

    Args:
        tau: NaN where it is still to be chosen. chosen: whether τ or σ is.
    Raises:
        ValueError: not one of them, or one that can't be with these.
    """
    check_choice("prior", prior, PRIORS)
    if prior == "pnp" and (chosen or tau == 0):
        found = 'tau="auto" or sigma="auto"' if chosen else "tau=0"
        raise ValueError(
            f"prior='pnp' with {found} isn't to be had: τ ties the image to what the denoiser made of it, and is "
            "chosen for RED alone. Pass numbers; half of RED's τ is a start."
        )
    return str(prior)


def check_momentum(momentum: float, in_flight: int, blocks: int) -> None:
    """Heavy ball with most blocks in flight diverges (measured with all of them): refused above half."""
    if momentum > 0 and 2 * in_flight > blocks:
        raise ValueError(
            f"momentum={momentum:g} with {in_flight} updates in flight of {blocks} blocks diverges. "
            "Pass momentum=0, fewer workers, or a smaller block_shape."
        )


def check_minibatch(minibatch: Any, measurements: int) -> int | None:
    if minibatch is None:
        return None
    count = check_count("minibatch", minibatch, 1)
    if count > measurements:
        raise ValueError(
            f"minibatch={count} is more than the {measurements} measurements there are. "
            f"Pass at most {measurements}, or None for all."
        )
    return None if count == measurements else count


def make_mask(field_of_view: Any, image_shape: tuple[int, int]) -> FloatArray | None:
    """1 inside the field of view, 0 outside, (rows, cols); "circle" is the largest one in the image."""
    if field_of_view is None:
        return None
    if isinstance(field_of_view, str):
        check_choice("field_of_view", field_of_view, ("circle",))
        rows, cols = (np.arange(side) - (side - 1) / 2 for side in image_shape)
        return np.asarray(rows[:, None] ** 2 + cols**2 <= (min(image_shape) / 2) ** 2, np.float32)
    raw = field_of_view.detach().cpu().numpy() if isinstance(field_of_view, torch.Tensor) else np.asarray(field_of_view)
    mask = as_numpy(raw.astype(np.uint8) if raw.dtype == bool else raw, "field_of_view", 2)
    if mask.shape != image_shape:
        raise ValueError(f"field_of_view has shape {mask.shape}, the image {image_shape}. Pass a mask of its shape.")
    if not np.isin(mask, (0, 1)).all() or not mask.any():
        raise ValueError("field_of_view must be a mask of True and False with some pixel True. Pass such a mask.")
    return mask


def check_convolutional(step: str | float, convolutional: bool) -> None:
    """A preconditioner needs a curvature that is nearly a convolution."""
    if step == "preconditioned" and not convolutional:
        raise ValueError(
            "step='preconditioned' needs an operator whose curvature is nearly a convolution, as RadonCT's is. "
            "Pass step='block'."
        )


def check_replay(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> None:
    """A schedule fits only the settings it was recorded with."""
    changed = [
        f"{name} was {recorded.get(name)!r}, is {value!r}"
        for name, value in present.items()
        if recorded.get(name) != value
    ]
    if changed:
        raise ValueError(
            f"The schedule was recorded with other settings: {'; '.join(changed)}. "
            "Replay it with a solver made with the recorded settings (schedule.settings), from the x0 it began with."
        )
