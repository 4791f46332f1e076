"""The documents: every Python block and example runs as it stands, every option is listed, the site builds."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from asyncred_gpu.cli.command import options_of
from asyncred_gpu.config.comparison import CompareSettings
from asyncred_gpu.config.settings import ReconstructSettings

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))


def blocks() -> list[tuple[str, str]]:
    """Python blocks of the pages, by page and number; those that show an example's file are the example's."""
    found = []
    for page in sorted(DOCS.glob("*.md")):
        inside = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
        found += [(f"{page.stem}-{number}", block) for number, block in enumerate(inside) if "--8<--" not in block]
    return found


def run(program: Path, folder: Path) -> str:
    done = subprocess.run([sys.executable, program], cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", [name for name, _ in blocks()])
def test_a_block_runs_as_it_stands(name: str, tmp_path: Path) -> None:
    program = tmp_path / "block.py"
    program.write_text(dict(blocks())[name], "utf-8")
    assert run(program, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["block.py"]


# What an example must come to, from its last line.
PROMISES = {
    "own_operator": lambda out: _number(out, "deblurred ") > _number(out, "blurred ") + 3,
    "after_normalization": lambda out: _number(out, "relative error ") < 0.12 and "(2, 96, 96)" in out,
    "compressed_sensing": lambda out: _number(out, "before, ") > _number(out, ": ") + 3,
    "own_denoiser": lambda out: "halo 2 pixels" in out and _number(out, "pixels, ") > 15,
}


def _number(text: str, after: str) -> float:
    found = re.search(re.escape(after) + r"(-?[\d.]+\d)", text)
    assert found is not None, text
    return float(found[1])


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_does_what_it_says(example: Path, tmp_path: Path) -> None:
    out = run(example, tmp_path)
    assert PROMISES[example.stem](out), out
    assert list(tmp_path.iterdir()) == []


def test_the_pages_name_files_that_are_there() -> None:
    for page in DOCS.glob("*.md"):
        for name in re.findall(r'--8<-- "(.*?)"', page.read_text("utf-8")):
            assert (DOCS / name).exists(), (page.name, name)
    texts = [page.read_text("utf-8") for page in DOCS.glob("*.md")]
    shown = {name for text in texts for name in re.findall(r'--8<-- "examples/(.*?)"', text)}
    assert shown == {path.name for path in EXAMPLES}


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs mkdocs (make_env.sh .venv dev)")
def test_the_site_builds_without_a_warning_and_lists_every_option(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-f", str(DOCS.parent / "mkdocs.yml")]
    done = subprocess.run(
        [*command, "-d", str(tmp_path / "site")], capture_output=True, text=True, timeout=240, env=_quiet()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    options = (tmp_path / "site" / "options.html").read_text("utf-8")
    for kind in (ReconstructSettings, CompareSettings):
        for option in options_of(kind):
            assert option.opts[0] in options
    assert "{{" not in options and "<tr>\n<td></td>" not in options
    reference = (tmp_path / "site" / "reference.html").read_text("utf-8")
    for name in ("GpuAsyncRED", "RadonCT", "CustomOperator", "reconstruct_volume", "checkpoint_every"):
        assert name in reference


def _quiet() -> dict[str, str]:
    import os

    return os.environ | {"NO_MKDOCS_2_WARNING": "1"}
