"""A scan that is opened, not read: its projections, what corrects them, and its angles; slices are read one by one.

Whatever the file's format, axes are (angles, rows, detectors), as Data Exchange and TomoPy have them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .correction import line_integrals
from .values import check_finite, check_slice

Float = NDArray[np.float64]

# What the numbers are: raw, divided by the beam, or already −log of that.
COUNTS, TRANSMISSION, LINE_INTEGRALS = "counts", "transmission", "line-integrals"
VALUES = (COUNTS, TRANSMISSION, LINE_INTEGRALS)


@dataclass(frozen=True)
class Reading:
    """What a file doesn't say of itself, or says wrongly; None: as the format has it.

    dataset: name of the array in the file. axes: as "angles,rows,detectors", in the array's order.
    theta: angles in degrees, a file of them or "START:STOP" for evenly spaced ones, STOP not among them.
    white, dark: files of the beam without a sample and of no beam. values: one of VALUES.
    """

    dataset: str | None = None
    axes: str | None = None
    theta: str | None = None
    white: Path | None = None
    dark: Path | None = None
    values: str | None = None


@dataclass(frozen=True)
class Frames:
    """Images of the detector that are read when asked for.

    name: as the file calls them. shape: (frames, rows, detectors). read: rows [first, last) of all of them.
    """

    name: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    read: Callable[[int, int], NDArray[Any]]


@dataclass(frozen=True)
class Scan:
    """A slice ready to be reconstructed; `clipped` counts values, `dead_detectors` detectors."""

    sinogram: NDArray[np.float32]  # (angles, detectors), line integrals of the attenuation a detector width
    angles: Float  # (angles,), radians
    path: Path
    slice: int
    clipped: int
    dead_detectors: int
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Projections:
    """data: of the sample. white, dark: of the beam alone, of no beam. angles: (angles,) radians. format: its name."""

    path: Path
    format: str
    data: Frames
    white: Frames | None
    dark: Frames | None
    angles: Float
    values: str
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many slices there are."""
        return self.data.shape[1]

    @property
    def detectors(self) -> int:
        return self.data.shape[2]

    def slice(self, index: int) -> Scan:
        """One slice, corrected; nothing else of the projections is read where the format allows it.

        Raises:
            ValueError: no such slice, values that can't be. OSError: a file that can't be read to its end.
        """
        check_slice(index, self.rows)
        return next(self.slices(index, index + 1, 1))

    def slices(self, first: int, last: int, at_once: int) -> Iterator[Scan]:
        """Slices first to last − 1; `at_once` of them are read at a time, which is all that is kept."""
        parts = {"data": self.data, "white": self.white, "dark": self.dark}
        for begin in range(first, last, at_once):
            end = min(last, begin + at_once)
            raw = {name: frames.read(begin, end) for name, frames in parts.items() if frames is not None}
            for row in range(begin, end):
                yield self._corrected(row, {name: values[:, row - begin] for name, values in raw.items()})

    def _corrected(self, index: int, raw: Mapping[str, NDArray[Any]]) -> Scan:
        names = {"data": self.data, "white": self.white, "dark": self.dark}
        for name, values in raw.items():
            frames = names[name]
            check_finite(frames.name if frames is not None else name, values)
        if self.values == LINE_INTEGRALS:
            sinogram, clipped, dead = raw["data"].astype(np.float32), 0, 0
        else:
            white, dark = raw.get("white"), raw.get("dark")
            called = {name: frames.name for name, frames in names.items() if frames is not None}
            sinogram, clipped, dead = line_integrals(raw["data"], white, dark, called)
        info = {
            **self.info,
            "format": self.format,
            "values": self.values,
            "sha256_of_slice": checksum({**raw, "theta": self.angles}),
        }
        return Scan(sinogram, self.angles, self.path, index, clipped, dead, info)


def rows_of(slices: str, scan: Projections) -> range:
    """The rows that FIRST:END or FIRST:END:STEP names.

    Raises:
        ValueError: none, or some the scan hasn't.
    """
    begin, end, step = (*slices.split(":"), "")[:3]
    rows = range(scan.rows)[slice(int(begin or 0), int(end) if end else None, int(step or 1))]
    if not rows or (end and int(end) > scan.rows):
        there = f"{scan.rows} slices, 0 to {scan.rows - 1}" if scan.rows > 1 else "one slice, 0"
        raise ValueError(f"slices={slices!r}: the scan has {there}. Pass some of those, END not among them.")
    return rows


def checksum(raw: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of the arrays, their types and shapes."""
    digest = hashlib.sha256()
    for name in sorted(raw):
        digest.update(f"{name}:{raw[name].dtype.str}:{raw[name].shape}:".encode())
        digest.update(np.ascontiguousarray(raw[name]).tobytes())
    return digest.hexdigest()
