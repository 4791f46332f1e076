"""Callbacks of a run: its progress as JSON lines, or for TensorBoard. Each is told every commit, and writes at times.

with JsonLines("progress.jsonl") as lines, TensorBoard("runs/one") as board:
solver.run(max_sweeps=40, callbacks=[lines, board])
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from .blocks import FloatArray
from .result import Progress

# What a line says, and what is drawn as a curve.
FIELDS = ("update", "sweep", "seconds", "residual", "staleness", "snr")
CURVES = ("residual", "staleness", "snr")


class Now:
    """Whether it is time again: every so many sweeps, the first commit included."""

    def __init__(self, every: float) -> None:
        if not every > 0:
            raise ValueError(f"every={every!r} can't be. Pass sweeps, such as 1.")
        self._every, self._next = every, 0.0

    def __call__(self, sweep: float) -> bool:
        if sweep < self._next:
            return False
        self._next = self._every * (math.floor(sweep / self._every) + 1)
        return True


class JsonLines:
    """Appends a JSON object a line to a file, each flushed at once; a run that goes on appends to what is there.

    The file is opened at the first commit: a run that is refused before leaves it as it is. When it can't be written
    to any more, e.g. on a full disk, `trouble` says why, and the run goes on.

    Args:
        path: the file. every: sweeps from one line to the next.
    Raises:
        OSError: its folder isn't there.
    """

    def __init__(self, path: str | Path, every: float = 1.0) -> None:
        self._now, self._path = Now(every), Path(path)
        self._file: IO[bytes] | None = None
        self.trouble: OSError | None = None
        if not self._path.absolute().parent.is_dir():
            raise FileNotFoundError(f"{self._path.parent} isn't a folder. Make it, or pass another file.")

    def __call__(self, progress: Progress) -> None:
        if self.trouble is not None or not self._now(progress.sweep):
            return
        told = {name: _finite(getattr(progress, name)) for name in FIELDS}
        try:
            if self._file is None:
                self._file = self._path.open("a+b")
                _cut_to_whole_lines(self._file)
            self._file.write(json.dumps(told).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            self.trouble = error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with suppress(OSError):  # what is still to be written is what couldn't be
                self._file.close()


class TensorBoard:
    """Curves of ‖G‖²/‖G₀‖², staleness and SNR over sweeps, and the image now and then. Needs the package tensorboard.

    Its folder is made at the first commit.

    Args:
        folder: of the event files. every: sweeps between points of the curves. images: sweeps between images.
    Raises:
        ImportError: tensorboard isn't installed.
    """

    def __init__(self, folder: str | Path, every: float = 0.5, images: float = 5.0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("TensorBoard needs the package tensorboard: `pip install tensorboard`.") from error
        self._now, self._now_images = Now(every), Now(images)
        self._open = partial(SummaryWriter, str(folder))
        self._writer: Any = None

    def __call__(self, progress: Progress) -> None:
        step = progress.update
        if self._writer is None:
            self._writer = self._open()
        if self._now(progress.sweep):
            for name in CURVES:
                value = getattr(progress, name)
                if value is not None and math.isfinite(value):
                    self._writer.add_scalar(name, value, step)
        if progress.image is not None and self._now_images(progress.sweep):
            grey = _grey(progress.image())
            self._writer.add_image("image", grey, step, dataformats="HW")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()


def _cut_to_whole_lines(file: Any) -> None:
    """A kill may have left a part of a line at the end."""
    file.seek(0)
    content = file.read()
    file.truncate(content.rfind(b"\n") + 1)
    file.seek(0, 2)


def _finite(value: Any) -> Any:
    return value if value is None or math.isfinite(value) else None


def _grey(image: FloatArray) -> FloatArray:
    """(rows, cols) in [0, 1], black and white at percentiles 0.1 and 99.9."""
    low, high = np.percentile(image, (0.1, 99.9))
    grey: FloatArray = np.clip((image - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1)
    return grey
