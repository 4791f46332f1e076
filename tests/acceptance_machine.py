"""What the acceptance's sections need in tests: a machine without a GPU, and findings nobody listens to."""

from __future__ import annotations

import time

import torch

from asyncred_gpu.acceptance.sections import Findings
from asyncred_gpu.acceptance.timing import HostTimer
from asyncred_gpu.kernels.host_build import HostKernels
from asyncred_gpu.operators.astra_projectors import HostCalls
from asyncred_gpu.runtime.cuda_setup import make_cuda_runtime
from asyncred_gpu.runtime.simulated_streams import Machine, SimulatedDevice
from asyncred_gpu.runtime.stream_policies import RunAhead


def quiet(text):
    """Nobody listens."""


def findings(seconds=600.0):
    return Findings(time.monotonic() + seconds, quiet)


class SimulatedMachine:
    """The acceptance's Machine without a GPU: the kernels' host build on simulated streams."""

    solver_device = "cpu"
    precisions = ("float32",)
    timer = HostTimer()

    def __init__(self, reserves=0, with_astra=False):
        self.reserves = reserves
        self.with_astra = with_astra

    def astra(self):
        if not self.with_astra:
            raise RuntimeError("planted: no CUDA in ASTRA")
        return HostCalls()

    @property
    def device(self):
        return SimulatedDevice(Machine(RunAhead()), 0, HostKernels())

    def cupy(self):
        raise RuntimeError("planted: CuPy has no GPU")

    def convolve(self, features, weight, allow_tf32):
        return torch.nn.functional.conv2d(features, weight)

    def factory(self, solver):
        ordered = solver.order == "ordered"
        return lambda setup, workers, image: make_cuda_runtime([self.device], setup, workers, image, ordered)

    def reset_peak(self):
        return 0, 0

    def peak(self):
        return self.reserves, self.reserves
