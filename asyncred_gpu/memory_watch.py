"""The memory that this process and its children take, in bytes, sampled by a thread while something runs (Linux).

What several processes share counts once: shared memory by its proportional share (PSS), and of mapped files, libraries
above all, those of the process that has most, since every interpreter maps the same ones. Short peaks between samples
are missed. Source: /proc/PID/status and /proc/PID/smaps_rollup, proc(5).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

INTERVAL = 0.02  # seconds
# The proportional share takes a walk through the page tables: a pause this many times as long lies between two.
PAUSE = 50


class Counters(NamedTuple):
    """Bytes one process has resident: its own pages, those of mapped files; and the most it ever had of all kinds."""

    own: int
    files: int
    peak: int


@dataclass(frozen=True)
class Sample:
    """Bytes at one moment.

    Args:
        own: of all processes, pages of their own.
        shared: pages of shared memory that any of them maps, each once.
        files: of the process that has most.
        processes: how many there were.
    """

    own: int
    shared: int
    files: int
    processes: int

    @property
    def total(self) -> int:
        return self.own + self.shared + self.files


class MemoryWatch:
    """A context that samples this process and its children until it ends; owns its thread.

    Attributes:
        peak: the sample with the largest total.
        alone: that of those before there was another process.
        samples: how many were taken.
        largest: bytes, the most that any one process ever had resident, shared pages included.
    Raises:
        OSError: on entering, where there is no /proc that says this.
    """

    def __init__(self) -> None:
        self.peak = self.alone = Sample(0, 0, 0, 0)
        self.samples = self.largest = 0
        self._shared, self._look, self._watched, self._accompanied = 0, 0.0, 0, False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory watch", daemon=True)

    def __enter__(self) -> Self:
        counters(os.getpid())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL):
            self._take()
        self._take()

    def _take(self) -> None:
        processes = [os.getpid(), *children()]
        if time.perf_counter() >= self._look or len(processes) != self._watched:
            self._watched = len(processes)
            begun = time.perf_counter()
            self._shared = sum(map(shared_bytes, processes))
            ended = time.perf_counter()
            self._look = ended + PAUSE * (ended - begun)
        found = [taken for taken in map(_counters_of_any, processes) if taken is not None]
        own, files, peaks = zip(*found, strict=True)
        sample = Sample(sum(own), self._shared, max(files), len(found))
        self.samples += 1
        self.largest = max(self.largest, *peaks)
        self.peak = max(self.peak, sample, key=lambda one: one.total)
        self._accompanied |= len(found) > 1
        if not self._accompanied:
            self.alone = max(self.alone, sample, key=lambda one: one.total)


def children() -> Iterator[int]:
    """The processes that any thread of this one has started."""
    for path in Path("/proc/self/task").glob("*/children"):
        try:
            yield from map(int, path.read_text().split())
        except OSError:  # the thread has ended
            continue


def counters(process: int) -> Counters:
    """Of one process.

    Raises:
        OSError: there is no such process, or no /proc that says this.
    """
    found = _kilobytes(Path(f"/proc/{process}/status"))
    if "RssAnon" not in found:
        raise ProcessLookupError(f"Process {process} has no memory any more: it has ended. Ask while it runs.")
    return Counters(*(1024 * found[name] for name in ("RssAnon", "RssFile", "VmHWM")))


def _counters_of_any(process: int) -> Counters | None:
    """The same, or None of one that has ended meanwhile."""
    try:
        return counters(process)
    except OSError:
        return None


def shared_bytes(process: int) -> int:
    """Of the shared memory it maps, its proportional share; 0 of a process that has ended."""
    try:
        return 1024 * _kilobytes(Path(f"/proc/{process}/smaps_rollup")).get("Pss_Shmem", 0)
    except OSError:
        return 0


def _kilobytes(path: Path) -> dict[str, int]:
    """The lines `name: number kB`."""
    words = (line.split() for line in path.read_text().splitlines())
    return {line[0].rstrip(":"): int(line[1]) for line in words if len(line) == 3 and line[2] == "kB"}
