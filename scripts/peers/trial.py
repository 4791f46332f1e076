"""One run of one method under a clock that stands still while the SNR is computed, and the runners' common main.

    PYTHONPATH=scripts python -P -m peers.run_NAME PROBLEM_FOLDER TRIALS.json CORES

TRIALS.json lists {"output": stem, "settings": {…}, "seconds": budget}; each trial writes stem.npz and stem.json.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .problem import Image, Problem

Settings = Mapping[str, Any]

# What ru_maxrss counts in, on Linux.
KILOBYTE = 1024


@dataclass(frozen=True)
class Outcome:
    """What a run found.

    Args:
        seconds, snr: equally long; of the solver alone, and dB.
        image: the last one.
        setup: seconds before the clock: data, constants, compilation, processes.
        notes: what the run says of itself.
    """

    seconds: list[float]
    snr: list[float]
    image: Image
    setup: float
    notes: dict[str, Any] = field(default_factory=dict)


class Clock:
    """Runs while the solver does; owns the trajectory.

    Args:
        problem: knows the truth.
        limit: seconds.
        begun: time.perf_counter() when the setup began.
    """

    def __init__(self, problem: Problem, limit: float, begun: float) -> None:
        self._problem, self._limit = problem, limit
        self._seconds: list[float] = []
        self._snr: list[float] = []
        self._image = problem.start
        self.setup = time.perf_counter() - begun
        self._spent = 0.0
        self._resumed = time.perf_counter()

    def goes_on(self, image: Any) -> bool:
        """Record an iterate; whether there is time for another. What is still being computed is waited for first."""
        pixels = np.asarray(image, np.float32)
        now = time.perf_counter()
        self._spent += now - self._resumed
        self._image = pixels.reshape(self._problem.reference.shape)
        self._seconds.append(self._spent)
        self._snr.append(self._problem.snr(self._image))
        self._resumed = time.perf_counter()
        return self._spent < self._limit and np.isfinite(self._snr[-1])

    def outcome(self, **notes: Any) -> Outcome:
        """The trajectory, the start at zero seconds included."""
        seconds, snr = [0.0, *self._seconds], [self._problem.snr(self._problem.start), *self._snr]
        return Outcome(seconds, snr, self._image.copy(), self.setup, {"iterations": len(self._seconds), **notes})


class Runner:
    """A method in one process: what several trials share is prepared once, in `prepare`."""

    packages: tuple[str, ...] = ("numpy",)

    def __init__(self, problem: Problem, cores: int) -> None:
        self.problem, self.cores = problem, cores

    def run(self, settings: Settings, seconds: float, begun: float) -> Outcome:
        """One trial.

        Args:
            settings: the method's own.
            seconds: for the solver.
            begun: when the setup began.
        """
        raise NotImplementedError

    def versions(self) -> dict[str, str]:
        """Of what the method runs on."""
        return {"python": sys.version.split()[0]} | {name: metadata.version(name) for name in self.packages}


def use_cores(count: int) -> None:
    """Keep this process, and those it starts, to `count` cores; XLA has no other setting."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def run_trials(make: Callable[[Problem, int], Runner]) -> None:
    """The runners' main: every trial of the list, each written as soon as it is done."""
    folder, trials, cores = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), int(sys.argv[3])
    use_cores(cores)
    begun = time.perf_counter()
    runner = make(Problem.load(folder), cores)
    for trial in trials:
        outcome = runner.run(trial["settings"], trial["seconds"], begun)
        write(Path(trial["output"]), trial, outcome, runner.versions() | {"cores": str(cores)})
        begun = time.perf_counter()


def write(stem: Path, trial: Mapping[str, Any], outcome: Outcome, versions: dict[str, str]) -> None:
    """stem.npz, then stem.json, whose being there says that the trial is whole."""
    # A stem has points of its own, so no with_suffix.
    np.savez(stem.with_name(stem.name + ".npz"), seconds=outcome.seconds, snr=outcome.snr, image=outcome.image)
    facts = {"settings": trial["settings"], "budget": trial["seconds"], "setup": outcome.setup}
    facts |= {"notes": outcome.notes, "versions": versions, "peak_gb": peak_gb()}
    stem.with_name(stem.name + ".json").write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def peak_gb() -> float:
    """The most memory that this process, or the largest of its ended ones, has had."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) * KILOBYTE / 1e9
