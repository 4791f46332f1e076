"""`asyncred info`: what this machine has, what doesn't fit together, and what to install."""

from __future__ import annotations

import json

import rich_click as click

# How a state is shown.
MARKS = {"good": "[green]✓[/]", "missing": "[yellow]–[/]", "broken": "[red]✗[/]"}


@click.command("info", cls=click.RichCommand)
@click.option("--json", "as_json", is_flag=True, help="for a machine to read")
def command(as_json: bool) -> int:
    """Say what of GPU, driver, CuPy, torch and ASTRA fits together, what is missing, and what to install."""
    from ..doctor import as_data, examine, verdict

    findings = examine()
    if as_json:
        print(json.dumps({"findings": as_data(findings), "verdict": verdict(findings)}, indent=2, ensure_ascii=False))
        return 0
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for finding in findings:
        remedy = f"\n[bold]→ {escape(finding.remedy)}[/]" if finding.remedy else ""
        table.add_row(MARKS[finding.state], finding.name, f"{escape(finding.found)}{remedy}")
    console = Console(highlight=False)
    console.print(table)
    console.print(f"\n{escape(verdict(findings))}")
    return 0
