"""What is left of a run: images, history, schedule, settings and figures in its folder, and a summary to print."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config.repeat import as_used, as_yaml, method_note
from .config.settings import ReconstructSettings
from .convergence import convergence_figure
from .experiments import Problem, prediction_error
from .figures import comparison_figure
from .html_report import page
from .io import OutputFolder
from .io.images import save_image
from .metrics import psnr, snr, ssim
from .result import Result
from .run_folder import read_run
from .solver import GpuAsyncRED

Image = NDArray[np.float32]
Scores = Mapping[str, Mapping[str, float]]

FBP, RED = "FBP", "Async-RED"
PACKAGES = ("asyncred-gpu", "numpy", "scipy", "torch", "astra-toolbox", "scikit-image", "h5py", "tifffile")


@dataclass(frozen=True)
class Setup:
    """All that is checked and built before a run.

    start: the whole FBP. words: the command's. begin: the image to begin at, if one was given.
    """

    options: ReconstructSettings
    problem: Problem
    solver: GpuAsyncRED
    start: Image
    words: tuple[str, ...]
    begin: Image | None = None

    @property
    def x0(self) -> Any:
        """Where the run begins: the image given, the search's best, or the operator's own start."""
        if self.begin is not None:
            return self.begin
        return "auto" if self.solver.tuned is None else self.solver.tuned.image

    @property
    def settings_file(self) -> str:
        """Text of settings.yaml, from which the run can be repeated."""
        used = as_used(self.options, self.problem.facts, self.solver)
        return as_yaml(used, "asyncred reconstruct", method_note(self.options, self.solver.method))

    @property
    def fbp(self) -> Image:
        """FBP cut to the field of view, as the reconstruction is."""
        mask = self.solver.mask
        return self.start if mask is None else self.start * mask


def write_report(folder: OutputFolder, setup: Setup, result: Result) -> str:
    """Write everything into the folder; the summary says the numbers and where they are."""
    images = {FBP: setup.fbp, RED: np.asarray(result.image, np.float32)}
    scores = judge(images, setup)
    images = {name: setup.problem.wanted(image) for name, image in images.items()}
    record = _settings(setup, result, scores)
    used = setup.settings_file
    for kind in setup.options.save:
        save_image(folder.new_file(f"reconstruction.{kind}"), images[RED], record, used)
    folder.write_image("fbp.tif", images[FBP])
    if setup.problem.reference is not None:
        folder.write_image("reference.tif", setup.problem.reference)
    folder.write_history("history.csv", result.history)
    if result.timeline is not None:
        folder.write_history("timeline.csv", result.timeline)
    if result.schedule is not None:
        result.schedule.save(folder.new_file("schedule.npz"))
    if (tuned := setup.solver.tuned) is not None:
        folder.write_text("tuning.md", tuned.page())
        tuned.save_figure(folder.new_file("tuning.png"))
        folder.write_image("start.tif", np.asarray(tuned.image, np.float32))  # a replay begins there
    folder.write_settings("run.json", record)
    if not (folder.path / "settings.yaml").exists():  # with checkpoints it is written when the run begins
        folder.write_text("settings.yaml", used)
    _write_figures(folder, setup, result, images, scores)
    folder.write_text("report.html", page(read_run(folder.path)))
    return "\n".join([*_summary(result, scores), f"results in {folder.path}"])


def judge(images: Mapping[str, Image], setup: Setup) -> dict[str, dict[str, float]]:
    """For each image SNR, PSNR and SSIM against the reference, and the prediction error, where they can be taken."""
    scores: dict[str, dict[str, float]] = {}
    reference = setup.problem.reference
    for name, image in images.items():
        scores[name] = {}
        if reference is not None:
            measures = {"snr_db": snr, "psnr_db": psnr, "ssim": ssim}
            scores[name] |= {key: measure(image, reference) for key, measure in measures.items()}
        error = prediction_error(image, setup.problem, setup.solver.mask)
        if error is not None:
            scores[name]["prediction_error"] = error
    return scores


def _write_figures(
    folder: OutputFolder,
    setup: Setup,
    result: Result,
    images: Mapping[str, Image],
    scores: Scores,
) -> None:
    problem = setup.problem
    notes = {
        name: f"error of the left-out projections {values['prediction_error']:.4f}"
        for name, values in scores.items()
        if "prediction_error" in values
    }
    comparison = comparison_figure(
        images,
        problem.reference,
        title=problem.title,
        notes=notes,
        facts=_facts(result),
        field_of_view=None if setup.solver.mask is None else problem.wanted(setup.solver.mask) > 0,
    )
    folder.write_figure("comparison.png", comparison)
    levels = {FBP: scores[FBP]["snr_db"]} if problem.reference is not None else {}
    convergence = convergence_figure(
        result.history, baselines=levels, max_staleness=result.settings.get("max_staleness"), title=problem.title
    )
    folder.write_figure("convergence.png", convergence)


def _facts(result: Result) -> list[str]:
    shown = {"tau": "τ", "num_workers": "workers", "max_staleness": "staleness allowed", "order": "order"}
    lines = [f"{_last(result, 'sweep'):.3g} sweeps in {result.timings['run']:.1f} s"]
    lines += [f"{label} {result.settings[name]}" for name, label in shown.items() if name in result.settings]
    return lines


def _settings(setup: Setup, result: Result, scores: Scores) -> dict[str, Any]:
    outcome = {"status": result.status.name, "sweeps": _last(result, "sweep"), "residual": _last(result, "residual")}
    outcome |= {"seconds": result.timings, "scores": scores, "notes": result.notes}
    return {
        "title": setup.problem.title,
        "command": shlex.join(["asyncred", *setup.words]),
        "problem": {"name": setup.problem.name, **setup.problem.facts},
        "chosen": _chosen(setup),
        "solver": dict(result.settings),
        "result": outcome,
        "versions": versions(),
    }


def _chosen(setup: Setup) -> dict[str, Any]:
    """By name what the solver's settings have a checksum of, or don't tell."""
    options, tuned = setup.options, setup.solver.tuned
    sigma = options.sigma if tuned is None or tuned.sigma is None else tuned.sigma
    return {"denoiser": str(options.denoiser), "sigma": sigma, "method": options.method, "prior": options.prior}


def versions() -> dict[str, str]:
    """Python, the machine, and the packages that the numbers depend on."""
    found = {"python": platform.python_version(), "machine": platform.platform()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _summary(result: Result, scores: Scores) -> list[str]:
    ran = f"{_last(result, 'sweep'):.4g} sweeps in {result.timings['run']:.1f} s"
    lines = [f"{result.status.explanation} {ran}, ‖G‖²/‖G₀‖² {_last(result, 'residual'):.1e}.", *result.notes]
    for name, values in scores.items():
        if not values:
            continue
        parts = [
            f"{key.removesuffix('_db')} {value:.4g}{' dB' if key.endswith('_db') else ''}"
            for key, value in values.items()
        ]
        lines.append(f"{name:>10}  " + "  ".join(parts).replace("_", " "))
    return lines


def _last(result: Result, name: str) -> float:
    values = result.history[name]
    return float(values[-1]) if len(values) else 0.0
