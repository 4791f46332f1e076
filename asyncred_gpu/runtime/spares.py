"""Worker processes kept for the next run: starting one takes a second or more, most of it the import of torch."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import NamedTuple, Self

from ..interrupts import undisturbed
from .messages import Finish


class Spare(NamedTuple):
    """A process that waits for a run, and this end of its pipe."""

    process: subprocess.Popen[bytes]
    pipe: Connection


class SpareWorkers:
    """Owns the processes between two runs; a context, after which none is left. Used by one thread."""

    def __init__(self) -> None:
        self._spares: list[Spare] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self) -> Spare | None:
        """One that is alive, for good; None if there is none."""
        while self._spares:
            spare = self._spares.pop()
            if spare.process.poll() is None:
                return spare
            spare.pipe.close()
        return None

    def give(self, spare: Spare) -> None:
        """Keep a process that has nothing under way."""
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: take() will see
            spare.pipe.send(Finish())
        self._spares.append(spare)

    def close(self) -> None:
        """End them."""
        with undisturbed():
            for process, pipe in self._spares:
                pipe.close()
                process.kill()
            for process, _ in self._spares:
                process.wait()
            self._spares.clear()
