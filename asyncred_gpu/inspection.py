"""What a scan holds, and what a reconstruction of it would take: the lines of `asyncred check`."""

from __future__ import annotations

import math

import numpy as np

from .config.settings import ReconstructSettings
from .devices import DeviceError
from .experiments import Problem, center_of
from .io import Projections, open_projections
from .io.images import read_image
from .io.output import check_free
from .io.projections import rows_of
from .memory_estimate import MIB
from .plan import START_SECONDS, Plan, make_plan
from .reconstruct import ct_problem, planned, reading_of, warnings_of
from .settings import check_image
from .solver import GpuAsyncRED
from .wording import duration

# Files aren't asked for a beam's distances, so it is said.
PARALLEL = "parallel; a fan's takes --source-distance and --detector-distance"
# Angles as evenly spaced as this, as a share of their step, are said to be.
EVEN = 0.01


class Refused(ValueError):
    """The scan or the settings can't be; says why."""


def inspect_scan(options: ReconstructSettings) -> list[str]:
    """Lines for people.

    Raises:
        Refused: what `reconstruct` would refuse.
    """
    try:
        if options.output is not None:
            check_free(options.output)
        lines, rows = [], None
        if options.input is not None:
            scan = open_projections(options.input, reading_of(options))
            lines = scan_lines(scan)
            rows = None if options.slices is None else rows_of(options.slices, scan)
        if rows is not None:  # a volume is planned by its middle
            options = options.model_copy(update={"slice": rows[len(rows) // 2]})
        problem = ct_problem(options, options.seed)
        solver = planned(options, problem)
        if options.start is not None:
            check_image("--start", read_image(options.start), problem.image_shape)
        plan = make_plan(solver)
    except (OSError, ValueError, TypeError, MemoryError, DeviceError) as error:
        raise Refused(str(error)) from error
    found = [*lines, *problem_lines(problem), *warnings_of(problem, options), *plan_lines(plan, solver, options.sweeps)]
    return found if rows is None else [*found, f"  slices       {len(rows)}, each about as the one above, or quicker"]


def scan_lines(scan: Projections) -> list[str]:
    """What the file holds."""
    frames, rows, detectors = scan.data.shape
    fields = [
        f"{name} {'none' if field is None else field.shape[0]}"
        for name, field in (("white fields", scan.white), ("dark fields", scan.dark))
    ]
    title = scan.info.get("title") or scan.info.get("sample")
    return [
        f"{scan.path}: {scan.format}" + (f", {title}" if title else ""),
        f"  projections  {frames} × {rows} rows × {detectors} detectors, {scan.data.dtype}, as {scan.values}"
        + ("; if its axes are others, --axes" if scan.info.get("axes_assumed") else ""),
        f"  corrections  {', '.join(fields)}",
        f"  angles       {angle_line(scan.angles)}",
    ]


def angle_line(angles: np.ndarray) -> str:
    """Where they begin and end, and how they are spaced."""
    degrees = np.rad2deg(angles)
    steps = np.diff(degrees)
    if not steps.size:
        return f"{degrees[0]:g}° alone"
    step = float(np.median(steps))
    even = bool(np.abs(steps - step).max() <= EVEN * abs(step))
    spacing = f"{step:.4g}° apart" if even else f"{steps.min():.4g}° to {steps.max():.4g}° apart"
    return f"{degrees[0]:.4g}° to {degrees[-1]:.4g}°, {spacing}"


def _would_be_estimated(problem: Problem) -> str:
    """Of a measured scan whose centre is given."""
    if "input" not in problem.facts:
        return ""
    try:
        return f", given; estimated it would be {center_of(problem.measured):.1f}"
    except ValueError:
        return ", given"


def problem_lines(problem: Problem) -> list[str]:
    """What would be reconstructed."""
    facts, (rows, cols) = problem.facts, problem.image_shape
    lines = [problem.title]
    if problem.measured.beam.title or "input" in facts:
        lines.append(f"  beam         {problem.measured.beam.title or PARALLEL}")
    estimated = ", estimated" if facts.get("center_estimated") else _would_be_estimated(problem)
    middle = (problem.measured.sinogram.shape[1] - 1) / 2
    lines.append(f"  centre       detector {problem.center:.1f}{estimated}; the detector's middle is {middle:g}")
    if "clipped_values" in facts:
        lines.append(
            f"  values       {facts['clipped_values']} below the dark field, clipped; {facts['dead_detectors']} dead "
            f"detectors; line integrals {problem.measured.sinogram.min():.3g} to {problem.measured.sinogram.max():.3g}"
        )
    views, wanted = len(problem.measured.angles), math.ceil(math.pi / 2 * max(rows, cols))
    lines.append(f"  sampling     {views} views, where FBP would want {wanted} (π/2 × {max(rows, cols)})")
    return lines


def plan_lines(plan: Plan, solver: GpuAsyncRED, sweeps: float) -> list[str]:
    """What it would take."""
    grid = solver.operator.grid
    lines = [
        f"{len(grid)} blocks of {grid.block_shape[0]} × {grid.block_shape[1]}, {solver.parallelism.workers} workers, "
        f"{', '.join(solver.devices)}, {solver.precision or 'precision measured at the start'}"
    ]
    if plan.memory is not None:
        free = "" if plan.free is None else f" of {plan.free / MIB:.0f} MiB free"
        verdict = "" if plan.fits else ": too little. Use fewer --workers, or a smaller --size"
        lines.append(f"  memory       about {plan.memory.total / MIB:.0f} MiB at the peak{free}{verdict}")
        lines.append(
            f"  time         about {duration(plan.total(sweeps))}: {duration(plan.setup + START_SECONDS)} before the "
            f"first sweep, {duration(plan.sweep)} each of {sweeps:g} sweeps; reading and figures take some seconds more"
        )
    else:
        lines.append("  time and memory on a GPU aren't estimated beforehand; a run says what it needs when it begins")
    return lines
