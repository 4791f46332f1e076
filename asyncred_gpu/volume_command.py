"""`asyncred reconstruct --slices`: a volume into a folder, a file a slice; what is there already isn't made again.

Exit statuses: 0 done, 1 a slice that failed or diverged, 2 refused before it began, 130 interrupted.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .config.repeat import as_given, as_yaml
from .config.settings import ReconstructSettings
from .denoiser import load_denoiser, load_network, network_fingerprint
from .devices import DeviceError
from .exit_status import FAILED, INTERRUPTED, ended, failed, refused
from .going_on import SETTINGS, how_to_go_on
from .io import OutputFolder, open_projections
from .io.output import plain
from .io.projections import rows_of
from .one_run import claimed
from .reconstruct import beam_of, problem_name, reading_of, solver_arguments, warnings_of
from .report import versions
from .result import Result, Status
from .runtime.base import WorkerError
from .volume import Volume, VolumeSlice, plan_volume, run_volume
from .volume_display import VolumeDisplay
from .volume_files import SliceFiles, overview, save_volume


def reconstruct_slices(options: ReconstructSettings, folder: OutputFolder | None, words: Sequence[str]) -> int:
    """The whole command; the exit status is returned, errors are one message on standard error.

    Args:
        folder: of a volume that goes on; None: a new one.
    """
    goes_on = folder is not None
    try:
        volume = planned_volume(options)
        rows, cols = volume.first.wanted(np.empty(volume.first.image_shape, np.float32)).shape
        if folder is None:
            pixels = (1 + len(set(options.save) - {"tif"})) * len(volume.indices) * rows * cols
            folder = OutputFolder(options.output, f"{problem_name(options)}-slices", pixels)
    except (OSError, ValueError, TypeError, MemoryError, DeviceError) as error:
        return refused(error)
    with folder:
        used = used_settings(options, volume)
        try:
            if not goes_on:
                folder.write_text(SETTINGS, used)
        except OSError as error:
            return refused(error)
        if not options.quiet:
            print("".join(f"{line}\n" for line in warnings_of(volume.first, options)), end="", flush=True)
        try:
            with claimed(folder.path / SETTINGS):
                files = SliceFiles(folder.path, (rows, cols))
                if goes_on:
                    check_same(files, volume)
                if not options.quiet:
                    print(f"{len(volume.indices)} slices, as {volume.first.title}", flush=True)
                    print(f"rotation centre at detector {volume.center:.1f}", flush=True)
                _run(volume, files, options.quiet)
                finish(folder, files, volume, options, words, used)
        except ValueError as error:
            return refused(error)
        except (WorkerError, MemoryError, OSError) as error:
            return failed(error, f" Whole slices stay.{how_to_go_on(folder.path)}")
        except KeyboardInterrupt:
            return ended(f"interrupted: whole slices stay.{how_to_go_on(folder.path)}", INTERRUPTED)
    if not options.quiet:
        print(f"{len(volume.indices)} slices in {files.folder}")
    diverged = [index for index, told in files.told().items() if told.get("status") == Status.DIVERGED.name]
    if diverged:
        listed = ", ".join(map(str, diverged[:10]))
        return ended(f"error: diverged: slices {listed}. Use a larger --tau, or --method paper.", FAILED)
    return 0


def planned_volume(options: ReconstructSettings) -> Volume:
    """Everything checked, and what all slices have in common chosen."""
    assert options.input is not None and options.slices is not None
    scan = open_projections(options.input, reading_of(options))
    rows = rows_of(options.slices, scan)
    arguments = solver_arguments(options)
    scale = arguments.pop("intensity_scale", "auto")
    return plan_volume(
        scan,
        load_denoiser(options.denoiser, sigma=options.sigma),
        rows,
        center="auto" if options.center is None else options.center,
        size=options.size,
        pad=options.pad,
        every=options.every,
        beam=beam_of(options, scan.data.shape[0]),
        max_sweeps=options.sweeps,
        warm_start=options.warm_start,
        warm_sweeps=options.warm_sweeps,
        at_once=options.at_once,
        tol=options.tol,
        intensity_scale=scale,
        **arguments,
    )


def used_settings(options: ReconstructSettings, volume: Volume) -> str:
    """Text of settings.yaml: what was chosen is in it, so that a volume that goes on needn't choose again."""
    found = as_given(options) | {"center": volume.center, "intensity_scale": volume.scale}
    found |= {"tau": volume.options["tau"], "size": volume.first.facts["size"]}
    for name, option in (("num_workers", "workers"), ("block_shape", "block"), ("precision", "precision")):
        if volume.options.get(name) is not None:
            found[option] = volume.options[name]
    found["block"] = list(found["block"])
    ordered = {name: found[name] for name in type(options).model_fields if name in found}
    return as_yaml(ordered, "asyncred reconstruct")


def check_same(files: SliceFiles, volume: Volume) -> None:
    """Refuse to go on with other settings or other data, of which the first and the last slice that is there are read.

    Raises:
        ValueError: they aren't those of before.
    """
    told = files.told()
    there = [index for index in volume.indices if files.path(index).exists() and "sha256" in told.get(index, {})]
    others = [index for index in there if told[index].get("settings", settings_sum(volume)) != settings_sum(volume)]
    if others:
        raise ValueError(
            f"{files.path(others[0])} was made with other settings than those in {SETTINGS} now. Put that file back as "
            "it was, or begin anew in another folder."
        )
    for index in {*there[:1], *there[-1:]}:
        if volume.scan.slice(index).info["sha256_of_slice"] != told[index]["sha256"]:
            raise ValueError(
                f"slice {index} of {volume.scan.path} isn't what it was when {files.path(index)} was made: the data "
                "have changed. Go on with those of before, or begin anew in another folder."
            )


def settings_sum(volume: Volume) -> str:
    """A checksum of all that a slice's image depends on besides its data; the slices may be others."""
    size, beam = volume.first.facts["size"], plain(volume.beam.facts())  # as used, whether it was given or not
    common = (volume.center, size, beam, volume.pad, volume.every, volume.warm, volume.sweeps, volume.warm_sweeps)
    network = network_fingerprint(load_network(volume.denoiser))
    text = json.dumps([*common, volume.at_once, volume.tol, plain(volume.options), network], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _run(volume: Volume, files: SliceFiles, quiet: bool) -> None:
    """Every slice that isn't there yet."""
    settings = settings_sum(volume)
    with VolumeDisplay(len(volume.indices), quiet) as display:
        for one in run_volume(volume, files.read, display.progress):
            if one.result is not None:
                files.write(one.index, one.image, _told(one, one.result) | {"settings": settings})
            display.finished(one)


def _told(one: VolumeSlice, result: Result) -> dict[str, Any]:
    scan, last = one.scan, len(result.history["sweep"]) - 1
    assert scan is not None
    return {
        "status": result.status.name,
        "sweeps": result.history["sweep"][last] if last >= 0 else 0.0,
        "residual": result.history["residual"][last] if last >= 0 else None,
        "seconds": result.timings["run"],
        "clipped": scan.clipped,
        "dead_detectors": scan.dead_detectors,
        "sha256": scan.info["sha256_of_slice"],
        "notes": result.notes,
    }


def finish(
    folder: OutputFolder,
    files: SliceFiles,
    volume: Volume,
    options: ReconstructSettings,
    words: Sequence[str],
    used: str,
) -> None:
    """The record, the picture, and all slices in one file, if that was asked for; what is there isn't made again."""
    record = {
        "command": shlex.join(["asyncred", *words]),
        "problem": dict(volume.first.facts) | {"slices": options.slices},
        "solver": volume.options,
        "slices": files.told(),
        "versions": versions(),
    }
    title = f"{volume.scan.path.name}, {len(volume.indices)} slices of {files.shape[0]} × {files.shape[1]}"
    makers: dict[str, Callable[[Path], object]] = {
        "volume.png": lambda path: folder.write_figure(path.name, overview(files, volume.indices, title)),
        **{f"volume.{kind}": _saver(files, volume, record, used) for kind in options.save if kind != "tif"},
        "run.json": lambda path: folder.write_settings(path.name, record),
    }
    for name, make in makers.items():
        if not (folder.path / name).exists():
            make(folder.path / name)


def _saver(files: SliceFiles, volume: Volume, record: dict[str, Any], used: str) -> Callable[[Path], object]:
    return lambda path: save_volume(path, files, volume.indices, record, used)
