"""Whether a capture began and didn't end well: torch's allocator may stay in it, and nothing later can be trusted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


class Captures:
    """Counts captures of this process, while it watches.

    Attributes:
        underway: those that began and whose end, as far as there was one, failed. A warm-up before one doesn't count.
    """

    def __init__(self) -> None:
        self.underway = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Every graph made meanwhile is counted."""
        captures, original = self, torch.cuda.CUDAGraph

        class Watched(original):  # type: ignore[misc,valid-type]
            """A graph that tells."""

            def capture_begin(self, *arguments: Any, **options: Any) -> None:
                captures.underway += 1  # before: the allocator's part comes first, and CUDA's may fail
                super().capture_begin(*arguments, **options)

            def capture_end(self) -> None:
                super().capture_end()
                captures.underway -= 1

        torch.cuda.CUDAGraph = Watched  # type: ignore[misc]
        try:
            yield
        finally:
            torch.cuda.CUDAGraph = original  # type: ignore[misc]
