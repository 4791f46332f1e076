"""What several tests share: small scans, small networks, independent references."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asyncred_gpu import RadonCT
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.kernels.host_build import HostBuildError, find_compiler
from asyncred_gpu.models import DnCNN
from asyncred_gpu.models.lipschitz import scale_network
from asyncred_gpu.operators.geometry import ParallelGeometry
from asyncred_gpu.operators.radon import project

SHARED = Path(__file__).parents[2] / "shared" / "data"
# ASYNCRED_ALL_RUNS=1: what the suite tries in a choice of orders, seeds or cases is tried in all of them.
ALL_RUNS = bool(os.environ.get("ASYNCRED_ALL_RUNS"))


def rarely(*cases: Any) -> tuple[Any, ...]:
    """Cases that only ASYNCRED_ALL_RUNS=1 adds to the others."""
    return cases if ALL_RUNS else ()


def _no_compiler() -> str:
    """Why the kernels' host build can't be made here, or nothing."""
    try:
        find_compiler()
    except HostBuildError as error:
        return str(error)
    return ""


NO_COMPILER = _no_compiler()
needs_compiler = pytest.mark.skipif(bool(NO_COMPILER), reason=NO_COMPILER)


def needs(*names: str) -> pytest.MarkDecorator:
    """Skip where the shared data isn't beside the checkout."""
    missing = [name for name in names if not (SHARED / name).exists()]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)} in ../shared/data")


def gpu_marks(count: int = 1) -> list[pytest.MarkDecorator]:
    """For `pytest -m gpu`; skipped where there are fewer GPUs."""
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    plural = "s" if count > 1 else ""
    skip = pytest.mark.skipif(found < count, reason=f"needs {count} NVIDIA GPU{plural}, found {found}")
    return [pytest.mark.gpu, skip]


def needs_gpu(count: int = 1) -> Callable[[Any], Any]:
    """`gpu_marks` as a decorator of a test."""

    def mark(test: Any) -> Any:
        for decorator in gpu_marks(count):
            test = decorator(test)
        return test

    return mark


BEAM = ("detector_spacing", "center", "detector_tilt", "source_distance", "detector_distance")


def half_turn(count: int, start: float = 0.0) -> np.ndarray:
    return start + np.linspace(0, np.pi, count, endpoint=False)


def blobs(rows: int, cols: int, seed: int = 0) -> np.ndarray:
    """A smooth positive image with edges, in [0, 1]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :cols]
    image = np.zeros((rows, cols))
    for _ in range(6):
        cy, cx = random.uniform(0.2, 0.8, 2) * (rows, cols)
        ry, rx = random.uniform(0.08, 0.3, 2) * (rows, cols)
        image += random.uniform(0.1, 0.3) * (((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1)
    return np.clip(image, 0, 1).astype(np.float32)


def small_network(seed: int = 0, depth: int = 3, channels: int = 8, bound: float = 1.5) -> DnCNN:
    """A random DnCNN with a Lipschitz bound; local, nonlinear and quick."""
    torch.manual_seed(seed)
    network = DnCNN(depth, channels)
    with torch.no_grad():
        for layer in network.layers:
            layer.bias.normal_(0, 0.01)
    scale_network(network, bound)
    return network.eval().requires_grad_(False)


class LinearResidual(torch.nn.Module):
    """R(x) = x − D(x) for D a 3×3 average: linear, symmetric, nonexpansive; zero padding."""

    receptive_radius = 1

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        kernel = torch.full((1, 1, 3, 3), 1 / 9)
        return image - torch.nn.functional.conv2d(image, kernel, padding=1)


def small_scan(
    size: int = 48, angles: int = 24, noise: float = 0.0, block: int | None = None, fan: bool = False, **options: Any
) -> tuple[RadonCT, np.ndarray]:
    """A scan of blobs and the blobs themselves; that of a fan takes a turn."""
    image, views = blobs(size, size), half_turn(angles)
    detectors = int(np.ceil(size * np.sqrt(2)))
    if fan:
        beam = dict(detector_spacing=1.6, source_distance=2.0 * size, detector_distance=0.8 * size)
        views, detectors, options = 2 * views, int(1.6 * size), options | beam
    rays = {name: options[name] for name in BEAM if name in options}
    sinogram = project(image, views, detectors, **rays)
    if noise:
        sinogram = sinogram + noise * np.random.default_rng(1).standard_normal(sinogram.shape).astype(np.float32)
    scan = RadonCT(sinogram, views, (size, size), **options)
    return (scan if block is None else scan.with_blocks(BlockGrid((size, size), (block, block)))), image


def beam_lines(
    angles: np.ndarray,
    detectors: int,
    spacing: Any,
    center: Any,
    detector_tilt: Any = 0.0,
    source_distance: float | None = None,
    detector_distance: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A point on every ray and its direction, (angles, detectors, 2) each: `RadonCT`'s geometry from its arguments."""
    counted = (np.arange(detectors) - np.reshape(center, (-1, 1))) * np.reshape(spacing, (-1, 1))
    toward = np.stack([np.sin(angles), -np.cos(angles)], axis=-1)[:, None]
    turned = angles + detector_tilt
    along = np.stack([np.cos(turned), np.sin(turned)], axis=-1)[:, None]
    points = counted[..., None] * along
    if source_distance is None:
        return points, np.broadcast_to(toward, points.shape)
    points = points - detector_distance * toward
    return points, points - source_distance * toward


def geometry_lines(geometry: Any) -> tuple[np.ndarray, np.ndarray]:
    """The same from a ParallelGeometry or a FanGeometry."""
    if isinstance(geometry, ParallelGeometry):
        return beam_lines(geometry.angles, geometry.detectors, geometry.spacing, geometry.center)
    points = geometry.first[:, None] + np.arange(geometry.detectors)[:, None] * geometry.step[:, None]
    return points, points - geometry.source[:, None]


def joseph(image: np.ndarray, angles: np.ndarray, detectors: int, spacing: Any, center: Any, **beam: Any) -> np.ndarray:
    """The sinogram by Joseph's method in float64, every ray position computed from its index."""
    return joseph_lines(image, *beam_lines(angles, detectors, spacing, center, **beam))


def joseph_lines(image: np.ndarray, points: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Joseph's integrals along lines, (angles, detectors), each by itself."""
    rows, cols = image.shape
    y, x = (rows - 1) / 2 - np.arange(rows), np.arange(cols) - (cols - 1) / 2
    sinogram = np.zeros(points.shape[:2])
    for angle in range(len(points)):
        (px, py), (gx, gy) = points[angle].T, directions[angle].T
        for across_rows in (True, False):  # a ray crosses every row once, or every column
            chosen = (np.abs(gx) < np.abs(gy)) == across_rows
            if not chosen.any():
                continue
            with np.errstate(divide="ignore"):
                along_x, along_y = (gx / gy)[chosen, None], (gy / gx)[chosen, None]
            if across_rows:
                position = px[chosen, None] + (y - py[chosen, None]) * along_x + (cols - 1) / 2
                lines, length = image, np.hypot(1, along_x)
            else:
                position = (rows - 1) / 2 - (py[chosen, None] + (x - px[chosen, None]) * along_y)
                lines, length = image.T, np.hypot(1, along_y)
            sinogram[angle, chosen] = length[:, 0] * _interpolated(lines, position).sum(axis=1)
    return sinogram


def _interpolated(lines: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Of every line, linearly between its pixels, zero beyond."""
    padded = np.pad(lines, ((0, 0), (1, 1)))
    below = np.floor(position).astype(int)
    weight = position - below
    inside = (below >= -1) & (below < lines.shape[1])
    below = np.where(inside, below, -1)
    line = np.arange(len(lines))
    right = padded[line, np.minimum(below + 2, lines.shape[1] + 1)]
    return np.where(inside, (1 - weight) * padded[line, below + 1] + weight * right, 0)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected))


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
