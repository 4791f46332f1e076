"""How a command ends, and its one message on standard error; needs little, so that the command line starts quickly."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from .wording import said

FAILED, REFUSED, INTERRUPTED = 1, 2, 130


def ended(message: str, status: int) -> int:
    """Say it; the status is returned."""
    print(message, file=sys.stderr)
    return status


def refused(error: BaseException, renamed: Mapping[str, str] | None = None) -> int:
    """What was asked for can't be, and nothing was begun; `renamed` as of `said`."""
    return ended(f"error: {said(error, renamed)}", REFUSED)


def failed(error: BaseException, more: str = "") -> int:
    """What was begun came to no good end.

    Args:
        more: what is left, and how to go on.
    """
    return ended(f"error: {said(error)}{more}", FAILED)
