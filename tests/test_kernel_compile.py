"""Every kernel compiles for GPUs that aren't here, spills nothing; and CuPy is handed what it needs, to a fake."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from asyncred_gpu.kernels.cuda_build import CudaBuildError, CudaKernels, launch_grid
from asyncred_gpu.kernels.nvrtc import CompileError, Nvrtc, NvrtcMissing, find_nvrtc, resources
from asyncred_gpu.kernels.sources import FOLDER, device_code, kernel_files

ARCHITECTURES = ["sm_80", "sm_90"]
SPILLING = """
KERNEL planted(const float *from, const int *order, float *to, int count) {
    EACH(item, count) {
        float kept[512];
        for (int i = 0; i < 512; ++i) kept[i] = from[item * 512 + i];
        for (int i = 0; i < 512; ++i) to[item * 512 + i] = kept[order[i]];
    }
}
"""


class Nvcc:
    """The same from a CUDA toolkit's nvcc, where NVRTC isn't."""

    def __init__(self, folder):
        self._folder = folder

    def compile(self, code, name, architecture):
        source, cubin = self._folder / name, self._folder / "out.cubin"
        source.write_text(code)
        command = ["nvcc", "-cubin", f"-arch={architecture}", "-std=c++17", "-Xptxas", "-v", f"-I{FOLDER}"]
        done = subprocess.run([*command, source, "-o", cubin], capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise CompileError(done.stderr)
        return cubin.read_bytes(), done.stdout + done.stderr


@pytest.fixture(scope="module")
def compiler(tmp_path_factory):
    try:
        return Nvrtc()
    except NvrtcMissing as error:
        if shutil.which("nvcc") is None:
            pytest.skip(f"no CUDA compiler: {error}")
        return Nvcc(tmp_path_factory.mktemp("nvcc"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("file", kernel_files(), ids=lambda file: file.stem)
def test_every_kernel_compiles_and_spills_nothing(compiler, file, architecture):
    cubin, log = compiler.compile(device_code(file), file.name, architecture)
    assert cubin[:4] == b"\x7fELF"
    found = resources(log)
    assert list(found) == [file.stem], log
    used = found[file.stem]
    assert 8 <= used.registers <= 64, log  # 64: four blocks of 256 threads on a multiprocessor
    assert (used.stack, used.spill_stores, used.spill_loads) == (0, 0, 0), log
    assert "warning" not in log


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_local_memory_would_be_seen(compiler, architecture):
    _, log = compiler.compile('#include "grid.h"\n' + SPILLING, "planted.cu", architecture)
    assert resources(log)["planted"].stack >= 2048
    assert resources(log)["planted"].registers > 0


def test_spills_would_be_seen(compiler):
    lines = "".join(f"float x{i} = from[item + {i}];\n" for i in range(80))
    products = " + ".join(f"x{i} * from[item * (long long)x{(i + 7) % 80}]" for i in range(80))
    sums = "".join(f"to[item + {i}] = x{i} + total;\n" for i in range(80))
    code = f"""#include "grid.h"
extern "C" __global__ void __launch_bounds__(1024, 2) planted(const float *from, float *to, int count) {{
    EACH(item, count) {{ {lines} float total = {products}; {sums} }}
}}"""
    _, log = compiler.compile(code, "planted.cu", "sm_80")
    assert resources(log)["planted"].spill_stores > 0 < resources(log)["planted"].spill_loads


def test_an_empty_log_has_no_resources():
    assert resources("") == {} == resources("ptxas info    : 0 bytes gmem")


def test_an_error_names_the_file_and_its_line(compiler, tmp_path):
    planted = tmp_path / "planted.cu"
    lines = (FOLDER / "publish.cu").read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith("KERNEL"))
    lines.insert(place, "int broken = ;")
    planted.write_text("\n".join(lines))
    with pytest.raises(CompileError, match=rf"planted\.cu[(:]{place + 1}[):]"):
        compiler.compile(device_code(planted), "other.cu", "sm_80")


def test_a_missing_nvrtc_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("asyncred_gpu.kernels.nvrtc.importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("asyncred_gpu.kernels.nvrtc.ctypes.util.find_library", lambda name: None)
    monkeypatch.setattr("asyncred_gpu.kernels.nvrtc.TOOLKIT", str(tmp_path))
    monkeypatch.delenv("CUDA_PATH", raising=False)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(NvrtcMissing, match=r"libnvrtc isn't here\. pip install nvidia-cuda-nvrtc"):
        find_nvrtc()
    (tmp_path / "lib64").mkdir()
    for name in ("libnvrtc.so.9", "libnvrtc.so.12", "libnvrtc-builtins.so.13"):
        (tmp_path / "lib64" / name).write_bytes(b"no library")
    assert find_nvrtc().name == "libnvrtc.so.12"
    with pytest.raises(NvrtcMissing, match=r"libnvrtc.so.12 can't be loaded"):
        Nvrtc()


# --- what CuPy is handed ---------------------------------------------------------------------------------------------


class FakeCupy:
    """As much of CuPy as CudaKernels uses; writes down every launch and where it happened."""

    def __init__(self, version):
        self.__version__ = version
        self.launches, self.modules, self.entered = [], [], []
        fake = self

        class Context:
            def __enter__(self):
                fake.entered.append(self)

            def __exit__(self, *_):
                fake.entered.pop()

        class Device(Context):
            def __init__(self, index):
                self.index, self.attributes = index, {"MultiProcessorCount": 4}

        class Stream(Context):
            @classmethod
            def from_external(cls, foreign):
                stream = cls()
                stream.made, (zero, stream.ptr) = "from_external", foreign.__cuda_stream__()
                assert zero == 0 and int(version.split(".")[0]) >= 14
                return stream

        class ExternalStream(Context):
            def __init__(self, ptr, device_id=-1):
                assert int(version.split(".")[0]) < 14, "deprecated"
                self.made, self.ptr, self.device_id = "ExternalStream", ptr, device_id

        self.cuda = SimpleNamespace(Device=Device, Stream=Stream, ExternalStream=ExternalStream)

    def RawModule(self, *, code, options, backend):
        assert [type(context).__name__ for context in self.entered] == ["Device"]
        self.modules.append((code, options, backend))

        def get_function(name):
            def kernel(grid, block, arguments):
                device, stream = self.entered
                self.launches.append((name, grid, block, arguments, device.index, stream))

            kernel.num_regs = 32
            return kernel

        return SimpleNamespace(get_function=get_function)


def on_fake_device(tensor, index):
    class OnDevice(torch.Tensor):
        def get_device(self):
            return index

    return tensor.as_subclass(OnDevice)


@pytest.fixture(params=["13.6.0", "14.2.0"])
def cupy(request, monkeypatch):
    fake = FakeCupy(request.param)
    monkeypatch.setitem(sys.modules, "cupy", fake)
    fake.torch_stream = 4711
    current = lambda index: SimpleNamespace(cuda_stream=fake.torch_stream + index)  # noqa: E731
    monkeypatch.setattr(torch.cuda, "current_stream", current)
    return fake


def backproject_arguments(index=2):
    fans, sinogram, image = torch.zeros(144, dtype=torch.uint8), torch.zeros(3, 9), torch.zeros(5, 7)
    fans, sinogram, image = (on_fake_device(tensor, index) for tensor in (fans, sinogram, image))
    return fans, sinogram, 3, 9, 5, 7, image


def test_all_kernels_are_built_at_once_with_plain_options(cupy):
    kernels = CudaKernels(2)
    assert len(cupy.modules) == len(kernel_files()) == len(kernels.registers)
    for file, (code, options, backend) in zip(kernel_files(), cupy.modules, strict=True):
        assert re.fullmatch(rf'// [0-9a-f]{{64}}\n#line 1 "{file.name}"', "\n".join(code.splitlines()[:2]))
        assert (options, backend) == (("--std=c++17", f"-I{FOLDER}"), "nvrtc")
    assert not cupy.entered and not cupy.launches


def test_a_launch_has_typed_arguments_and_torchs_stream(cupy):
    kernels, arguments = CudaKernels(2), backproject_arguments()
    kernels.launch("backproject", 35, *arguments)
    ((name, grid, block, typed, device, stream),) = cupy.launches
    assert (name, grid, block, device, stream.ptr) == ("backproject", (1,), (64,), 2, 4713)
    assert stream.made == ("from_external" if cupy.__version__ >= "14" else "ExternalStream")
    assert [type(value) for value in typed] == [np.uintp] * 2 + [np.int32] * 4 + [np.uintp]
    assert [int(value) for value in typed] == [
        argument.data_ptr() if isinstance(argument, torch.Tensor) else argument for argument in arguments
    ]
    kernels.launch("backproject", 35, *arguments)
    assert cupy.launches[1][-1] is stream
    cupy.torch_stream = 1000
    kernels.launch("backproject", 35, *arguments)
    assert cupy.launches[2][-1].ptr == 1002 and not cupy.entered


def test_a_grid_covers_the_items_or_fills_the_device():
    expected = {  # on 132 multiprocessors, where 528 blocks of 256 threads are enough
        1: (1, 64),
        64: (1, 64),
        65: (2, 64),
        51_660: (808, 64),
        527 * 256: (2108, 64),
        527 * 256 + 1: (528, 256),
        320_000: (1250, 256),
        4224 * 256: (4224, 256),
        10**10: (4224, 256),
    }
    assert {items: launch_grid(items, 132) for items in expected} == expected


@pytest.mark.parametrize(("items", "grid"), [(0, None), (65, (2, 64)), (10**10, (128, 256))])
def test_a_launch_has_the_grid_of_its_device(cupy, items, grid):
    CudaKernels(2).launch("backproject", items, *backproject_arguments())
    assert [(blocks, threads) for _, (blocks,), (threads,), *_ in cupy.launches] == ([] if grid is None else [grid])


def test_null_and_float_arguments(cupy):
    fans, sinogram, *_ = backproject_arguments()
    slots = on_fake_device(torch.zeros(4, dtype=torch.int8), 2)
    arguments = (fans, fans, sinogram, fans, slots, 1, 1, 0, 0.1, 1, None, sinogram, sinogram, 32, sinogram)
    CudaKernels(2).launch("combine", 32, *arguments)
    typed = cupy.launches[0][3]
    assert [type(value) for value in typed[5:11]] == [np.int32] * 3 + [np.float32] * 2 + [np.uintp]
    # None would be a null address of the argument itself, which crashes the launch.
    assert typed[8] == np.float32(0.1) and typed[9] == 1.0 and typed[10] == 0


def test_arguments_of_another_device_or_kind_are_refused(cupy):
    kernels, arguments = CudaKernels(2), backproject_arguments()
    with pytest.raises(ValueError, match=r"kernel backproject: rays lies on cpu, the kernel runs on cuda:2"):
        kernels.launch("backproject", 35, *backproject_arguments(index=1))
    with pytest.raises(TypeError, match=r"kernel backproject: 3.0 isn't its argument int angles"):
        kernels.launch("backproject", 35, *arguments[:2], 3.0, *arguments[3:])
    assert not cupy.launches


def test_without_cupy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(CudaBuildError, match=r"CuPy can't be imported .* pip install 'asyncred-gpu\[gpu-cuda13\]'"):
        CudaKernels(0)


def test_a_changed_header_changes_the_code_that_cupy_looks_up(monkeypatch, tmp_path):
    shutil.copytree(FOLDER, tmp_path / "kernels")
    monkeypatch.setattr("asyncred_gpu.kernels.sources.FOLDER", tmp_path / "kernels")
    file = kernel_files()[0]
    before = device_code(file)
    assert device_code(file) == before
    with open(tmp_path / "kernels" / "grid.h", "a") as header:
        header.write("// changed\n")
    assert device_code(file) != before
