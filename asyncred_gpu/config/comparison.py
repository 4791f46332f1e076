"""Settings of a comparison of modes; those of the data are a reconstruction's, and `problem: cs` has a few."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import model_validator

from .forms import (
    BlockShape,
    Devices,
    FieldOfViewWord,
    FilePath,
    Fraction,
    NotNegative,
    Positive,
    PrecisionWord,
    ProblemWord,
    Whole0,
    Whole1,
    Wholes,
    Word,
    setting,
)
from .settings import SCAN_ONLY, BeamSettings, ScanSettings, Settings, option_name

# What shapes a CT scan only, and block compressed sensing only.
CT_ONLY = (
    *("input", *SCAN_ONLY, "center", "angles", "detectors", "every", "pad", "field_of_view"),
    *(name for name in BeamSettings.model_fields if name not in SCAN_ONLY),
)
CS_ONLY = ("ratio",)


class ProblemSettings(Settings):
    """Which problem."""

    section: ClassVar[str] = "data"

    problem: ProblemWord = setting(
        "ct", "cs: the retina by block compressed sensing, 240 pixels a side in blocks of 80, 30 dB", "ct"
    )
    ratio: Fraction | None = setting(None, "cs: measurements a pixel", "0.7")


class CompareMethodSettings(Settings):
    """What all modes have in common."""

    section: ClassVar[str] = "method"

    tau: Positive | None = setting(None, "strength of the regularization", "0.0025; scan: 0.05; cs: 1")
    denoiser: Word = setting("dncnn", "a shipped denoiser, or a file of weights", "dncnn")
    sigma: Positive = setting(5.0, "noise level of the shipped denoiser, of 255", "5")
    sweeps: Whole1 = setting(20, "sweeps of every mode", "20")
    sg: Whole1 | None = setting(None, "also Async-RED with minibatches of so many angles or rows", "no")
    momentum: NotNegative = setting(0.8, "heavy ball, with up to half of the blocks in flight", "0.8")
    field_of_view: FieldOfViewWord | None = setting(
        None, "pixels outside are zero, so the object must lie inside", "none; scan: circle"
    )


class CompareRunSettings(Settings):
    """Where it is computed, and where the results go."""

    section: ClassVar[str] = "run"

    block: BlockShape | None = setting(None, "of a block, or one number", "chosen; cs: 80")
    pool: Whole1 | None = setting(None, "workers of the modes on the CPU", "cores")
    workers: Wholes | None = setting(None, "on the CPU, for the speed-up, such as 1,2,4", "1,2,4… cores")
    speedup_sweeps: Whole0 = setting(3, "sweeps for the speed-up, 0: none", "3")
    precision: PrecisionWord = setting(
        "auto",
        "of the denoiser: float32, bfloat16, on a GPU also tf32 and float16; auto: the CPU's, where a GPU has it, too",
        "auto",
    )
    device: Devices = setting("auto", "auto, cpu, cuda, cuda:N, cuda:N,cuda:M…", "auto")
    seed: Whole0 = setting(0, "of the data and of the order of blocks", "0")
    output: FilePath | None = setting(None, "new or empty folder", "outputs/compare-NAME-TIME")


class CompareSettings(CompareRunSettings, CompareMethodSettings, ScanSettings, ProblemSettings):
    """Of `asyncred compare`."""

    @model_validator(mode="after")
    def _of_one_problem(self) -> Self:
        """What shapes one problem isn't for the other."""
        foreign = CT_ONLY if self.problem == "cs" else CS_ONLY
        fields = type(self).model_fields
        given = [option_name(name) for name in foreign if getattr(self, name) != fields[name].default]
        if given:
            raise ValueError(f"{', '.join(given)} doesn't go with --problem {self.problem}. Leave it out")
        return self
