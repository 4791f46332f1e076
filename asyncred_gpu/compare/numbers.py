"""What a history says: seconds of a sweep, seconds until an SNR in dB, staleness in commits. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

History = Mapping[str, NDArray[Any]]

# So far below the lowest of the modes' last SNRs lies the level that all are timed to.
MARGIN_DB = 0.05


def sweep_seconds(history: History) -> float:
    """Median seconds of a sweep, the first one counted from when the workers were ready; nan without a whole sweep."""
    sweeps, seconds = history["sweep"], history["seconds"]
    whole = np.arange(1, math.floor(sweeps[-1] + 1e-9) + 1) if len(sweeps) else np.empty(0)
    ends = seconds[np.searchsorted(sweeps, whole - 1e-9)]
    return float(np.median(np.diff(ends, prepend=0.0))) if len(ends) else math.nan


def common_level(histories: Sequence[History]) -> float | None:
    """An SNR that all of them reach, in dB; None without one."""
    last = [float(history["snr"][-1]) for history in histories if "snr" in history and len(history["snr"])]
    finite = [value for value in last if math.isfinite(value)]
    return min(finite) - MARGIN_DB if finite else None


def seconds_to(level: float, history: History) -> float | None:
    """When the SNR was `level` dB or more for the first time, None if it never was."""
    reached = np.flatnonzero(history["snr"] >= level)
    return float(history["seconds"][reached[0]]) if reached.size else None


def last(history: History, name: str) -> float:
    """The last value, nan if there is none."""
    return float(history[name][-1]) if name in history and len(history[name]) else math.nan
