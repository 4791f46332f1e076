"""A reconstruction from its options to a folder of results: problem, operator, solver, figures.

Exit statuses: 0 done, 1 a run that failed or diverged, 2 refused before it began, 130 interrupted.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from .beam import Beam
from .callbacks import JsonLines, TensorBoard
from .config.settings import BeamSettings, DataSettings, ReconstructSettings, ScanSettings
from .config.tuning import TuneSettings
from .denoiser import load_denoiser
from .devices import DeviceError
from .display import RunDisplay
from .exit_status import FAILED, INTERRUPTED, ended, failed, refused
from .experiments import Problem, retina_problem, slice_problem
from .going_on import CHECKPOINT, SETTINGS, going_on, how_to_go_on, make_room, stopped_at_once
from .interrupts import RunInterrupted
from .io import OutputFolder, Reading, open_projections
from .io.images import read_image
from .io.theta import given_shifts
from .one_run import claimed
from .plausible import doubt
from .report import Setup, write_report
from .result import Result, Status
from .runtime.base import WorkerError
from .settings import check_image
from .solver import GpuAsyncRED
from .tuning import TuningError
from .tuning.forecast import make_forecast
from .whole_file import write_text
from .wording import as_typed, said

# There is nothing more to do, so the last checkpoint isn't needed.
ENDED = (Status.MAX_SWEEPS, Status.MAX_UPDATES, Status.CONVERGED)
# The reconstruction, FBP and the reference.
IMAGES_WRITTEN = 3
# Of a measured scan the noise is unknown: of 0.02, 0.05, 0.1, 0.2 and 0.4 this and 0.02 predicted a tooth's left-out
# views best after 12 sweeps.
TAU_OF_A_SCAN = 0.05
# After eight sweeps the simulated retina has 39.19, 39.22 and 38.97 dB with 0.00125, 0.0025 and 0.005.
TAU_OF_THE_RETINA = 0.0025
# Of these, for plug-and-play: after six sweeps the retina has 39.56 dB with half, 39.30 with all of it.
TAU_OF_PNP = 0.5
# The word for a start that is no file.
FBP = "fbp"
# Of the most that a ray measures, beside the image: more is no noise. On a tooth 0.02 where it fitted in, 0.12 where
# a corner was cut off.
BESIDE = 0.05


def reconstruct(options: ReconstructSettings, words: Sequence[str]) -> int:
    """The whole command; the exit status is returned, errors are one message on standard error.

    Args:
        words: of the command line, for the record.
    """
    if options.verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    try:
        options, folder = _begun(options)
    except (OSError, ValueError) as error:
        return refused(error)
    if options.slices is not None:
        from .volume_command import reconstruct_slices

        return reconstruct_slices(options, folder, words)
    assert folder is not None
    with folder:
        try:
            setup = prepare(options, words)
        except (OSError, ValueError, TypeError, MemoryError, DeviceError) as error:
            return refused(error)
        _tell(options, setup)
        try:
            result = solve(options, setup, folder)
        except ValueError as error:  # the search has settings of its own, and a checkpoint may be another run's
            return refused(error)
        except (WorkerError, TuningError, MemoryError, OSError) as error:
            return failed(error, _how_to_go_on(folder))
        except KeyboardInterrupt:
            if not (folder.path / SETTINGS).exists():
                raise
            return ended(f"interrupted before there was an image.{_how_to_go_on(folder)}", INTERRUPTED)
        try:
            make_room(folder.path)
            summary = write_report(folder, setup, result)
        except (OSError, ValueError) as error:
            left = f" Not all results could be written to {folder.path}."
            return failed(error, left + _how_to_go_on(folder))
        if result.status in ENDED:
            (folder.path / CHECKPOINT).unlink(missing_ok=True)
    if not options.quiet:
        print(summary + (_how_to_go_on(folder) if result.status is Status.TIME_LIMIT else ""))
    if result.status is Status.INTERRUPTED:
        return ended(f"interrupted: the image so far is in {folder.path}.{_how_to_go_on(folder)}", INTERRUPTED)
    if result.status is Status.DIVERGED:
        return ended(f"error: {as_typed(result.status.explanation)} It is in {folder.path}.", FAILED)
    return 0


def _begun(options: ReconstructSettings) -> tuple[ReconstructSettings, OutputFolder | None]:
    """The settings and the folder of a new run, or of one that goes on; a new volume makes its own."""
    if options.resume is not None:
        begun = going_on(options)
        if begun[0].resume is None and not options.quiet:
            print(f"{options.resume} has no checkpoint yet: the run begins anew with its settings", flush=True)
        return begun
    if options.slices is not None:
        return options, None
    side = options.size or (800 if options.input is None else 4096)
    return options, OutputFolder(options.output, problem_name(options), IMAGES_WRITTEN * side * side)


def _how_to_go_on(folder: OutputFolder) -> str:
    """Nothing for a run that keeps no checkpoints."""
    if (folder.path / CHECKPOINT).exists():
        return how_to_go_on(folder.path)
    anew = (folder.path / SETTINGS).exists() and stopped_at_once(folder.path)
    return how_to_go_on(folder.path, "begin anew with its settings") if anew else ""


def prepare(options: ReconstructSettings, words: Sequence[str]) -> Setup:
    """Read or simulate the data, build the operator and the solver; whatever can't be is refused here."""
    denoiser = load_denoiser(options.denoiser, sigma=options.sigma)
    problem = ct_problem(options, options.seed)
    operator = problem.operator()
    solver = GpuAsyncRED(operator, denoiser, **solver_arguments(options))
    fbp = problem.padded_fbp() if problem.pad else operator.fbp()
    begin = None if not problem.pad else fbp if solver.mask is None else fbp * solver.mask
    if options.start is not None and str(options.start) != FBP:
        try:
            begin = check_image("--start", read_image(options.start), problem.image_shape)
        except ValueError as error:
            raise ValueError(f"{error} Or pass --start {FBP}.") from error
    return Setup(options, problem, solver, fbp, tuple(words), begin)


def planned(options: ReconstructSettings, problem: Problem) -> GpuAsyncRED:
    """The solver of a run that isn't going to be made: its operator's constants aren't computed."""
    denoiser = load_denoiser(options.denoiser, sigma=5.0 if options.sigma == "auto" else options.sigma)
    tau = {"tau": TAU_OF_A_SCAN} if options.tau == "auto" else {}
    return GpuAsyncRED(problem.operator(normalize=False), denoiser, **solver_arguments(options) | tau)


def solve(options: ReconstructSettings, setup: Setup, folder: OutputFolder) -> Result:
    """The run itself, under the live display; what is "auto" is chosen before. Interrupted, it has that status."""
    goes_on = options.resume is not None
    if setup.solver.chooses and not goes_on:
        if not options.quiet:
            print(_forecast(options, setup.problem), end="", flush=True)
        setup.solver.tune(progress=not options.quiet, method=options.tuning or "gcv")
    keeps: dict[str, Any] = {}
    settings = folder.path / SETTINGS
    if goes_on and not options.quiet:
        print(f"going on from {folder.path / CHECKPOINT}", flush=True)
    if options.checkpoint_every is not None or goes_on:
        keeps = {"checkpoint": folder.path / CHECKPOINT, "checkpoint_every": options.checkpoint_every}
        keeps["resume"] = goes_on
        if not goes_on:  # beside the checkpoints, for whoever goes on
            write_text(settings, setup.settings_file)
    with ExitStack() as stack:
        if keeps:
            stack.enter_context(claimed(settings))
        display = stack.enter_context(RunDisplay(quiet=options.quiet))
        logs: list[JsonLines | TensorBoard] = _logs(options, folder)
        for log in logs:
            stack.enter_context(log)
        stack.callback(_tell_of_logs, logs)
        try:
            return setup.solver.run(
                max_sweeps=options.sweeps,
                time_limit=options.time_limit,
                tol=options.tol,
                x0=setup.x0,
                reference=setup.problem.reference,
                callbacks=(display, *logs),
                **keeps,
            )
        except RunInterrupted as stopped:
            return stopped.result
        except (ValueError, OSError, MemoryError, WorkerError):
            if keeps and not goes_on and not keeps["checkpoint"].exists():
                settings.unlink(missing_ok=True)
            raise


def _tell_of_logs(logs: list[JsonLines | TensorBoard]) -> None:
    for log in logs:
        if isinstance(log, JsonLines) and log.trouble is not None:
            print(f"warning: progress.jsonl ends early: {said(log.trouble)}", file=sys.stderr)


def _logs(options: ReconstructSettings, folder: OutputFolder) -> list[JsonLines | TensorBoard]:
    """Callbacks that write into the folder."""
    found: list[JsonLines | TensorBoard] = []
    for kind in options.log or ():
        if kind == "jsonl":
            found.append(JsonLines(folder.path / "progress.jsonl"))
        else:
            try:
                found.append(TensorBoard(folder.path / "tensorboard"))
            except ImportError as error:
                raise ValueError(str(error)) from error
    return found


def ct_problem(options: ScanSettings, seed: int) -> Problem:
    """The scan that the options of data name, read or simulated."""
    if options.input is not None:
        center = "auto" if options.center is None else options.center
        row = options.slice or 0
        scan = open_projections(options.input, reading_of(options))
        beam = beam_of(options, scan.data.shape[0])
        return slice_problem(scan.slice(row), center, options.size, options.every, options.pad, beam)
    given = {name: getattr(options, name) for name in ("size", "angles", "detectors", "noise_db", "center")}
    given = {name: value for name, value in given.items() if value is not None}
    return retina_problem(**given, every=options.every, seed=seed, beam=beam_of(options, 0))


def beam_of(options: BeamSettings, projections: int) -> Beam:
    """How the rays run, by the options."""
    shifts = None if options.shifts is None else given_shifts(options.shifts, projections)
    distances = (options.source_distance, options.detector_distance)
    return Beam(*distances, options.pitch or 1.0, math.radians(options.tilt or 0.0), shifts)


def problem_name(options: DataSettings) -> str:
    """For folders."""
    return "retina" if options.input is None else options.input.stem


def field_of_view(options: ReconstructSettings | TuneSettings) -> str | None:
    """As the solver takes it: a scan's is a circle, if nobody says otherwise."""
    view = options.field_of_view or ("none" if options.input is None else "circle")
    return None if view == "none" else view


def reading_of(options: DataSettings) -> Reading:
    """What is said of the scan's file."""
    names = ("dataset", "axes", "theta", "white", "dark", "values")
    return Reading(**{name: getattr(options, name) for name in names})


def solver_arguments(options: ReconstructSettings) -> dict[str, Any]:
    """Of `GpuAsyncRED`: what was given, and what is usual for such data."""
    usual_tau = TAU_OF_THE_RETINA if options.input is None else TAU_OF_A_SCAN
    if options.prior == "pnp":
        usual_tau *= TAU_OF_PNP
    given = {
        "tau": usual_tau if options.tau is None else options.tau,
        "block_shape": options.block,
        "num_workers": options.workers,
        "blocks_per_launch": options.blocks_per_launch,
        "max_staleness": options.max_staleness,
        "minibatch": options.minibatch,
        "step": options.step,
        "momentum": options.momentum,
        "continuation": options.continuation,
        "data_updates": options.data_updates,
        "intensity_scale": options.intensity_scale,
        "field_of_view": field_of_view(options),
    }
    names = ("method", "prior", "order", "nonnegative", "precision", "device", "seed")
    always = {name: getattr(options, name) for name in names}
    return {name: value for name, value in given.items() if value is not None} | always


def _forecast(options: ReconstructSettings, problem: Problem) -> str:
    """How long the search before the run will take; nothing on a GPU."""
    cost = make_forecast(planned(options.model_copy(update={"data_updates": 0}), problem), options.tuning or "gcv")
    return "" if cost is None else f"τ or σ is chosen first: {cost.line()}\n"


def _tell(options: ReconstructSettings, setup: Setup) -> None:
    if options.quiet:
        return
    print(setup.problem.title)
    facts = setup.problem.facts
    if setup.problem.measured.beam.title:
        print(setup.problem.measured.beam.title)
    if facts.get("center_estimated"):
        print(f"rotation centre estimated at detector {setup.problem.center:.1f}; --center sets another")
    if facts.get("clipped_values") or facts.get("dead_detectors"):
        print(
            f"{facts['clipped_values']} values without transmission clipped, {facts['dead_detectors']} dead detectors"
        )
    for line in warnings_of(setup.problem, options):
        print(line)
    sys.stdout.flush()


def warnings_of(problem: Problem, options: ReconstructSettings | TuneSettings) -> list[str]:
    """What the values can't be, or else what the image's size leaves out."""
    lines = []
    if (replaced := problem.facts.get("angles_of_the_file")) is not None:
        lines.append(f"warning: --theta takes the place of the file's own angles, {replaced}")
    doubted = doubt(problem.measured.sinogram, problem.facts)
    if doubted is not None:  # of such values a rim beside the image says nothing
        return [*lines, doubted]
    share = problem.beside(circle=field_of_view(options) is not None)
    if share <= BESIDE:
        return lines
    return [
        *lines,
        f"warning: a ray beside the image of {problem.image_shape[0]} pixels measures {100 * share:.0f} % of the most "
        "that any does: the object reaches outside, which makes a bright rim. Pass a larger --size, or --pad where it "
        "is wider than the detector, too; or these are transmissions, whose air is bright: --values transmission",
    ]
