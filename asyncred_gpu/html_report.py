"""One page a run that needs nothing else: images with linked zoom, profiles, curves, the workers' timeline, settings.

What it shows is read from the run's folder (run_folder.py), so that `asyncred report` can make it again. Images are
quantized to 16 bits and binned to 1024 pixels a side at most; curves and timeline are thinned.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .io.output import plain

Image = NDArray[np.float32]

MOST_PIXELS, MOST_POINTS, MOST_UPDATES = 1024, 2000, 20_000
# Grey levels at first: all but the rarest pixels, and a little room for the brightest.
PERCENTILES, ROOM = (0.2, 99.8), 0.05
# An error is shown between ± the width of the grey levels over this.
ERROR_GAIN = 5.0
CURVES = (("snr", "SNR, dB", False), ("residual", "‖G‖²/‖G₀‖²", True), ("staleness", "staleness, commits", False))
# What the solver's settings call too shortly for a table.
LABELS = {
    "blur": "blur of FBP before them, pixels",
    "centered": "data updates go along with the denoiser's answer",
    "denoiser": "denoiser, and its checksum",
    "field_of_view": "checksum of the field of view",
    "fit": "conjugate gradients before the first sweep",
    "measurements": "checksum of the measurements",
    "preconditioned": "curvature taken out of a step, times",
    "start": "checksum of the start image",
}
PARTS = {"UPLOT_CSS": "uPlot.min.css", "CSS": "report.css", "UPLOT_JS": "uPlot.iife.min.js", "JS": "report.js"}


@dataclass(frozen=True)
class Told:
    """What the page shows.

    images: by name, of one shape. reference: the true image, or None. history, timeline: equally long columns.
    settings: nested. notes, summary: for people.
    """

    title: str
    summary: str
    notes: Sequence[str]
    images: Mapping[str, Image]
    reference: Image | None
    history: Mapping[str, NDArray[Any]]
    timeline: Mapping[str, NDArray[Any]] | None
    settings: Mapping[str, Any]


def page(told: Told) -> str:
    """The page's text."""
    template = _part("report.html")
    for name, file in PARTS.items():
        template = template.replace(f"%{name}%", _part(file))
    text = json.dumps(plain(_data(told)), ensure_ascii=False).replace("<", "\\u003c")  # ends no script early
    return template.replace("%TITLE%", _escaped(told.title)).replace("%DATA%", text)


def _part(name: str) -> str:
    return files(f"{__package__}.web").joinpath(name).read_text("utf-8")


def _data(told: Told) -> dict[str, Any]:
    shown = dict(told.images)
    if told.reference is not None:
        shown["reference"] = told.reference
    binning = -(-max(next(iter(shown.values())).shape) // MOST_PIXELS)
    images = {name: binned(image, binning) for name, image in shown.items()}
    newest = list(images.values())[0 if len(images) == 1 else 1]
    black, white = (float(value) for value in np.percentile(newest, PERCENTILES))
    white += ROOM * (white - black)
    low, high = (float(getattr(newest, name)()) for name in ("min", "max"))
    packed = [_packed(name, image, error=False) for name, image in images.items()]
    if told.reference is not None:
        differences = {f"{name} − reference": images[name] - images["reference"] for name in told.images}
        packed += [_packed(name, image, error=True) for name, image in differences.items()]
    return {
        "title": told.title,
        "summary": told.summary,
        "notes": list(told.notes),
        "rows": newest.shape[0],
        "cols": newest.shape[1],
        "binning": binning,
        "images": packed,
        "black": black,
        "white": white,
        "low": min(low, black),
        "high": max(high, white, black + 1e-12),
        "error_gain": ERROR_GAIN,
        "history": _thinned(told.history),
        "curves": [
            {"name": name, "title": title, "log": log} for name, title, log in CURVES if _drawable(told.history, name)
        ],
        "timeline": None if told.timeline is None or not len(told.timeline["worker"]) else _lanes(told.timeline),
        "settings": _shown(told.settings),
    }


def _shown(settings: Mapping[str, Any]) -> dict[str, Any]:
    """For a table: without what isn't set, and in words."""
    kept = {name: value for name, value in settings.items() if value is not None and value not in ((), [], {})}
    nested = {name: _shown(value) if isinstance(value, Mapping) else value for name, value in kept.items()}
    if isinstance(solver := nested.get("solver"), dict):
        nested["solver"] = {LABELS.get(name, name): value for name, value in solver.items()}
    return {name: value for name, value in nested.items() if value != {}}


def binned(image: Image, binning: int) -> Image:
    """Means of `binning`² pixels; what is left over at the right and the bottom is cut."""
    if binning == 1:
        return image
    rows, cols = (side // binning for side in image.shape)
    parts = image[: rows * binning, : cols * binning].reshape(rows, binning, cols, binning)
    means: Image = parts.mean(axis=(1, 3), dtype=np.float64).astype(np.float32)
    return means


def _packed(name: str, image: Image, error: bool) -> dict[str, Any]:
    low, high = float(image.min()), float(image.max())
    steps = np.round((image - low) / max(high - low, 1e-30) * 65535).astype("<u2")
    pixels = base64.b64encode(steps.tobytes()).decode()
    return {"name": name, "low": low, "high": high, "pixels": pixels, "error": error}


def _thinned(history: Mapping[str, NDArray[Any]]) -> dict[str, list[Any]]:
    count = len(history["sweep"])
    chosen = np.unique(np.linspace(0, max(count - 1, 0), min(count, MOST_POINTS)).round().astype(int))
    return {name: np.asarray(values)[chosen].tolist() for name, values in history.items()}


def _drawable(history: Mapping[str, NDArray[Any]], name: str) -> bool:
    return name in history and bool(np.isfinite(np.asarray(history[name], np.float64)).any())


def _lanes(timeline: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    kept = {name: np.asarray(values)[:MOST_UPDATES] for name, values in timeline.items()}
    workers = int(kept["worker"].max()) + 1
    begin, end = float(kept["launched"].min()), float(kept["published"].max())
    busy = [
        float((kept["published"] - kept["launched"])[kept["worker"] == worker].sum()) / max(end - begin, 1e-30)
        for worker in range(workers)
    ]
    shares = ", ".join(f"{number} {100 * share:.0f} %" for number, share in enumerate(busy))
    cut = "" if len(timeline["worker"]) <= MOST_UPDATES else f"The first {MOST_UPDATES} updates. "
    said = f"{cut}Share of the time each worker was at work: {shares}."
    columns = {name: kept[name].tolist() for name in ("worker", "asked")}
    columns |= {name: kept[name].round(6).tolist() for name in ("launched", "published")}
    return columns | {"workers": workers, "begin": begin, "end": end, "said": said}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
