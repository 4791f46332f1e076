"""One page a run that needs nothing else: images with linked zoom, profiles, curves, the workers' timeline, settings.

Made from the files of a run's folder, so that `asyncred report` can make it again. Images are quantized to 16 bits and
binned to 1024 pixels a side at most; curves and timeline are thinned.
"""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .io.output import plain

Image = NDArray[np.float32]

MOST_PIXELS, MOST_POINTS, MOST_UPDATES = 1024, 2000, 20_000
PERCENTILES = (0.5, 99.5)
# An error is shown between ± the width of the grey levels over this.
ERROR_GAIN = 5.0
CURVES = (("snr", "SNR, dB", False), ("residual", "‖G‖²/‖G₀‖²", True), ("staleness", "staleness, commits", False))
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
        "settings": told.settings,
    }


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


# --- from a run's folder -------------------------------------------------------------------------------------------


def read_run(folder: Path) -> Told:
    """What the folder of a finished run tells.

    Raises:
        OSError, ValueError: files that are missing, or that aren't a run's.
    """
    from .io.images import read_image

    record_file = folder / "run.json"
    if not record_file.is_file():
        raise FileNotFoundError(f"{folder} has no run.json, so it isn't the folder of a finished run. Pass one.")
    record = json.loads(record_file.read_text("utf-8"))
    found = [path for kind in ("tif", "npy", "h5") if (path := folder / f"reconstruction.{kind}").exists()]
    if not found:
        raise FileNotFoundError(f"{folder} has no reconstruction, so there is nothing to show. Pass a run's folder.")
    images = {"FBP": folder / "fbp.tif", "Async-RED": found[0]}
    shown = {name: np.asarray(read_image(path), np.float32) for name, path in images.items() if path.exists()}
    true = folder / "reference.tif"
    timeline = folder / "timeline.csv"
    return Told(
        title=record.get("title", folder.name),
        summary=summary_of(record),
        notes=record.get("result", {}).get("notes", []),
        images=shown,
        reference=np.asarray(read_image(true), np.float32) if true.exists() else None,
        history=read_columns(folder / "history.csv"),
        timeline=read_columns(timeline) if timeline.exists() else None,
        settings=record,
    )


def read_columns(path: Path) -> dict[str, NDArray[Any]]:
    """A CSV file's columns of numbers."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    names, values = rows[0], np.array(rows[1:], np.float64).reshape(-1, len(rows[0]))
    return {name: values[:, i] for i, name in enumerate(names)}


def summary_of(record: Mapping[str, Any]) -> str:
    """How it ended, in a line."""
    result = record.get("result", {})
    parts = [f"{result.get('sweeps', 0):.4g} sweeps in {result.get('seconds', {}).get('run', 0):.1f} s"]
    parts.append(str(result.get("status", "")))
    for name, scores in result.get("scores", {}).items():
        said = [f"{key.removesuffix('_db').replace('_', ' ')} {value:.4g}" for key, value in scores.items()]
        parts += [f"{name}: {', '.join(said)}"] if said else []
    return " · ".join(parts)
