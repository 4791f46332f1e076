"""Training a DnCNN on noisy patches of clean images, its Lipschitz bound kept by clipping singular values.

Loss: mean of (R(x + n) - n)², n white and Gaussian (Zhang et al., IEEE TIP 2017, eq. 1). Images are float32 in [0, 1].
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .dncnn import DnCNN
from .images import random_patches, rescaled
from .lipschitz import clip_network, lipschitz_bound, scale_network

# The clip's coarse grid and its cut to 3x3 leave each layer about 4 % above its share, so clip that much lower.
CLIP_MARGIN = 0.77

CHECKPOINT_KEYS = {"settings", "step", "network", "optimizer", "schedule", "random"}


@dataclass(frozen=True)
class TrainingSettings:
    """What a training run depends on besides its images."""

    sigma: float = 5.0  # noise, in grey levels of 255
    steps: int = 6000
    patch: int = 64
    batch: int = 16
    learning_rate: float = 1e-3
    lipschitz: float = 2.0
    clip_every: int = 10
    seed: int = 0
    precision: str = "bfloat16"  # of the convolutions; weights, loss and optimizer are float32

    def __post_init__(self) -> None:
        for name in ("sigma", "steps", "patch", "batch", "learning_rate", "lipschitz", "clip_every"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}={value} must be a number above 0. Default: {getattr(type(self), name)}.")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision={self.precision!r} is unknown. Pass 'float32' or 'bfloat16'.")


def psnr(estimate: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images in [0, 1]."""
    return float(-10 * torch.log10(F.mse_loss(estimate, truth)))


def psnr_before_after(network: nn.Module, image: Tensor, sigma: float, seed: int) -> tuple[float, float]:
    """PSNR in dB of the image with noise, and denoised; the whole image at once, zero padding."""
    noise = np.random.default_rng(seed).standard_normal(tuple(image.shape)).astype(np.float32)
    noisy = image + sigma / 255 * torch.from_numpy(noise)
    with torch.inference_mode():
        denoised = noisy - network(noisy[None, None])[0, 0]
    return psnr(noisy, image), psnr(denoised, image)


def validate(network: nn.Module, images: Sequence[Tensor], sigma: float) -> list[tuple[float, float]]:
    """PSNR in dB (with noise, denoised) of each image, the noise seeded by the image's index."""
    return [psnr_before_after(network, image, sigma, seed) for seed, image in enumerate(images)]


class Trainer:
    """One training run: owns the network, the optimizer and the random state; resumes from a checkpoint."""

    def __init__(self, settings: TrainingSettings, images: Sequence[Tensor]) -> None:
        self.settings = settings
        self.images = rescaled(images, (1.0, 0.9, 0.8, 0.7), settings.patch)
        if not self.images:
            raise ValueError(
                f"No training image holds a patch of {settings.patch}×{settings.patch} pixels. "
                "Pass larger images, or a smaller patch."
            )
        self.random = torch.Generator().manual_seed(settings.seed)
        torch.manual_seed(settings.seed)
        self.network = DnCNN()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        clip_network(self.network, CLIP_MARGIN * settings.lipschitz)
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

    def _advance(self) -> float:
        settings = self.settings
        clean = random_patches(self.images, settings.batch, settings.patch, self.random)
        noise = settings.sigma / 255 * torch.randn(clean.shape, generator=self.random)
        noisy = (clean + noise).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=settings.precision == "bfloat16"):
            residual = self.network(noisy)
        loss = F.mse_loss(residual.float(), noise)
        self.optimizer.zero_grad()
        # The loss is about 1e-5: scaled up so that bfloat16 gradients keep clear of Adam's epsilon.
        (loss * 255**2).backward()
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        if self.step % settings.clip_every == 0:
            clip_network(self.network, CLIP_MARGIN * settings.lipschitz)
        return float(loss.detach())

    def finish(self) -> float:
        """Make the Lipschitz bound hold exactly, by clipping on until it does; return the product of the norms.

        Each clip costs quality, and so does the scale for what the clips leave: no more of either than it takes.
        """
        for _ in range(20):
            if lipschitz_bound(self.network) <= self.settings.lipschitz:
                break
            clip_network(self.network, CLIP_MARGIN * self.settings.lipschitz)
        return scale_network(self.network, self.settings.lipschitz)

    def save(self, path: Path) -> None:
        """Write a checkpoint in one step: an interrupted save leaves the old one whole."""
        state = {
            "settings": asdict(self.settings),
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": self.random.get_state(),
        }
        partial = path.with_name(path.name + ".partial")
        torch.save(state, partial)
        os.replace(partial, path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: the file isn't a whole checkpoint, or was made with other settings.
        """
        state = _read_checkpoint(path)
        now = asdict(self.settings)
        changed = {name: (old, now.get(name)) for name, old in state["settings"].items() if old != now.get(name)}
        if changed:
            raise ValueError(
                f"{path} was trained with other settings (then, now): {changed}. "
                "Pass the same settings, or another checkpoint file."
            )
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.random.set_state(state["random"])
        self.seconds = state.get("seconds")


def _read_checkpoint(path: Path) -> dict[str, Any]:
    advice = "Remove it to train from the start, or pass another checkpoint file."
    try:
        state = torch.load(path, weights_only=True)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        raise ValueError(f"{path} is damaged, or no checkpoint: torch can't read it. {advice}") from error
    missing = sorted(CHECKPOINT_KEYS - set(state)) if isinstance(state, dict) else sorted(CHECKPOINT_KEYS)
    if missing:
        raise ValueError(f"{path} isn't a checkpoint of a training run: it has no {', '.join(missing)}. {advice}")
    return dict(state)
