"""Compiling a kernel for a GPU that isn't there: CUDA C++ to a cubin by libnvrtc, with what ptxas says of it.

The library is that of the wheel nvidia-cuda-nvrtc, or of a CUDA toolkit. NVRTC documentation, section 3.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path

from .sources import FOLDER

TOOLKIT = "/usr/local/cuda"
_ENTRY = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)'.*?(?P<stack>\d+) bytes stack frame, "
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)


class NvrtcMissing(RuntimeError):
    """libnvrtc is nowhere to be found; says what to install."""


class CompileError(RuntimeError):
    """NVRTC refused a source; holds its log."""


@dataclass(frozen=True)
class Resources:
    """What a thread of a kernel takes: registers, and bytes of slow local memory (stack and spills)."""

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int


def resources(log: str) -> dict[str, Resources]:
    """Each kernel's resources from the log of `ptxas -v`."""
    return {
        entry["kernel"]: Resources(
            int(entry["registers"]), int(entry["stack"]), int(entry["stores"]), int(entry["loads"])
        )
        for entry in _ENTRY.finditer(log)
    }


def find_nvrtc() -> Path | str:
    """The newest libnvrtc: of the Python environment, of $CUDA_HOME, $CUDA_PATH or /usr/local/cuda, or the system's.

    Raises:
        NvrtcMissing: there is none.
    """
    wheels = importlib.util.find_spec("nvidia")
    for folder in (wheels.submodule_search_locations or ()) if wheels is not None else ():
        found = [file for file in Path(folder).glob("*/lib/libnvrtc.so*") if "alt" not in file.name]
        if found:
            return max(found, key=_version)
    for home in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), TOOLKIT):
        found = list(Path(home).glob("lib*/libnvrtc.so*")) if home else []
        if found:
            return max(found, key=_version)
    system = ctypes.util.find_library("nvrtc")
    if system is None:
        raise NvrtcMissing("libnvrtc isn't here. pip install nvidia-cuda-nvrtc, or set CUDA_HOME to a CUDA toolkit.")
    return system


def _version(file: Path) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", file.name)]


class Nvrtc:
    """The compiler; needs no device.

    Raises:
        NvrtcMissing: libnvrtc isn't here, or can't be loaded.
    """

    def __init__(self) -> None:
        path = find_nvrtc()
        try:
            self._library = ctypes.CDLL(str(path))
        except OSError as error:
            raise NvrtcMissing(f"{path} can't be loaded ({error}). pip install nvidia-cuda-nvrtc.") from error
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def compile(self, code: str, name: str, architecture: str) -> tuple[bytes, str]:
        """The cubin and the log, registers and spills included.

        Args:
            code: CUDA C++; may include this folder's headers.
            name: what errors call it, unless the code has #line.
            architecture: such as sm_90.
        Raises:
            CompileError: with the compiler's log.
        """
        options = [b"--std=c++17", f"--gpu-architecture={architecture}".encode(), f"-I{FOLDER}".encode()]
        options.append(b"--ptxas-options=-v")
        program = ctypes.c_void_p()
        self._check(
            self._library.nvrtcCreateProgram(ctypes.byref(program), code.encode(), name.encode(), 0, None, None)
        )
        try:
            status = self._library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * 4)(*options))
            log = self._read(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
            if status != 0:
                raise CompileError(f"{name} for {architecture}: {self._reason(status)}\n{log}")
            return self._read(program, "CUBIN"), log
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _read(self, program: ctypes.c_void_p, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._library, f"nvrtcGet{what}")(program, buffer))
        return buffer.raw

    def _check(self, status: int) -> None:
        if status != 0:
            raise CompileError(f"NVRTC: {self._reason(status)}")

    def _reason(self, status: int) -> str:
        reason: bytes = self._library.nvrtcGetErrorString(status)
        return reason.decode()
