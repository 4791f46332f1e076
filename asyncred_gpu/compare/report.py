"""What is left of a comparison: the tables, the figures, and every setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..figures import comparison_figure
from ..io import OutputFolder
from ..report import versions
from .comparison import Comparison, remarks
from .figure import comparison_curves
from .numbers import sweep_seconds
from .speedup import Ladder
from .table import mode_table, settings_lines, speedup_table


def write_tables(folder: OutputFolder, comparison: Comparison) -> str:
    """Write tables and settings into the folder; the tables are returned."""
    tables = _tables(comparison)
    command, title = f"`{comparison.command}`", f"# {comparison.case.title}"
    folder.write_text("table.md", "\n\n".join([title, f"{command}  \n{comparison.machine.line}", *tables]) + "\n")
    if comparison.ladders:
        folder.write_history("speedup.csv", _rungs(comparison.ladders))
    folder.write_settings("run.json", _settings(comparison))
    return "\n\n".join(tables)


def _tables(comparison: Comparison) -> list[str]:
    tables = [mode_table(comparison.outcomes, comparison.case)]
    tables.append("\n".join(f"- {line}" for line in [*remarks(comparison), *settings_lines(comparison.outcomes)]))
    return [*tables, speedup_table(comparison.ladders)] if comparison.ladders else tables


def _rungs(ladders: Sequence[Ladder]) -> dict[str, list[Any]]:
    """The speed-ups as columns."""
    rows = [
        (ladder.name, workers, seconds, ladder.speedups.get(workers, float("nan")))
        for ladder in ladders
        for workers, seconds in ladder.seconds.items()
    ]
    columns = zip(*rows, strict=True) if rows else ([], [], [], [])
    return {
        name: list(column)
        for name, column in zip(("mode", "workers", "sweep_seconds", "speedup"), columns, strict=True)
    }


def _settings(comparison: Comparison) -> dict[str, Any]:
    case = comparison.case
    modes = {}
    for outcome in comparison.outcomes:
        found: dict[str, Any] = {"message": outcome.message, "traceback": outcome.trace}
        if outcome.result is not None:
            result = outcome.result
            found |= {"status": result.status.name, "seconds": result.timings, "notes": result.notes}
            found |= {"sweep_seconds": sweep_seconds(result.history), "settings": dict(result.settings)}
        modes[outcome.mode.name] = found
    return {
        "command": comparison.command,
        "problem": {"name": case.name, **case.facts},
        "machine": {"line": comparison.machine.line, "cores": comparison.machine.cores, "load": comparison.load},
        "beforehand": comparison.beforehand,
        "modes": modes,
        "speedup": {
            ladder.name: {"sweep_seconds": ladder.seconds, "failures": ladder.failures} for ladder in comparison.ladders
        },
        "versions": versions(),
    }


def write_figures(folder: OutputFolder, comparison: Comparison) -> None:
    """Curves and images of the modes that arrived, if any did."""
    case = comparison.case
    results = {outcome.mode.name: outcome.arrived for outcome in comparison.outcomes if outcome.arrived is not None}
    if not results:
        return
    curves = comparison_curves(results, comparison.ladders, case.title, comparison.start_snr)
    folder.write_figure("comparison.png", curves)
    images = {case.start_name: comparison.start if case.mask is None else comparison.start * case.mask}
    images |= {name: np.asarray(result.image, np.float32) for name, result in results.items()}
    errors = {name: case.prediction_error(image) for name, image in images.items()}
    notes = {
        name: f"error of the left-out projections {error:.4f}" for name, error in errors.items() if error is not None
    }
    facts = [f"{name}: {result.timings['run']:.1f} s" for name, result in results.items()]
    inside = None if case.mask is None else case.mask > 0
    pictures = comparison_figure(
        images,
        case.reference,
        title=case.title,
        notes=notes,
        facts=facts,
        field_of_view=inside,
        unit="grey level" if case.scan is None else "attenuation a pixel",
    )
    folder.write_figure("images.png", pictures)
