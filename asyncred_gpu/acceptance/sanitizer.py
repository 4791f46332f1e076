"""compute-sanitizer's memcheck over a small run (small.py): is every access of a kernel inside its memory?"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from .processes import run_limited
from .sections import Findings, LeftOut
from .small import DONE

TOOL = "compute-sanitizer"
FOLDER = Path("/usr/local/cuda/bin")
# Only memory is checked: torch asks CUDA for things that are refused, and goes on.
OPTIONS = ("--tool", "memcheck", "--report-api-errors", "no", "--print-limit", "20", "--target-processes", "all")
# What it says where a machine doesn't let it in.
REFUSED = ("Device not supported", "insufficient permissions", "Unable to find injection library")
MARGIN_SECONDS = 3.0


def find_sanitizer(folder: Path = FOLDER) -> str | None:
    """The tool on the path, or in CUDA's folder."""
    return shutil.which(TOOL) or shutil.which(TOOL, path=str(folder))


def memcheck(findings: Findings, tool: str | None = None, arguments: tuple[str, ...] = ()) -> None:
    """The section."""
    tool = tool or find_sanitizer()
    if tool is None:
        raise LeftOut(f"{TOOL} is not there (neither on the path nor in {FOLDER})")
    command = [tool, *OPTIONS, sys.executable, "-P", "-m", "asyncred_gpu.acceptance.small", *arguments]
    seconds = max(findings.left - MARGIN_SECONDS, 1.0)
    done = run_limited(command, seconds)
    findings.data.update(command=" ".join(command), returncode=done.returncode, output=done.tail(60))
    refused = next((words for words in REFUSED if words in done.output), None)
    if refused is not None:
        raise LeftOut(f"{TOOL} can't check this machine: {refused}")
    if done.returncode is None:
        raise LeftOut(f"the small run under {TOOL} was not done within {seconds:.0f} s")
    errors = parse_errors(done.output)
    findings.data["errors"] = errors
    findings.check(DONE in done.output, f"the small run did not come to its end: {done.tail(3)}")
    findings.check(errors is not None, f"{TOOL} gave no summary: {done.tail(3)}")
    findings.check(not errors, f"{TOOL} found {errors} errors, the first: {first_error(done.output)}")
    findings.table("compute-sanitizer memcheck of a small run", ["errors"]).append([errors])


def parse_errors(output: str) -> int | None:
    """The sum of its error counts, one a process; None if it counted none at all."""
    counts = re.findall(r"ERROR SUMMARY: (\d+) error", output)
    return sum(int(count) for count in counts) if counts else None


def first_error(output: str) -> str:
    """The first thing it complains of: where, and in which kernel."""
    lines = [re.sub(r"^=+\s*", "", line).strip() for line in output.splitlines() if line.startswith("=====")]
    for place, line in enumerate(lines):
        if line.startswith(("Invalid", "Misaligned", "Out-of-range")):
            return "; ".join(lines[place : place + 2])
    return "not shown"
