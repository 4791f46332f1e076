"""What this machine has for a reconstruction, what of it doesn't fit together, and what to install: `asyncred info`.

`examine` looks; each finding is a line. Nothing here stops a run: the CPU is always left.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

import torch

from . import __version__
from .devices import gpu_problems
from .family import SHIPPED, DenoiserFamily
from .gpu_findings import Found, look
from .kernels.host_build import HostBuildError, cache_folder, find_compiler, host_kernels
from .memory import available_memory
from .precision import resolve_precision
from .processor import processor_name
from .runtime.cpu import available_cores

GOOD, MISSING, BROKEN = "good", "missing", "broken"
# What reads files, and what each is for.
READERS = {
    "h5py": "HDF5",
    "hdf5plugin": "HDF5's filters",  # Blosc, LZ4, Bitshuffle, Zstd, …
    "nxtomo": "NXtomo",
    "tifffile": "TIFF",
    "scipy": "Matlab files",
    "zarr": "Zarr",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Args:
        name: what. found: as it is, for people.
        state: GOOD; MISSING: what can be done without; BROKEN: what keeps something from working.
        remedy: what to do, empty if nothing.
    """

    name: str
    found: str
    state: str = GOOD
    remedy: str = ""


def examine() -> list[Finding]:
    """Everything, in the order of a report."""
    system = [_python(), _processor(), _memory(), _torch()]
    return [*system, _precision(), _compiler(), _astra(), *gpu_findings(look()), *_readers(), _denoisers()]


def gpu_findings(found: Found) -> list[Finding]:
    """The driver, the GPUs and CuPy, and what keeps the first GPU from being used."""
    driver = None if found.driver is None else f"for CUDA {found.driver[0]}.{found.driver[1]} and earlier"
    lines = [_there("NVIDIA driver", driver), *_gpus(found), _there("CuPy", " and ".join(found.cupy_packages))]
    problems = gpu_problems(found)
    if not problems:
        return [*lines, Finding("GPU engine", f"device='cuda' takes cuda:{found.current}")]
    what = ", ".join(problem.found for problem in problems)
    remedy = "; then ".join(problem.remedy for problem in problems)
    if found.driver is None:  # no GPU, and then nothing is wrong with not having its packages
        return [*lines, Finding("GPU engine", f"no GPU to be used: {what}", MISSING, f"where there is a GPU, {remedy}")]
    return [*lines, Finding("GPU engine", what, BROKEN, remedy)]


def _there(name: str, what: str | None) -> Finding:
    return Finding(name, what) if what else Finding(name, "none", MISSING)


def _gpus(found: Found) -> list[Finding]:
    def line(index: int) -> str:
        properties = torch.cuda.get_device_properties(index)
        memory, capability = properties.total_memory / 2**30, f"{properties.major}.{properties.minor}"
        return f"{properties.name}, {memory:.0f} GiB, compute capability {capability}"

    return [Finding(f"cuda:{index}", line(index)) for index in range(len(found.capabilities))]


def _python() -> Finding:
    return Finding("asyncred_gpu", f"{__version__}, Python {platform.python_version()} in {sys.prefix}")


def _processor() -> Finding:
    cores, machine = len(available_cores()), os.cpu_count()
    return Finding("processor", f"{processor_name()}, {cores} of {machine} cores for this process: as many workers")


def _memory() -> Finding:
    free = available_memory()
    return Finding("memory", "unknown" if free is None else f"{free / 2**30:.1f} GiB free")


def _torch() -> Finding:
    build = "for the CPU" if torch.version.cuda is None else f"for CUDA {torch.version.cuda}"
    return Finding("torch", f"{torch.__version__}, built {build}")


def _precision() -> Finding:
    return Finding("denoiser on the CPU", f"in {resolve_precision('auto')}, which is the faster here")


def _compiler() -> Finding:
    try:
        compiler = find_compiler()
        host_kernels()
    except HostBuildError as error:
        return Finding(
            "CT projector",
            f"ASTRA's, since the faster one can't be compiled: {error}",
            BROKEN,
            "install a C++ compiler, e.g. `apt install g++`",
        )
    return Finding("CT projector", f"our own, compiled by {compiler} into {cache_folder()}")


def _astra() -> Finding:
    def version() -> str:
        import astra

        return f"{astra.__version__}, " + ("with CUDA" if astra.use_cuda() else "on the CPU")

    return _tried("ASTRA", version, "`pip install --force-reinstall astra-toolbox`")


def _readers() -> list[Finding]:
    return [_reader(name, reads) for name, reads in READERS.items()]


def _reader(name: str, reads: str) -> Finding:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(reads, f"no {name}", MISSING, f"`pip install {name}`")

    def load() -> str:
        import_module(name)
        return f"{name} {version}"

    return _tried(reads, load, f"`pip install --force-reinstall {name}`")


def _denoisers() -> Finding:
    def levels() -> str:
        shown = {name: ", ".join(f"{sigma:g}" for sigma in DenoiserFamily(name).sigmas) for name in SHIPPED}
        return "; ".join(f"{name} for σ = {sigmas}" for name, sigmas in shown.items())

    return _tried("denoisers", levels, "`pip install --force-reinstall asyncred-gpu`")


def _tried(name: str, look_at: Callable[[], str], remedy: str) -> Finding:
    """A package that is there may still not load."""
    try:
        return Finding(name, look_at())
    except (ImportError, OSError, RuntimeError, ValueError, AttributeError) as error:
        lines = str(error).strip().splitlines()
        return Finding(name, f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}", BROKEN, remedy)


def verdict(findings: list[Finding]) -> str:
    """In a sentence: what runs will use."""
    engines = [finding for finding in findings if finding.name == "GPU engine"]
    broken = [finding.name for finding in findings if finding.state == BROKEN]
    place = "on the GPU" if all(engine.state == GOOD for engine in engines) else "on the CPU"
    rest = f" To be mended: {', '.join(dict.fromkeys(broken))}." if broken else " Nothing is broken."
    return f"Runs go {place}.{rest}"


def as_data(findings: list[Finding]) -> list[dict[str, Any]]:
    """For a machine to read."""
    return [vars(finding) for finding in findings]
