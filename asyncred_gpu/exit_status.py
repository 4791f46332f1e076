"""How a command ends, and its one message on standard error; needs nothing, so that the command line starts quickly."""

from __future__ import annotations

import sys

FAILED, REFUSED, INTERRUPTED = 1, 2, 130


def ended(message: str, status: int) -> int:
    """Say it; the status is returned."""
    print(message, file=sys.stderr)
    return status
