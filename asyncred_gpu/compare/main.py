"""`asyncred compare`: from its settings to a folder with the table, the figures and the histories.

Exit statuses: 0 done, 1 a mode that failed or diverged, 2 refused before it began, 130 interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..blocks import FloatArray
from ..config.comparison import CompareSettings
from ..config.repeat import as_given, as_yaml
from ..denoiser import load_denoiser
from ..devices import DeviceError
from ..exit_status import FAILED, failed, refused
from ..io import OutputFolder
from ..plausible import doubt
from ..reconstruct import problem_name
from ..runtime.base import WorkerError
from ..runtime.spares import SpareWorkers
from .case import CS_SIZE, Case, make_case
from .comparison import Comparison, load_average
from .machine import Machine, find_machine
from .modes import Mode, Outcome, Plan, attempt
from .numbers import last
from .report import write_figures, write_tables
from .speedup import GPU_WORKERS, Ladder, make_ladders

# The reference, the start and some eight modes, in rows of three, as they are drawn.
PANELS = 30
# Options of this command by the argument of the solver.
RENAMED = {"minibatch": "sg", "num_workers": "pool"}


@dataclass(frozen=True)
class Setup:
    """All that is checked and built before the first mode runs."""

    machine: Machine
    case: Case
    plan: Plan
    ladders: list[Ladder]


def compare_modes(options: CompareSettings, words: Sequence[str]) -> int:
    """The whole command; the exit status is returned, errors are one message on standard error."""
    try:
        folder = OutputFolder(options.output, f"compare-{_name(options)}", PANELS * _side(options) ** 2)
    except (OSError, ValueError) as error:
        return refused(error)
    with folder:
        try:
            setup = prepare(options)
            folder.write_text("settings.yaml", as_yaml(as_given(options), "asyncred compare"))
        except (OSError, ValueError, TypeError, MemoryError, DeviceError) as error:
            return refused(error, RENAMED)
        _say(setup.case.title)
        if setup.case.facts.get("center_estimated"):
            _say(f"rotation centre estimated at detector {setup.case.facts['center']:.1f}; --center sets another")
        _say(setup.machine.line)
        doubted = None if setup.case.scan is None else doubt(setup.case.scan.measured.sinogram, setup.case.facts)
        if doubted is not None:
            _say(doubted)
        try:
            comparison = compare(setup, options, words, folder)
            _say(f"\n{write_tables(folder, comparison)}\n")
            write_figures(folder, comparison)
        except (WorkerError, MemoryError) as error:
            return failed(error)
        except OSError as error:
            return failed(error, f" Not all results could be written to {folder.path}.")
    _say(f"results in {folder.path}")
    return 0 if comparison.complete else FAILED


def prepare(options: CompareSettings) -> Setup:
    """Look for GPUs, read or simulate the data, build every solver; whatever can't be is refused here."""
    network = load_denoiser(options.denoiser, sigma=options.sigma)
    machine = find_machine(options.device)
    most = max(options.pool or machine.cores, *(options.workers or [1]), max(GPU_WORKERS) if machine.gpus else 1)
    case = make_case(options, network, most)
    plan = Plan(case, machine, options)
    ladders = make_ladders(plan, machine, options.workers, len(case.operator.grid)) if options.speedup_sweeps else []
    return Setup(machine, case, plan, ladders)


def compare(setup: Setup, options: CompareSettings, words: Sequence[str], folder: OutputFolder) -> Comparison:
    """Run the modes one after the other, and keep each one's history as soon as it is there."""
    case, load = setup.case, load_average()
    begun = time.perf_counter()
    case.compute_constants(options.sg, bool(setup.machine.gpus))
    constants = time.perf_counter()
    start = case.start(setup.plan.pool)
    beforehand = {"constants": constants - begun, case.start_name: time.perf_counter() - constants}
    outcomes = [_tried(mode, case, start, options.sweeps, folder) for mode in setup.plan.modes]
    if setup.ladders:
        _say(f"Speed-up, {options.speedup_sweeps} sweeps each:")
    with SpareWorkers() as spares:
        for ladder in setup.ladders:
            ladder.climb(start, options.speedup_sweeps, spares, _say)
    return Comparison(case, setup.machine, start, outcomes, setup.ladders, beforehand, load, tuple(words))


def _tried(mode: Mode, case: Case, start: FloatArray, sweeps: int, folder: OutputFolder) -> Outcome:
    print(f"{mode.name} … ", end="", flush=True)
    outcome = attempt(mode, case, start, sweeps)
    if outcome.result is None:
        _say(f"failed: {outcome.message}")
        return outcome
    history = outcome.result.history
    folder.write_history(f"history-{mode.key}.csv", history)
    found = f", SNR {last(history, 'snr'):.2f} dB" if case.reference is not None else ""
    _say(f"{last(history, 'sweep'):.4g} sweeps in {last(history, 'seconds'):.2f} s{found} {outcome.message}".rstrip())
    return outcome


def _name(options: CompareSettings) -> str:
    return "retina-cs" if options.problem == "cs" else problem_name(options)


def _side(options: CompareSettings) -> int:
    usual = CS_SIZE if options.problem == "cs" else 800 if options.input is None else 4096
    return int(options.size or usual)


def _say(message: str) -> None:
    print(message, flush=True)
