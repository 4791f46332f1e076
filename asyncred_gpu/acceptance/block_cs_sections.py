"""The sections on block compressed sensing, and the seconds each may take: about a minute in all, less if `quick`."""

from __future__ import annotations

from .block_cs import SensedProblems
from .block_cs_arrays import check_arrays
from .block_cs_checks import check_replays, check_sensed_fixed_point, check_sensed_ordered, replay_points
from .block_cs_gradients import gradient_times
from .block_cs_sweeps import sensed_sweeps
from .machine import Machine
from .measured import Measured
from .sections import Findings, Section


def checks_of_cs(machine: Machine, sensed: SensedProblems, quick: bool) -> list[Section]:
    def fixed_point(findings: Findings) -> None:
        check_sensed_fixed_point(findings, machine, sensed.small if quick else sensed.large)

    def replays(findings: Findings) -> None:
        check_replays(findings, machine, replay_points([sensed.small] if quick else [sensed.small, sensed.large]))

    def ordered(findings: Findings) -> None:
        check_sensed_ordered(findings, machine, sensed.small, (machine.precisions[0], "float32"))

    return [
        Section("CS: problems", sensed.prepare, most=20),
        Section("CS: fixed point", fixed_point, most=40, least=10),
        Section("CS: replays", replays, most=30, least=10),
        Section("CS: ordered runs", ordered, most=15),
        Section("CS: arrays", lambda findings: check_arrays(findings, machine, sensed.small), most=15),
    ]


def benchmarks_of_cs(machine: Machine, measured: Measured, sensed: SensedProblems, quick: bool) -> list[Section]:
    most = 10 if quick else 20
    return [
        Section("CS: gradients", lambda findings: gradient_times(findings, machine, measured, sensed.large), most=15),
        Section("CS: sweeps", lambda findings: sensed_sweeps(findings, machine, measured, sensed.large), most=most),
    ]
