"""The modes of a comparison, and one run of each; what a mode fails with is kept, and the others go on."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..baselines import bc_red, gm_red
from ..blocks import FloatArray
from ..config.comparison import CompareSettings
from ..method import BLOCK_METHOD
from ..result import Result, Status
from ..solver import GPU_WORKERS, GpuAsyncRED
from .case import Case
from .machine import Machine


@dataclass(frozen=True)
class Mode:
    """One way to solve the problem.

    Args:
        name: for people.
        key: for file names.
        workers: for the table.
        run: takes max_sweeps, x0 and reference, as `GpuAsyncRED.run`.
    """

    name: str
    key: str
    workers: str
    run: Callable[..., Result]


@dataclass(frozen=True)
class Outcome:
    """What came of a mode: a result, or a message and the whole traceback."""

    mode: Mode
    result: Result | None
    message: str = ""
    trace: str = ""

    @property
    def arrived(self) -> Result | None:
        """The result, unless it diverged."""
        return None if self.result is None or self.result.status is Status.DIVERGED else self.result


def attempt(mode: Mode, case: Case, start: FloatArray, sweeps: int) -> Outcome:
    """Run it."""
    try:
        result = mode.run(max_sweeps=sweeps, x0=start, reference=case.reference)
    except Exception as error:  # whatever it is: the table says so, and the other modes go on
        return Outcome(mode, None, one_line(error), traceback.format_exc())
    return Outcome(mode, result, "diverged" if result.status is Status.DIVERGED else "")


def one_line(error: Exception) -> str:
    """The message's first line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class Plan:
    """All modes of a case on a machine, checked: making it refuses what can't be.

    Raises:
        ValueError: settings that can't be.
    """

    def __init__(self, case: Case, machine: Machine, options: CompareSettings) -> None:
        self._case = case
        self._machine = machine
        self._options = options
        self._blocks = len(case.operator.grid)
        self.pool = options.pool or min(machine.cores, self._blocks)
        modes = [*self._several("gpu"), *self._several("cpu")] if machine.gpus else self._several("cpu")
        self.modes = (*modes, *self._one_at_a_time())

    def solver(self, place: str, workers: int, **changes: Any) -> GpuAsyncRED:
        """A solver of the case with `workers` workers, "cpu" or "gpu"; momentum only where it is allowed."""
        case, on_gpu = self._case, place == "gpu"
        settings = self._common(on_gpu) | {
            **BLOCK_METHOD,
            "num_workers": workers,
            "momentum": self._options.momentum if 2 * workers <= self._blocks else 0.0,
            "block_shape": case.operator.grid.block_shape,
            "device": list(self._machine.gpus) if on_gpu else "cpu",
        }
        return GpuAsyncRED(case.apart if on_gpu else case.operator, case.network, **settings | changes)

    def _common(self, on_gpu: bool) -> dict[str, Any]:
        return dict(self._case.settings) | {"precision": self._machine.precision(self._options.precision, on_gpu)}

    def _several(self, place: str) -> list[Mode]:
        """Asynchronous, with a barrier, and asynchronous with minibatches."""
        workers = self.pool if place == "cpu" else min(GPU_WORKERS * len(self._machine.gpus), self._blocks)
        kinds: dict[str, dict[str, Any]] = {
            "Async-RED": {},
            # The last of a round waits for the others' commits, and for no more.
            "Sync-RED": {"order": "sync", "max_staleness": workers - 1},
        }
        if self._options.sg is not None:
            kinds[f"Async-RED-SG {self._options.sg}"] = {"minibatch": self._options.sg}
        return [
            Mode(
                f"{kind}, {place.upper()}",
                f"{kind.lower().replace(' ', '').replace('-red', '')}-{place}",
                str(workers),
                self.solver(place, workers, **changes).run,
            )
            for kind, changes in kinds.items()
        ]

    def _one_at_a_time(self) -> list[Mode]:
        """One block at a time, and the whole image at a time; on the CPU."""
        case, common = self._case, self._common(on_gpu=False)
        problem = (case.operator, case.network)
        serial = partial(
            bc_red,
            *problem,
            **{**common, **BLOCK_METHOD},
            momentum=self._options.momentum if self._blocks > 1 else 0.0,
            block_shape=case.operator.grid.block_shape,
            device="cpu",
        )
        whole = {name: value for name, value in common.items() if name != "seed"}  # it draws nothing
        return [
            Mode("BC-RED (serial)", "bc", "1", serial),
            Mode("GM-RED", "gm", f"{torch.get_num_threads()} threads", partial(gm_red, *problem, **whole)),
        ]
