"""`asyncred report`: the HTML page of a finished run, made from its folder."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from ..exit_status import REFUSED, ended


@click.command("report", cls=click.RichCommand)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE.html", help="a new file [FOLDER/report.html]")
def command(folder: Path, output: Path | None) -> int:
    """Make the HTML page of a finished run from its FOLDER: images, profiles, curves, timeline, settings."""
    from ..html_report import page, read_run

    path = output or folder / "report.html"
    try:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} isn't a folder. Pass the output folder of a run.")
        if path.exists():
            raise FileExistsError(f"{path} exists already and isn't overwritten. Pass another --output.")
        text = page(read_run(folder))
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except (OSError, ValueError, KeyError) as error:
        return ended(f"error: {error}", REFUSED)
    print(path)
    return 0
