"""The kernels' host build: C++ of this folder, compiled once by the machine's compiler and kept in the user's cache.

The name of the kept file is a checksum of the sources, the flags, the compiler and the processor, so a shared home
folder holds one for each kind of machine.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..interrupts import undisturbed
from .sources import FOLDER, Signature, kernel_files, kernel_headers, signature

# What each library is made of; the first file is compiled and includes the others.
PROJECTOR = ("host.cpp", "joseph.h", "lanes.h", "rays.h", "grid.h")
KERNELS = ("host_kernels.cpp", *(file.name for file in kernel_headers() + kernel_files()))
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
COMPILE_SECONDS = 120


class HostBuildError(RuntimeError):
    """The kernels can't be compiled here; says why and what to do."""


@functools.cache
def host_kernels() -> ctypes.CDLL:
    """The compiled functions of host.cpp.

    Raises:
        HostBuildError: no compiler, or it failed.
    """
    return declared(_built(PROJECTOR))


def declared(kernels: ctypes.CDLL) -> ctypes.CDLL:
    """The library with its functions' arguments declared; a pointer is an address as an int, or None."""
    number, array = ctypes.c_int, ctypes.c_void_p
    window, rays = [number, number], [array, number, number]
    pair = [array, *window, *rays, array, array]
    scratch, gather = ctypes.c_long, [array, number, array, number, array, number, number, *[array] * 5]
    declarations: list[tuple[Any, list[Any], Any]] = [
        (kernels.joseph_forward, pair, None),
        (kernels.joseph_adjoint, pair, None),
        (kernels.joseph_forward_fan, pair, None),
        (kernels.joseph_adjoint_fan, pair, None),
        (kernels.joseph_forward_scratch, [*window, number], scratch),
        (kernels.joseph_adjoint_scratch, [*window, *rays], scratch),
        (kernels.joseph_adjoint_scratch_fan, [*window, *rays], scratch),
        (kernels.gather_residual, gather, None),
    ]
    for function, arguments, result in declarations:
        function.argtypes, function.restype = arguments, result
    return kernels


class HostKernels:
    """The CUDA kernels' host build, for tensors on the CPU: `Kernels` of launch.py. A launch has run when it returns.

    Raises:
        HostBuildError: no compiler, or it failed.
    """

    def __init__(self) -> None:
        library = _built(KERNELS)
        self._kernels: dict[str, tuple[Signature, Callable[..., None]]] = {}
        for file in kernel_files():
            arguments = signature(file)
            function = getattr(library, arguments.name)
            function.argtypes = [
                ctypes.c_void_p if parameter.pointer else {"int": ctypes.c_int, "float": ctypes.c_float}[parameter.kind]
                for parameter in arguments.parameters
            ]
            function.restype = None
            self._kernels[arguments.name] = arguments, function

    def launch(self, name: str, items: int, *arguments: Tensor | int | float | None) -> None:
        """Run kernel `name`; it counts its items itself, so `items` matters on a device only.

        Raises:
            KeyError: no kernel of that name.
            TypeError, ValueError: arguments that aren't the kernel's, see `Signature.values`.
        """
        expected, function = self._kernels[name]
        function(*expected.values(arguments, device=-1))


def _built(sources: tuple[str, ...]) -> ctypes.CDLL:
    """The library made of these files, compiled unless the cache has it."""
    compiler = find_compiler()
    source = FOLDER / sources[0]
    library = cache_folder() / f"{source.stem}-{_fingerprint(compiler, sources)}.so"
    if not library.is_file():
        _compile(compiler, source, library)
    try:
        return _loaded(library)
    except HostBuildError:  # damaged, so once more
        _compile(compiler, source, library)
        return _loaded(library)


def _loaded(library: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise HostBuildError(f"{library} can't be loaded ({error}). Set CXX to another compiler.") from error


def find_compiler() -> str:
    """The C++ compiler: $CXX, or c++, g++ or clang++ on the path."""
    wanted = os.environ.get("CXX")
    found = next((path for name in (wanted, "c++", "g++", "clang++") if name and (path := shutil.which(name))), None)
    if found is None:
        raise HostBuildError(
            "No C++ compiler (c++, g++ or clang++) is on the path. Install one (apt install g++), or set CXX; "
            "projector='astra' needs none."
        )
    return found


def cache_folder() -> Path:
    """Where compiled kernels are kept: $XDG_CACHE_HOME/asyncred_gpu; made if need be.

    Raises:
        HostBuildError: it can't be written.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "asyncred_gpu"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise HostBuildError(f"{folder} can't be made ({error}). Set XDG_CACHE_HOME to a folder of yours.") from error
    return folder


def _fingerprint(compiler: str, sources: tuple[str, ...]) -> str:
    content = hashlib.sha256()
    for name in sources:
        content.update((FOLDER / name).read_bytes())
    version = _run([compiler, "--version"]).stdout
    content.update("\0".join([*FLAGS, compiler, version, _processor()]).encode())
    return content.hexdigest()[:20]


def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _compile(compiler: str, source: Path, library: Path) -> None:
    """Compile beside the library and move it into place in one step: several processes may do so at once."""
    try:
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            partial = Path(folder) / library.name
            command = [compiler, *FLAGS, str(source), "-o", str(partial)]
            done = _run(command, {"TMPDIR": folder})
            if done.returncode != 0:
                raise HostBuildError(
                    f"{' '.join(command)} failed: {done.stderr.strip()[-500:]} Set CXX to another compiler; "
                    "projector='astra' needs none."
                )
            os.replace(partial, library)
    except OSError as error:
        raise HostBuildError(
            f"{library.parent} can't be written ({error}). Set XDG_CACHE_HOME to a folder of yours."
        ) from error


def _run(command: list[str], environment: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
    """Run it to its end; if we are interrupted, it ends with all that it started."""
    process = None
    try:
        with undisturbed():
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | environment,
                start_new_session=True,
            )
        output, errors = process.communicate(timeout=COMPILE_SECONDS)
        return subprocess.CompletedProcess(command, process.returncode, output, errors)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostBuildError(f"{command[0]} couldn't be run ({error}). Set CXX to another compiler.") from error
    finally:
        if process is not None:
            with process:  # closes its pipes and waits
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
