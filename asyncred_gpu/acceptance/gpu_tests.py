"""All tests that need a GPU, in a process of their own, and what pytest's junit file says of them."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from .processes import run_limited
from .sections import Findings

# To end the tests before the section is interrupted.
MARGIN_SECONDS = 3.0


@dataclass(frozen=True)
class TestCounts:
    """How the tests ended; failures and errors by name."""

    __test__ = False  # not a test itself, whatever pytest thinks of its name

    passed: int
    skipped: tuple[str, ...]
    failed: tuple[str, ...]


def run_gpu_tests(findings: Findings, root: Path, marker: str = "gpu") -> None:
    """The section: `python -m pytest -m gpu` in the checkout, which may be read-only.

    -P: the package is the installed one. The checkout's folder of that name isn't whole without an installation, since
    kernels/ and models/ lie beside it.
    """
    with tempfile.TemporaryDirectory() as folder:
        junit = Path(folder) / "junit.xml"
        command = [sys.executable, "-P", "-B", "-m", "pytest", "-m", marker, "-q", "-p", "no:cacheprovider"]
        command += [f"--basetemp={folder}/tests", f"--junitxml={junit}"]
        done = run_limited(command, max(findings.left - MARGIN_SECONDS, 1.0), root)
        text = junit.read_text(encoding="utf-8") if junit.is_file() else None
    findings.data["returncode"] = done.returncode
    findings.data["output"] = done.tail(40)
    if text is None:
        ended = "were not done in time" if done.returncode is None else f"ended with status {done.returncode}"
        findings.check(False, f"the tests {ended}, without a junit file: {done.tail(3)}")
        return
    counts = parse_junit(text)
    rows = findings.table("GPU tests", ["passed", "skipped", "failed"])
    rows.append([counts.passed, len(counts.skipped), len(counts.failed)])
    findings.data.update(passed=counts.passed, skipped=counts.skipped, failed=counts.failed)
    findings.check(not counts.failed, f"{len(counts.failed)} failed: {', '.join(counts.failed)}")
    findings.check(counts.passed > 0, "no test passed: none is marked `gpu`, or all were skipped")
    ended_well = done.returncode == 0 or bool(counts.failed) or not counts.passed
    findings.check(ended_well, f"pytest ended with status {done.returncode}: {done.tail(3)}")


def parse_junit(text: str) -> TestCounts:
    """From pytest's junit file."""
    passed, skipped, failed = 0, [], []
    for case in ElementTree.fromstring(text).iter("testcase"):
        name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
        ends = {child.tag for child in case}
        if ends & {"failure", "error"}:
            failed.append(name)
        elif "skipped" in ends:
            skipped.append(name)
        else:
            passed += 1
    return TestCounts(passed, tuple(skipped), tuple(failed))
