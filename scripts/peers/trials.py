"""Trials in the work folder: made by the method's interpreter if they aren't there yet, and read."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asyncred_gpu.runtime.cpu import WORKER_ENVIRONMENT

from .environments import InstallError, interpreter
from .methods import Method
from .sources import fingerprint
from .verdict import Curve

SCRIPTS = Path(__file__).parents[1]
# A runner's time beyond its budgets: installing nothing, but norms by slow projectors and a matrix of 2·10⁸ nonzeros.
PATIENCE = 1800.0
# glibc keeps what was freed, for every runner as for our workers, whose denoiser takes a quarter more time without.
ALLOCATOR = {name: value for name, value in WORKER_ENVIRONMENT.items() if name.startswith("MALLOC_")}


@dataclass(frozen=True)
class Laboratory:
    """Where trials lie and on how many cores they run.

    Args:
        work: the work folder. environments: the peers'.
    """

    work: Path
    environments: Path
    cores: int

    def run(self, method: Method, problem: Path, settings: Sequence[Mapping[str, Any]], seconds: float) -> list[Curve]:
        """A curve for each settings; those missing are made in one process, one after the other."""
        stems = [self.stem(method, problem, each, seconds) for each in settings]
        missing = [(stem, each) for stem, each in zip(stems, settings, strict=True) if not _done(stem).exists()]
        if missing:
            self._make(method, problem, missing, seconds)
        return [read(stem) for stem in stems]

    def stem(self, method: Method, problem: Path, settings: Mapping[str, Any], seconds: float) -> Path:
        """The files of one trial, without their endings; others once a source that it depends on changes."""
        words = [f"{axis.name}={settings[axis.name]}" for axis in method.axes]
        words += [f"{seconds:g}s{self.cores}c", fingerprint(method)]
        return self.work / "trials" / problem.name / method.name / "_".join(words)

    def _make(
        self, method: Method, problem: Path, missing: Sequence[tuple[Path, Mapping[str, Any]]], seconds: float
    ) -> None:
        folder = missing[0][0].parent
        folder.mkdir(parents=True, exist_ok=True)
        trials = [{"output": str(stem), "settings": each, "seconds": seconds} for stem, each in missing]
        listed = folder / "trials.json"
        listed.write_text(json.dumps(trials))
        begun, busy = time.perf_counter(), _busy()
        try:
            python = interpreter(self.environments, method.environment)
            failure = self._call(python, method.runner, problem, listed, PATIENCE + 3 * seconds * len(trials))
        except InstallError as error:
            failure = str(error)
        others = _others(busy, _busy(), time.perf_counter() - begun)
        for stem, each in missing:
            facts = json.loads(_done(stem).read_text()) if _done(stem).exists() else None
            if facts is None:
                facts = {"settings": each, "failure": failure or "the runner wrote nothing", "setup": 0.0}
            _done(stem).write_text(json.dumps(facts | {"others_cores": others}, indent=1, ensure_ascii=False) + "\n")

    def _call(self, python: Path, runner: str, problem: Path, listed: Path, limit: float) -> str:
        """Why the runner failed; empty if it didn't."""
        path = os.pathsep.join([str(SCRIPTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [str(python), "-P", "-m", f"{__package__}.{runner}", str(problem), str(listed), str(self.cores)]
        try:
            done = subprocess.run(
                command,
                env=os.environ | ALLOCATOR | {"PYTHONPATH": path},
                timeout=limit,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"not done after {limit:.0f} s"
        if done.returncode == 0:
            return ""
        listed.with_name("error.txt").write_text(done.stderr)
        last = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        return last[-1].replace("|", "¦")


def read(stem: Path) -> Curve:
    """A trial that was made."""
    facts = json.loads(_done(stem).read_text())
    if facts.get("failure"):
        return Curve([], [], facts=facts, failure=facts["failure"])
    with np.load(stem.with_name(stem.name + ".npz")) as stored:
        return Curve(stored["seconds"].tolist(), stored["snr"].tolist(), facts["setup"], facts)


def _done(stem: Path) -> Path:
    # The name has points of its own: with_suffix would cut it there.
    return stem.with_name(stem.name + ".json")


def _busy() -> tuple[float, float]:
    """Core seconds that the machine and that our ended processes have worked."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    idle = fields[3] + fields[4]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK"), used.ru_utime + used.ru_stime


def _others(before: tuple[float, float], after: tuple[float, float], wall: float) -> float:
    """How many cores everybody else has kept busy meanwhile."""
    return max(0.0, ((after[0] - before[0]) - (after[1] - before[1])) / wall)
