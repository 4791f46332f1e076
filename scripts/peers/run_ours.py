"""asyncred_gpu itself: as it comes, with prior="pnp", with a barrier, the paper's BG and SG, and GM-RED.

Settings: "method", one of METHODS, and "tau". The clock of Async-RED isn't stopped for the SNR, which its
workers compute. It starts when they are ready, after the start image was brought to the data and projected, which the
other methods' clocks see; so the time of both is added.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from asyncred_gpu import GpuAsyncRED, RadonCT
from asyncred_gpu.baselines import gm_red
from asyncred_gpu.models import DnCNN
from asyncred_gpu.result import Result

from .problem import Problem
from .trial import Outcome, Runner, Settings, run_trials

# λ of the paper's step, which gets shorter with it; more than three workers need a larger one.
STALENESS = 2
# What GpuAsyncRED is given besides tau.
METHODS: dict[str, dict[str, Any]] = {
    "default": {},
    "PnP": {"prior": "pnp"},
    "sync": {"order": "sync"},
    "BG": {"method": "paper"},
    "SG": {"method": "paper"},
    "GM-RED": {},
}
# SG takes one angle in so many.
MINIBATCH_SHARE = 3


class Ours(Runner):
    """Our solvers on one operator."""

    packages = ("numpy", "torch", "scipy")

    def __init__(self, problem: Problem, cores: int) -> None:
        super().__init__(problem, cores)
        torch.set_num_threads(cores)
        shape = problem.reference.shape
        empty = RadonCT(np.zeros((len(problem.angles), problem.detectors), np.float32), problem.angles, shape)
        self._operator = empty.with_measurements(problem.noisy(empty.forward(problem.reference)))
        self._network = network_of(problem)

    def run(self, settings: Settings, seconds: float, begun: float) -> Outcome:
        """One run of our package."""
        # The same FBP as everybody's; from an image of the caller's the default would leave out its continuation.
        limits: dict[str, Any] = {"max_sweeps": None, "time_limit": seconds, "x0": "auto"}
        limits["reference"] = self.problem.reference
        started = time.perf_counter()
        projected = 0.0
        if settings["method"] == "GM-RED":
            result = gm_red(self._operator, self._network, settings["tau"], precision="auto", **limits)
        else:
            result = self._solver(settings).run(**limits)
            projected = self._projection_time() + result.timings["fit"]
        spent = result.timings["setup"] + result.timings["start"] - result.timings.get("fit", 0.0)
        return self._outcome(result, projected, (started - begun) + spent)

    def _solver(self, settings: Settings) -> GpuAsyncRED:
        options = dict(METHODS[settings["method"]])
        if options.get("method") == "paper":
            options["max_staleness"] = max(STALENESS, self.cores - 1)
        if settings["method"] == "SG":
            options["minibatch"] = len(self.problem.angles) // MINIBATCH_SHARE
        return GpuAsyncRED(self._operator, self._network, tau=settings["tau"], device="cpu", **options)

    def _projection_time(self) -> float:
        begun = time.perf_counter()
        self._operator.forward(self.problem.start)
        return time.perf_counter() - begun

    def _outcome(self, result: Result, projected: float, setup: float) -> Outcome:
        snr = np.asarray(result.history["snr"], np.float64)
        taken = np.isfinite(snr)
        when = np.asarray(result.history["seconds"], np.float64)[taken] + projected
        notes: dict[str, Any] = {"status": result.status.name, "notes": list(result.notes), "settings": result.settings}
        notes |= {"updates": len(snr), "sweeps": float(np.asarray(result.history["sweep"])[-1]) if len(snr) else 0.0}
        begin = self.problem.snr(self.problem.start)
        image = np.asarray(result.image, np.float32)
        return Outcome([0.0, *when.tolist()], [begin, *snr[taken].tolist()], image, setup, notes)


def network_of(problem: Problem) -> DnCNN:
    """The problem's weights as our network."""
    count = len(problem.weights) // 2
    network = DnCNN(count, len(problem.weights["b0"]))
    state = {f"layers.{i}.weight": torch.from_numpy(problem.weights[f"w{i}"]) for i in range(count)}
    state |= {f"layers.{i}.bias": torch.from_numpy(problem.weights[f"b{i}"]) for i in range(count)}
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


if __name__ == "__main__":
    run_trials(Ours)
