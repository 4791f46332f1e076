"""A volume's files: a TIFF a slice as it comes, a line on each, and in the end all in one file and a picture.

Every file takes its place at once when it is whole, so a kill at any moment leaves whole slices alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
import tifffile
from matplotlib.figure import Figure

from .blocks import FloatArray
from .io.images import provenance
from .io.output import plain
from .whole_file import replace_file

SLICES, LINES = "slices", "slices.jsonl"
PERCENTILES = (0.5, 99.5)
FEW = 16


class SliceFiles:
    """The slices of one volume in a folder.

    Args:
        folder: of the run. shape: (rows, cols) of a slice.
    """

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        self.folder, self.shape = folder / SLICES, shape
        self._lines = folder / LINES
        self.folder.mkdir(exist_ok=True)

    def path(self, index: int) -> Path:
        """Of a slice, there or not."""
        return self.folder / f"slice_{index:05}.tif"

    def read(self, index: int) -> FloatArray | None:
        """The slice's image if it is there already.

        Raises:
            ValueError: a file that isn't such a slice.
        """
        path = self.path(index)
        if not path.exists():
            return None
        try:
            image = np.asarray(tifffile.imread(path))
        except (tifffile.TiffFileError, OSError, ValueError, KeyError) as error:
            raise ValueError(f"{path} can't be read ({error}). Remove it, and go on: it will be made again.") from error
        if image.shape != self.shape or image.dtype != np.float32:
            raise ValueError(
                f"{path} holds {image.dtype} of shape {image.shape}, a slice float32 of {self.shape}. Remove it, and "
                "go on: it will be made again."
            )
        return image

    def write(self, index: int, image: FloatArray, told: Mapping[str, Any]) -> None:
        """A slice, and what is to be told of it."""
        replace_file(self.path(index), lambda file: tifffile.imwrite(file, image))
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"slice": index, **plain(told)}) + "\n")

    def told(self) -> dict[int, dict[str, Any]]:
        """What was told of each slice, the last time; a line that a kill cut is left out."""
        found = {}
        for line in self._lines.read_text("utf-8").splitlines() if self._lines.exists() else []:
            try:
                entry = json.loads(line)
                found[int(entry["slice"])] = entry
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def images(self, indices: Sequence[int]) -> Iterator[FloatArray]:
        """One after the other.

        Raises:
            OSError: one is gone.
        """
        for index in indices:
            image = self.read(index)
            if image is None:
                raise OSError(f"{self.path(index)} is gone. Go on with --resume: it will be made again.")
            yield image


def save_volume(
    path: Path, files: SliceFiles, indices: Sequence[int], record: Mapping[str, Any], settings: str
) -> None:
    """All slices in one file, read one by one: .npy, or .h5 with what they come from."""
    write = _write_npy if path.suffix == ".npy" else partial(_write_hdf5, record=record, settings=settings)
    replace_file(path, lambda file: write(file, files, indices))


def _write_npy(file: IO[bytes], files: SliceFiles, indices: Sequence[int]) -> None:
    shape = (len(indices), *files.shape)
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    for image in files.images(indices):
        file.write(image.astype("<f4").tobytes())


def _write_hdf5(
    stream: IO[bytes], files: SliceFiles, indices: Sequence[int], record: Mapping[str, Any], settings: str
) -> None:
    with h5py.File(stream, "w") as file:
        _fill(file, files, indices, record, settings)


def _fill(file: h5py.File, files: SliceFiles, indices: Sequence[int], record: Mapping[str, Any], settings: str) -> None:
    data = provenance(file, record, settings, "volume")
    data["slice"] = np.asarray(indices)
    shape = (len(indices), *files.shape)
    volume = data.create_dataset("volume", shape, np.float32, chunks=(1, *files.shape), compression="gzip")
    volume.attrs["long_name"] = "attenuation a pixel"
    for place, image in enumerate(files.images(indices)):
        volume[place] = image


def overview(files: SliceFiles, indices: Sequence[int], title: str) -> Figure:
    """The middle slice, and cuts across all slices through its middle row and column; of few slices, some of them."""
    if len(indices) < FEW:  # cuts of so few lines show nothing
        some = sorted({indices[0], indices[len(indices) // 2], indices[-1]})
        return _pictured(
            {f"slice {index}": image for index, image in zip(some, files.images(some), strict=True)}, title
        )
    rows, cols = files.shape
    across, down = [], []
    for image in files.images(indices):
        across.append(image[rows // 2])
        down.append(image[:, cols // 2])
    (middle,) = files.images([indices[len(indices) // 2]])
    shown = {
        f"slice {indices[len(indices) // 2]}": middle,
        f"row {rows // 2} of all slices": np.stack(across),
        f"column {cols // 2} of all slices": np.stack(down),
    }
    return _pictured(shown, title)


def _pictured(shown: Mapping[str, FloatArray], title: str) -> Figure:
    low, high = np.percentile(next(iter(shown.values())), PERCENTILES)
    figure = Figure(figsize=(4 * len(shown), 4.6), layout="constrained")
    for axes, (name, image) in zip(figure.subplots(1, len(shown), squeeze=False).flat, shown.items(), strict=True):
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        axes.set_title(name, fontsize=11)
        axes.axis("off")
    figure.suptitle(title, fontsize=12)
    return figure
