"""Values that can't be what they were taken for are doubted, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from asyncred_gpu.cli.main import main
from asyncred_gpu.plausible import doubt

from .test_reconstruct_script import write_scan

TRUE = np.linspace(0, 8, 99, dtype=np.float32)
CASES: dict[str, tuple[np.ndarray, dict[str, Any], str | None]] = {
    "line integrals": (TRUE, {"values": "line-integrals"}, None),
    "a thick sample": (TRUE + 16, {"values": "line-integrals"}, None),
    "counts for them": (TRUE + 700, {"values": "line-integrals"}, "look like counts. Pass --white and --dark, and no"),
    "with fields": (
        TRUE + 700,
        {"values": "line-integrals", "white_fields": True},
        "counts. Leave --values out; or go on",
    ),
    "their negative": (-TRUE, {"values": "line-integrals"}, "their logarithm may lack its minus sign"),
    "noise about zero": (0.3 * np.sin(99 * TRUE), {"values": "line-integrals"}, None),
    "counts": (TRUE, {"values": "counts", "white_fields": True}, None),
    "another exposure": (TRUE - 6, {"values": "counts"}, "the white fields may be of another exposure"),
    "counts divided by nothing": (
        -np.log(TRUE + 700),
        {"values": "transmission"},
        "above 704 times the beam, and a sam",
    ),
    "simulated": (TRUE + 700, {}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_is_doubted(case: str) -> None:
    sinogram, facts, says = CASES[case]
    found = doubt(sinogram, facts)
    assert found is None if says is None else found is not None and says in found and found.startswith("warning: ")


QUICK = ["--size", "64", "--sweeps", "0.1", "--workers", "1", "--device", "cpu", "--denoiser", "dncnn"]


@pytest.mark.parametrize("command", ["reconstruct", "check", "center", "tune"])
def test_counts_that_are_said_to_be_line_integrals_are_warned_of(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_process: None, capsys: Any
) -> None:
    """By what they are, and not by what rays beside the image measure."""
    write_scan(tmp_path / "scan.h5", center=51.5)
    monkeypatch.chdir(tmp_path)
    words = {"center": ["--count", "1"], "tune": ["--size", "64", "--time-limit", "1e-9"]}.get(command, QUICK)
    for values, warned in (([], False), (["--values", "line-integrals"], True)):
        status = main([command, "scan.h5", *words, "--center", "51.5", *values])
        out = capsys.readouterr().out
        assert status == (2 if command == "tune" else 0)
        assert ("they look like counts. Leave --values out; or go on if they are in another unit" in out) == warned
        assert "a ray beside" not in out
        for path in tmp_path.glob("*.png"):
            path.unlink()


def test_fields_of_another_exposure_are_warned_of(tmp_path: Path, capsys: Any) -> None:
    path = write_scan(tmp_path / "scan.h5", center=51.5)
    with h5py.File(path, "r+") as file:
        file["exchange/data"][...] = 100 + 10 * (file["exchange/data"][...] - 100)
    assert main(["check", str(path), "--center", "51.5", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "the white fields may be of another exposure. Pass the scan's own as --white" in out
