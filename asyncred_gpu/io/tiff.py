"""TIFF: a stack of files in a folder, or one file of many pages, a projection (or a sinogram) each."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from .axes import frames_of, parse_axes
from .projections import Frames

SUFFIXES = (".tif", ".tiff")


def is_tiff(path: Path) -> bool:
    """A TIFF by its name, or a folder that holds some."""
    return path.suffix.lower() in SUFFIXES or (path.is_dir() and bool(tiff_files(path)))


def tiff_files(folder: Path) -> list[Path]:
    """In the order of the numbers in their names: 2 before 10."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
    return sorted(files, key=lambda file: _natural(file.name))


def open_tiff(path: Path, axes: str | None) -> Frames:
    """Frames of a folder or of a file; a file of one page is one image (rows, detectors), or as `axes` says.

    Raises:
        ValueError: files of different sizes, or no grey images. OSError: files that can't be read.
    """
    if path.is_dir():
        return _stack(path, axes)
    shape, dtype = _inspected(path)
    return frames_of(
        str(path), shape, dtype, parse_axes(axes, len(shape), str(path)), lambda part: read_tiff(path)[part]
    )


def _stack(folder: Path, axes: str | None) -> Frames:
    files = tiff_files(folder)
    (rows, cols), dtype = _page(files[0])
    for file in (files[len(files) // 2], files[-1]):
        if _page(file) != ((rows, cols), dtype):
            raise ValueError(
                f"{file} holds {_page(file)[1]} of {_page(file)[0]} pixels, {files[0].name} {dtype} of {(rows, cols)}: "
                "one stack has images of one kind. Take the odd ones out."
            )
    order = parse_axes(axes, 3, str(folder))

    def fetch(part: tuple[slice, ...]) -> NDArray[Any]:
        return np.stack([_rows_of(file, (rows, cols), part[1:]) for file in files[part[0]]])

    return frames_of(str(folder), (len(files), rows, cols), dtype, order, fetch)


def _rows_of(file: Path, shape: tuple[int, int], part: tuple[slice, ...]) -> NDArray[Any]:
    """Part of an image: of an uncompressed one nothing else is read."""
    try:
        image: NDArray[Any] = tifffile.memmap(file, mode="r")
    except ValueError:  # compressed, or in tiles
        image = read_tiff(file)
    if image.shape != shape:
        raise ValueError(f"{file} has shape {image.shape}, the first of its stack {shape}. Take it out of the folder.")
    return np.asarray(image[part])


def _page(file: Path) -> tuple[tuple[int, int], Any]:
    shape, dtype = _inspected(file)
    if len(shape) != 2:
        raise ValueError(f"{file} has shape {shape}: a file of a stack holds one grey image. Pass the file by itself.")
    return (shape[0], shape[1]), dtype


def _inspected(file: Path) -> tuple[tuple[int, ...], Any]:
    """Shape and type, without the pixels."""
    try:
        with tifffile.TiffFile(file) as tiff:
            series = tiff.series[0]
            shape, dtype, colours = tuple(series.shape), series.dtype, series.keyframe.samplesperpixel
    except (tifffile.TiffFileError, struct.error, OSError, ValueError, IndexError, KeyError) as error:
        raise OSError(f"{file} isn't a TIFF file, or a damaged one ({error}). Copy it again.") from error
    if colours > 1:
        raise ValueError(f"{file} is in colour ({colours} samples a pixel): a detector counts one. Pass grey images.")
    return shape, dtype


def read_tiff(file: Path) -> NDArray[Any]:
    """All of a file.

    Raises:
        OSError: it can't be read to its end.
    """
    try:
        return np.asarray(tifffile.imread(file))
    except (tifffile.TiffFileError, struct.error, OSError, ValueError, KeyError) as error:
        raise OSError(f"{file} can't be read to its end ({error}). Copy it again.") from error


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
