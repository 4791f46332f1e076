"""How much memory is left, so that what can't fit is refused before it is tried."""

from __future__ import annotations

from pathlib import Path


def available_memory() -> int | None:
    """Bytes that can be had without swapping, where the system says so."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    kilobytes = next(found, None)
    return None if kilobytes is None else int(kilobytes) * 1024


def check_available(what: str, nbytes: int, remedy: str) -> None:
    """Refuse what can't fit.

    Raises:
        MemoryError: with what it takes and what is free.
    """
    free = available_memory()
    if free is not None and nbytes > free:
        raise MemoryError(f"{what} {nbytes / 2**20:.0f} MiB, and {free / 2**20:.0f} MiB are free. {remedy}")
