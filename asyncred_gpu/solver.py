"""GpuAsyncRED: asynchronous regularization by denoising, wired together.

Finds x with ∇g(x) + τ(x − D(x)) = 0 by block updates that don't wait for each other (Sun, Liu, Sun, Wohlberg,
Kamilov, ICLR 2021). Theorem 1 covers method="paper" with all measurements.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .arrays import checksum
from .automatic import Wanted, note_of
from .blocks import FloatArray, IndexArray, halo_crop
from .buffer import DoubleBuffer
from .checkpoint import State
from .choices import ORDERS
from .data_start import ITERATIONS, blurred, meet_data, usual_blur
from .denoiser import DenoiserSettings, network_fingerprint, resolve_halo
from .devices import check_device
from .engine import Engine, Limits, Pauses, growth_note, guarded
from .interrupts import RunInterrupted, asked_to_stop
from .keeping import Keeper, Keeping, check_settings, pause_after
from .method import Method
from .monitor import Monitor, StepGuard
from .operators.base import BlockOperator
from .operators.radon import RadonCT
from .precision import choose_precision, resolve_precision
from .preconditioner import Filter, Preconditioning, sharing
from .red import Step, StepConstants, step_length
from .result import TIMELINE, Progress, Result, Schedule, Status
from .runtime.base import Runtime, WorkerSetup
from .runtime.cpu import CpuRuntime, available_cores
from .runtime.cuda_setup import make_cuda_runtime
from .runtime.spares import SpareWorkers
from .scheduler import (
    FreeScheduler,
    OrderedScheduler,
    Pattern,
    PatternSampler,
    ReplayScheduler,
    Sampler,
    Scheduler,
    SyncScheduler,
    Ticket,
    make_sampler,
)
from .settings import (
    check_callbacks,
    check_choice,
    check_convolutional,
    check_count,
    check_image,
    check_minibatch,
    check_momentum,
    check_number,
    check_parallelism,
    check_prior,
    check_reference,
    check_replay,
    check_scale,
    make_grid,
    make_mask,
)
from .slots import slot_layout

if TYPE_CHECKING:
    from .tuning import Tuned

# The start image's percentile that counts as white: a few hot pixels don't.
WHITE_PERCENTILE = 99.9
# More of the start's intensity than this outside the field of view is no noise.
OUTSIDE_SHARE = 0.08
# Workers on a GPU if nobody says: a guess, so that they fill each other's gaps; gpu_acceptance.py measures it.
GPU_WORKERS = 4
# The denoiser's precision is judged on this many crops of the start image.
PRECISION_CROPS = 4
# Settings of the recorded run that its schedule carries out: a replay has them too, whatever the solver's own.
IN_A_SCHEDULE = ("seed", "step", "momentum", "sampling", "continuation", "data_updates")
# No limit in updates: what a 64-bit count holds, nearly.
UNLIMITED = 2**62

log = logging.getLogger(__name__)

RuntimeFactory = Callable[[WorkerSetup, int, FloatArray], Runtime]


@dataclass(frozen=True)
class _Prepared:
    """A run's start: the image, the intensity scale, each block's step, and what a replay must have in common.

    filter: the preconditioner of the steps, or None. first_strength: of the denoiser when the run begins.
    fit_seconds: what bringing the image to the data took.
    """

    image: FloatArray
    scale: float
    precision: str
    steps: tuple[Step, ...]
    filter: Filter | None
    first_strength: float
    common: Mapping[str, Any]
    notes: tuple[str, ...]
    fit_seconds: float


class GpuAsyncRED:
    """Asynchronous RED on blocks of an image.

    Args:
        operator: the data term, `RadonCT` or any `BlockOperator`.
        denoiser: what `load_denoiser` returns or takes; a module or callable of yours returns the residual x − D(x).
            With `load_denoiser(name, sigma="auto")` σ is chosen before the first run, see `tune`.
        tau: weight τ of the residual beside the data term as the operator scales it (`RadonCT` to L = 1); "auto":
            chosen before the first run, see `tune`.
        block_shape: (rows, cols) of a block; None: the operator's choice, at least four blocks a worker (`BlockCS`: its
            own blocks, and no others).
        pad: halo in pixels; "exact": the network's receptive radius, the least that changes nothing, which is measured
            if the network doesn't say it; or "full" for one that isn't local: it is given the whole image as it is, and
            every update costs as much as denoising all of it.
        num_workers: updates at a time; None: one a core, or four a GPU.
        max_staleness: λ, the most commits between a read and its commit; None: max(4·workers, blocks), or, if the
            order isn't "free", the updates in flight − 1.
        minibatch: angles or rows an update's gradient uses (SG); None: all (BG).
        step: "theory" 1/((1+2λ)(L+2τ)), "global" 1/(L+2τ), "block" 1/(βL_i+2τ), or a number; in CT also
            "preconditioned", along a direction that takes the scan's blurring out (preconditioner.py). "auto": by
            `method`.
        momentum: heavy ball a block, with restart, in [0, 1), or "auto": by `method`.
        sampling: "cyclic" (one random order, in which neighbours are apart), "epoch" (random permutations), "uniform"
            (independent draws), or "auto": by `method`.
        order: "free"; "ordered": the same image every time, bit for bit; "sync": likewise, with a barrier after every
            round of updates, the baseline Sync-RED.
        intensity_scale: c in R_c(x) = c·R(x/c); "auto": the 99.9th percentile of the start image; 1.0: off.
        nonnegative: clip every block at its commit.
        field_of_view: None, "circle" or a mask; pixels outside stay zero, so the whole object must lie inside.
        precision: "float32", "bfloat16", on a GPU also "tf32" and "float16", or "auto": on the CPU bfloat16 where
            it is faster here, on a GPU the fastest whose error on the first crops is small.
        blocks_per_launch: updates a worker takes at a time.
        device: "auto" (a GPU if one works, else the CPU), "cpu" (a pool of processes), "cuda", "cuda:1", or several
            GPUs, ["cuda:0", "cuda:1"], among which the workers are dealt out.
        seed: of the block choice and the minibatches.
        method: what "auto" stands for. "fast": in CT step="preconditioned" with momentum 0.5 (0.3 without data
            updates), else step="block" with 0.8 (none with over half of the blocks in flight); sampling="cyclic"; a
            continuation. "paper": what its theorems cover, step="theory", no momentum, sampling="uniform", no
            continuation. The end is the same.
        continuation: f ≥ 1, how many times stronger the denoiser is when the run begins, R_{fc}; it loses half of that
            every sweep, until it is the network itself. "auto": with "fast" up to 16 from a start of the operator's,
            the worse it fits the measurements; 1 (none) from an image. With data updates a quarter is left after a
            sweep, and "auto" is 4.
        data_updates: how many updates of the data term alone follow each that asks the denoiser: with R = x − z, the z
            that it last made of the block, cheap where the denoiser isn't. The block then goes along with its z
            (`follow` of red.py), and the momentum, z's, grows to what it is over the first sweeps. In CT the run then
            begins at what six conjugate gradients make of x0, FBP blurred first (data_start.py), so that there is
            little for them to mend. "auto": 3 with "fast" and the preconditioned step, 4 with prior="pnp", else 0, as
            the paper has it; more with τ below 0.0025 (0.00125), which brings back less at a time: 3·0.0025/τ
            (4·0.00125/τ), up to 16.
        prior: "red": the solution is RED's, ∇g(x) + τ(x − D(x)) = 0. "pnp": plug-and-play ADMM's, x = D(x − ∇g(x)/τ),
            by the same asynchronous updates (`follow` of red.py); in CT often higher, at about half of RED's τ. No
            theorem covers it; τ and σ can't be chosen by `tune`.
    Raises:
        ValueError, TypeError: settings that can't be, before any work.
        DeviceError: a device that isn't there.
    """

    def __init__(
        self,
        operator: BlockOperator,
        denoiser: Any,
        tau: float | str = 0.02,
        block_shape: tuple[int, int] | None = None,
        pad: int | str = "exact",
        num_workers: int | None = None,
        max_staleness: int | None = None,
        minibatch: int | None = None,
        step: str | float = "auto",
        momentum: float | str = "auto",
        sampling: str = "auto",
        order: str = "free",
        intensity_scale: float | str = "auto",
        nonnegative: bool = False,
        field_of_view: Any = None,
        precision: str = "auto",
        blocks_per_launch: int = 1,
        device: str | Sequence[str] = "auto",
        seed: int = 0,
        method: str = "fast",
        continuation: float | str = "auto",
        data_updates: int | str = "auto",
        prior: str = "red",
    ) -> None:
        self.devices = check_device(device)
        self._wanted = Wanted.of(denoiser, tau)
        self.network = self._wanted.network
        self.tau = math.nan if self._wanted.tau is None else self._wanted.tau
        self.tuned: Tuned | None = None
        self._spares: SpareWorkers | None = None
        self._first_core: int | None = None
        self.halo, self.whole = resolve_halo(pad, self.network), pad == "full"
        self.order = check_choice("order", order, ORDERS)
        self.intensity_scale = self._given_scale = check_scale(intensity_scale)
        self.nonnegative = bool(nonnegative)
        self.precision = resolve_precision(precision, self._kind)
        self.seed = check_count("seed", seed, 0)
        per_launch = check_count("blocks_per_launch", blocks_per_launch, 1)
        wanted = self._default_workers() if num_workers is None else check_count("num_workers", num_workers, 1)
        grid = make_grid(block_shape, operator.grid, wanted * per_launch, operator.blocks_fixed)
        # With momentum half of the blocks may be in flight.
        most = max(1, len(grid) // (per_launch if momentum == 0 or method == "paper" else 2 * per_launch))
        workers = min(wanted, most) if num_workers is None else wanted
        self.parallelism = check_parallelism(workers, per_launch, max_staleness, len(grid), self.order)
        # Without a prior P is next to the inverse of what blurs, which takes the noise along.
        usual = "preconditioned" if operator.convolutional and self.tau != 0 else "block"
        crowded = 2 * self.parallelism.in_flight > len(grid)
        choices = (method, step, momentum, sampling, continuation)
        self.prior = check_prior(prior, self.tau, self.chooses)
        gap = operator.missing_angle if isinstance(operator, RadonCT) else 0.0
        choose = partial(Method.of, *choices, usual=usual, crowded=crowded, dual=self.prior == "pnp", gap=gap)
        self._method_of = partial(choose, data_updates=data_updates)
        self.method = self._method_of(tau=self.tau)
        check_momentum(self.method.momentum, self.parallelism.in_flight, len(grid))
        check_convolutional(self.method.step, operator.convolutional)
        self._trial_options: dict[str, Any] = {
            "block_shape": block_shape,
            "pad": pad,
            "num_workers": num_workers,
            "step": self.method.step,
            # A trial has no data updates.
            "momentum": 0.0 if self.prior == "pnp" else choose(data_updates=0).momentum,
            "sampling": self.method.sampling,
            "nonnegative": nonnegative,
            "field_of_view": field_of_view,
            "precision": precision,
            "blocks_per_launch": blocks_per_launch,
            "device": device,
            "seed": seed,
        }
        self.operator = operator.with_blocks(grid)
        self.minibatch = check_minibatch(minibatch, operator.measurements)
        self.mask = make_mask(field_of_view, operator.image_shape)

    @property
    def _kind(self) -> str:
        """What the devices are: "cpu" or "cuda"."""
        return self.devices[0].partition(":")[0]

    @property
    def _pattern(self) -> Pattern:
        """Which updates ask the denoiser."""
        return Pattern(len(self.operator.grid), self.method.data_updates)

    def _default_workers(self) -> int:
        return len(available_cores()) if self._kind == "cpu" else GPU_WORKERS * len(self.devices)

    @property
    def chooses(self) -> bool:
        """Whether τ or σ is "auto"; `tuned` is what was chosen, None before."""
        return self._wanted.anything

    def tune(self, x0: Any = "auto", **options: Any) -> Tuned:
        """Choose what is "auto", τ or σ or both, by `asyncred_gpu.tuning.tune`, and use it; `run` does so if need be.

        Args:
            x0: as of `run`.
            options: of `tune`: method, reference, taus, sigmas, max_sweeps, time_limit, … By default τ and σ are found
                by generalized cross-validation, without the truth. Or options of `GpuAsyncRED` for the trials alone.
        Raises:
            ValueError, TypeError: nothing is "auto", or options that can't be. TuningError: every trial diverged.
            SearchInterrupted: Ctrl-C after the first trial, with the best so far; nothing is chosen for this solver.
        """
        if not self.chooses:
            raise ValueError('Neither tau nor sigma is "auto", so there is nothing to choose. Pass tau="auto".')
        self.tuned = self._wanted.choose(self.operator, x0, self._given_scale, self._trial_options | options)
        self.tau, self.network = self.tuned.tau, self.tuned.denoiser
        self.intensity_scale = self.tuned.intensity_scale
        self.method = self._method_of(tau=self.tau)
        return self.tuned

    def _choose_what_is_wanted(self, x0: Any) -> tuple[Any, tuple[str, ...]]:
        """Where the run begins, and a note, after σ and τ are chosen."""
        if not self.chooses:
            return x0, ()
        tuned = self.tuned or self.tune(x0, progress=sys.stderr.isatty())
        begin = tuned.image if isinstance(x0, str) and x0 == "auto" else x0
        return begin, (note_of(tuned, self._wanted), *tuned.notes)

    def run(
        self,
        max_sweeps: float | None = 40,
        max_updates: int | None = None,
        time_limit: float | None = None,
        tol: float | None = None,
        x0: Any = "auto",
        reference: Any = None,
        callbacks: Sequence[Callable[[Progress], None]] = (),
        replay: Schedule | str | Path | None = None,
        checkpoint: str | Path | None = None,
        checkpoint_every: float | None = None,
        resume: bool | str | Path = False,
    ) -> Result:
        """Reconstruct.

        Args:
            max_sweeps: a sweep is as many updates that ask the denoiser as there are blocks, and the data updates that
                follow. The first limit met ends the run.
            max_updates: a limit in updates of all kinds.
            time_limit: seconds, from when the workers are ready.
            tol: stop at ‖G‖²/‖G₀‖² ≤ tol, from the blocks' last gradients.
            x0: "auto" (FBP for CT, the adjoint for CS; after a search for τ its best image), "adjoint", "zeros", for CT
                "fbp", for CS "least-squares", or an image. With data updates it is first brought to the data.
            reference: the true image, for the SNR.
            callbacks: called after every commit with a `Progress`, in this process; keep them short.
            replay: a schedule to repeat instead of drawing blocks; limits are then its own.
            checkpoint: a file in which the run's state is kept, so that it can go on after whatever ended it. A new
                one, unless the run goes on from it.
            checkpoint_every: sweeps from one to the next; None: 5, or as before. For each the run pauses until what is
                under way is done. With order="ordered" or "sync" these pauses are part of the order: the image is the
                same, bit for bit, with the same `checkpoint_every`, however often the run was killed in between.
            resume: the checkpoint to go on from; or True: from `checkpoint`, if it is there. Settings and data must be
                those of before; limits count from the run's very begin, but for the time limit. x0 isn't looked at.
        Raises:
            ValueError, TypeError: input that can't be, before any work.
            CheckpointError: a checkpoint that can't be gone on from (a ValueError).
            WorkerError: a worker failed; nothing of the pool is left.
            RunInterrupted: Ctrl-C, a KeyboardInterrupt with the `result` so far. A second Ctrl-C ends it at once.
        """
        keeping = Keeping.of(checkpoint, checkpoint_every, resume, replay is not None)
        return self._run(None, max_sweeps, max_updates, time_limit, tol, x0, reference, callbacks, replay, keeping)

    def keep_workers(self, spares: SpareWorkers, first_core: int | None = None) -> None:
        """Take the CPU's worker processes from there, and leave them there, for runs one after the other.

        Args:
            first_core: of those there are, for the first worker, so that runs side by side take different ones.
        """
        self._spares, self._first_core = spares, first_core

    def prepared_operator(self) -> Any:
        """The operator, on this solver's blocks; on a GPU, what comes before a run is then computed there."""
        if self._kind != "cpu":
            self._open()
        return self.operator

    def _open(self) -> RuntimeFactory:
        """What makes the runtime; on a GPU the operator prepares itself there, too."""
        if self._kind == "cpu":
            if self._spares is None:
                return CpuRuntime
            if self._first_core is None:
                return partial(CpuRuntime, spares=self._spares)
            return partial(CpuRuntime, spares=self._spares, first_core=self._first_core)
        from .runtime.cuda_device import CudaDevice  # needs CuPy

        devices = [CudaDevice(name) for name in self.devices]
        self.operator.prepare_on(devices[0].torch, devices[0].kernels)
        return partial(make_cuda_runtime, devices, deterministic=self.order != "free")

    def _run(
        self,
        make_runtime: RuntimeFactory | None,
        max_sweeps: float | None,
        max_updates: int | None,
        time_limit: float | None,
        tol: float | None,
        x0: Any,
        reference: Any,
        callbacks: Sequence[Callable[[Progress], None]],
        replay: Schedule | str | Path | None,
        keeping: Keeping | None = None,
    ) -> Result:
        check_callbacks(callbacks)
        state = None if keeping is None else keeping.load(slot_layout(self.operator))
        if state is not None and self.chooses and self.tuned is None:
            self._choose_as_before(state)
        schedule = None if replay is None else self._check_schedule(replay)
        limit = partial(self._limit, max_sweeps, max_updates, schedule, time_limit is not None)
        limit()  # before anything is chosen: what can't be is refused; and once more after it: τ has its data updates
        seconds_limit = None if time_limit is None else check_number("time_limit", time_limit, 0.0)
        tolerance = None if tol is None else check_number("tol", tol, 0.0)
        truth = None if reference is None else check_reference(reference, self.operator.image_shape)
        if schedule is not None and self.chooses and self.tuned is None:
            raise ValueError(
                "A schedule belongs to one τ and one network, and here one of them is still to be chosen. Pass "
                "those of the recorded run (schedule.settings)."
            )
        began, searches = time.perf_counter(), self.chooses and self.tuned is None and state is None
        x0, chosen = self._choose_what_is_wanted(x0) if state is None else (x0, ())
        begun = time.perf_counter()
        make_runtime = make_runtime or self._open()
        prepared = self._prepare(x0, schedule) if state is None else self._prepare_again(state)
        updates, finished = limit()
        limits = Limits(seconds_limit, tolerance, finished)
        grid = self.operator.grid
        monitor = Monitor(grid, prepared.image, truth, self._total_sweeps(updates, schedule))
        setup = time.perf_counter()
        denoiser = DenoiserSettings(self.halo, prepared.precision, prepared.scale, self.whole)
        worker_setup = WorkerSetup(
            self.operator,
            self.network,
            denoiser,
            self.tau,
            self.mask,
            truth,
            self.parallelism.per_launch,
            self.minibatch,
            prepared.filter,
            bool(prepared.common["centered"]),
            self.prior == "pnp",
        )
        with closing(make_runtime(worker_setup, self.parallelism.workers, prepared.image)) as runtime:
            parts = self._engine(runtime, monitor, prepared, updates, limits, callbacks, schedule, keeping, state)
            engine, keeper = parts
            if state is None:
                runtime.prime()
            else:
                assert keeper is not None
                keeper.go_on_from(state)
            started = time.perf_counter()
            log.info("run of %s began, setup %.2f s, workers %.2f s", self._said(), setup - begun, started - setup)
            with asked_to_stop(engine.interrupt):
                status = engine.run()
            log.info("run ended after %d commits, %.2f s: %s", len(engine.commits), engine.seconds, status.name)
            image = engine.image()
            seconds = engine.seconds
        history = monitor.history()
        grown = growth_note(history, len(self.operator.grid), bool(prepared.common["centered"]))
        if grown is not None and status is not Status.DIVERGED:
            engine.note(grown)
        timings = {"setup": setup - begun, "fit": prepared.fit_seconds, "start": started - setup, "run": seconds}
        if searches:
            timings = {"tuning": begun - began, **timings}
        result = Result(
            image=self.operator.like_input(image),
            status=status,
            history=history,
            schedule=self._schedule(engine, prepared, schedule),
            settings=self._settings(prepared, schedule),
            notes=tuple(dict.fromkeys((*chosen, *prepared.notes, *runtime.notes, *engine.notes))),
            timings=timings,
            timeline=columns(engine.timeline),
        )
        if status is Status.INTERRUPTED:
            raise RunInterrupted(result)
        return result

    def _said(self) -> str:
        """For the log."""
        grid = self.operator.grid
        size, workers = f"{grid.image_shape[0]}×{grid.image_shape[1]}", self.parallelism.workers
        return f"{size} in {len(grid)} blocks by {workers} workers on {', '.join(self.devices)}"

    # --- the start ---------------------------------------------------------------------------------------------------

    def _limit(
        self, max_sweeps: float | None, max_updates: int | None, schedule: Schedule | None, timed: bool
    ) -> tuple[int, Status]:
        """How many updates at most, and what ending there is called."""
        if schedule is not None:
            return len(schedule), Status.REPLAYED
        blocks = len(self.operator.grid)
        sweeps = math.inf
        if max_sweeps is not None:
            sweeps = self._pattern.total(round(check_number("max_sweeps", max_sweeps, 0.0) * blocks))
        updates = math.inf if max_updates is None else check_count("max_updates", max_updates, 0)
        if sweeps == updates == math.inf:
            if timed:
                return UNLIMITED, Status.MAX_UPDATES
            raise ValueError(
                "max_sweeps, max_updates and time_limit are all None: nothing ends the run. Pass one of them."
            )
        if updates < sweeps:
            return int(updates), Status.MAX_UPDATES
        return int(sweeps), Status.MAX_SWEEPS

    def _total_sweeps(self, updates: int, schedule: Schedule | None) -> float:
        if updates == UNLIMITED:
            return math.inf
        asking = self._pattern.asking(updates) if schedule is None else int(np.count_nonzero(schedule.strength))
        return asking / len(self.operator.grid)

    def _prepare(self, x0: Any, schedule: Schedule | None) -> _Prepared:
        image = self.operator.start(x0) if isinstance(x0, str) else check_image("x0", x0, self.operator.image_shape)
        recorded = None if schedule is None else float(schedule.settings["intensity_scale"])
        scale = choose_scale(self.intensity_scale if recorded is None else recorded, image, self.operator)
        doubts = self.operator.doubts() if isinstance(self.operator, RadonCT) else ()
        notes = (*doubts, *outside_notes(image, self.mask))
        if self.mask is not None:
            image = image * self.mask
        if self.nonnegative:
            image = np.maximum(image, 0)
        image = np.ascontiguousarray(image, np.float32)
        precision, measured = self._precision(image, scale, schedule)
        shared = self._shared(schedule)
        centered = bool(self.method.data_updates) if schedule is None else schedule.centered
        fit = ITERATIONS if self.method.data_updates and self.operator.convolutional else 0
        if schedule is not None:
            fit = int(schedule.settings.get("fit") or 0)  # schedules recorded before there was one have none
        blur = usual_blur(self.tau) if fit and isinstance(x0, str) and x0 in ("auto", "fbp") else 0.0
        if schedule is not None:
            blur = float(schedule.settings.get("blur") or 0.0)  # likewise
        common = self._common(image, precision, shared, centered, fit, blur)
        if schedule is not None:
            check_replay(schedule.settings, common)
        # Also for a replay: the workers' copies of the operator then have ‖A‖² and needn't compute it.
        conditioning = None if shared is None else self.operator.preconditioning(self.tau, shared)
        steps = tuple(self._step(i, conditioning) for i in range(len(self.operator.grid)))
        filter_ = None if conditioning is None else conditioning.filter
        began = time.perf_counter()
        if fit:
            image = blurred(image, blur, self.mask)
            image = meet_data(self.operator, image, self.tau, self.mask, fit, self.devices[0])
            if self.nonnegative:
                image = np.maximum(image, 0)
        fit_seconds = time.perf_counter() - began
        first = self.method.continuation
        if schedule is not None:  # its updates have their own
            first = float(schedule.settings.get("continuation", 1.0))
        elif first is None:
            first = self.method.first_strength(self.operator, image) if isinstance(x0, str) else 1.0
        return _Prepared(image, scale, precision, steps, filter_, first, common, (*notes, *measured), fit_seconds)

    def _prepare_again(self, state: State) -> _Prepared:
        """As the run had it that goes on; what isn't in the checkpoint comes out the same."""
        image = self.operator.grid.join([slot.pixels for slot in state.slots])
        shared, facts = self._shared(None), state.facts
        conditioning = None if shared is None else self.operator.preconditioning(self.tau, shared)
        steps = tuple(self._step(i, conditioning) for i in range(len(self.operator.grid)))
        filter_ = None if conditioning is None else conditioning.filter
        centered = bool(self.method.data_updates)
        fit = ITERATIONS if self.method.data_updates and self.operator.convolutional else 0
        common = self._common(image, facts["precision"], shared, centered, fit, facts["blur"])
        common |= {"start": facts["start"]}
        scale, first, notes = facts["intensity_scale"], facts["first_strength"], tuple(facts["notes"])
        return _Prepared(image, scale, facts["precision"], steps, filter_, first, common, notes, 0.0)

    def _choose_as_before(self, state: State) -> None:
        """τ and σ as they were chosen for the run that goes on."""
        self.tau, sigma = float(state.settings["tau"]), state.settings.get("sigma")
        if self._wanted.family is not None and sigma is not None:
            self.network = self._wanted.family.at(sigma)
        self.method = self._method_of(tau=self.tau)

    def _precision(self, image: FloatArray, scale: float, schedule: Schedule | None) -> tuple[str, tuple[str, ...]]:
        """The denoiser's precision, and a note if it was chosen by its error on the first crops."""
        if self.precision is not None:
            return self.precision, ()
        if schedule is not None:
            return resolve_precision(str(schedule.settings["precision"]), self._kind) or "float32", ()
        device, crops = torch.device(self.devices[0]), np.stack(self._first_crops(image)) / np.float32(scale)
        chosen, errors = choose_precision(self.network, self.halo, torch.from_numpy(crops[:, None]), device)
        found = ", ".join(f"{name} {error:.1e}" for name, error in errors.items()) or "not to be had in another"
        return chosen, (
            f"precision='auto' took {chosen}: the denoiser's relative error on the first crops is {found}.",
        )

    def _first_crops(self, image: FloatArray) -> list[FloatArray]:
        """A few crops of one shape, as the denoiser is given them."""
        if self.whole:
            return [image]
        grid = self.operator.grid
        alike = [index for index in range(len(grid)) if grid.window(index).shape == grid.window(0).shape]
        return [halo_crop(grid, index, self.halo).of(image) for index in alike[:PRECISION_CROPS]]

    def _shared(self, schedule: Schedule | None) -> float | None:
        """The preconditioner's s, for these blocks in flight or as it was recorded; None for other steps."""
        if self.method.step != "preconditioned":
            return None
        if schedule is not None and schedule.settings.get("preconditioned") is not None:
            return float(schedule.settings["preconditioned"])
        operator, blocks = self.operator, len(self.operator.grid)
        largest = max(operator.block_lipschitz(index) for index in range(blocks))
        omega = operator.lipschitz / largest if largest else 1.0
        # One angle of a minibatch counts for as many as were left out.
        left_out = 1.0 if self.minibatch is None else operator.measurements / self.minibatch
        return sharing(self.parallelism.in_flight, omega, blocks) * left_out

    @property
    def _minibatch_factor(self) -> float:
        """How many times larger a minibatch's Lipschitz constant is."""
        return 1.0 if self.minibatch is None else self.operator.minibatch_factor(self.minibatch)

    def _step(self, block: int, conditioning: Preconditioning | None) -> Step:
        factor = self._minibatch_factor
        constants = StepConstants(
            lipschitz=factor * self.operator.lipschitz,
            block_lipschitz=factor * self.operator.block_lipschitz(block),
            tau=self.tau,
            staleness=self.parallelism.max_staleness,
            in_flight=self.parallelism.in_flight,
            blocks=len(self.operator.grid),
            preconditioned=1.0 if conditioning is None else factor * conditioning.norm(block),
        )
        return Step(step_length(self.method.step, constants), self.method.momentum, self.nonnegative)

    # --- the engine --------------------------------------------------------------------------------------------------

    def _engine(
        self,
        runtime: Runtime,
        monitor: Monitor,
        prepared: _Prepared,
        updates: int,
        limits: Limits,
        callbacks: Sequence[Callable[[Progress], None]],
        schedule: Schedule | None,
        keeping: Keeping | None,
        state: State | None,
    ) -> tuple[Engine, Keeper | None]:
        blocks, pattern = len(self.operator.grid), self._pattern
        buffer = DoubleBuffer(blocks)
        guard = StepGuard(blocks) if schedule is None else None
        scheduler: Scheduler
        centered, dual = bool(prepared.common["centered"]), self.prior == "pnp"
        if schedule is not None:
            replayed = scheduler = ReplayScheduler(schedule.block.tolist(), schedule.read.tolist())
        else:
            sampler = self._sampler()
            scheduler = self._scheduler(updates, sampler)

        def plan(ticket: Ticket) -> tuple[Step, int]:
            if schedule is not None:
                commit = replayed.commit_number(ticket.number)
                length, inertia, stronger = (
                    float(values[commit]) for values in (schedule.step, schedule.momentum, schedule.strength)
                )
                step = Step(length, inertia, self.nonnegative, stronger, centered, dual)
                return step, int(schedule.draw[commit])
            first, sweeps = prepared.first_strength, pattern.asking(ticket.number) / blocks
            inertia, stronger = self.method.momentum_at(first, sweeps), self.method.strength(first, int(sweeps))
            if pattern.keeps(ticket.number):
                inertia, stronger = 0.0, 0.0
            step = prepared.steps[ticket.block]._replace(momentum=inertia, strength=stronger)
            return guarded(step._replace(centered=centered, dual=dual), guard, ticket.block), ticket.number

        seed = self.seed if schedule is None else int(schedule.settings["seed"])

        def subset(draw: int) -> IndexArray | None:
            return draw_minibatch(seed, draw, self.operator.measurements, self.minibatch)

        per_launch = self.parallelism.per_launch
        engine = Engine(
            scheduler,
            buffer,
            runtime,
            monitor,
            guard,
            plan,
            subset,
            limits,
            len(self.operator.grid),
            per_launch,
            tuple(callbacks),
        )
        engine.join = self.operator.grid.join
        if keeping is None or schedule is not None:
            return engine, None
        every = keeping.interval(state)
        settings = self._settings(prepared, None)
        if self.order != "free":  # where the pauses are part of the order
            settings["checkpoint_every"] = every
        if state is not None:
            check_settings(keeping.path, state, settings)
        facts = {
            "checkpoint_every": every,
            "precision": prepared.precision,
            "intensity_scale": prepared.scale,
            "first_strength": prepared.first_strength,
            "blur": prepared.common["blur"] or 0.0,
            "start": prepared.common["start"],
            "notes": list(prepared.notes),
        }
        keeper = Keeper(keeping.path, runtime, buffer, sampler, monitor, guard, engine, settings, facts)
        engine.pauses = Pauses(pause_after(pattern, blocks, every), keeper.keep, at_end=self.order == "free")
        return engine, keeper

    def _scheduler(self, updates: int, sampler: Sampler) -> Scheduler:
        in_flight = self.parallelism.in_flight
        if self.order == "ordered":
            return OrderedScheduler(sampler, in_flight, updates)
        if self.order == "sync":
            return SyncScheduler(sampler, in_flight, updates)
        return FreeScheduler(sampler, in_flight, self.parallelism.max_staleness, updates)

    def _sampler(self) -> Sampler:
        name, layout = self.method.sampling, self.operator.grid.layout
        asking = make_sampler(name, layout, self.seed)
        if not self.method.data_updates:
            return asking
        # Both in the same order, so that neighbours stay apart from one kind to the other; but draws are independent.
        keeping = make_sampler(name, layout, (self.seed, 1) if name == "uniform" else self.seed)
        return PatternSampler(self._pattern, asking, keeping)

    # --- what a run says of itself -----------------------------------------------------------------------------------

    def _common(
        self, start: FloatArray, precision: str, shared: float | None, centered: bool, fit: int, blur: float
    ) -> dict[str, Any]:
        """What a schedule depends on besides its own arrays; `start` before it is brought to the data."""
        return {
            "image_shape": list(self.operator.image_shape),
            "block_shape": list(self.operator.grid.block_shape),
            "tau": self.tau,
            "halo": "full" if self.whole else self.halo,
            "preconditioned": shared,  # None also of schedules recorded before there was one
            "centered": centered or None,  # likewise
            "fit": fit or None,
            "blur": blur or None,
            "prior": None if self.prior == "red" else self.prior,
            "minibatch": self.minibatch,
            "precision": precision,
            "nonnegative": self.nonnegative,
            "measurements": self.operator.fingerprint,
            "denoiser": network_fingerprint(self.network),
            "start": checksum(start),
            "field_of_view": None if self.mask is None else checksum(self.mask),
        }

    def _settings(self, prepared: _Prepared, schedule: Schedule | None) -> dict[str, Any]:
        """Every setting as it is used, a replayed schedule's included, ready for JSON; data and weights by checksum."""
        recorded = {} if schedule is None else schedule.settings
        return dict(prepared.common) | {
            **self.operator.details,
            "intensity_scale": prepared.scale,
            "step": self.method.step,
            "momentum": self.method.momentum,
            "sampling": self.method.sampling,
            "continuation": prepared.first_strength,
            "data_updates": self.method.data_updates,
            "order": self.order,
            "num_workers": self.parallelism.workers,
            "blocks_per_launch": self.parallelism.per_launch,
            "max_staleness": self.parallelism.max_staleness,
            "device": ",".join(self.devices),
            "seed": self.seed,
            **({} if self.tuned is None else {"sigma": self.tuned.sigma}),
            **{name: recorded[name] for name in IN_A_SCHEDULE if name in recorded},
        }

    def _check_schedule(self, replay: Schedule | str | Path) -> Schedule:
        if not isinstance(replay, Schedule | str | Path):
            raise TypeError(f"replay is a {type(replay).__name__}. Pass result.schedule, or the path it was saved to.")
        schedule = replay if isinstance(replay, Schedule) else Schedule.load(replay)
        schedule.check(len(self.operator.grid))
        if not schedule.centered and not schedule.strength.all():
            raise ValueError(
                "The schedule has updates of the data term alone from before blocks went along with their centers. "
                "Replay it with the version that recorded it."
            )
        return schedule

    def _schedule(self, engine: Engine, prepared: _Prepared, replayed: Schedule | None) -> Schedule:
        commits, settings = engine.commits, self._settings(prepared, replayed)
        return Schedule(
            block=np.array([commit.block for commit in commits], np.int64),
            read=np.array([commit.read for commit in commits], np.int64),
            commit=np.arange(len(commits), dtype=np.int64),
            step=np.array([commit.step.length for commit in commits], np.float64),
            momentum=np.array([commit.step.momentum for commit in commits], np.float64),
            strength=np.array([commit.step.strength for commit in commits], np.float64),
            draw=np.array([commit.draw for commit in commits], np.int64),
            settings=settings,
        )


def columns(rows: Sequence[Sequence[float]]) -> dict[str, Any]:
    """A timeline's rows as arrays by name."""
    table = np.array(rows, np.float64).reshape(-1, len(TIMELINE))
    whole = ("worker", "block", "asked")
    return {name: table[:, i].astype(np.int64) if name in whole else table[:, i] for i, name in enumerate(TIMELINE)}


def intensity_scale_of(image: FloatArray) -> float:
    """What counts as white in the image: its 99.9th percentile, or 0 if that isn't positive."""
    return max(0.0, float(np.percentile(image, WHITE_PERCENTILE)))


def choose_scale(scale: float | None, start: FloatArray, operator: BlockOperator) -> float:
    """The intensity scale c: the one given, or what counts as white in the start, or else in the operator's own."""
    if scale is not None:
        return scale
    return intensity_scale_of(start) or intensity_scale_of(operator.start("auto")) or 1.0


def outside_notes(image: FloatArray, mask: FloatArray | None) -> tuple[str, ...]:
    """A note if the object reaches outside the field of view: the measurements then can't be met inside it alone."""
    if mask is None:
        return ()
    total, outside = float(np.sum(image, dtype=np.float64)), float(np.sum(image * (1 - mask), dtype=np.float64))
    if total <= 0 or outside <= OUTSIDE_SHARE * total:
        return ()
    return (
        f"{100 * outside / total:.0f} % of the start image lies outside the field of view, where pixels are held at "
        "zero: expect a bright rim. Use a larger image or field_of_view=None (--field-of-view none); or the centre, or "
        "the unit of the measurements, is wrong.",
    )


def draw_minibatch(seed: int, draw: int, measurements: int, count: int | None) -> IndexArray | None:
    """`count` of the measurements, sorted, uniform without replacement; a function of seed and draw alone."""
    if count is None:
        return None
    random = np.random.default_rng((seed, draw))
    return np.sort(random.choice(measurements, count, replace=False)).astype(np.intp)
