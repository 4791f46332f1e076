"""The folder a run writes into: made, and tried, before work starts; nothing in it is ever overwritten.

Images are 32-bit float TIFF, histories CSV, settings JSON, figures PNG; each is whole or not there.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from numpy.typing import ArrayLike

from ..whole_file import replace_file, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Figures, history and settings of a run, generously.
BYTES_BESIDE_IMAGES = 50_000_000
FIGURE_DPI = 150


class OutputFolder:
    """A new folder; as a context it goes away again if the run ends without having written anything.

    Args:
        folder: where to write; it must not exist yet, or be empty. None makes a new one, `outputs/<name>-<time>`.
        name: first part of the name of such a new folder.
        pixels: of all images that will be written, for the check of free space.

    Raises:
        FileExistsError: a folder with something in it, or a file of that name.
        OSError: no permission, no such place, or not enough space. Nothing is left behind.
    """

    def __init__(self, folder: str | Path | None, name: str, pixels: int, root: str | Path = "outputs") -> None:
        self.path, self._created = _made(Path(folder)) if folder is not None else _made_new(Path(root), name)
        self._check(pixels)

    @classmethod
    def of_before(cls, folder: Path, pixels: int = 0) -> OutputFolder:
        """The folder of a run that goes on, with what is in it.

        Raises:
            OSError: no permission, or not enough space.
        """
        found = cls.__new__(cls)
        found.path, found._created = folder, []
        found._check(pixels)
        return found

    def _check(self, pixels: int) -> None:
        try:
            _check_space(self.path, 4 * pixels + BYTES_BESIDE_IMAGES)
            _check_writable(self.path)
        except OSError:
            self.discard_if_empty()
            raise

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard_if_empty()

    def discard_if_empty(self) -> None:
        """Remove what this made, as far up as it is empty."""
        for folder in self._created:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def new_file(self, name: str) -> Path:
        """Path of a file in the folder that doesn't exist yet; FileExistsError if it does."""
        path = self.path / name
        if path.exists():
            raise FileExistsError(f"{path} exists already and isn't overwritten. Use another folder.")
        return path

    def write_image(self, name: str, image: ArrayLike) -> Path:
        """(rows, cols) as 32-bit float TIFF."""
        path = self.new_file(name)
        replace_file(path, lambda file: tifffile.imwrite(file, np.asarray(image, dtype=np.float32)))
        return path

    def write_text(self, name: str, text: str) -> Path:
        """In UTF-8."""
        path = self.new_file(name)
        write_text(path, text)
        return path

    def write_history(self, name: str, history: Mapping[str, ArrayLike]) -> Path:
        """Columns of one length as CSV, a header first; floats with all their digits."""
        columns = {key: np.asarray(values) for key, values in history.items()}
        lengths = {key: len(values) for key, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the history's columns differ in length: {lengths}. Pass equally long arrays.")
        stream = io.StringIO(newline="")
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*(values.tolist() for values in columns.values()), strict=True))
        return self.write_text(name, stream.getvalue())

    def write_settings(self, name: str, settings: Mapping[str, Any]) -> Path:
        """Settings as JSON, numpy's numbers and paths included; what isn't finite becomes null."""
        return self.write_text(name, json.dumps(plain(settings), indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def write_figure(self, name: str, figure: Figure) -> Path:
        """A matplotlib figure as PNG."""
        path = self.new_file(name)
        replace_file(path, lambda file: figure.savefig(file, format="png", dpi=FIGURE_DPI))
        return path


def _made(folder: Path) -> tuple[Path, list[Path]]:
    """The given folder, and which folders had to be made for it, innermost first."""
    check_free(folder)
    return (folder, []) if folder.is_dir() else _mkdir(folder)


def check_free(folder: Path) -> None:
    """Whether results may go there: a new folder, or an empty one.

    Raises:
        FileExistsError: something is there.
    """
    if folder.is_dir():
        found = sorted(item.name for item in folder.iterdir())
        if found:
            raise FileExistsError(
                f"{folder} holds {len(found)} files already ({', '.join(found[:3])}{', …' if len(found) > 3 else ''}); "
                "nothing is overwritten. Pass a new or an empty folder."
            )
    elif folder.exists():
        raise FileExistsError(f"{folder} is a file, so no folder of that name can be made. Pass another name.")


def _made_new(root: Path, name: str) -> tuple[Path, list[Path]]:
    stamp = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    # Two runs may start in the same second, even at the same moment: mkdir decides.
    for attempt in range(1, 1000):
        try:
            return _mkdir(root / (stamp if attempt == 1 else f"{stamp}-{attempt}"))
        except FileExistsError:
            continue
    raise FileExistsError(f"{root} holds 999 folders {stamp}-… already. Pass a folder of your own.")


def _mkdir(folder: Path) -> tuple[Path, list[Path]]:
    absent = [place for place in (folder, *folder.parents) if not place.exists()]
    file = next((place for place in folder.parents if place.is_file()), None)
    if file is not None:
        raise NotADirectoryError(f"{folder} can't be made: {file} is a file. Pass another folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except OSError as error:
        if folder.is_dir():
            raise FileExistsError(f"{folder} exists already.") from error
        raise OSError(
            f"{folder} can't be made ({error.strerror}). Pass a folder in a place you may write to."
        ) from error
    return folder, absent


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{folder} lies on a disk with {free / 1e6:.0f} MB free, and the results may take {needed / 1e6:.0f} MB. "
            "Free some space, or pass a folder on another disk."
        )


def _check_writable(folder: Path) -> None:
    probe = folder / f".probe-{os.getpid()}"
    try:
        with probe.open("xb") as stream:
            stream.write(bytes(4096))
        probe.unlink()
    except OSError as error:
        probe.unlink(missing_ok=True)
        raise OSError(f"{folder} can't be written to ({error.strerror}). Pass a folder you may write to.") from error


def plain(value: Any) -> Any:
    """What JSON takes: numpy's numbers and arrays, paths and sets too; what isn't finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
