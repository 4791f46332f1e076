"""A run's folder: new, tried before work starts, never overwritten, and gone again if nothing came of the run."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from asyncred_gpu.figures import comparison_figure
from asyncred_gpu.io import OutputFolder

PIXELS = 64 * 64
IMAGE = np.random.default_rng(0).random((64, 48)).astype(np.float32)


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    history = {"update": np.arange(3), "snr": np.array([np.nan, 1 / 3, 30.0])}
    settings = {"tau": np.float32(0.5), "shape": (3, np.int64(4)), "scale": np.inf, "file": Path("a/b"), "on": True}
    with OutputFolder(tmp_path / "run", "test", PIXELS) as folder:
        folder.write_image("image.tif", IMAGE.astype(np.float64))
        folder.write_history("history.csv", history)
        folder.write_settings("settings.json", settings)
        folder.write_figure("figure.png", comparison_figure({"FBP": IMAGE, "Async-RED": IMAGE * 2}, IMAGE))
    read = tifffile.imread(folder.path / "image.tif")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, IMAGE)
    rows = list(csv.reader((folder.path / "history.csv").open()))
    assert rows[0] == ["update", "snr"]
    assert float(rows[2][1]) == 1 / 3
    found = json.loads((folder.path / "settings.json").read_text())
    assert found == {"tau": 0.5, "shape": [3, 4], "scale": None, "file": "a/b", "on": True}
    assert (folder.path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_folders_of_their_own_never_meet(tmp_path: Path) -> None:
    made = [OutputFolder(None, "retina", PIXELS, root=tmp_path / "outputs").path for _ in range(5)]
    assert len(set(made)) == 5
    assert all(path.parent == tmp_path / "outputs" and path.name.startswith("retina-") for path in made)


def test_an_empty_folder_may_be_given_and_stays(tmp_path: Path) -> None:
    with OutputFolder(tmp_path, "test", PIXELS):
        pass
    assert tmp_path.is_dir()


def test_a_run_that_wrote_nothing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), OutputFolder(tmp_path / "a" / "b", "test", PIXELS):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_failed_after_writing_keeps_what_it_wrote(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="later"), OutputFolder(tmp_path / "a", "test", PIXELS) as folder:
        folder.write_image("image.tif", IMAGE)
        raise RuntimeError("later")
    assert [path.name for path in folder.path.iterdir()] == ["image.tif"]


def test_a_file_is_not_written_twice(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "run", "test", PIXELS)
    folder.write_image("image.tif", IMAGE)
    with pytest.raises(FileExistsError, match=r"image\.tif exists already and isn't overwritten"):
        folder.write_image("image.tif", 0 * IMAGE)
    np.testing.assert_array_equal(tifffile.imread(folder.path / "image.tif"), IMAGE)


def test_a_history_of_unequal_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"differ in length: \{'update': 2, 'snr': 3\}"):
        OutputFolder(tmp_path, "test", PIXELS).write_history("history.csv", {"update": [1, 2], "snr": [1, 2, 3]})


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match=r"holds 1 files already \(mine\.txt\); nothing is overwritten"):
        OutputFolder(tmp_path, "test", PIXELS)
    assert (tmp_path / "mine.txt").read_text() == "precious"


@pytest.mark.parametrize(("name", "message"), [("file", "is a file, so no folder"), ("file/sub", "can't be made")])
def test_a_file_in_the_way_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OSError, match=message):
        OutputFolder(tmp_path / name, "test", PIXELS)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_full_disk_is_refused_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=60_000_000))
    OutputFolder(tmp_path / "small", "test", 1_000_000)
    with pytest.raises(OSError, match="with 60 MB free, and the results may take 62 MB"):
        OutputFolder(tmp_path / "new" / "run", "test", 3_000_000)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def no_space(*arguments: Any, **options: Any) -> None:
    raise OSError(28, os.strerror(28))


def test_a_disk_that_takes_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota shows only when something is written."""
    monkeypatch.setattr(Path, "open", no_space)
    with pytest.raises(OSError, match=r"run can't be written to \(No space left on device\)"):
        OutputFolder(tmp_path / "run", "test", PIXELS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OSError, match=r"can't be made \(Permission denied\)"):
        OutputFolder(tmp_path / "run", "test", PIXELS)


def test_a_place_that_takes_no_folder_is_refused() -> None:
    with pytest.raises(OSError, match=r"/proc/asyncred can't be made \(.+\)\. Pass a folder in a place you may write"):
        OutputFolder("/proc/asyncred", "test", PIXELS)
