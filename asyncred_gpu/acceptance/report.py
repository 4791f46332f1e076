"""The report of an acceptance run: JSON with all raw numbers, Markdown for people, and what it all comes to.

Files: gpu-<name of the GPU>.json and .md. An older report with that name is kept, renamed by its own date.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..whole_file import write_text
from .aims import Verdict, judge
from .sections import FAILED, Outcome, Say, last_line

MOST_BYTES = 2**20
DIGITS = 6
SUFFIXES = (".json", ".md")


@dataclass(frozen=True)
class ReportFiles:
    """Where one run's report goes."""

    folder: Path
    stem: str

    def path(self, suffix: str) -> Path:
        return self.folder / f"{self.stem}{suffix}"

    def keep_older(self, say: Say) -> None:
        """Rename a report that is there already, JSON and Markdown alike; it never is overwritten."""
        self.folder.mkdir(parents=True, exist_ok=True)
        there = [suffix for suffix in SUFFIXES if self.path(suffix).exists()]
        if not there:
            return
        stem = f"{self.stem}-{_date_of(self.path(there[0]))}"
        free, number = stem, 2
        while any((self.folder / f"{free}{suffix}").exists() for suffix in SUFFIXES):
            free, number = f"{stem}-{number}", number + 1
        for suffix in there:
            self.path(suffix).rename(self.folder / f"{free}{suffix}")
        say(f"An older report is there; it is now {free} ({', '.join(there)}).")

    def write(self, report: Mapping[str, Any], text: str) -> None:
        """Both files, each in one step: a killed run leaves the last whole ones."""
        for suffix, content in ((".json", to_json(report)), (".md", text)):
            write_text(self.path(suffix), content)


def files_for(folder: Path, machine: str) -> ReportFiles:
    """gpu-nvidia-h200 for "NVIDIA H200"."""
    return ReportFiles(folder, "gpu-" + (re.sub(r"[^a-z0-9]+", "-", machine.lower()).strip("-") or "unknown"))


def _date_of(path: Path) -> str:
    """When a report was begun, as part of a name; of the file itself if it doesn't say."""
    try:
        begun = str(json.loads(path.read_text(encoding="utf-8"))["begun"])
    except (ValueError, KeyError, TypeError):
        begun = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat()
    return re.sub(r"[^0-9T]", "", begun.partition(".")[0].partition("+")[0])


def make_report(machine: str, begun: str, quick: bool, outcomes: Sequence[Outcome], finished: bool) -> dict[str, Any]:
    """All there is so far."""
    verdicts = judge([outcome.findings.measured for outcome in outcomes])
    return {
        "machine": machine,
        "begun": begun,
        "quick": quick,
        "finished": finished,
        "failed": [outcome.name for outcome in outcomes if outcome.status == FAILED],
        "aims": [_aim(verdict) for verdict in verdicts],
        "sections": [_section(outcome) for outcome in outcomes],
    }


def _aim(verdict: Verdict) -> dict[str, Any]:
    aim = verdict.aim
    named = {"name": aim.name, "title": aim.title, "wanted": aim.wanted, "unit": aim.unit}
    return {**named, "value": verdict.value, "verdict": verdict.verdict}


def _section(outcome: Outcome) -> dict[str, Any]:
    found = outcome.findings
    return {
        "name": outcome.name,
        "status": outcome.status,
        "seconds": outcome.seconds,
        "error": outcome.error,
        "failures": found.failures,
        "left_out": found.left_out,
        "tables": found.tables,
        "data": found.data,
    }


def exit_status(report: Mapping[str, Any]) -> int:
    """0: nothing failed; 1: something did. A figure aimed at for speed and not reached is no failure."""
    return 1 if report["failed"] or not report["finished"] else 0


# --- JSON ------------------------------------------------------------------------------------------------------------


def to_json(report: Mapping[str, Any]) -> str:
    """Strict JSON: numbers to six digits, what isn't finite as null; raw data is dropped, and said so, if too large."""
    text = json.dumps(plain(report), indent=1, ensure_ascii=False, allow_nan=False)
    if len(text.encode()) > MOST_BYTES:
        sections = [{**section, "data": "dropped: the report would exceed 1 MiB"} for section in report["sections"]]
        text = json.dumps(plain({**report, "sections": sections}), indent=1, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def plain(value: Any) -> Any:
    """The value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{float(value):.{DIGITS}g}") if math.isfinite(value) else None
    return value if value is None else str(value)


# --- Markdown --------------------------------------------------------------------------------------------------------


def to_markdown(report: Mapping[str, Any]) -> str:
    """The report for people: figures aimed at, sections, then every table."""
    lines = [f"# {report['machine']}", "", f"{report['begun']}, by `scripts/gpu_acceptance.py`"]
    lines[-1] += (" --quick." if report["quick"] else ".") + ("" if report["finished"] else " **Not finished.**")
    lines += ["", *summary(report)]
    for section in report["sections"]:
        for table in section["tables"]:
            lines += [f"## {table['title']}", "", *table_lines(table["columns"], table["rows"]), ""]
    return "\n".join(lines).rstrip() + "\n"


def summary(report: Mapping[str, Any]) -> list[str]:
    """What it comes to: aims, sections, failures, what was left out."""
    aims = [
        [aim["title"], aim["wanted"], with_unit(aim["value"], aim["unit"]), aim["verdict"]] for aim in report["aims"]
    ]
    lines = ["## Figures aimed at", "", *table_lines(["", "aim", "measured", ""], aims), ""]
    rows = [[section["name"], section["status"], f"{section['seconds']:.1f} s"] for section in report["sections"]]
    lines += ["## Sections", "", *table_lines(["", "", "time"], rows), ""]
    for section in report["sections"]:
        said = list(section["failures"]) if section["status"] == FAILED else []
        said += [last_line(section["error"])] if section["error"] else []
        said += [f"left out: {what}" for what in section["left_out"]]
        lines += [f"- {section['name']}: {what}" for what in said]
    return [*lines, ""]


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A Markdown table."""
    cells = [[shown(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return [f"| {' | '.join(line)} |" for line in ([*columns], ["---"] * len(columns), *cells)]


def shown(cell: Any) -> str:
    """A cell: numbers to four digits, a dash where there is none."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "–"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def with_unit(value: float | None, unit: str) -> str:
    return f"{shown(value)} {unit}".strip() if value is not None else "–"
