"""What a user may get wrong: status 2, one message that says what to do, and no file in the folder any different.

One folder (bad_files.py) serves all cases, since none of them may change it. A case is a command as it is typed, and
what the message must say.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from asyncred_gpu.cli.main import main
from asyncred_gpu.config.read import COMMANDS
from asyncred_gpu.wording import RENAMED

from .bad_files import make_files, snapshot

# What is quick, should it be taken after all.
QUICK = "--size 64 --denoiser small.safetensors --workers 1 --sweeps 1 --device cpu --output new"
RECONSTRUCT = f"reconstruct {QUICK}"
VOLUME = f"reconstruct sinograms.npy --theta 0:180 --center 47.5 {QUICK}"
RESUME = "reconstruct --quiet --resume"
TRAIN = "train --steps 1 --patch 16 --threads 1 --output new"

FILES = {
    "absent": (f"{RECONSTRUCT} gone.h5", "gone.h5 doesn't exist. Pass the path of a scan"),
    "empty": (f"{RECONSTRUCT} empty.h5", "empty.h5 is empty (0 bytes). Copy it again"),
    "a text": (f"{RECONSTRUCT} text.h5", "text.h5 isn't an HDF5 file, or a damaged one"),
    "garbage": (f"{RECONSTRUCT} garbage.h5", "garbage.h5 isn't an HDF5 file, or a damaged one"),
    "cut off": (f"{RECONSTRUCT} cut.h5", "cut.h5 is truncated: shorter than its own header says"),
    "cut off, checked": ("check cut.h5", "cut.h5 is truncated"),
    "cut off, centred": ("center cut.h5", "cut.h5 is truncated"),
    "cut off, tuned": ("tune cut.h5 --output new", "cut.h5 is truncated"),
    "cut off, compared": ("compare --input cut.h5 --output new", "cut.h5 is truncated"),
    "a folder for a file": (
        f"{RECONSTRUCT} no-images",
        "no-images is a folder without TIFF files. Pass the file in it",
    ),
    "no name of a file": (f"{RECONSTRUCT} ''", "--input: '' isn't a path"),
    "a name beyond all names": (f"{RECONSTRUCT} {'x' * 300}.h5", "… isn't a path: a name has 255 bytes at most"),
    "of no known kind": (f"{RECONSTRUCT} notes.txt", "has a name that ends in .txt, none of the formats read here"),
    "a TIFF cut off": (f"{RECONSTRUCT} cut.tif --theta 0:180", "cut.tif can't be read to its end"),
    "a TIFF by name": (f"{RECONSTRUCT} text.tif --theta 0:180", "text.tif isn't a TIFF file, or a damaged one"),
    "a photograph": (f"{RECONSTRUCT} photo.tif --theta 0:180", "photo.tif is in colour (3 samples a pixel)"),
    "a stack with an odd one": (f"{RECONSTRUCT} stack --theta 0:180", "9.tif holds float32 of (4, 96) pixels"),
    "a damaged archive": (f"{RECONSTRUCT} damaged.npz --theta 0:180", "damaged.npz can't be read as .npz (Bad CRC-32"),
    "objects": (f"{RECONSTRUCT} objects.npy --theta 0:180", "objects.npy can't be read as .npy (it isn't an array of"),
    "a text for NumPy": (
        f"{RECONSTRUCT} text.npy --theta 0:180",
        "text.npy can't be read as .npy (it isn't an array of",
    ),
    "a text for Matlab": (f"{RECONSTRUCT} text.mat --theta 0:180", "text.mat can't be read as .mat"),
    "no denoiser": (f"{RECONSTRUCT} --denoiser dncn", "--denoiser dncn is neither a shipped denoiser (dncnn, dncnn-ct"),
    "a scan for a denoiser": (f"{RECONSTRUCT} --denoiser scan.h5", "--denoiser scan.h5 isn't a file of weights, which"),
    "a damaged denoiser": (f"{RECONSTRUCT} --denoiser cut.safetensors", "cut.safetensors is damaged or was replaced"),
    "a start that is no image": (f"{RECONSTRUCT} --start text.tif", "text.tif can't be read to its end"),
    "a start of another size": (f"{RECONSTRUCT} --start start.npy", "--start has shape (9, 9), the image (64, 64)"),
}

FIELDS = {
    "no group": (f"{RECONSTRUCT} plain.h5", "plain.h5 has no group 'exchange' (Data Exchange) and no NXtomo entry"),
    "no white": (f"{RECONSTRUCT} no-white.h5", "lacks exchange/data_white (the flat fields (beam without sample))"),
    "no angles": (f"{RECONSTRUCT} no-theta.h5", "Add what is missing, or pass it: --theta, --white, --dark"),
    "no angles anywhere": (f"{RECONSTRUCT} sinograms.npy", "holds 64 projections and no angles. Pass --theta"),
    "an angle too few": (f"{RECONSTRUCT} short-theta.h5", "exchange/theta has 63 angles for 64 projections"),
    "angles that stand still": (f"{RECONSTRUCT} still-theta.h5", "exchange/theta is 0 for all 64 projections"),
    "NaN in the angles": (f"{RECONSTRUCT} nan-theta.h5", "exchange/theta has 1 NaN or infinite values of 64"),
    "NaN in the data": (f"{RECONSTRUCT} nan.h5", "exchange/data has 1 NaN or infinite values of 6144 in this slice"),
    "negative counts": (
        f"{RECONSTRUCT} negative.h5",
        "exchange/data isn't above the dark field in 6144 of 6144 values",
    ),
    "no beam": (f"{RECONSTRUCT} zero-white.h5", "exchange/data_white is nowhere above exchange/data_dark"),
    "fields of another detector": (
        f"{RECONSTRUCT} narrow-white.h5",
        "a pixel has no field to be corrected by. Crop or",
    ),
    "complex counts": (f"{RECONSTRUCT} complex.h5", "exchange/data holds complex128, not real numbers"),
    "counts in words": (f"{RECONSTRUCT} words.h5", "exchange/data holds |S1, not real numbers"),
    "a link that leads nowhere": (f"{RECONSTRUCT} link.h5", "data is a link to raw.h5: /frames, which isn't there"),
    "parts left behind": (f"{RECONSTRUCT} virtual.h5", "put together from 1 other files, and 1 of them can't be found"),
    "a name the file hasn't": (f"{RECONSTRUCT} plain.h5 --dataset data", "has no dataset 'data'; it holds entry/data"),
    "fields that are absent": (
        f"{RECONSTRUCT} scan.h5 --white gone.tif",
        "gone.tif doesn't exist. Pass the path of fie",
    ),
    "fields that are none": (f"{RECONSTRUCT} scan.h5 --dark notes.txt", "notes.txt isn't read as fields. Pass a TIFF"),
    "axes by other names": (f"{VOLUME} --axes x,y,z", "--axes x,y,z aren't those of sinograms.npy"),
    "nothing to see": ("center constant.h5", "the sinogram is constant, so nothing in it turns. Check the slice"),
    "a slice beyond": (f"{RECONSTRUCT} scan.h5 --slice 1", "slice 1 isn't in the file: it has one slice, 0. Pass 0"),
    "slices beyond": (f"{VOLUME} --slices 0:9", "--slices 0:9: the scan has 4 slices, 0 to 3. Pass some of those"),
    "slices backwards": (f"{VOLUME} --slices 3:1", "--slices 3:1: the scan has 4 slices, 0 to 3. Pass some of those"),
    "slices to check": ("check sinograms.npy --theta 0:180 --slices 4:", "--slices 4:: the scan has 4 slices"),
}

UNITS = {
    "radians for degrees": (f"{RECONSTRUCT} radians.h5", "so these are radians, where degrees belong. Write degrees"),
    "a range of radians": (f"{RECONSTRUCT} scan.h5 --theta 0:3.14159", "so these are radians, where degrees belong"),
    "furlongs": (f"{RECONSTRUCT} furlongs.h5", "exchange/theta is in 'furlongs', and degrees and radians are what is"),
    "counts for line integrals": (
        f"{RECONSTRUCT} counts.npy --theta 0:180",
        "holds whole numbers (uint16): counts, not",
    ),
    "divided already": (
        f"{VOLUME} --values transmission --white counts.npy",
        "divided by the beam already. Leave --whi",
    ),
    "counts of nothing": (
        f"{VOLUME} --values counts",
        "has counts and no white fields to compare them with. Pass --white",
    ),
    "angles in words": (f"{RECONSTRUCT} scan.h5 --theta notes.txt", "notes.txt isn't a list of numbers"),
    "angles of others": (f"{RECONSTRUCT} scan.h5 --theta angles.txt", "angles.txt has 3 angles for 64 projections"),
    "an axis off the detector": (
        f"{RECONSTRUCT} scan.h5 --center 500",
        "--center 500.0 isn't on the detector, which spa",
    ),
}

OPTIONS = {
    "unknown": (f"{RECONSTRUCT} --colour red", "No such option '--colour'"),
    "misspelled": (f"{RECONSTRUCT} --sweps 3", "No such option '--sweps'. (Did you mean one of"),
    "another command's": ("tune scan.h5 --sweeps 3", "No such option '--sweeps'"),
    "without its value": ("reconstruct --tau", "Option '--tau' requires an argument"),
    "no command": ("reconstuct scan.h5", "No such command 'reconstuct'. See asyncred --help."),
    "two scans": (f"{RECONSTRUCT} scan.h5 --input plain.h5", "scan.h5 and --input plain.h5 are two. Pass one"),
    "a word for a number": (f"{RECONSTRUCT} --tau strong", "--tau: 'strong' isn't a number, nor auto"),
    "a comma for a point": (f"{RECONSTRUCT} --tau 0,05", "--tau: '0,05' isn't a number, nor auto"),
    "negative": (f"{RECONSTRUCT} --tau -1", "--tau: -1 is out of range, it takes more than 0, or auto"),
    "zero": (f"{RECONSTRUCT} --workers 0", "--workers: 0 is too small, it takes 1 or more"),
    "NaN": (f"{RECONSTRUCT} --tol nan", "--tol: nan isn't finite"),
    "infinite": (f"{RECONSTRUCT} --time-limit inf", "--time-limit: inf isn't finite"),
    "beyond all numbers": (f"{RECONSTRUCT} --seed 99999999999", "--seed: 99999999999 is too large"),
    "a block beyond the image": (f"{RECONSTRUCT} --block 65x8", "--block 65x8 is larger than the image (64, 64)"),
    "more workers than blocks": (f"{RECONSTRUCT} --workers 70 --block 8", "Use fewer workers, or a smaller --block"),
    "a bound that can't hold": (f"{RECONSTRUCT} --workers 3 --max-staleness 1", "--max-staleness 1 cannot hold for 3"),
    "too large a momentum": (f"{RECONSTRUCT} --momentum 1", "--momentum 1.0 can't be. Pass a number >= 0 and < 1"),
    "an image beyond all memory": (
        "check scan.h5 --size 2000000",
        "an image of 2000000 × 2000000 pixels takes at least",
    ),
    "what doesn't go together": (
        f"{RECONSTRUCT} --prior pnp --tau auto",
        "--prior pnp with --tau auto or --sigma auto",
    ),
    "a simulation's": (f"{RECONSTRUCT} scan.h5 --noise-db 3", "--noise-db shape the simulated scan, but --input is a"),
    "a scan's": (f"{RECONSTRUCT} --slice 1", "--slice is for a measured scan. Pass --input FILE"),
    "a volume's": (f"{RECONSTRUCT} scan.h5 --at-once 2", "--at-once is for a volume. Pass --slices FIRST:END"),
    "one slice's": (f"{VOLUME} --slices 0:2 --checkpoint-every 2", "--checkpoint-every is for one slice, and --slices"),
    "a kind twice": (f"{RECONSTRUCT} --save tif,tif", "--save: 'tif,tif' names tif twice"),
    "no GPU": (f"{RECONSTRUCT} --device cuda", "Pass --device cpu to go on without a GPU"),
    "no device": (f"{RECONSTRUCT} --device gpu", "--device: 'gpu' can't be, it takes auto, cpu, cuda, cuda:N, or"),
    "a level there isn't": (f"{RECONSTRUCT} --denoiser dncnn --sigma 7", "has no weights for --sigma 7, but for 5, 10"),
    "a network has no levels": (
        "tune scan.h5 --denoiser small.safetensors --sigmas 5 --output new --quiet",
        "--sigmas 5.0 can",
    ),
    "no criterion": ("tune scan.h5 --tuning best --output new", "--tuning: 'best' isn't known, it takes one of gcv"),
    "tuning a volume": ("tune sinograms.npy --theta 0:180 --slices 0:2", "No such option '--slices'"),
    "a minibatch beyond": ("compare --size 64 --sg 999 --output new", "--sg 999 is more than the 180 measurements"),
    "of another problem": ("compare --problem cs --input scan.h5 --output new", "--input doesn't go with --problem cs"),
    "center of what": ("center", "center looks at a measured scan. Pass its file: asyncred center FILE"),
    "ten thousand centres": ("center scan.h5 --count 10000", "--count: 10000 is too large, it takes 100 or less"),
    "info of what": ("info scan.h5", "Got unexpected extra argument (scan.h5). See asyncred info --help."),
}

SETTINGS = {
    "absent": ("reconstruct --config gone.yaml", "gone.yaml doesn't exist. Pass a YAML file of settings"),
    "a folder": (
        "reconstruct --config mine",
        "mine isn't a file. Pass a YAML file of settings, such as the settings.ya",
    ),
    "a scan": ("reconstruct --config scan.h5", "scan.h5 isn't a text in UTF-8. Pass a YAML file of settings"),
    "a list": ("reconstruct --config list.yaml", "list.yaml holds a list, not settings. Write one a line"),
    "no YAML": ("reconstruct --config open.yaml", "open.yaml isn't YAML: line 2"),
    "set twice": ("reconstruct --config twice.yaml", 'twice.yaml isn\'t YAML: line 2, found duplicate key "tau"'),
    "misspelled": ("reconstruct --config typo.yaml", "typo.yaml: tua isn't a setting. Is it tau?"),
    "another command's": (
        "tune --config compare.yaml",
        "compare.yaml: problem isn't a setting here, but of asyncred com",
    ),
    "a wrong value": ("check --config value.yaml", "value.yaml: sweeps: 'many' isn't a number"),
    "a run to check": (
        "check --resume run",
        "check looks at a run to come, not at one that goes on. Pass --config run/",
    ),
}

OUTPUT = {
    "a folder with something in it": (
        f"{RECONSTRUCT} --output mine",
        "mine holds 1 files already (precious.txt); noth",
    ),
    "a run that is there": (f"{RECONSTRUCT} --config run/settings.yaml --output run", "run holds 4 files already"),
    "a file": ("tune scan.h5 --output notes.txt", "notes.txt is a file, so no folder of that name can be made"),
    "inside a file": ("compare --size 64 --output notes.txt/new", "can't be made: notes.txt is a file"),
    "a place for nobody": (f"{VOLUME} --slices 0:2 --output /proc/new", "/proc/new can't be made"),
    "a sheet that is there": ("center scan.h5 --output notes.txt", "notes.txt exists already and isn't overwritten"),
    "a sheet of another kind": ("center scan.h5 --output new.jpg", "new.jpg isn't a .png file. Pass one as --output"),
    "a page that is there": ("report run --output notes.txt", "notes.txt exists already and isn't overwritten"),
    "a page nowhere": (
        "report finished --output gone/new.html",
        "gone isn't a folder. Make it, or pass another --output",
    ),
    "weights that are there": (
        f"{TRAIN} --images images --output mine-too",
        "dncnn_sigma5.safetensors exists and isn't ov",
    ),
    "weights into a file": (f"{TRAIN} --images images --output notes.txt/new", "can't be written to (Not a directory)"),
    "a check of where": ("check scan.h5 --output mine", "mine holds 1 files already (precious.txt); nothing is overwr"),
}

GOING_ON = {
    "no folder": (f"{RESUME} gone", "--resume gone isn't a folder. Pass the output folder of a run"),
    "no run": (f"{RESUME} mine", "mine has no settings.yaml: it isn't a run's folder, or"),
    "no checkpoint": (f"{RESUME} no-checkpoint", "no-checkpoint has no checkpoint: the run has ended, which"),
    "zero bytes": (f"{RESUME} empty-checkpoint", "isn't a checkpoint of this run, or a damaged one"),
    "cut off": (f"{RESUME} cut-checkpoint", "isn't a checkpoint of this run, or a damaged one (File is not"),
    "garbage": (f"{RESUME} garbage-checkpoint", "isn't a checkpoint of this run, or a damaged one (it isn't"),
    "of another version": (f"{RESUME} later-checkpoint", "is a checkpoint of format 99, this version reads 1"),
    "changed data": (f"{RESUME} changed-data", "on other measurements (or another geometry): the data have ch"),
    "data that are gone": (f"{RESUME} gone-data", "gone.h5 doesn't exist. Pass the path of a scan"),
    "changed settings": (f"{RESUME} changed-settings", "of a run with other settings: tau was 0.05, is 0.07"),
    "another size": (f"{RESUME} changed-size", "its blocks are others: the data or the settings have changed"),
    "settings cut off": (f"{RESUME} no-settings", "settings.yaml sets nothing: it isn't whole. Begin anew"),
    "another option": (f"{RESUME} run --tau 0.1", "--tau can't be changed with --resume: the run goes on with"),
    "another scan": (f"{RESUME} run plain.h5", "--input can't be changed with --resume"),
    "fewer sweeps": (f"{RESUME} run --sweeps 0.01", "--sweeps 0.01 leaves nothing to do: run has"),
    "a volume on other data": (f"{RESUME} changed-volume", "isn't what it was when"),
    "a damaged slice": (f"{RESUME} damaged-volume", "slice_00000.tif can't be read"),
    "a volume by other settings": (f"{RESUME} other-volume", "slice_00000.tif was made with other settings"),
}

REPORT = {
    "what": ("report", "Missing argument 'FOLDER'. See asyncred report --help."),
    "no folder": ("report gone", "gone isn't a folder. Pass the output folder of a run"),
    "no run": ("report mine", "mine has no run.json, so it isn't the folder of a finished run"),
    "a damaged record": ("report damaged-record", "run.json is damaged: it isn't JSON"),
    "a record of something else": ("report other-record", "run.json isn't a reconstruction's: it has no result"),
    "no history": ("report no-history", "history.csv is missing. Copy the run's folder again, whole"),
    "an empty history": ("report empty-history", "history.csv isn't a table of numbers"),
    "a cut image": ("report cut-image", "reconstruction.tif can't be read to its end"),
    "a volume": ("report volume", "volume holds a volume, and a report is of one slice. Look at its volume.png"),
}

TRAINING = {
    "nothing": ("train", "the following arguments are required: --images"),
    "no folder": (f"{TRAIN} --images gone", "gone doesn't exist, it must be a folder of images"),
    "a file": (f"{TRAIN} --images scan.h5", "scan.h5 is a file, it must be a folder of images"),
    "an empty folder": (f"{TRAIN} --images no-images", "no-images holds no image. Pass a folder of"),
    "no images": (f"{TRAIN} --images junk", "junk/a.png can't be read as an image"),
    "images too small": (f"{TRAIN} --images images --patch 99", "No training image holds a patch of 99×99 pixels"),
    "a word for a number": (f"{TRAIN} --images images --steps many", "--steps: 'many' isn't a whole number"),
    "negative": (f"{TRAIN} --images images --learning-rate -1", "--learning-rate -1.0 must be a number above 0"),
    "no device": (f"{TRAIN} --images images --device abacus", "--device abacus isn't known. Pass cpu, cuda, or cuda:N"),
    "a checkpoint that is none": (f"{TRAIN} --images images --checkpoint notes.txt", "notes.txt is damaged, or no ch"),
    "a start that doesn't fit": (f"{TRAIN} --images images --start small.safetensors", "their layers are others. Pass"),
}

TABLES = {
    **{"files": FILES, "fields": FIELDS, "units": UNITS, "options": OPTIONS, "settings": SETTINGS, "output": OUTPUT},
    **{"going on": GOING_ON, "report": REPORT, "training": TRAINING},
}
CASES = {f"{table}: {name}": case for table, cases in TABLES.items() for name, case in cases.items()}

# Of Python, and of the libraries that read the words.
INTERNALS = re.compile(
    r"Traceback|Errno|pydantic|value_error|<unicode|allow_pickle|object at 0x|\bNone\b|\b\w+=['\"\d(\[]"
)
NAMES = {name for kind in COMMANDS.values() for name in kind.model_fields if "_" in name} | set(RENAMED)
PYTHON_NAME = re.compile(rf"(?<![\w-])({'|'.join(NAMES)})\b")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_files(tmp_path_factory.mktemp("bad"))


@pytest.fixture
def place(files: Path, monkeypatch: pytest.MonkeyPatch, one_process: None) -> Path:
    monkeypatch.chdir(files)
    return files


def refused(place: Path, typed: str, says: str, capsys: Any) -> None:
    """The command is refused as it must be."""
    before = snapshot(place)
    capsys.readouterr()
    status = main(shlex.split(typed))
    out, err = capsys.readouterr()
    assert says in err, err
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert INTERNALS.search(err) is None and PYTHON_NAME.search(err) is None, err
    assert snapshot(place) == before


def test_there_are_enough() -> None:
    assert len(CASES) >= 60
    commands = {shlex.split(typed)[0] for typed, _ in CASES.values()}
    assert {"reconstruct", "tune", "check", "center", "compare", "train", "report", "info"} <= commands


def test_a_loss_would_be_noticed(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b"
    file.parent.mkdir()
    file.write_text("precious")
    before = snapshot(tmp_path)
    for lose in (
        lambda: file.write_text("precioux"),
        lambda: os.utime(file, (1, 1)),
        lambda: (tmp_path / "new").mkdir(),
        file.unlink,
    ):
        lose()
        assert snapshot(tmp_path) != before
        shutil.rmtree(tmp_path / "new", ignore_errors=True)
        file.write_text("precious")
        os.utime(file, ns=(before["a/b"][1],) * 2)  # type: ignore[index]
        assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_and_nothing_is_lost(name: str, place: Path, capsys: Any) -> None:
    refused(place, *CASES[name], capsys)


def test_the_same_from_a_shell(files: Path) -> None:
    before = snapshot(files)
    begun = []
    for name in ("files: cut off, checked", "options: misspelled", "going on: cut off"):
        command = [sys.executable, "-m", "asyncred_gpu.cli", *shlex.split(CASES[name][0])]
        process = subprocess.Popen(command, cwd=files, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begun.append((process, CASES[name][1]))
    for process, says in begun:  # side by side: most of their time they import torch
        out, err = process.communicate(timeout=120)
        assert says in err and (process.returncode, out, err.count("\n")) == (2, "", 1)
    assert snapshot(files) == before


def test_a_run_that_is_still_under_way_is_left_alone(place: Path, capsys: Any) -> None:
    for run in ("run", "other-volume"):
        with (place / run / "settings.yaml").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # as the other run does
            refused(place, f"{RESUME} {run}", f"{run} belongs to a run that is still under way. Wait until it", capsys)


# --- what the system refuses ---------------------------------------------------------------------------------------


def forbidden(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Nobody may open the file; for root, too, whom its permissions don't hold."""
    usual = Path.open

    def open_unless(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return usual(path, *arguments, **options)

    return lambda patch: patch.setattr(Path, "open", open_unless)


def hdf5_forbids(patch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise PermissionError(errno.EACCES, "Unable to open file (errno = 13, error message = 'Permission denied')")

    patch.setattr(h5py, "File", refuse)


def full_disk(patch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(".")
    patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))


def quota(patch: pytest.MonkeyPatch) -> None:
    """There is space on the disk, but not for this user, which shows when something is written."""
    usual = Path.open

    def open_unless(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name.startswith(".probe"):
            raise OSError(errno.EDQUOT, "Disk quota exceeded", str(path))
        return usual(path, *arguments, **options)

    patch.setattr(Path, "open", open_unless)


def no_folders(patch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *arguments: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    patch.setattr(Path, "mkdir", refuse)


FULL = "lies on a disk with 1 MB free, and the results may take"
SYSTEM: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str, str]] = {
    "a full disk": (full_disk, f"{RECONSTRUCT} scan.h5", FULL),
    "a full disk, a volume": (full_disk, f"{VOLUME} --slices 0:2", FULL),
    "a full disk, tuned": (full_disk, "tune scan.h5 --output new", FULL),
    "a full disk, compared": (full_disk, "compare --size 64 --output new", FULL),
    "a quota": (
        quota,
        f"{RECONSTRUCT} scan.h5",
        "new can't be written to (Disk quota exceeded). Pass a folder you may",
    ),
    "no folder may be made": (no_folders, f"{RECONSTRUCT} scan.h5", "new can't be made (Permission denied)"),
    "no weights may be": (no_folders, f"{TRAIN} --images images", "new can't be written to (Permission denied)"),
    "a scan": (forbidden("scan.h5"), f"{RECONSTRUCT} scan.h5", "scan.h5 can't be read (Permission denied). Check its"),
    "a scan, to HDF5": (hdf5_forbids, "center scan.h5", "scan.h5 can't be read (Permission denied). Check its perm"),
    "settings": (forbidden("typo.yaml"), "reconstruct --config typo.yaml", "can't be read (Permission denied). Check"),
    "a denoiser": (forbidden("small.json"), f"{RECONSTRUCT} scan.h5", "small.json: Permission denied. Check its per"),
    "a checkpoint": (
        forbidden("checkpoint"),
        "reconstruct --resume run --quiet",
        "checkpoint can't be read (Permission",
    ),
    "a record": (
        forbidden("run.json"),
        "report finished",
        "finished/run.json: Permission denied. Check its permissions",
    ),
}


@pytest.mark.parametrize("name", SYSTEM)
def test_what_the_system_refuses_is_said(name: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    spoil, typed, says = SYSTEM[name]
    before = snapshot(place)
    with pytest.MonkeyPatch.context() as patch:
        spoil(patch)
        status = main(shlex.split(typed))
    out, err = capsys.readouterr()
    assert says in err and (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and INTERNALS.search(err) is None
    assert snapshot(place) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_permissions_as_they_are(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    shutil.copy(files / "scan.h5", tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.h5").chmod(0)
    assert main(["check", "scan.h5"]) == 2
    assert "scan.h5 can't be read (Permission denied). Check its permissions." in capsys.readouterr().err


# --- a disk that is full in the end: a failure, after which what is there is whole -----------------------------------


def full_after(count: int, patch: pytest.MonkeyPatch) -> None:
    """So many files may be written; the next one isn't taken."""
    usual, synced = os.fsync, [0]

    def fsync(descriptor: int) -> None:
        synced[0] += 1
        if synced[0] > count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        usual(descriptor)

    patch.setattr("asyncred_gpu.whole_file.os.fsync", fsync)


SEARCH = (
    "tune scan.h5 --size 64 --denoiser small.safetensors --taus 0.1 --search-sweeps 1 --workers 1 --device cpu --quiet"
)
ENDS: dict[str, tuple[int, str, str, set[str]]] = {
    "nothing": (
        0,
        f"{RECONSTRUCT} scan.h5",
        "new/reconstruction.tif: No space left on device. Free some space.",
        set(),
    ),
    "the image": (2, f"{RECONSTRUCT} scan.h5", "Not all results could be written to new.", {"reconstruction.tif"}),
    "a checkpoint": (
        4,
        f"{RECONSTRUCT} scan.h5 --checkpoint-every 1",
        "To go on: asyncred reconstruct --resume new",
        {"settings.yaml", "checkpoint"},
    ),
    "no settings": (0, f"{VOLUME} --slices 0:2", "new/settings.yaml: No space left on device", set()),
    "a slice": (
        4,
        f"{VOLUME} --slices 0:2",
        "slice_00001.tif: No space left on device. Free some space. Whole slices stay. To go on: asyncred reconstruct",
        {"settings.yaml", "slices", "slices.jsonl"},
    ),
    "no table": (0, f"{SEARCH} --output new", "Not all could be written to new; what was chosen: --tau 0.1", set()),
    "no sheet": (0, "center scan.h5 --count 1", "center-scan.png: No space left on device. Free some space.", set()),
    "no page": (0, "report finished", "finished/report.html: No space left on device. Free some space.", set()),
}


@pytest.mark.parametrize("left", ENDS)
def test_a_disk_that_becomes_full_leaves_whole_files(left: str, place: Path, capsys: Any) -> None:
    count, typed, says, written = ENDS[left]
    before = snapshot(place)
    with pytest.MonkeyPatch.context() as patch:
        full_after(count, patch)
        status = main([*shlex.split(typed)])
    err = capsys.readouterr().err
    assert says in err and "Traceback" not in err and err.count("\n") == 1
    assert status == (2 if left == "no settings" else 1)
    found = {path.name for path in Path("new").iterdir()} if Path("new").exists() else set()
    shutil.rmtree("new", ignore_errors=True)
    assert found == written
    assert snapshot(place) == before
