"""Ctrl-C held back: for a moment in which a descriptor would be lost, or until a run has come to a good end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .result import Result

# What asks a run to end: Ctrl-C; and what batch systems send a while before they kill, if it is made to do the same.
ASKING = (signal.SIGINT, signal.SIGTERM)


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C during a run, which has ended well: `result` is what it came to, its status INTERRUPTED."""

    def __init__(self, result: Result) -> None:
        super().__init__("the run was interrupted; its image so far is in the exception's `result`")
        self.result = result


@contextmanager
def undisturbed() -> Iterator[None]:
    """A SIGINT that comes inside is handled at the end, as it would have been. For short work; may be nested."""
    usual = signal.getsignal(signal.SIGINT)
    if not callable(usual) or threading.current_thread() is not threading.main_thread():
        yield  # Python's handlers run in the main thread only
        return
    came: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if came:
            usual(*came[0])


@contextmanager
def asked_to_stop(stop: Callable[[], None]) -> Iterator[None]:
    """The first signal inside that would raise KeyboardInterrupt calls `stop` instead; a second one raises it.

    Signals that the program handles otherwise, and threads that get none, are left alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [number for number in ASKING if signal.getsignal(number) is signal.default_int_handler]

    def once(number: int, frame: FrameType | None) -> None:
        for each in ours:
            signal.signal(each, signal.default_int_handler)
        stop()

    for number in ours:
        signal.signal(number, once)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.default_int_handler)
