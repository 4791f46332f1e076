"""Training a DnCNN on noisy patches of clean images, its Lipschitz bound kept by clipping singular values.

Loss: mean of (R(x + n) - n)², n white and Gaussian (Zhang et al., IEEE TIP 2017, eq. 1). Images are float32 in [0, 1].
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from torch import Tensor

from .conditional import ConditionalDnCNN
from .dncnn import DnCNN
from .images import random_patches
from .lipschitz import clip_network, lipschitz_bound, scale_network
from .training_settings import TrainingSettings

# The clip's coarse grid and its cut to 3x3 leave each layer about 4 % above its share, so clip that much lower.
CLIP_MARGIN = 0.77

CHECKPOINT_KEYS = {"settings", "step", "network", "optimizer", "schedule", "random"}


class Trainer:
    """One training run: owns the network, the optimizer and the random state; resumes from a checkpoint.

    Args:
        images: (rows, cols) float32 in [0, 1], each with room for a patch: `training_images` makes them.
        start: a trained network to go on from; None: random weights.
        device: where the network is trained; its results differ from another device's by rounding and noise.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        images: Sequence[Tensor],
        start: DnCNN | ConditionalDnCNN | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.settings = settings
        self.device = torch.device(device)
        self.images = images
        self.random = torch.Generator().manual_seed(settings.seed)
        # A patch's noise is drawn where it is used; on the CPU by the one generator.
        self.noise = self.random if self.device.type == "cpu" else torch.Generator(self.device)
        if self.noise is not self.random:
            self.noise.manual_seed(settings.seed)
        torch.manual_seed(settings.seed)
        self.network: DnCNN | ConditionalDnCNN = ConditionalDnCNN() if settings.conditional else DnCNN()
        if start is not None:
            self._begin_with(start)
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._clip()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.step = 0
        self.seconds: float | None = 0.0  # spent on steps; None: unknown, resumed from a checkpoint without it

    def _rate(self, step: int) -> float:
        """Cosine from 1 to 1 %, after a warm-up of 100 steps."""
        done = min(1.0, step / self.settings.steps)
        return min(1.0, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * done))))

    def run(self, report: Callable[[int, float], None] | None = None, until: int | None = None) -> None:
        """Train until step `until` (None: the last); `report(step, loss)` after each.

        Raises:
            FloatingPointError: the loss is no longer finite.
        """
        last = self.settings.steps if until is None else min(until, self.settings.steps)
        while self.step < last:
            began = time.perf_counter()
            loss = self._advance()
            if self.seconds is not None:
                self.seconds += time.perf_counter() - began
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"The loss is {loss} at step {self.step}: training diverged. Pass a lower learning rate, "
                    f"now {self.settings.learning_rate:g}."
                )
            if report is not None:
                report(self.step, loss)

    def _begin_with(self, start: DnCNN | ConditionalDnCNN) -> None:
        try:
            self.network.load_state_dict(start.state_dict())
        except RuntimeError as error:
            raise ValueError(
                f"The weights to start from don't fit a {self.settings.network}: their layers are others. Pass weights "
                "of such a network, or none."
            ) from error

    def _clip(self) -> None:
        if self.settings.lipschitz is not None:
            clip_network(self.network, CLIP_MARGIN * self.settings.lipschitz)

    def _advance(self) -> float:
        settings = self.settings
        clean = random_patches(self.images, settings.batch, settings.patch, self.random).to(self.device)
        levels = self._levels(len(clean)).to(self.device)
        noise = levels * torch.randn(clean.shape, generator=self.noise, device=self.device)
        noisy = (clean + noise).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            residual = self.network(noisy, levels) if settings.conditional else self.network(noisy)
        # Of many noise levels the strongest would be all that counts; its errors grow about as the level does.
        weights = settings.sigma / 255 / levels
        loss = (weights * (residual.float() - noise).square()).mean()
        self.optimizer.zero_grad()
        # The loss is about 1e-5: scaled up so that bfloat16 gradients keep clear of Adam's epsilon.
        (loss * 255**2).backward()
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        if self.step % settings.clip_every == 0:
            self._clip()
        return float(loss.detach())

    def _levels(self, count: int) -> Tensor:
        """Noise of each patch (count, 1, 1, 1), as a standard deviation."""
        highest, lowest = self.settings.sigma / 255, self.settings.lowest_sigma
        if lowest is None:
            return torch.full((count, 1, 1, 1), highest)
        return lowest / 255 + (highest - lowest / 255) * torch.rand((count, 1, 1, 1), generator=self.random)

    def finish(self) -> float:
        """Make the Lipschitz bound hold exactly, by clipping on until it does; return the product of the norms.

        Each clip costs quality, and so does the scale for what the clips leave: no more of either than it takes.
        """
        self.network.cpu()
        if self.settings.lipschitz is None:
            return lipschitz_bound(self.network)
        for _ in range(20):
            if lipschitz_bound(self.network) <= self.settings.lipschitz:
                break
            self._clip()
        return scale_network(self.network, self.settings.lipschitz)

    def save(self, path: Path) -> None:
        """Write a checkpoint in one step: an interrupted save leaves the old one whole.

        Raises:
            OSError: it can't be written.
        """
        state = {
            "settings": asdict(self.settings),
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": self.random.get_state(),
            "noise": self.noise.get_state(),
            "device": self.device.type,
        }
        partial = path.with_name(path.name + ".partial")
        try:
            torch.save(state, partial)
            os.replace(partial, path)
        except RuntimeError as error:  # torch's, of a disk that is full
            raise OSError(f"{path} can't be written ({str(error).splitlines()[0]}). Free some space.") from error
        finally:
            partial.unlink(missing_ok=True)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: the file isn't a whole checkpoint, or was made with other settings.
        """
        state = _read_checkpoint(path)
        # Settings that came later had their default.
        then = asdict(TrainingSettings()) | state["settings"]
        now = asdict(self.settings)
        changed = {name: (old, now.get(name)) for name, old in then.items() if old != now.get(name)}
        if changed:
            raise ValueError(
                f"{path} was trained with other settings (then, now): {changed}. "
                "Pass the same settings, or another checkpoint file."
            )
        if (device := state.get("device", "cpu")) != self.device.type:
            raise ValueError(
                f"{path} was trained on {device}, this run is on {self.device.type}: the noise comes from another "
                "generator. Pass the same device, or another checkpoint file."
            )
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.random.set_state(state["random"])
        if self.noise is not self.random:
            self.noise.set_state(state["noise"])
        self.seconds = state.get("seconds")


def _read_checkpoint(path: Path) -> dict[str, Any]:
    advice = "Remove it to train from the start, or pass another checkpoint file."
    try:
        if not is_zipfile(path):  # of which torch would make any error at all
            raise UnpicklingError
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, EOFError, UnpicklingError) as error:
        raise ValueError(f"{path} is damaged, or no checkpoint: torch can't read it. {advice}") from error
    missing = sorted(CHECKPOINT_KEYS - set(state)) if isinstance(state, dict) else sorted(CHECKPOINT_KEYS)
    if missing:
        raise ValueError(f"{path} isn't a checkpoint of a training run: it has no {', '.join(missing)}. {advice}")
    return dict(state)
