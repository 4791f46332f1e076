"""The comparison as tables, one a row for each mode: Markdown that is aligned, so that a terminal shows it as well."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from ..result import Result
from .case import Case
from .modes import Outcome
from .numbers import common_level, last, seconds_to, sweep_seconds
from .speedup import Ladder

NOTHING = "–"
LEFT = ("mode", "note")


def mode_table(outcomes: Sequence[Outcome], case: Case) -> str:
    """The modes; with a true image their SNR and the seconds to a common one, else how far G is from 0."""
    level = common_level([outcome.arrived.history for outcome in outcomes if outcome.arrived is not None])
    header = ["mode", "workers", "sweeps", "set-up s", "start s", "run s", "s/sweep"]
    header += ["‖G‖²/‖G₀‖²"] if case.reference is None else ["SNR dB"]
    if level is not None:
        header.append(f"s to {level:.2f} dB")
    if case.scan is not None and case.scan.left_out is not None:
        header.append("prediction error")
    header += ["mean staleness", "largest", "λ"]
    if any(outcome.message for outcome in outcomes):
        header.append("note")
    return aligned(header, [_row(outcome, case, level, header) for outcome in outcomes])


def _row(outcome: Outcome, case: Case, level: float | None, header: Sequence[str]) -> list[str]:
    cells = {"mode": outcome.mode.name, "workers": outcome.mode.workers, "note": outcome.message}
    if outcome.result is not None:
        cells |= _measured(outcome.result, case, level)
    return [cells.get(name, NOTHING) for name in header]


def _measured(result: Result, case: Case, level: float | None) -> dict[str, str]:
    history = result.history
    cells = {
        "sweeps": f"{last(history, 'sweep'):.4g}",
        "set-up s": _two(result.timings["setup"]),
        "start s": _two(result.timings["start"]),
        "run s": _two(last(history, "seconds")),
        "s/sweep": _three(sweep_seconds(history)),
        "SNR dB": _two(last(history, "snr")),
        "‖G‖²/‖G₀‖²": f"{last(history, 'residual'):.2e}",
    }
    if level is not None:
        cells[f"s to {level:.2f} dB"] = _two(seconds_to(level, history))
    error = case.prediction_error(np.asarray(result.image, np.float32))
    if error is not None:
        cells["prediction error"] = f"{error:.4f}"
    bound = result.settings.get("max_staleness")
    if bound is not None:  # a method of whole images has none
        staleness = history["staleness"]
        cells |= {"mean staleness": _two(float(staleness.mean())), "largest": str(staleness.max()), "λ": str(bound)}
    return cells


def speedup_table(ladders: Sequence[Ladder]) -> str:
    """Every rung; more workers than cores share them."""
    rows = []
    for ladder in ladders:
        for workers in ladder.solvers:
            crowded = ladder.cores is not None and workers > ladder.cores
            note = ladder.failures.get(workers) or (f"they share {ladder.cores} cores" if crowded else "")
            seconds, gain = ladder.seconds.get(workers), ladder.speedups.get(workers)
            rows.append([ladder.name, str(workers), _three(seconds), _two(gain), note])
    header = ["mode", "workers", "s/sweep", "speed-up", "note"]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return aligned(header, rows)


def settings_lines(outcomes: Iterable[Outcome]) -> list[str]:
    """Which modes ran in which precision, with which momentum, and what they noted."""
    groups: dict[str, list[str]] = {}
    notes = []
    for outcome in outcomes:
        if outcome.result is None:
            continue
        settings = outcome.result.settings
        momentum = f"heavy ball {settings['momentum']:g}" if "momentum" in settings else "Nesterov's acceleration"
        groups.setdefault(f"{settings['precision']}, {momentum}", []).append(outcome.mode.name)
        notes += [f"{outcome.mode.name}: {note}" for note in outcome.result.notes]
    return [f"{what}: {'; '.join(names)}" for what, names in groups.items()] + notes


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown whose columns are as wide as their widest cell; numbers to the right."""
    cells = [[cell.replace("|", "¦").replace("\n", " ") for cell in row] for row in (header, *rows)]
    widths = [max(2, *map(len, column)) for column in zip(*cells, strict=True)]
    left = [name in LEFT for name in header]
    rule = [("-" * width) if to_left else "-" * (width - 1) + ":" for width, to_left in zip(widths, left, strict=True)]
    lines = [
        [
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(row, widths, left, strict=True)
        ]
        for row in cells
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (lines[0], rule, *lines[1:]))


def _two(value: float | None) -> str:
    return NOTHING if value is None or math.isnan(value) else f"{value:.2f}"


def _three(value: float | None) -> str:
    return NOTHING if value is None or math.isnan(value) else f"{value:.3g}"
