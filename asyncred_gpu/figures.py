"""The images of a run beside each other: one grey window, one scale of errors, a magnified part.

Matplotlib's object interface only, so no display and no global state. Errors are blue and red, which colour-blind
readers tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .metrics import SSIM_WINDOW, psnr, snr, ssim

Image = NDArray[np.float32]
Part = tuple[slice, slice]

OUTLINE = "#E69F00"  # Okabe and Ito's orange
# At 150 dots an inch an 800×800 image keeps every pixel.
PANEL_INCHES = 5.4
ZOOM_SHARE = 5
SMALLEST_ZOOM = 24


@dataclass(frozen=True)
class Panel:
    """One image of a row, its title, and the part of it to outline."""

    image: Image
    title: str = ""
    outlined: Part | None = None


@dataclass(frozen=True)
class Row:
    """Panels under one scale; None leaves its place to the notes."""

    panels: tuple[Panel | None, ...]
    limits: tuple[float, float]
    colours: str
    unit: str


def comparison_figure(
    reconstructions: Mapping[str, ArrayLike],
    reference: ArrayLike | None = None,
    *,
    title: str = "",
    notes: Mapping[str, str] | None = None,
    facts: Sequence[str] = (),
    field_of_view: NDArray[np.bool_] | None = None,
    unit: str = "attenuation a pixel",
) -> Figure:
    """Images, a magnified part of each, and what separates them.

    With a reference the last row shows each reconstruction's error; without one, how the others differ from the first,
    a single other one also magnified.

    Args:
        reconstructions: title to (rows, cols), in the order of the columns.
        reference: (rows, cols), or None. With it the titles carry SNR, PSNR and SSIM.
        title: above the whole figure.
        notes: title to a line below it.
        facts: lines for the empty place below the reference.
        field_of_view: (rows, cols), the pixels that count for the scales and the magnified part.
        unit: of the images.
    """
    images = {name: np.asarray(image, np.float32) for name, image in reconstructions.items()}
    truth = None if reference is None else np.asarray(reference, np.float32)
    model = truth if truth is not None else list(images.values())[-1]
    inside = np.ones(model.shape, bool) if field_of_view is None else field_of_view
    part = detailed_part(model, inside)
    titles = {name: _title(name, image, truth, (notes or {}).get(name, "")) for name, image in images.items()}
    columns = {} if truth is None else {"Reference": truth}
    columns.update({titles[name]: image for name, image in images.items()})
    grey = grey_window(model[inside])
    rows = [
        Row(tuple(Panel(image, name, part) for name, image in columns.items()), grey, "gray", unit),
        Row(tuple(Panel(image[part]) for image in columns.values()), grey, "gray", unit),
        _difference_row(images, truth, inside, part, unit),
    ]
    return _drawn(rows, title, "\n".join(facts))


def grey_window(pixels: Image) -> tuple[float, float]:
    """All but the rarest pixels, and a little room, so that the brightest of them aren't lost in white."""
    low, high = np.percentile(pixels, (0.2, 99.8))
    room = 0.05 * (high - low)
    return float(low - room), float(high + room)


def detailed_part(image: Image, inside: NDArray[np.bool_]) -> Part:
    """The square with the strongest edges, a fifth of the image wide, within `inside` and off the border if it fits."""
    shape = np.array(image.shape)
    size = int(min(max(shape.min() // ZOOM_SHARE, SMALLEST_ZOOM), shape.min()))
    edges = ndimage.gaussian_gradient_magnitude(image.astype(np.float64), 1.5, mode="nearest")
    # The square root keeps one strong edge, such as the sample's rim, from outweighing many fine ones.
    score = ndimage.uniform_filter(np.sqrt(edges), size, mode="constant")
    middle = np.zeros(image.shape)
    margin = shape // 10
    middle[margin[0] : shape[0] - margin[0], margin[1] : shape[1] - margin[1]] = 1
    held = ndimage.uniform_filter(middle * inside, size, mode="constant") > 1 - 1e-6
    score = np.where(held, score, -1.0) if held.any() else score
    row, col = np.unravel_index(int(np.argmax(score)), score.shape)
    top, left = np.clip(np.array([row, col]) - size // 2, 0, shape - size)
    return slice(int(top), int(top) + size), slice(int(left), int(left) + size)


def quality(image: Image, reference: Image) -> str:
    """SNR, PSNR and SSIM in one line."""
    line = f"SNR {snr(image, reference):.2f} dB   PSNR {psnr(image, reference):.2f} dB"
    return line + (f"   SSIM {ssim(image, reference):.4f}" if min(image.shape) >= SSIM_WINDOW else "")


def _title(name: str, image: Image, truth: Image | None, note: str) -> str:
    return "\n".join(line for line in (name, "" if truth is None else quality(image, truth), note) if line)


def _difference_row(
    images: dict[str, Image], truth: Image | None, inside: NDArray[np.bool_], part: Part, unit: str
) -> Row:
    panels: tuple[Panel | None, ...]
    if truth is None:
        (first, before), *others = images.items()
        differences = [after - before for _, after in others]
        changes = [
            Panel(change, f"{name} − {first}", part) for (name, _), change in zip(others, differences, strict=True)
        ]
        panels = (changes[0], Panel(differences[0][part])) if len(others) == 1 else (None, *changes)
    else:
        differences = [image - truth for image in images.values()]
        named = zip(images, differences, strict=True)
        panels = (None, *(Panel(error, f"{name} − reference") for name, error in named))
    # Of the worst reconstruction, but not of its worst places: FBP rings where the image ends at a bright border.
    limit = 4 * max(float(np.median(np.abs(values[inside]))) for values in differences) or 1.0
    return Row(panels, (-limit, limit), "RdBu_r", f"difference, {unit}")


def _drawn(rows: list[Row], title: str, facts: str) -> Figure:
    width = len(rows[0].panels)
    figure = Figure(figsize=(PANEL_INCHES * width + 1, PANEL_INCHES * len(rows) + 1.4))
    figure.set_layout_engine("constrained", h_pad=0.12)
    grid: NDArray[np.object_] = figure.subplots(len(rows), width, squeeze=False)
    for row, axes in zip(rows, grid, strict=True):
        shown = [_show(place, panel, row) for place, panel in zip(axes, row.panels, strict=True)]
        drawn = [image for image in shown if image is not None]
        for place in (place for place, image in zip(axes, shown, strict=True) if image is None):
            place.text(0, 1, facts, transform=place.transAxes, va="top", fontsize=11, linespacing=1.7)
        figure.colorbar(drawn[-1], ax=list(axes), shrink=0.8, aspect=30, pad=0.01, label=row.unit, extend="both")
    if title:
        figure.suptitle(title, fontsize=15, fontweight="bold")
    return figure


def _show(axes: Axes, panel: Panel | None, row: Row) -> AxesImage | None:
    axes.set_axis_off()
    if panel is None:
        return None
    low, high = row.limits
    # No interpolation: a pixel of the image is a square of the picture, so blocks or streaks can't be smoothed away.
    image = axes.imshow(panel.image, cmap=row.colours, vmin=low, vmax=high, interpolation="nearest")
    name, *lines = panel.title.split("\n")
    axes.set_title(name, fontsize=13, pad=6 + 14 * len(lines))
    if lines:
        axes.text(0.5, 1.015, "\n".join(lines), transform=axes.transAxes, ha="center", va="bottom", fontsize=9.5)
    if panel.outlined is not None:
        down, across = panel.outlined
        corner = (across.start - 0.5, down.start - 0.5)
        size = (across.stop - across.start, down.stop - down.start)
        axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=OUTLINE, linewidth=1.5))
    return image
