"""Memory an update works in, used again by a later one: after a worker's first updates nothing is allocated."""

from __future__ import annotations

import math

import numpy as np

from .blocks import FloatArray


class Workspace:
    """Named float32 arrays, each of which grows to the largest shape it was asked for. One update's at a time."""

    def __init__(self) -> None:
        self._arrays: dict[str, FloatArray] = {}

    def take(self, name: str, shape: tuple[int, ...]) -> FloatArray:
        """An array of this shape, with whatever it held; the last one of this name is no longer valid."""
        count = math.prod(shape)
        array = self._arrays.get(name)
        if array is None or array.size < count:
            array = self._arrays[name] = np.empty(count, np.float32)
        return array[:count].reshape(shape)

    def copy(self, name: str, source: FloatArray) -> FloatArray:
        """The same, filled with a copy."""
        target = self.take(name, source.shape)
        np.copyto(target, source)
        return target


class Workspaces:
    """The workspaces of one worker that no update is using."""

    def __init__(self) -> None:
        self._free: list[Workspace] = []

    def take(self) -> Workspace:
        return self._free.pop() if self._free else Workspace()

    def give_back(self, workspace: Workspace) -> None:
        self._free.append(workspace)
