"""What an experiment leaves behind: tables, remarks and figures, kept as JSON and shown as Markdown."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Cell = str | int | float | None


@dataclass
class Table:
    """Rows under a header; floats are shown with two decimals."""

    title: str
    header: list[str]
    rows: list[list[Cell]] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [f"**{self.title}**", "", _line(self.header), _line(["---"] * len(self.header))]
        return "\n".join([*lines, *(_line([_shown(cell) for cell in row]) for row in self.rows)])


@dataclass
class Section:
    """One experiment. figures: title to file name, beside the report; made: when, and with which settings."""

    name: str
    title: str
    tables: list[Table] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    made: str = ""

    def table(self, title: str, *header: str) -> list[list[Cell]]:
        """A new table's rows, to be filled."""
        self.tables.append(Table(title, list(header)))
        return self.tables[-1].rows

    def markdown(self) -> str:
        """The section as Markdown."""
        parts = [f"## {self.title}", *(table.markdown() for table in self.tables)]
        parts += ["\n".join(f"- {remark}" for remark in self.remarks)] if self.remarks else []
        parts += [f"![{title}]({name})\n\n*{title}*" for title, name in self.figures.items()]
        return "\n\n".join([*parts, f"*{self.made}{self.seconds:.0f} s*"])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(cell: Cell) -> str:
    if cell is None:
        return ""
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


class Report:
    """Sections in one JSON file, and the Markdown made of them; written after every section, so nothing is lost."""

    def __init__(self, path: Path, title: str, facts: list[str]) -> None:
        self._path = path
        self._title = title
        self._facts = facts
        self.sections: dict[str, Section] = {}

    def load(self) -> None:
        """Keep the sections of an earlier run of the same name."""
        if self._path.with_suffix(".json").exists():
            content = json.loads(self._path.with_suffix(".json").read_text(encoding="utf-8"))
            self.sections = {name: _section(found) for name, found in content.items()}

    def add(self, section: Section, order: tuple[str, ...]) -> None:
        """Take the section in, in its place, and write both files."""
        found = self.sections | {section.name: section}
        self.sections = {name: found[name] for name in order if name in found}
        content = {name: asdict(one) for name, one in self.sections.items()}
        self._path.with_suffix(".json").write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
        parts = [f"# {self._title}", "\n".join(f"- {fact}" for fact in self._facts)]
        parts += [one.markdown() for one in self.sections.values()]
        self._path.with_suffix(".md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _section(content: dict[str, Any]) -> Section:
    tables = [Table(**table) for table in content.pop("tables")]
    return Section(**content, tables=tables)
