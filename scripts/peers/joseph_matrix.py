"""Joseph's projector as a sparse matrix, float32 CSR in files that several processes map: one copy for all of them.

A ray at t crosses every row (or column) once, between two pixels, and takes the value there times the length between
rows. Rows of the matrix: angle·detectors + detector; columns: pixels in row-major order. At 800² × 180 angles it has
about 2·10⁸ nonzeros, so it is written angle by angle. Source: Joseph, IEEE TMI 1982, eq. 4.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

PARTS = ("data", "indices", "indptr")


def joseph_matrix(folder: Path, size: int, angles: NDArray[np.float64], detectors: int) -> sparse.csr_matrix:
    """A, (angles·detectors, size²), from its files in `folder`, which are made if need be."""
    stem = folder / "joseph"
    if not _path(stem, "indptr").exists():
        folder.mkdir(parents=True, exist_ok=True)
        counts = []
        with _path(stem, "data").open("wb") as data, _path(stem, "indices").open("wb") as indices:
            for angle in angles:
                weights, pixels, rays = angle_entries(size, float(angle), detectors)
                weights.tofile(data)
                pixels.tofile(indices)
                counts.append(np.bincount(rays, minlength=detectors))
        _write_ends(stem, np.concatenate(counts))
    return _mapped(stem, (len(angles) * detectors, size * size))


def transposed_matrix(
    folder: Path, matrix: sparse.csr_matrix, order: NDArray[np.int32], name: str
) -> sparse.csr_matrix:
    """Aᵀ, its rows in this order of the pixels, from its files in `folder`, which are made if need be."""
    stem = folder / name
    if not _path(stem, "indptr").exists():
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        # The columns of A, compressed, are the rows of Aᵀ.
        relabelled = sparse.csr_matrix((matrix.data, place[matrix.indices], matrix.indptr), matrix.shape)
        columns = relabelled.tocsc()
        columns.data.tofile(_path(stem, "data"))
        columns.indices.astype(np.int32, copy=False).tofile(_path(stem, "indices"))
        _write_ends(stem, np.diff(columns.indptr))
    return _mapped(stem, matrix.shape[::-1])


def angle_entries(
    size: int, angle: float, detectors: int
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.intp]]:
    """The nonzeros of one angle: weight, pixel and detector, detector by detector. Positions in float64."""
    cos, sin = np.cos(angle), np.sin(angle)
    middle = (size - 1) / 2
    t = np.arange(detectors) - (detectors - 1) / 2
    line = np.arange(size)
    along_rows = abs(cos) > abs(sin)
    if along_rows:  # the ray crosses row r, y = middle − r, at this column
        position = (t[:, None] - (middle - line) * sin) / cos + middle
    else:  # and column c, x = c − middle, at this row
        position = middle - (t[:, None] - (line - middle) * cos) / sin
    below = np.floor(position).astype(np.int32)
    rest = position - below
    length = 1 / max(abs(cos), abs(sin))
    neighbours = np.stack([below, below + 1], axis=-1)
    weights = (np.stack([1 - rest, rest], axis=-1) * length).astype(np.float32)
    lines = np.broadcast_to(line[:, None], neighbours.shape)
    pixels = lines * size + neighbours if along_rows else neighbours * size + lines
    kept = (neighbours >= 0) & (neighbours < size) & (weights != 0)
    return weights[kept], pixels[kept].astype(np.int32), np.nonzero(kept)[0]


def rows_between(matrix: sparse.csr_matrix, first: int, last: int) -> sparse.csr_matrix:
    """Rows [first, last) without a copy of their nonzeros."""
    begin, end = int(matrix.indptr[first]), int(matrix.indptr[last])
    ends = matrix.indptr[first : last + 1] - matrix.indptr[first]
    return _unchecked(matrix.data[begin:end], matrix.indices[begin:end], ends, (last - first, matrix.shape[1]))


def adjoint_of(matrix: sparse.csr_matrix) -> sparse.csc_matrix:
    """Aᵀ without a copy of its nonzeros; its product adds up ray by ray."""
    adjoint = sparse.csc_matrix(matrix.shape[::-1], dtype=np.float32)
    adjoint.data, adjoint.indices, adjoint.indptr = matrix.data, matrix.indices, matrix.indptr
    return adjoint


def _path(stem: Path, part: str) -> Path:
    return stem.with_name(f"{stem.name}_{part}.bin")


def _write_ends(stem: Path, counts: NDArray[np.int64]) -> None:
    """Last, so that its being there says that the matrix is whole."""
    ends = np.concatenate([[0], np.cumsum(counts)])
    if ends[-1] > np.iinfo(np.int32).max:
        raise ValueError(f"The matrix has {ends[-1]} nonzeros, more than 32-bit indices count. Take a smaller problem.")
    ends.astype(np.int32).tofile(_path(stem, "indptr"))


def _mapped(stem: Path, shape: tuple[int, int]) -> sparse.csr_matrix:
    kinds = (np.float32, np.int32, np.int32)
    arrays: list[Any] = [np.memmap(_path(stem, part), kind, "r") for part, kind in zip(PARTS, kinds, strict=True)]
    return _unchecked(arrays[0], arrays[1], arrays[2], shape)


def _unchecked(
    data: NDArray[np.float32], indices: NDArray[np.int32], indptr: NDArray[np.int32], shape: tuple[int, int]
) -> sparse.csr_matrix:
    """A matrix of these very arrays: scipy's constructor copies what is a small part of a larger array."""
    matrix = sparse.csr_matrix(shape, dtype=np.float32)
    matrix.data, matrix.indices, matrix.indptr = np.asarray(data), np.asarray(indices), np.asarray(indptr)
    return matrix
