"""Settings of a search for τ and σ."""

from __future__ import annotations

from typing import ClassVar

from .forms import (
    BlockShape,
    CriterionWord,
    Devices,
    FieldOfViewWord,
    FilePath,
    Numbers,
    Positive,
    PrecisionWord,
    Whole0,
    Whole1,
    Word,
    setting,
)
from .settings import ScanSettings, Settings


class SearchSettings(Settings):
    """What is chosen among, by what, and what it may cost."""

    section: ClassVar[str] = "search"

    denoiser: Word = setting("dncnn", "a shipped denoiser, whose sigma is chosen, too, or a file of weights", "dncnn")
    tuning: CriterionWord = setting(
        "gcv",
        "how: gcv, by generalized cross-validation; held-out, by predicting left-out angles; discrepancy, by a "
        "residual as large as the noise, for one sigma",
        "gcv",
    )
    taus: Numbers | None = setting(None, "the tau to choose among, such as 0.01,0.05", "0.001 to 1, four a decade")
    sigmas: Numbers | None = setting(None, "the sigma to choose among, of 255", "all the denoiser has")
    search_sweeps: Positive | None = setting(None, "sweeps of all reconstructions together, at most", "no limit")
    time_limit: Positive | None = setting(
        None,
        "seconds after which the best of the trials that are done is taken; the first may take minutes",
        "no limit",
    )
    nonnegative: bool = setting(False, "clip at zero", "no")
    field_of_view: FieldOfViewWord | None = setting(
        None, "pixels outside are zero, so the object must lie inside", "none; scan: circle"
    )


class SearchRunSettings(Settings):
    """Where it is computed, and where the results go."""

    section: ClassVar[str] = "run"

    workers: Whole1 | None = setting(None, "updates at a time", "cores")
    block: BlockShape | None = setting(None, "of a block, or one number", "chosen")
    precision: PrecisionWord = setting(
        "auto", "of the denoiser: auto, float32, bfloat16, on a GPU also tf32 and float16", "auto"
    )
    device: Devices = setting("auto", "auto, cpu, cuda, cuda:N, cuda:N,cuda:M…", "auto")
    seed: Whole0 = setting(0, "of the noise and of the order of blocks", "0")
    output: FilePath | None = setting(None, "new or empty folder", "outputs/tune-NAME-TIME")
    quiet: bool = setting(False, "print nothing but errors", "no")


class TuneSettings(SearchRunSettings, SearchSettings, ScanSettings):
    """Of `asyncred tune`."""
