"""What can be set, each once: the command line's options, the keys of a YAML file, and the documents' tables.

None stands for a default that depends on the rest. Names are those of `GpuAsyncRED` where it has them.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, model_validator

from .forms import (
    AtLeast1,
    BlockShape,
    CriterionWord,
    Devices,
    FieldOfViewWord,
    FileKinds,
    FilePath,
    LogKinds,
    MethodWord,
    NotNegative,
    OrderWord,
    Positive,
    PositiveOrAuto,
    PrecisionWord,
    PriorWord,
    Real,
    RealOrAuto,
    SliceRange,
    StepRule,
    ValuesWord,
    Whole0,
    Whole1,
    Word,
    setting,
)

# A volume goes on slice by slice, and ends when all are there.
NOT_OF_A_VOLUME = ("slice", "start", "checkpoint_every", "time_limit", "log")
VOLUME_ONLY = ("at_once", "warm_start", "warm_sweeps")
SIMULATED_ONLY = ("angles", "detectors", "noise_db")
SCAN_ONLY = ("slice", "dataset", "axes", "theta", "white", "dark", "values", "shifts")


class Settings(BaseModel):
    """Checked when made; unknown names are refused. `section` is the heading of what the class declares.

    Of several bases the last one's settings come first. `unused`: what a command takes, since it shares its settings
    with another, and has no use for; it isn't shown.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    section: ClassVar[str] = ""
    unused: ClassVar[tuple[str, ...]] = ()


class BeamSettings(Settings):
    """How the rays of a CT scan run, where they are neither parallel nor square to the detector."""

    section: ClassVar[str] = "beam"

    source_distance: Positive | None = setting(
        None, "of a fan beam: from the rotation axis to the source, in the unit of --pitch", "a parallel beam"
    )
    detector_distance: NotNegative | None = setting(
        None, "of a fan beam: from the rotation axis to the flat detector", "a parallel beam"
    )
    pitch: Positive | None = setting(None, "distance of two detectors, in the distances' unit, such as 0.2 of mm", "1")
    tilt: Real | None = setting(None, "of the row of detectors against the plane square to the beam, in degrees", "0")
    shifts: FilePath | None = setting(
        None, "detectors by which the axis is off the centre in each projection: a file (text or .npy)", "none"
    )

    @model_validator(mode="after")
    def _a_whole_fan(self) -> Self:
        """Refuse half of what makes a fan."""
        if (self.source_distance is None) != (self.detector_distance is None):
            given = "--source-distance" if self.detector_distance is None else "--detector-distance"
            missing = "--detector-distance" if self.detector_distance is None else "--source-distance"
            raise ValueError(
                f"{given} is given and {missing} isn't: a fan beam has both, each from the rotation axis. Pass both"
            )
        if self.pitch is not None and self.source_distance is None:
            raise ValueError(
                "--pitch is the unit of a fan beam's distances, and none are given. Pass --source-distance and "
                "--detector-distance, or leave it out"
            )
        return self


class DataSettings(Settings):
    """Of a CT scan, simulated or measured."""

    section: ClassVar[str] = "data"

    input: FilePath | None = setting(
        None,
        "a scan: Data Exchange, NXtomo or other HDF5, TIFF or a folder of it, .npy, .npz, Matlab's .mat, .zarr",
        "a simulated one",
    )
    slice: Whole0 | None = setting(None, "row of the scan", "0")
    dataset: Word | None = setting(None, "name of the projections in the file, or of its scan", "found")
    axes: Word | None = setting(
        None, "order of the axes in the file, where it doesn't say", "angles,rows,detectors or angles,detectors"
    )
    theta: Word | None = setting(
        None, "angles: a file of degrees (text or .npy), or START:STOP, evenly spaced without STOP", "the file's"
    )
    white: FilePath | None = setting(None, "the beam without a sample: TIFF, a folder of them, or .npy", "the file's")
    dark: FilePath | None = setting(None, "no beam: TIFF, a folder of them, or .npy", "the file's")
    values: ValuesWord | None = setting(
        None, "counts, transmission, or line-integrals", "counts with white fields, else line-integrals"
    )
    center: RealOrAuto | None = setting(None, "rotation axis in detectors, or auto", "scan: auto")
    every: Whole1 = setting(1, "use every n-th projection only", "1")
    size: Whole1 | None = setting(
        None, "pixels a side, about the axis; a pixel stays a detector", "800; scan: its detectors"
    )
    pad: Whole0 = setting(
        0,
        "pixels more on every side while it is computed, about as far as the object is wider than the detector",
        "0",
    )
    angles: Whole1 | None = setting(None, "simulated projections over 180 degrees, of a fan 360", "180")
    detectors: Whole1 | None = setting(None, "simulated detectors", "the image's diagonal")
    noise_db: Real | None = setting(None, "input SNR of the simulated scan in dB", "70")

    @model_validator(mode="after")
    def _one_kind_of_scan(self) -> Self:
        """Refuse what shapes a simulation for a measured scan, and the other way round."""
        if self.input is not None:
            given = [option_name(name) for name in SIMULATED_ONLY if getattr(self, name) is not None]
            if given:
                raise ValueError(
                    f"{', '.join(given)} shape the simulated scan, but --input is a measured one. Leave them out, or "
                    "use --every to take fewer projections"
                )
            return self
        given = [option_name(name) for name in SCAN_ONLY if getattr(self, name) is not None]
        given += ["--pad"] if self.pad else []
        given += ["--center auto"] if self.center == "auto" else []
        if given:
            raise ValueError(f"{' and '.join(given)} is for a measured scan. Pass --input FILE")
        return self


class ScanSettings(BeamSettings, DataSettings):
    """Of a CT scan: what was measured, and how the rays run."""


class MethodSettings(Settings):
    """What image is looked for, and how it is come to."""

    section: ClassVar[str] = "method"

    tau: PositiveOrAuto | None = setting(
        None,
        "strength of the regularization, or auto: chosen from the measurements",
        "0.0025; scan: 0.05; half of that with --prior pnp",
    )
    denoiser: Word = setting("dncnn", "a shipped denoiser, or a file of weights", "dncnn")
    sigma: PositiveOrAuto = setting(
        5.0, "noise level of the shipped denoiser, of 255, or auto: chosen from the measurements", "5"
    )
    tuning: CriterionWord | None = setting(
        None,
        "how auto chooses: gcv, by generalized cross-validation; held-out, by predicting left-out angles; discrepancy, "
        "by a residual as large as the noise",
        "gcv",
    )
    sweeps: Positive = setting(12.0, "sweeps at most", "12")
    tol: Positive | None = setting(None, "stop at this ‖G‖²/‖G₀‖², of the start image 1", "never")
    time_limit: Positive | None = setting(
        None,
        "stop after these seconds of the run itself: reading, setup, figures and a search for auto come on top",
        "never",
    )
    minibatch: Whole1 | None = setting(None, "angles a gradient uses", "all")
    method: MethodWord = setting(
        "fast",
        "fast, or paper: exactly what the paper's theorems cover; the image is the same in the end",
        "fast",
    )
    step: StepRule | None = setting(
        None, "preconditioned, block, global, theory, or a number", "fast: preconditioned; paper: theory"
    )
    momentum: NotNegative | None = setting(
        None,
        "heavy ball of a block",
        "fast: 0.5 with data updates, else block 0.8, preconditioned 0.3, 0 with over half of the blocks in flight; "
        "paper: 0",
    )
    continuation: AtLeast1 | None = setting(
        None,
        "the denoiser begins so much stronger, and weakens every sweep, to a quarter, or to half without data updates",
        "fast: 4, without data updates 1 to 16, by the start; paper: 1",
    )
    data_updates: Whole0 | None = setting(
        None,
        "updates of the data term alone after each that asks the denoiser",
        "fast: 3, with --prior pnp 4, more where tau is small; else 0",
    )
    prior: PriorWord = setting(
        "red", "red, or pnp: to plug-and-play ADMM's solution instead, often higher at half of red's tau", "red"
    )
    intensity_scale: PositiveOrAuto | None = setting(None, "what counts as 1 to the denoiser, or auto", "auto")
    nonnegative: bool = setting(False, "clip at zero", "no")
    field_of_view: FieldOfViewWord | None = setting(
        None, "pixels outside are zero, so the object must lie inside", "none; scan: circle"
    )

    @model_validator(mode="after")
    def _tuning_has_something_to_choose(self) -> Self:
        if self.tuning is not None and "auto" not in (self.tau, self.sigma):
            raise ValueError(
                "--tuning is how --tau auto and --sigma auto choose, and neither is given. Pass one, or leave it out"
            )
        return self


class RunSettings(Settings):
    """Where and in which order it is computed, and where the results go."""

    section: ClassVar[str] = "run"

    workers: Whole1 | None = setting(None, "updates at a time", "cores")
    at_once: Whole1 = setting(1, "slices of a volume side by side, among which the cores are dealt out", "1")
    warm_start: bool = setting(True, "slices of a volume begin at their neighbour's image", "yes")
    warm_sweeps: Positive | None = setting(None, "sweeps of a slice that begins there", "half of --sweeps")
    max_staleness: Whole0 | None = setting(
        None, "commits between a read and its commit at most", "max(4 workers, blocks)"
    )
    order: OrderWord = setting("free", "ordered: the same image each time; sync: a barrier a round", "free")
    block: BlockShape | None = setting(None, "of a block, or one number", "chosen")
    blocks_per_launch: Whole1 | None = setting(None, "updates a worker takes at a time", "1")
    precision: PrecisionWord = setting(
        "auto", "of the denoiser: auto, float32, bfloat16, on a GPU also tf32 and float16", "auto"
    )
    device: Devices = setting("auto", "auto, cpu, cuda, cuda:N, cuda:N,cuda:M…", "auto")
    seed: Whole0 = setting(0, "of the noise and of the order of blocks", "0")
    start: FilePath | None = setting(
        None, "image to begin at, TIFF or .npy, such as tune's start.tif, or fbp", "fbp, brought to the data"
    )
    save: FileKinds = setting(("tif",), "the image as tif, npy, h5 (HDF5 with provenance), or several: tif,h5", "tif")
    output: FilePath | None = setting(None, "new or empty folder", "outputs/NAME-TIME")
    checkpoint_every: Positive | None = setting(
        None, "sweeps between checkpoints in that folder, from which --resume goes on after a kill", "none are kept"
    )
    resume: FilePath | None = setting(
        None, "folder of a run that was interrupted or killed: go on with it, with its own settings", "a new run"
    )
    log: LogKinds | None = setting(
        None, "progress into that folder while it runs: jsonl (JSON lines), tensorboard, or both", "none"
    )
    verbose: bool = setting(False, "say on standard error what the library logs", "no")
    quiet: bool = setting(False, "print nothing but errors", "no")


class VolumeSettings(Settings):
    """Several slices instead of one: of a reconstruction alone."""

    section: ClassVar[str] = "data"

    slices: SliceRange | None = setting(
        None, "a volume: rows of the scan from FIRST to before END, or FIRST:END:STEP, a file each", "one slice"
    )


class ReconstructSettings(RunSettings, MethodSettings, VolumeSettings, ScanSettings):
    """Of `asyncred reconstruct`."""

    @model_validator(mode="after")
    def _a_slice_or_a_volume(self) -> Self:
        """What one slice has, a volume hasn't, and the other way round."""
        fields = type(self).model_fields
        foreign = NOT_OF_A_VOLUME if self.slices is not None else VOLUME_ONLY
        given = [option_name(name) for name in foreign if getattr(self, name) != fields[name].default]
        if given and self.slices is not None:
            raise ValueError(f"{', '.join(given)} is for one slice, and --slices are several. Leave it out")
        if self.slices is not None and self.input is None:
            raise ValueError("--slices is for a measured scan. Pass --input FILE")
        if given and self.resume is None:
            raise ValueError(f"{', '.join(given)} is for a volume. Pass --slices FIRST:END")
        if self.slices is not None and "auto" in (self.tau, self.sigma):
            raise ValueError(
                "--tau auto and --sigma auto choose for one slice. Choose first, asyncred tune --slice N, and pass "
                "what comes out"
            )
        return self


class CheckSettings(ReconstructSettings):
    """Of `asyncred check`: a reconstruction's, so that its words can be tried by the other command's name."""

    unused: ClassVar[tuple[str, ...]] = (
        *("save", "checkpoint_every", "resume", "log", "verbose", "quiet", "time_limit", "tol", "tuning"),
    )

    @model_validator(mode="after")
    def _a_run_to_come(self) -> Self:
        if self.resume is not None:
            raise ValueError(
                f"check looks at a run to come, not at one that goes on. Pass --config {self.resume / 'settings.yaml'}"
            )
        return self


def option_name(name: str) -> str:
    """The option of a setting on the command line."""
    return f"--{name.replace('_', '-')}"
