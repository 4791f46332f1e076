"""A search for τ and σ from its settings to a folder: what was tried, and settings that `reconstruct` takes.

Exit statuses: 0 done, 1 a search in which all diverged, 2 refused before it began, 130 interrupted.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from .config.repeat import as_given, as_yaml
from .config.settings import ReconstructSettings, ScanSettings
from .config.tuning import TuneSettings
from .denoiser import load_denoiser
from .devices import DeviceError
from .exit_status import INTERRUPTED, ended, failed, refused
from .experiments import Problem
from .family import SHIPPED
from .io import OutputFolder
from .reconstruct import TAU_OF_A_SCAN, ct_problem, field_of_view, problem_name, warnings_of
from .report import versions
from .runtime.base import WorkerError
from .solver import GpuAsyncRED
from .tuning import SearchInterrupted, Tuned, TuningError
from .tuning.forecast import Forecast, make_forecast

# Scores within this factor of the best say next to nothing.
AS_GOOD = 1.01
# What the search has in common with a reconstruction, and passes on to it.
PASSED_ON = ("nonnegative", "field_of_view", "workers", "block", "precision", "device", "seed", "denoiser")


def tune_scan(options: TuneSettings, words: Sequence[str]) -> int:
    """The whole command; the exit status is returned, errors are one message on standard error."""
    try:
        side = options.size or 4096
        folder = OutputFolder(options.output, f"tune-{problem_name(options)}", side * side)
    except (OSError, ValueError) as error:
        return refused(error)
    with folder:
        try:
            problem = ct_problem(options, options.seed)
            solver = make_solver(options, problem)
            say = partial(print, flush=True) if not options.quiet else no_words
            say(f"{problem.title}, rotation centre at detector {problem.center:.1f}")
            for line in warnings_of(problem, options):
                say(line)
            if (cost := forecast(options, problem)) is not None:
                say("\n".join(line for line in (cost.check(options.time_limit), cost.line()) if line))
            interrupted = False
            try:
                tuned = solver.tune(progress=not options.quiet, **search_options(options, problem))
            except SearchInterrupted as stopped:
                tuned, interrupted = stopped.tuned, True
        except (TuningError, WorkerError) as error:
            return failed(error)
        except (OSError, ValueError, TypeError, MemoryError, DeviceError) as error:
            return refused(error, {"sigma": "sigmas"})
        try:
            write(folder, options, problem, tuned, words)
        except OSError as error:
            chosen = f"--tau {tuned.tau:.4g}" + ("" if tuned.sigma is None else f" --sigma {tuned.sigma:g}")
            return failed(error, f" Not all could be written to {folder.path}; what was chosen: {chosen}.")
    if not options.quiet:
        tell(tuned)
        print(f"results in {folder.path}; next: asyncred reconstruct --config {folder.path / 'settings.yaml'}")
    if interrupted:
        return ended(f"interrupted: the best of what was tried so far is in {folder.path}.", INTERRUPTED)
    return 0


def no_words(line: str) -> None:
    """Of --quiet."""


def tell(tuned: Tuned) -> None:
    """What was tried, and what was chosen."""
    sigma = "" if tuned.sigma is None else f"σ = {tuned.sigma:g}, "
    print(tuned.table(), tuned.legend(), sep="\n")
    print("\n".join([f"chosen by {tuned.method}: {sigma}τ = {tuned.tau:.4g}", *tuned.notes]))
    if near := as_good(tuned):
        print(near)
    if len(tuned.trials) == 1:
        print("warning: one pair was tried, so nothing was compared: allow more time, or more --search-sweeps")


def as_good(tuned: Tuned) -> str:
    """Of several τ whose scores hardly differ; the eye may choose among them."""
    scores = {trial.tau: trial.score.value for trial in tuned.trials if trial.sigma == tuned.sigma}
    if tuned.method not in ("gcv", "held-out") or not scores:
        return ""
    near = sorted(tau for tau, score in scores.items() if score <= AS_GOOD * min(scores.values()))
    if len(near) < 2:
        return ""
    return (
        f"scores within 1 % of the best: τ = {near[0]:.3g} to {near[-1]:.3g}; a smaller one keeps more detail and noise"
    )


def make_solver(options: TuneSettings, problem: Problem) -> GpuAsyncRED:
    """One whose τ is to be chosen, and σ if the denoiser is shipped with several."""
    sigma: Any = "auto" if options.denoiser in SHIPPED else 5.0
    denoiser = load_denoiser(options.denoiser, sigma=sigma)
    return GpuAsyncRED(problem.operator(), denoiser, tau="auto", **of_the_solver(options))


def forecast(options: TuneSettings, problem: Problem) -> Forecast | None:
    """What trials take here."""
    denoiser = load_denoiser(options.denoiser, sigma=5.0)
    unprepared = problem.operator(normalize=False)
    solver = GpuAsyncRED(unprepared, denoiser, TAU_OF_A_SCAN, data_updates=0, **of_the_solver(options))
    return make_forecast(solver, options.tuning)


def of_the_solver(options: TuneSettings) -> dict[str, Any]:
    """Arguments of `GpuAsyncRED`."""
    chosen: dict[str, Any] = {
        "num_workers": options.workers,
        "block_shape": options.block,
        "precision": options.precision,
        "device": options.device,
        "seed": options.seed,
        "nonnegative": options.nonnegative,
        "field_of_view": field_of_view(options),
    }
    return chosen


def search_options(options: TuneSettings, problem: Problem) -> dict[str, Any]:
    """Of `tune`."""
    given = {
        "taus": options.taus,
        "sigmas": options.sigmas,
        "max_sweeps": options.search_sweeps,
        "time_limit": options.time_limit,
        "reference": problem.reference,
    }
    return {"method": options.tuning} | {name: value for name, value in given.items() if value is not None}


def write(folder: OutputFolder, options: TuneSettings, problem: Problem, tuned: Tuned, words: Sequence[str]) -> None:
    """The table, the figure, the best trial's image, and settings for a reconstruction."""
    folder.write_text("tuning.md", tuned.page())
    tuned.save_figure(folder.new_file("tuning.png"))
    start = folder.write_image("start.tif", np.asarray(tuned.image, np.float32))
    names = (*ScanSettings.model_fields, *PASSED_ON)
    given = {name: value for name, value in options if name in names and value is not None}
    found: dict[str, Any] = {"tau": tuned.tau, "start": start, "center": problem.center}
    found |= {} if tuned.sigma is None else {"sigma": tuned.sigma}
    for_reconstruct = ReconstructSettings(**given | found)
    folder.write_text(
        "settings.yaml",
        as_yaml(as_given(for_reconstruct), "asyncred reconstruct", does="What was chosen, to reconstruct with"),
    )
    record = {
        "command": shlex.join(["asyncred", *words]),
        "problem": {"name": problem.name, **problem.facts},
        "method": tuned.method,
        "sigma": tuned.sigma,
        "tau": tuned.tau,
        "notes": tuned.notes,
        "versions": versions(),
    }
    folder.write_settings("run.json", record)
