"""A volume, slice by slice: one geometry for all, each slice beginning at its neighbour's image; memory for a few.

    for one in reconstruct_volume("scan.h5", load_denoiser("dncnn", sigma=5), tau=0.05, slices=range(100, 200)):
        tifffile.imwrite(f"{one.index:05}.tif", one.image)

With order="ordered" the images are the same every time, also if those that are done already are handed in (`done`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from .arrays import as_numpy
from .beam import Beam
from .blocks import FloatArray
from .experiments import PARALLEL, Problem, slice_problem
from .io import Projections, Reading, Scan, open_projections
from .operators.radon import RadonCT
from .result import Progress, Result
from .runtime.cpu import available_cores
from .runtime.spares import SpareWorkers
from .settings import check_count, check_number
from .solver import GpuAsyncRED, choose_scale

# Raw projections that are read at a time, in bytes at most, and in slices.
READ_BYTES, READ_SLICES = 2**28, 64
# A slice that begins at its neighbour's image needs about half the sweeps: on a tooth (640², 181 angles) it is as near
# the end after 6 and 8 sweeps as from FBP after 12 and more.
WARM_SHARE = 0.5

Told = Callable[[int, Progress], None]


@dataclass(frozen=True)
class VolumeSlice:
    """index: row of the scan. image: (rows, cols) float32. result, scan: None if the image was there already."""

    index: int
    image: FloatArray
    result: Result | None = None
    scan: Scan | None = None


class Stopped(Exception):
    """The volume was given up; a slice under way ends."""


@dataclass
class Volume:
    """What all slices have in common.

    Args:
        scan: the projections. center: detector of the rotation axis. size, pad, every, beam: as of `scan_problem`.
        scale: the intensity that counts as white. warm: whether a slice begins at its neighbour's image.
        sweeps, warm_sweeps: of a slice that begins at FBP, and of one that doesn't.
        at_once: slices side by side. tol: as of `GpuAsyncRED.run`. options: of `GpuAsyncRED`.
    """

    scan: Projections
    denoiser: Any
    indices: Sequence[int]
    center: float
    size: int | None
    pad: int
    every: int
    beam: Beam
    scale: float
    warm: bool
    sweeps: float
    warm_sweeps: float
    at_once: int
    tol: float | None
    options: dict[str, Any]
    first: Problem
    given_up: Event = field(default_factory=Event)

    def problem(self, scan: Scan) -> Problem:
        """One slice's."""
        return slice_problem(scan, self.center, self.size, self.every, self.pad, self.beam)

    def solve(self, problem: Problem, solver: GpuAsyncRED, neighbour: FloatArray | None, told: Told | None) -> Result:
        """One slice, from FBP or from its neighbour's image."""
        index = int(problem.facts["slice"])

        def watch(progress: Progress) -> None:
            if self.given_up.is_set():
                raise Stopped
            if told is not None:
                told(index, progress)

        x0: Any = neighbour
        if neighbour is None:
            x0 = problem.padded_fbp() * mask_of(solver) if problem.pad else "auto"
        sweeps = self.sweeps if neighbour is None else self.warm_sweeps
        return solver.run(max_sweeps=sweeps, tol=self.tol, x0=x0, callbacks=(watch,))


def mask_of(solver: GpuAsyncRED) -> Any:
    """The field of view as a factor."""
    return np.float32(1) if solver.mask is None else solver.mask


def plan_volume(
    scan: Projections | str | Path,
    denoiser: Any,
    slices: Iterable[int] | None = None,
    *,
    reading: Reading | None = None,
    center: float | str = "auto",
    size: int | None = None,
    pad: int = 0,
    every: int = 1,
    beam: Beam = PARALLEL,
    max_sweeps: float = 12.0,
    warm_start: bool = True,
    warm_sweeps: float | None = None,
    at_once: int = 1,
    tol: float | None = None,
    intensity_scale: float | str = "auto",
    **options: Any,
) -> Volume:
    """Check everything, and choose from the middle slice what all have in common; arguments as of `reconstruct_volume`.

    Raises:
        ValueError, TypeError, OSError: as of `reconstruct_volume`.
    """
    if not isinstance(scan, Projections):
        scan = open_projections(scan, reading)
    indices = list(range(scan.rows) if slices is None else slices)
    _check_indices(indices, scan.rows)
    sweeps = check_number("max_sweeps", max_sweeps, 0.0)
    fewer = WARM_SHARE * sweeps if warm_sweeps is None else check_number("warm_sweeps", warm_sweeps, 0.0)
    side_by_side = min(check_count("at_once", at_once, 1), len(indices))
    if "num_workers" not in options and options.get("device", "auto") in ("auto", "cpu"):
        options = options | {"num_workers": max(1, len(available_cores()) // side_by_side)}
    middle = slice_problem(scan.slice(indices[len(indices) // 2]), center, size, every, pad, beam)
    operator = middle.operator()
    # Refused here, before anything is computed.
    solver = GpuAsyncRED(operator, denoiser, **options | {"intensity_scale": intensity_scale})
    start = middle.padded_fbp() if pad else operator.fbp()
    scale = choose_scale(solver.intensity_scale, start * mask_of(solver), operator)
    # As chosen here: a volume that goes on tomorrow mustn't choose otherwise.
    chosen = {"intensity_scale": scale, "block_shape": solver.operator.grid.block_shape}
    chosen |= {} if solver.precision is None else {"precision": solver.precision}
    common = (middle.center, size, pad, every, beam, scale, bool(warm_start), sweeps, fewer, side_by_side, tol)
    return Volume(scan, denoiser, indices, *common, options | chosen, middle)


def reconstruct_volume(
    scan: Projections | str | Path,
    denoiser: Any,
    slices: Iterable[int] | None = None,
    *,
    done: Callable[[int], FloatArray | None] | None = None,
    told: Told | None = None,
    **arguments: Any,
) -> Iterator[VolumeSlice]:
    """The slices' images, in the order asked for, as they come.

    Args:
        scan: of any format that `open_projections` reads.
        denoiser: as of `GpuAsyncRED`. slices: rows of the scan; None: all.
        done: asked of every slice first: its image if it is there already (without padding), else None.
        told: called with the slice and the progress after every commit, from several threads if at_once > 1.
        arguments: reading (what the file doesn't say), center ("auto": estimated in the middle slice), size, pad,
            every, beam (as of `scan_problem`); max_sweeps of a slice from FBP [12]; warm_start [True]: slices begin at
            the image of the one before, at_once back, and take warm_sweeps [half]; at_once [1]: slices side by side,
            with the workers dealt out among them; tol (as of `GpuAsyncRED.run`); intensity_scale ["auto": of the middle
            slice's FBP]; and those of `GpuAsyncRED`: tau, order, field_of_view, …
    Raises:
        ValueError, TypeError, OSError: what can't be, when the first slice is asked for. WorkerError: as of
            `GpuAsyncRED.run`.
    """
    yield from run_volume(plan_volume(scan, denoiser, slices, **arguments), done, told)


def run_volume(
    volume: Volume, done: Callable[[int], FloatArray | None] | None = None, told: Told | None = None
) -> Iterator[VolumeSlice]:
    """The slices of a volume that is planned; `done` and `told` as of `reconstruct_volume`."""
    lanes: list[FloatArray | None] = [None] * volume.at_once  # the last image of each
    template = volume.first.operator()
    with ExitStack() as stack:
        spares = [stack.enter_context(SpareWorkers()) for _ in lanes]
        pool = stack.enter_context(ThreadPoolExecutor(volume.at_once)) if volume.at_once > 1 else None
        stack.callback(volume.given_up.set)  # before the pool waits for its threads
        scans = _Scans(volume.scan)
        for begin in range(0, len(volume.indices), volume.at_once):
            group = volume.indices[begin : begin + volume.at_once]
            known = [None if done is None else done(index) for index in group]
            todo = [
                scans.take(index, volume.indices) if image is None else None
                for index, image in zip(group, known, strict=True)
            ]
            work = partial_solver(volume, template, spares, told)
            jobs = [(lane, scan, lanes[lane]) for lane, scan in enumerate(todo) if scan is not None]
            found = dict(pool.map(work, jobs) if pool is not None else map(work, jobs))
            for lane, (index, image) in enumerate(zip(group, known, strict=True)):
                if image is not None:
                    lanes[lane] = _begun_at(volume, image)
                    yield VolumeSlice(index, image)
                    continue
                scan, result = found[lane]
                lanes[lane] = _begun_at(volume, volume.first.wanted(np.asarray(result.image)))
                yield VolumeSlice(index, volume.first.wanted(np.asarray(result.image)), result, scan)


def partial_solver(
    volume: Volume, template: RadonCT, spares: Sequence[SpareWorkers], told: Told | None
) -> Callable[[tuple[int, Scan, FloatArray | None]], tuple[int, tuple[Scan, Result]]]:
    """What solves one slice of a group, told its lane, its scan, and the image it may begin at."""

    def work(job: tuple[int, Scan, FloatArray | None]) -> tuple[int, tuple[Scan, Result]]:
        lane, scan, neighbour = job
        problem = volume.problem(scan)
        operator = template.with_measurements(problem.measured.sinogram)
        solver = GpuAsyncRED(operator, volume.denoiser, **volume.options)
        solver.keep_workers(spares[lane], lane * solver.parallelism.workers if volume.at_once > 1 else None)
        return lane, (scan, volume.solve(problem, solver, neighbour if volume.warm else None, told))

    return work


def _begun_at(volume: Volume, image: FloatArray) -> FloatArray:
    """An image without its padding as the next slice's start, with zeros for it: what is kept is all that counts."""
    return np.pad(as_numpy(image, "image", 2), volume.pad, mode="edge")


class _Scans:
    """Slices as they are asked for, one after the other, read a few at a time."""

    def __init__(self, scan: Projections) -> None:
        frames, _, detectors = scan.data.shape
        self._scan = scan
        self._most = max(1, min(READ_SLICES, READ_BYTES // (frames * detectors * scan.data.dtype.itemsize)))
        self._rows: Iterator[Scan] = iter(())
        self._next = -1

    def take(self, index: int, wanted: Sequence[int]) -> Scan:
        """One slice; if the one after the last, from what was read with it."""
        if index != self._next:
            # Up to where the wanted ones follow each other.
            after = set(wanted)
            end = index + 1
            while end in after:
                end += 1
            self._rows = self._scan.slices(index, end, self._most)
        self._next = index + 1
        return next(self._rows)


def _check_indices(indices: Sequence[int], rows: int) -> None:
    if not indices:
        raise ValueError("no slices are asked for. Pass some, such as slices=range(0, 10), or None for all.")
    wrong = [index for index in indices if not 0 <= index < rows]
    if wrong:
        raise ValueError(f"slice {wrong[0]} isn't in the file: it has {rows} slices, 0 to {rows - 1}. Pass those.")
    if len(set(indices)) < len(indices):
        raise ValueError("a slice is asked for twice. Pass every one once.")
