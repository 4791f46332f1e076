"""Files that are whole or not there: written beside, synced, and renamed, whatever ends the writing."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Have `write(file)` write the file, which takes the place of the one before only when it is whole and on the disk.

    Raises:
        OSError: it can't be written; the one before is still there.
    """
    beside = path.with_name(f".{path.name}.part")  # one name: what a kill left is overwritten the next time
    try:
        with beside.open("w+b") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a write doesn't say of which file
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise
    _sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """A whole text in UTF-8; OSError as of `replace_file`."""
    replace_file(path, lambda file: file.write(text.encode()))


def _sync_folder(folder: Path) -> None:
    """So that the new name outlives a failure of power, too, where the system can do that; the file is there."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # of file systems that sync no folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
