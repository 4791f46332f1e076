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
import subprocess
import tempfile
from pathlib import Path

SOURCES = ("joseph.h", "host.cpp")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
COMPILE_SECONDS = 120


class HostBuildError(RuntimeError):
    """The kernels can't be compiled here; says why and what to do."""


@functools.cache
def host_kernels() -> ctypes.CDLL:
    """The compiled kernels: joseph_forward and joseph_adjoint, see host.cpp.

    Raises:
        HostBuildError: no compiler, or it failed.
    """
    compiler = find_compiler()
    library = cache_folder() / f"kernels-{_fingerprint(compiler)}.so"
    if not library.is_file():
        _compile(compiler, library)
    try:
        kernels = _loaded(library)
    except HostBuildError:  # damaged, so once more
        _compile(compiler, library)
        kernels = _loaded(library)
    for function in (kernels.joseph_forward, kernels.joseph_adjoint):
        number, array = ctypes.c_int, ctypes.c_void_p
        function.argtypes = [array, number, number, array, number, number, array]
        function.restype = None
    return kernels


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


def _fingerprint(compiler: str) -> str:
    content = hashlib.sha256()
    for name in SOURCES:
        content.update((Path(__file__).parent / name).read_bytes())
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=COMPILE_SECONDS).stdout
    content.update("\0".join([*FLAGS, compiler, version, _processor()]).encode())
    return content.hexdigest()[:20]


def _processor() -> str:
    """What -march=native depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _compile(compiler: str, library: Path) -> None:
    """Compile beside the library and move it into place in one step: several processes may do so at once."""
    try:
        handle, partial = tempfile.mkstemp(suffix=".so", dir=library.parent)
    except OSError as error:
        raise HostBuildError(
            f"{library.parent} can't be written ({error}). Set XDG_CACHE_HOME to a folder of yours."
        ) from error
    os.close(handle)
    try:
        command = [compiler, *FLAGS, str(Path(__file__).parent / "host.cpp"), "-o", partial]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_SECONDS)
        if done.returncode != 0:
            raise HostBuildError(
                f"{' '.join(command)} failed: {done.stderr.strip()[-500:]} Set CXX to another compiler; "
                "projector='astra' needs none."
            )
        os.replace(partial, library)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostBuildError(f"{compiler} couldn't be run ({error}). Set CXX to another compiler.") from error
    finally:
        Path(partial).unlink(missing_ok=True)
