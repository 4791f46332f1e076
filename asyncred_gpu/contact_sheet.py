"""A scan's slice by filtered back-projection for several rotation centres, on one sheet: `asyncred center`.

A wrong centre draws every point as an arc, open to one side for a centre too small, to the other for one too large.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .config.centering import CenterSettings
from .exit_status import failed, refused
from .experiments import Problem
from .plausible import doubt
from .reconstruct import ct_problem
from .whole_file import replace_file

Image = NDArray[np.float32]

PERCENTILES = (0.5, 99.5)
TILE = 3.2  # inches


def write_sheet(options: CenterSettings) -> int:
    """The whole command; the exit status is returned, errors are one message on standard error."""
    try:
        assert options.input is not None
        path = options.output or Path(f"center-{options.input.stem}.png")
        _check_new(path)
        problem = ct_problem(options, seed=0)
        images = reconstructions(problem, trial_centers(problem, options.width, options.count))
        figure = sheet(problem, images, options.part)
    except (OSError, ValueError, MemoryError) as error:
        return refused(error)
    try:
        replace_file(path, lambda file: figure.savefig(file, format="png", dpi=150))
    except OSError as error:
        return failed(error)
    doubted = doubt(problem.measured.sinogram, problem.facts)
    if doubted is not None:
        print(doubted)
    known = "estimated" if problem.facts.get("center_estimated") else "given"
    print(f"centre {known} at detector {problem.center:.1f}; {len(images)} centres around it in {path}")
    return 0


def trial_centers(problem: Problem, width: float, count: int) -> list[float]:
    """Evenly spaced around the problem's, on the detector."""
    detectors = problem.measured.sinogram.shape[1]
    trials = problem.center + np.linspace(-width, width, count) if count > 1 else np.array([problem.center])
    inside = [float(center) for center in trials if 0 <= center <= detectors - 1]
    if not inside:
        raise ValueError(f"no centre from {trials[0]:g} to {trials[-1]:g} is on the detector. Pass another --center.")
    return inside


def reconstructions(problem: Problem, centers: list[float]) -> dict[float, Image]:
    """FBP by centre."""
    return {center: replace(problem, center=center).operator().fbp() for center in centers}


def sheet(problem: Problem, images: Mapping[float, Image], part: float) -> Figure:
    """A tile a centre, all in the same grey levels.

    Args:
        part: of the image's side that is shown, around its middle.
    """
    across = math.ceil(math.sqrt(len(images)))
    down = math.ceil(len(images) / across)
    figure = Figure(figsize=(TILE * across, TILE * down + 0.5), layout="constrained")
    tiles = figure.subplots(down, across, squeeze=False)
    middle = images[min(images, key=lambda center: abs(center - problem.center))]
    low, high = np.percentile(_shown(middle, part), PERCENTILES)
    for axes in tiles.flat:
        axes.axis("off")
    for axes, (center, image) in zip(tiles.flat, images.items(), strict=False):
        axes.imshow(_shown(image, part), cmap="gray", vmin=low, vmax=high)
        chosen = abs(center - problem.center) < 1e-6
        axes.set_title(f"{center:.1f}", fontweight="bold" if chosen else "normal", fontsize=11)
    known = "estimated" if problem.facts.get("center_estimated") else "given"
    figure.suptitle(f"{problem.title}: rotation centre, {known} {problem.center:.1f}", fontsize=11)
    return figure


def _shown(image: Image, part: float) -> Image:
    windows = []
    for side in image.shape:
        kept = max(1, round(part * side))
        windows.append(slice((side - kept) // 2, (side - kept) // 2 + kept))
    return image[windows[0], windows[1]]


def _check_new(path: Path) -> None:
    if path.exists():
        raise FileExistsError(f"{path} exists already and isn't overwritten. Pass another --output.")
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path} isn't a .png file. Pass one as --output.")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path.parent} isn't a folder. Make it, or pass another --output.")
