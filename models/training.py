"""Training a DnCNN on noisy patches of clean images, its Lipschitz bound kept by clipping singular values.

Loss: mean of (R(x + n) - n)², n white and Gaussian (Zhang et al., IEEE TIP 2017, eq. 1). Images are float32 in [0, 1].
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from .dncnn import DnCNN
from .lipschitz import clip_network, scale_network

# The clip's coarse grid and its cut to 3x3 leave each layer about 4 % above its share, so clip that much lower.
CLIP_MARGIN = 0.77

IMAGE_SUFFIXES = {".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp"}


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
    precision: str = "bfloat16"


def load_images(folder: Path) -> list[Tensor]:
    """All grey images of a folder, in the order of their names, as (rows, cols) float32 in [0, 1].

    Raises:
        ValueError: the folder holds no image.
    """
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f"{folder} holds no image. Pass a folder of {', '.join(sorted(IMAGE_SUFFIXES))} files.")
    return [torch.from_numpy(np.asarray(Image.open(path).convert("L"), np.float32) / 255) for path in paths]


def rescaled(images: Sequence[Tensor], scales: Sequence[float], smallest: int) -> list[Tensor]:
    """The images at every scale, without those that became smaller than `smallest` pixels."""
    pyramid = []
    for scale in scales:
        for image in images:
            size = [round(scale * side) for side in image.shape]
            if min(size) >= smallest:
                resized = F.interpolate(image[None, None], size, mode="bicubic", antialias=True)
                pyramid.append(resized[0, 0].clamp(0, 1))
    return pyramid


def random_patches(images: Sequence[Tensor], count: int, size: int, random: torch.Generator) -> Tensor:
    """Random crops (count, 1, size, size), flipped and turned at random."""

    def draw(limit: int) -> int:
        return int(torch.randint(limit, (), generator=random))

    patches = []
    for _ in range(count):
        image = images[draw(len(images))]
        row, col = draw(image.shape[0] - size + 1), draw(image.shape[1] - size + 1)
        patch = torch.rot90(image[row : row + size, col : col + size], draw(4))
        patches.append(patch.flip(0) if draw(2) else patch)
    return torch.stack(patches).unsqueeze(1)


def psnr(estimate: Tensor, truth: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images in [0, 1]."""
    return float(-10 * torch.log10(F.mse_loss(estimate, truth)))


def validate(network: nn.Module, images: Sequence[Tensor], sigma: float) -> tuple[float, float]:
    """Mean PSNR in dB (input, output) on whole images, zero padding, the noise seeded by the image's index."""
    before, after = [], []
    with torch.inference_mode():
        for index, image in enumerate(images):
            noise = np.random.default_rng(index).standard_normal(image.shape).astype(np.float32)
            noisy = image + sigma / 255 * torch.from_numpy(noise)
            denoised = noisy - network(noisy[None, None])[0, 0]
            before.append(psnr(noisy, image))
            after.append(psnr(denoised, image))
    return float(np.mean(before)), float(np.mean(after))


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
        self.network: DnCNN = DnCNN().to(memory_format=torch.channels_last)
        clip_network(self.network, CLIP_MARGIN * settings.lipschitz)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.step = 0

    def _rate(self, step: int) -> float:
        """Cosine from 1 to 1 %, after a warm-up of 100 steps."""
        done = min(1.0, step / self.settings.steps)
        return min(1.0, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + float(np.cos(np.pi * done))))

    def run(self, report: Callable[[int, float], None] | None = None, until: int | None = None) -> None:
        """Train until step `until` (None: the last); `report(step, loss)` after each."""
        last = self.settings.steps if until is None else min(until, self.settings.steps)
        while self.step < last:
            loss = self._advance()
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
        """Make the Lipschitz bound exact by clipping on and a last scale; return the product of the norms."""
        for _ in range(20):
            clip_network(self.network, CLIP_MARGIN * self.settings.lipschitz)
        return scale_network(self.network, self.settings.lipschitz)

    def save(self, path: Path) -> None:
        """Write a checkpoint in one step: an interrupted save leaves the old one whole."""
        state = {
            "settings": asdict(self.settings),
            "step": self.step,
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
            ValueError: the checkpoint was made with other settings.
        """
        state = torch.load(path, weights_only=True)
        if state["settings"] != asdict(self.settings):
            changed = {
                name: (old, asdict(self.settings).get(name))
                for name, old in state["settings"].items()
                if old != asdict(self.settings).get(name)
            }
            raise ValueError(
                f"{path} was trained with other settings (then, now): {changed}. "
                "Pass the same settings, or another checkpoint file."
            )
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.random.set_state(state["random"])
