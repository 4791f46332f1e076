"""`asyncred train`: denoisers with a bounded Lipschitz constant; its options are those of train.py."""

from __future__ import annotations

import rich_click as click


@click.command(
    "train",
    cls=click.RichCommand,
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def command(words: tuple[str, ...]) -> int:
    """Train DnCNN denoisers with a Lipschitz bound; write weights, facts and model cards."""
    from ..train import main

    try:
        return main(words)
    except SystemExit as leave:  # of argparse, which has said why
        return int(leave.code or 0)
