"""`asyncred report`: the HTML page of a finished run, made from its folder."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from ..exit_status import failed, refused
from .path_word import PATH


@click.command("report", cls=click.RichCommand)
@click.argument("folder", type=PATH)
@click.option("--output", type=PATH, metavar="FILE.html", help="a new file [FOLDER/report.html]")
def command(folder: Path, output: Path | None) -> int:
    """Make the HTML page of a finished run from its FOLDER: images, profiles, curves, timeline, settings."""
    from ..html_report import page
    from ..run_folder import read_run
    from ..whole_file import write_text

    path = output or folder / "report.html"
    try:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} isn't a folder. Pass the output folder of a run.")
        if path.exists():
            raise FileExistsError(f"{path} exists already and isn't overwritten. Pass another --output.")
        if not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"{path.parent} isn't a folder. Make it, or pass another --output.")
        text = page(read_run(folder))
    except (OSError, ValueError) as error:
        return refused(error)
    try:
        write_text(path, text)
    except OSError as error:
        return failed(error)
    print(path)
    return 0
