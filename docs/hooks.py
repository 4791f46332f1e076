"""What mkdocs calls while it builds the site: the tables of options come from the settings themselves."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

# In a page, on a line of its own: {{ options NAME }}.
MARK = re.compile(r"^\{\{ options (\w+) \}\}$", re.MULTILINE)
KINDS = {
    "reconstruct": ("settings", "ReconstructSettings"),
    "tune": ("tuning", "TuneSettings"),
    "compare": ("comparison", "CompareSettings"),
    "center": ("centering", "CenterSettings"),
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page with its tables."""
    return MARK.sub(lambda found: table(found[1]), markdown)


def table(command: str) -> str:
    """A section's options after the other, as `--help` has them."""
    from asyncred_gpu.cli.command import sections
    from asyncred_gpu.config.forms import form_of
    from asyncred_gpu.config.settings import option_name

    module, name = KINDS[command]
    kind = getattr(import_module(f"asyncred_gpu.config.{module}"), name)
    lines = []
    for section in sections(kind):
        lines += ["", f"**{section.section}**", "", "| option | | what | default |", "|---|---|---|---|"]
        for field_name, field in kind.model_fields.items():
            if field_name in section.__annotations__ and field_name not in kind.unused:
                form = form_of(field)
                shown = field.json_schema_extra["shown"]
                value = "" if form is None else f"`{form.metavar}`".replace("|", "\\|")
                lines.append(f"| `{option_name(field_name)}` | {value} | {field.description} | {shown} |")
    return "\n".join(lines)
