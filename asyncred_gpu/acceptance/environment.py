"""The machine as it is: GPU, clocks, driver, versions, commit. What can't be found is said to be not there."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..devices import DeviceError, check_device
from ..processor import processor_name
from .processes import run_limited
from .sections import Findings

NOT_THERE = "not there"
SMI_FIELDS = (
    *("name", "driver_version", "memory.total", "clocks.sm", "clocks.mem", "clocks.max.sm", "power.limit"),
    *("temperature.gpu", "utilization.gpu"),
)
PACKAGES = ("numpy", "astra-toolbox", "triton")
SMI_SECONDS = 10.0


def why_no_gpu() -> str | None:
    """Why no GPU can be used, in a sentence; None if one can."""
    try:
        check_device("cuda")
    except DeviceError as error:
        found = str(error).partition(". To mend it")[0]
        return f"gpu_acceptance needs a GPU, and {found}."
    return None


def describe(findings: Findings, root: Path, told: str | None = None) -> None:
    """The section: everything into the data and one table; `told`: the commit, if git isn't to be asked."""
    facts = {**gpu_facts(), **software_facts(), **host_facts(), "commit": told or commit(root)}
    findings.data.update(facts)
    rows = findings.table("Machine", ["", ""])
    rows += [[name, value] for name, value in facts.items()]


def gpu_facts() -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    capability = f"{properties.major}.{properties.minor}"
    named = {"GPU": properties.name, "compute capability": capability, "GPUs": torch.cuda.device_count()}
    sizes = {"multiprocessors": properties.multi_processor_count, "memory, GiB": properties.total_memory / 2**30}
    return {**named, **sizes, **_smi()}


def _smi() -> dict[str, str]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {"nvidia-smi": NOT_THERE}
    index = torch.cuda.current_device()
    command = [tool, f"--query-gpu={','.join(SMI_FIELDS)}", "--format=csv,noheader", f"--id={index}"]
    done = run_limited(command, SMI_SECONDS)
    return parse_smi(done.output) if done.returncode == 0 else {"nvidia-smi": done.tail(1) or "failed"}


def parse_smi(text: str) -> dict[str, str]:
    """The first line of nvidia-smi's answer, by field."""
    values = [value.strip() for value in (text.strip().splitlines() or [""])[0].split(",")]
    if len(values) != len(SMI_FIELDS):
        return {"nvidia-smi": f"{len(values)} values for {len(SMI_FIELDS)} fields"}
    return {f"nvidia-smi {name}": value for name, value in zip(SMI_FIELDS, values, strict=True)}


def software_facts() -> dict[str, Any]:
    versions = {"asyncred_gpu": __version__, "python": sys.version.split()[0], "torch": str(torch.__version__)}
    cuda = {"CUDA of torch": torch.version.cuda, "cuDNN": torch.backends.cudnn.version()}
    return {**versions, **cuda, **{name: _installed(name) for name in PACKAGES}, "CuPy": _found(_cupy)}


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return NOT_THERE


def _cupy() -> str:
    import cupy

    runtime = cupy.cuda.runtime
    return f"{cupy.__version__} (CUDA {runtime.runtimeGetVersion()}, driver for {runtime.driverGetVersion()})"


def _found(look: Callable[[], str]) -> str:
    try:
        return look()
    except (ImportError, OSError, RuntimeError) as error:
        return f"{NOT_THERE} ({type(error).__name__}: {error})"


def host_facts() -> dict[str, Any]:
    return {"processor": processor_name(), "cores": len(os.sched_getaffinity(0)), "system": platform.platform()}


def commit(root: Path) -> str:
    """The checkout's commit; a + if files are changed."""
    git = shutil.which("git")
    if git is None:
        return f"{NOT_THERE} (no git)"
    asked = [["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]]
    answers = [subprocess.run([git, "-C", root, *ask], capture_output=True, text=True, timeout=20) for ask in asked]
    if any(answer.returncode for answer in answers):
        return f"{NOT_THERE} (no checkout)"
    return answers[0].stdout.strip() + ("+" if answers[1].stdout.strip() else "")
