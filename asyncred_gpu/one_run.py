"""One run a folder at a time: whoever writes checkpoints or slices there holds its settings' file until the end.

The system lets go of it whatever ends the process, so nothing is left after a kill.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def claimed(settings: Path) -> Iterator[None]:
    """Hold the file.

    Raises:
        ValueError: a run under way holds it.
    """
    with settings.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"{settings.parent} belongs to a run that is still under way. Wait until it has ended, or end it, and "
                "go on then."
            ) from error
        except OSError:  # of file systems that hold nothing
            pass
        yield
