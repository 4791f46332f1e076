"""asyncred info: every state of a machine has its line, and what to do about it."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from typing import Any

import pytest

from asyncred_gpu import doctor
from asyncred_gpu.cli.main import main
from asyncred_gpu.doctor import BROKEN, GOOD, MISSING, examine, gpu_findings, verdict
from asyncred_gpu.gpu_findings import Found
from asyncred_gpu.kernels.host_build import HostBuildError

H200 = {"torch": "2.11.0", "torch_cuda": (13, 0), "available": True, "capabilities": ((9, 0),)}
H200 |= {"architectures": ("sm_90",), "cupy_packages": ("cupy-cuda13x",), "cupy_cuda": 13, "cupy_devices": 1}
MACHINES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "no driver": (
        {"driver": None, "torch": "2.13.0+cpu", "torch_cuda": None},
        MISSING,
        "no NVIDIA driver",
        "nvidia-smi",
    ),
    "nothing at all": (
        {"driver": None, "torch": "2.13.0+cpu", "torch_cuda": None},
        MISSING,
        "no GPU to be used: no NVIDIA driver (libcuda.so.1 can't be loaded), torch 2.13.0+cpu built without CUDA, no "
        "CuPy",
        "where there is a GPU, install the NVIDIA driver until nvidia-smi lists the GPU (a container needs --gpus "
        "all); then `pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu130`; then "
        "`pip install cupy-cuda13x`",
    ),
    "an old driver": (
        {"driver": (11, 4), "torch": "2.11.0", "torch_cuda": (13, 0), "cupy_packages": ("cupy-cuda13x",)},
        BROKEN,
        "an NVIDIA driver for CUDA 11.4, too old for torch 2.11.0",
        "update the NVIDIA driver",
    ),
    "torch for the CPU": (
        {"driver": (13, 0), "torch": "2.13.0+cpu", "torch_cuda": None, "cupy_packages": ("cupy-cuda13x",)},
        BROKEN,
        "torch 2.13.0+cpu built without CUDA",
        "pip install --force-reinstall torch --index-url https://download.pytorch.org/whl/cu130",
    ),
    "no CuPy": ({"driver": (13, 0), **H200, "cupy_packages": ()}, BROKEN, "no CuPy", "`pip install cupy-cuda13x`"),
    "CuPy for another CUDA": (
        {"driver": (13, 0), **H200, "cupy_packages": ("cupy-cuda12x",), "cupy_cuda": 12},
        BROKEN,
        "cupy-cuda12x (CUDA 12), which doesn't fit torch 2.11.0",
        "`pip uninstall -y cupy-cuda12x` and `pip install cupy-cuda13x`",
    ),
    "an old GPU": (
        {"driver": (13, 0), **H200, "capabilities": ((6, 0),)},
        BROKEN,
        "compute capability 6.0",
        "use a GPU of compute capability 7.0",
    ),
    "all is well": ({"driver": (13, 0), **H200}, GOOD, "device='cuda' takes cuda:0", ""),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_a_gpu_that_cannot_be_used_says_why_and_what_to_install(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    facts, state, found, remedy = MACHINES[machine]
    monkeypatch.setattr(doctor, "_gpus", lambda found: [])
    lines = gpu_findings(Found(**facts))
    engine = [line for line in lines if line.name == "GPU engine"]
    assert len(engine) == 1 and engine[0].state == state
    assert found in engine[0].found and remedy in engine[0].remedy
    place = "on the GPU" if state == GOOD else "on the CPU"
    assert verdict(lines).startswith(f"Runs go {place}.")
    assert ("To be mended: GPU engine" in verdict(lines)) == (state == BROKEN)


def test_this_machine_has_what_the_tests_need() -> None:
    found = {finding.name: finding for finding in examine()}
    assert {"torch", "ASTRA", "CT projector", "HDF5", "TIFF", "denoisers", "CuPy", "GPU engine"} <= set(found)
    assert [found[name].state for name in ("torch", "ASTRA", "HDF5", "TIFF", "denoisers")] == [GOOD] * 5
    assert "dncnn for σ = 5, 10, 15, 20, 25" in found["denoisers"].found


def refusing(names: set[str], load: Callable[..., Any]) -> Callable[..., Any]:
    def load_but(name: str, *more: Any, **others: Any) -> Any:
        if name in names:
            raise OSError(f"lib{name}.so.1: cannot open shared object file\nand more")
        return load(name, *more, **others)

    return load_but


def test_a_package_that_does_not_load_is_broken_and_one_that_is_not_there_missing(monkeypatch: Any) -> None:
    monkeypatch.setattr(builtins, "__import__", refusing({"astra"}, builtins.__import__))
    monkeypatch.setattr(doctor, "import_module", refusing({"h5py"}, doctor.import_module))
    monkeypatch.setattr(doctor, "READERS", {"h5py": "HDF5", "no_such_reader": "Scrolls"})

    def no_compiler() -> str:
        raise HostBuildError("no C++ compiler: found none of c++, g++.")

    monkeypatch.setattr(doctor, "find_compiler", no_compiler)
    found = {finding.name: finding for finding in examine()}
    assert (found["ASTRA"].state, found["HDF5"].state, found["Scrolls"].state) == (BROKEN, BROKEN, MISSING)
    assert found["ASTRA"].found == "OSError: libastra.so.1: cannot open shared object file"
    assert found["HDF5"].remedy == "`pip install --force-reinstall h5py`"
    assert found["Scrolls"].remedy == "`pip install no_such_reader`"
    assert found["CT projector"].state == BROKEN and "apt install g++" in found["CT projector"].remedy
    assert "ASTRA" in verdict(examine()) and "Scrolls" not in verdict(examine())


def test_the_command_says_it_to_people_and_to_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("GPU engine") == 1 and "→ where there is a GPU, install the NVIDIA driver" in shown
    assert "Runs go on the CPU." in shown
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"].startswith("Runs go on the CPU.")
    assert {"name", "found", "state", "remedy"} == set(found["findings"][0])
