"""A finished run, read back from its folder for its page; what isn't whole is refused, and named."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .html_report import Image, Told
from .io.images import read_image
from .result import Status

# Columns without which there is nothing to draw.
HISTORY = ("sweep",)
TIMELINE = ("worker", "asked", "launched", "published")


def read_run(folder: Path) -> Told:
    """What the folder of a finished run tells.

    Raises:
        OSError, ValueError: files that are missing, or that aren't a run's.
    """
    record = read_record(folder / "run.json")
    found = [path for kind in ("tif", "npy", "h5") if (path := folder / f"reconstruction.{kind}").exists()]
    if not found:
        raise FileNotFoundError(f"{folder} has no reconstruction, so there is nothing to show. Pass a run's folder.")
    places = {"FBP": folder / "fbp.tif", "Async-RED": found[0], "reference": folder / "reference.tif"}
    images = {name: _image(path) for name, path in places.items() if path.exists()}
    _check_shapes({str(places[name]): image.shape for name, image in images.items()})
    timeline = folder / "timeline.csv"
    return Told(
        title=str(record.get("title", folder.name)),
        summary=_summary(folder / "run.json", record),
        notes=[str(note) for note in record["result"].get("notes", [])],
        reference=images.pop("reference", None),
        images=images,
        history=read_columns(folder / "history.csv", HISTORY),
        timeline=read_columns(timeline, TIMELINE) if timeline.exists() else None,
        settings=record,
    )


def read_record(path: Path) -> dict[str, Any]:
    """A reconstruction's run.json."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} has no {path.name}, so it isn't the folder of a finished run. Pass one."
        )
    try:
        record = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged: it isn't JSON ({error}). Copy it again from where the run was."
        ) from error
    if isinstance(record, dict) and isinstance(record.get("slices"), dict):
        raise ValueError(
            f"{path.parent} holds a volume, and a report is of one slice. Look at its volume.png; or reconstruct one "
            "slice by itself."
        )
    if not isinstance(record, dict) or not isinstance(record.get("result"), dict):
        raise ValueError(f"{path} isn't a reconstruction's: it has no result. Pass the folder of asyncred reconstruct.")
    return record


def read_columns(path: Path, wanted: tuple[str, ...] = ()) -> dict[str, NDArray[Any]]:
    """A CSV file's columns of numbers.

    Args:
        wanted: names that must be among them.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing. Copy the run's folder again, whole.")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            names, *rows = csv.reader(file)
        values = np.array(rows, np.float64).reshape(-1, len(names))
    except ValueError as error:
        raise ValueError(f"{path} isn't a table of numbers ({error}). Copy it again from where the run was.") from error
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ValueError(f"{path} has no column {missing[0]}, only {', '.join(names)}. Copy it again.")
    return {name: values[:, i] for i, name in enumerate(names)}


def summary_of(record: Mapping[str, Any]) -> str:
    """How it ended, in a line."""
    result = record.get("result", {})
    parts = [f"{result.get('sweeps', 0):.4g} sweeps in {result.get('seconds', {}).get('run', 0):.1f} s"]
    if (residual := result.get("residual")) is not None:
        parts.append(f"‖G‖²/‖G₀‖² {residual:.1e}")
    parts.append(_how_it_ended(str(result.get("status", ""))))
    for name, scores in result.get("scores", {}).items():
        said = [f"{key.removesuffix('_db').replace('_', ' ')} {value:.4g}" for key, value in scores.items()]
        parts += [f"{name}: {', '.join(said)}"] if said else []
    return " · ".join(parts)


def _how_it_ended(status: str) -> str:
    """In words, of a status that is known."""
    return Status[status].explanation.split(";")[0].rstrip(".") if status in Status.__members__ else status


def _summary(path: Path, record: Mapping[str, Any]) -> str:
    try:
        return summary_of(record)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: its result can't be read ({error}). Copy it again.") from error


def _image(path: Path) -> Image:
    image = np.asarray(read_image(path), np.float32)
    if image.ndim != 2 or not np.isfinite(image).all():
        what = f"shape {image.shape}" if image.ndim != 2 else "NaN or infinite values"
        raise ValueError(f"{path} has {what}, so it isn't a run's image. Copy it again from where the run was.")
    return image


def _check_shapes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    (first, shape), *others = shapes.items()
    for name, other in others:
        if other != shape:
            raise ValueError(f"{name} has shape {other}, {first} {shape}: they are of two runs. Copy the folder again.")
