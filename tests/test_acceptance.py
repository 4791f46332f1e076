"""The acceptance run without a GPU: budget, verdicts, reports, parsers; measurements on the simulated device."""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asyncred_gpu import GpuAsyncRED, RadonCT, snr
from asyncred_gpu.acceptance import environment, time_to_snr
from asyncred_gpu.acceptance.aims import AIMS, NOT_MEASURED, NOT_REACHED, REACHED, Aim, judge
from asyncred_gpu.acceptance.captures import Captures
from asyncred_gpu.acceptance.cases import TAU, Case, Cases
from asyncred_gpu.acceptance.correctness import (
    check_fixed_point,
    check_ordered,
    check_replay,
    compare_fixed_points,
    judge_replay,
    relative,
    staleness_and_bound,
)
from asyncred_gpu.acceptance.denoisers import (
    OWN,
    PLAIN,
    TOLERANCES,
    VARIANTS,
    denoiser_rates,
    exact_residual,
    make_denoiser,
    network_points,
    poison_freed,
    some_crops,
    value_error,
)
from asyncred_gpu.acceptance.eager import Course, synchronous_red
from asyncred_gpu.acceptance.environment import NOT_THERE, SMI_FIELDS, commit, host_facts, parse_smi, software_facts
from asyncred_gpu.acceptance.floors import (
    Ceilings,
    conv_operations,
    fraction,
    network_operations,
    sweep_operations,
    update_bytes,
)
from asyncred_gpu.acceptance.full_gradient import AstraGradient, JosephGradient
from asyncred_gpu.acceptance.gpu_tests import parse_junit, run_gpu_tests
from asyncred_gpu.acceptance.host_cost import host_time
from asyncred_gpu.acceptance.machine import GpuMachine, make_solver, run, run_on_cpu
from asyncred_gpu.acceptance.main import Plan, carry_out, make_sections
from asyncred_gpu.acceptance.measured import Measured, Point
from asyncred_gpu.acceptance.memory import peak_memory
from asyncred_gpu.acceptance.processes import run_limited
from asyncred_gpu.acceptance.report import files_for, make_report, plain, shown, to_json, to_markdown
from asyncred_gpu.acceptance.roofline import conv_rates, copy_bandwidth
from asyncred_gpu.acceptance.sanitizer import find_sanitizer, first_error, memcheck, parse_errors
from asyncred_gpu.acceptance.sections import (
    FAILED,
    LEFT_OUT,
    PASSED,
    Findings,
    LeftOut,
    Outcome,
    Section,
    TooLong,
    alarm_after,
    run_sections,
)
from asyncred_gpu.acceptance.stages import SIZES, chain_fractions, make_bench, stage_times
from asyncred_gpu.acceptance.sweeps import best_with_momentum, points, sweep_rates, sweep_seconds
from asyncred_gpu.acceptance.timing import HostTimer, operation, turns_for
from asyncred_gpu.baselines import gm_red
from asyncred_gpu.blocks import BlockGrid
from asyncred_gpu.denoiser import DenoiserSettings
from asyncred_gpu.models import DnCNN
from asyncred_gpu.operators.astra_projectors import HostCalls
from asyncred_gpu.solver import intensity_scale_of

from .acceptance_machine import SimulatedMachine, findings, quiet
from .helpers import LinearResidual, needs_compiler, small_network, small_scan

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "gpu_acceptance.py"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small tensors: several threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- sections: budget, failures, what is left out --------------------------------------------------------------------


class FakeClock:
    """Time that passes only where a section says so."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def takes(self, seconds):
        def work(found):
            self.now += seconds
            found.data["took"] = seconds

        return work


def outcomes_of(sections, budget, clock=None, **options):
    saved = []
    clock = clock or FakeClock()
    run_sections(sections, budget, lambda so_far: saved.append(list(so_far)), quiet, nullcontext, clock, **options)
    assert [len(so_far) for so_far in saved] == list(range(1, len(sections) + 1))
    return saved[-1]


def test_what_does_not_fit_is_left_out_by_name():
    clock = FakeClock()
    sections = [Section(name, clock.takes(40), most=50, least=20) for name in "abc"]
    first, second, third = outcomes_of(sections, 90, clock)
    assert (first.status, second.status, third.status) == (PASSED, PASSED, LEFT_OUT)
    assert third.error == "it needs about 20 s, and 10 s of 90 s were left"
    assert outcomes_of(sections, 200, clock)[2].status == PASSED


def test_a_failing_section_is_reported_and_the_others_run():
    def broken(found):
        found.data["so far"] = 7
        raise ZeroDivisionError("planted")

    def wrong(found):
        found.check(True, "not this")
        found.check(False, "that")

    def absent(found):
        raise LeftOut("no tool")

    sections = [Section(name, run, 10) for name, run in (("a", broken), ("b", wrong), ("c", absent), ("d", quiet))]
    a, b, c, d = outcomes_of(sections, 100)
    assert [outcome.status for outcome in (a, b, c, d)] == [FAILED, FAILED, LEFT_OUT, PASSED]
    assert "in broken" in a.error and "ZeroDivisionError: planted" in a.error and a.findings.data == {"so far": 7}
    assert b.findings.failures == ["that"] and b.error is None
    assert c.error == "no tool"


def test_a_section_gets_no_more_than_its_seconds_and_what_is_left():
    clock, seen = FakeClock(), []
    outcomes_of([Section("a", lambda found: seen.append(found.left), most=30)], 100, clock)
    outcomes_of([Section("b", lambda found: seen.append(found.left), most=300)], 100, clock)
    assert seen == [30, 100]


def test_a_section_that_takes_too_long_is_interrupted():
    sections = [Section("a", lambda found: time.sleep(30), most=0.05), Section("b", quiet, most=5)]
    begun = time.monotonic()
    a, b = run_sections(sections, 100, quiet, quiet)
    assert a.status == FAILED and "TooLong: not done within 0 s" in a.error and b.status == PASSED
    assert time.monotonic() - begun < 10


def test_an_alarm_set_before_goes_on_afterwards():
    def theirs(signum, frame):
        raise KeyError

    before = signal.signal(signal.SIGALRM, theirs)
    waiting = signal.setitimer(signal.ITIMER_REAL, 50)
    try:
        with pytest.raises(TooLong, match="not done within"), alarm_after(0.01):
            time.sleep(5)
        assert signal.getsignal(signal.SIGALRM) is theirs
        assert 30 < signal.getitimer(signal.ITIMER_REAL)[0] <= 50
    finally:
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *waiting)


def test_points_are_done_while_there_is_time_for_one_more():
    """A point of 40 s may be followed by one of 60 s: after two of them, 50 s are too few, and 100 s are enough."""
    for seconds, expected, words in [
        (130, ["a", "b"], ["1 of 3: c"]),
        (180, ["a", "b", "c"], []),
        (-1, [], ["3 of 3"]),
    ]:
        clock, done = FakeClock(), []
        found = Findings(clock.now + seconds, quiet, clock)
        for point in found.in_time("abc"):
            done.append(point)
            clock.now += 40
        assert done == expected and len(found.left_out) == len(words)
        assert all(found.left_out[0].startswith(word) for word in words)


def test_a_part_that_fails_does_not_stop_its_section_unless_the_gpu_is_gone():
    for reason, stopped in [(None, False), ("planted", True)]:
        found = Findings(time.monotonic() + 10, quiet, unusable=lambda reason=reason: reason)
        with pytest.raises(ZeroDivisionError) if stopped else nullcontext(), found.attempt("part"):
            raise ZeroDivisionError("by nothing")
        assert found.failures == ["part: ZeroDivisionError: by nothing"]
    for ending in (TooLong, LeftOut):
        found = findings()
        with pytest.raises(ending, match="this"), found.attempt("part"):
            raise ending("this")
        assert not found.failures


def test_after_a_section_that_spoils_the_gpu_those_that_need_it_are_left_out():
    state = []

    def spoils(found):
        state.append("a capture failed")

    def sections(middle):
        return [
            Section("a", quiet, 10),
            Section("b", middle, 10),
            Section("c", quiet, 10),
            Section("d", quiet, 10, needs_gpu=False),
        ]

    found = outcomes_of(sections(spoils), 100, unusable=lambda: state[0] if state else None)
    assert [outcome.status for outcome in found] == [PASSED, FAILED, LEFT_OUT, PASSED]
    assert found[1].findings.failures == ["the GPU can't be used any more: a capture failed"]
    assert found[2].error == "the GPU can't be used any more since “b”: a capture failed"
    state.clear()
    found = outcomes_of(sections(quiet), 100, unusable=lambda: state[0] if state else None)
    assert [outcome.status for outcome in found] == [PASSED] * 4


class PlayedGraph:
    """torch's graph; `fails`: which of its two calls."""

    fails = ""

    def capture_begin(self, pool=None, capture_error_mode="global"):
        if self.fails == "begin":
            raise RuntimeError("planted")

    def capture_end(self):
        if self.fails == "end":
            raise RuntimeError("planted")


@pytest.mark.parametrize(("fails", "underway"), [("", 0), ("begin", 1), ("end", 1)])
def test_a_capture_that_did_not_end_well_is_known(monkeypatch, fails, underway):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", PlayedGraph)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    machine = GpuMachine("cuda:0")
    with machine.captures.watched():
        assert machine.unusable() is None
        for fault in (fails, ""):  # one that ends well afterwards changes nothing
            graph = torch.cuda.CUDAGraph()
            graph.fails = fault
            with suppress(RuntimeError):
                graph.capture_begin(pool="pool", capture_error_mode="thread_local")
                graph.capture_end()
        assert machine.captures.underway == underway
        assert machine.unusable() == (
            "a capture failed, and torch's allocator may still be in it" if underway else None
        )
    assert torch.cuda.CUDAGraph is PlayedGraph and Captures().underway == 0


def test_a_gpu_that_reports_an_error_is_not_used_any_more(monkeypatch):
    def broken(device):
        raise RuntimeError("CUDA error: an illegal memory access\nmore")

    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    assert GpuMachine("cuda:0").unusable() == "it reported CUDA error: an illegal memory access"


# --- aims ------------------------------------------------------------------------------------------------------------

MOST, LEAST = Aim("most", "at most", 2.0, "ms"), Aim("least", "at least", 2.0, "×", least=True)


@pytest.mark.parametrize(
    ("aim", "values", "verdict", "value"),
    [
        (MOST, [1.9], REACHED, 1.9),
        (MOST, [2.0], REACHED, 2.0),
        (MOST, [2.1], NOT_REACHED, 2.1),
        (MOST, [1.0, 2.1], NOT_REACHED, 2.1),
        (LEAST, [2.1], REACHED, 2.1),
        (LEAST, [1.9], NOT_REACHED, 1.9),
        (LEAST, [3.0, 1.9], NOT_REACHED, 1.9),
        (MOST, [math.nan], NOT_REACHED, math.nan),
        (LEAST, [3.0, math.nan], NOT_REACHED, math.nan),
        (MOST, [], NOT_MEASURED, None),
        (MOST, [None], NOT_MEASURED, None),
    ],
)
def test_verdicts(aim, values, verdict, value):
    (found,) = judge([{aim.name: measured} for measured in values], [aim])
    assert found.verdict == verdict
    assert found.value == value or (math.isnan(value) and math.isnan(found.value))


def test_the_aims_are_the_issues():
    wanted = {aim.name: aim.wanted for aim in AIMS}
    assert wanted["chain"] == "≥ 0.6" and wanted["host"] == "≤ 15 µs" and wanted["sweep"] == "≤ 1.5 ms"
    assert wanted["speedup"] == "≥ 5 ×" and wanted["fixed_point"] == "≤ 0.05 dB" and wanted["replay"] == "≤ 0.0001"
    with pytest.raises(KeyError, match="nobody"):
        judge([{"nobody": 1.0}])


# --- the report ------------------------------------------------------------------------------------------------------


def outcome(name="a", status=PASSED, error=None, **fields):
    found = findings()
    for field, value in fields.items():
        setattr(found, field, value)
    return Outcome(name, status, 1.25, error, found)


def test_json_is_strict_and_comes_back():
    data = {
        "n": np.int64(3),
        "x": np.float32(0.1),
        "bad": math.nan,
        "inf": -math.inf,
        "rows": np.arange(3),
        "path": ROOT,
    }
    found = json.loads(
        to_json(make_report("GPU", "2026", False, [outcome(data=data)], True)), parse_constant=pytest.fail
    )
    expected = {"n": 3, "x": 0.1, "bad": None, "inf": None, "rows": [0, 1, 2], "path": str(ROOT)}
    assert found["sections"][0]["data"] == expected and found["failed"] == [] and found["finished"] is True
    assert plain(1 / 3) == 0.333333 and plain(np.bool_(True)) is True and plain((None, "µ")) == [None, "µ"]


def test_a_report_stays_below_a_mebibyte_and_says_what_it_drops():
    large = outcome("large", data={"x": list(range(300_000))}, failures=["kept"])
    text = to_json(make_report("GPU", "2026", False, [large], True))
    assert len(text) < 2**20 and "dropped: the report would exceed 1 MiB" in text and "kept" in text


def test_the_markdown_shows_aims_sections_failures_and_tables():
    table = {"title": "Times", "columns": ["", "ms"], "rows": [["a|b", 0.123456], ["c", None]]}
    section = outcome("bench", FAILED, "Traceback\nKeyError: 'x'", tables=[table], left_out=["400²"], failures=["slow"])
    section.findings.measured["sweep"] = 2.5
    text = to_markdown(make_report("NVIDIA H200", "2026-11-21", True, [section], False))
    assert "# NVIDIA H200" in text and "--quick" in text and "**Not finished.**" in text
    assert "| One 800² sweep, float16 | ≤ 1.5 ms | 2.5 ms | not reached |" in text
    assert "| bench | failed | 1.2 s |" in text
    for line in (
        "- bench: slow",
        "- bench: KeyError: 'x'",
        "- bench: left out: 400²",
        "| a\\|b | 0.1235 |",
        "| c | – |",
    ):
        assert line in text
    assert text.count("not measured") == len(AIMS) - 1
    assert shown(math.nan) == "–" and shown(12) == "12" and shown(1234.56) == "1235"


def test_an_older_report_is_kept_under_its_date(tmp_path):
    files, said = files_for(tmp_path / "new", "NVIDIA H200"), []
    assert files.stem == "gpu-nvidia-h200"
    for begun in ("2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05+00:00", "2026-05-06T07:08:09+00:00"):
        files.keep_older(said.append)
        files.write(make_report("NVIDIA H200", begun, False, [], True), begun)
    names = sorted(path.name for path in files.folder.iterdir())
    stems = ["gpu-nvidia-h200", "gpu-nvidia-h200-20260102T030405", "gpu-nvidia-h200-20260102T030405-2"]
    assert names == sorted(stem + suffix for stem in stems for suffix in (".json", ".md"))
    assert files.path(".md").read_text().startswith("2026-05")
    assert said[0] == "An older report is there; it is now gpu-nvidia-h200-20260102T030405 (.json, .md)."


def test_an_older_file_that_is_no_report_is_kept_too(tmp_path):
    files = files_for(tmp_path, "x")
    files.path(".json").write_text("{")
    files.keep_older(quiet)
    (kept,) = tmp_path.iterdir()
    assert kept.read_text() == "{" and kept.name.startswith("gpu-x-2")


@pytest.mark.parametrize(("broken", "status"), [(False, 0), (True, 1)])
def test_the_exit_status_and_the_files_of_a_run(tmp_path, capsys, broken, status):
    def section(found):
        found.measured["sweep"] = 99.0  # a speed that isn't reached is no failure
        assert not broken, "planted"

    sections = [Section("first", section, 10), Section("absent", lambda found: memcheck(found, "/bin/true"), 10)]
    assert carry_out(sections[:1], "GPU 1", tmp_path, False, 60) == status
    report = json.loads((tmp_path / "gpu-gpu-1.json").read_text())
    assert report["finished"] and report["failed"] == (["first"] if broken else [])
    assert {aim["name"]: aim["verdict"] for aim in report["aims"]}["sweep"] == NOT_REACHED
    out, err = capsys.readouterr()
    assert "[1/1] first" in err and "| first | failed |" in out if broken else "| first | passed |" in out


def test_a_killed_run_leaves_what_it_had(tmp_path):
    def killed(found):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out([Section("first", quiet, 10), Section("second", killed, 10)], "g", tmp_path, False, 60)
    report = json.loads((tmp_path / "gpu-g.json").read_text())
    assert [section["name"] for section in report["sections"]] == ["first"] and not report["finished"]


def test_the_script_without_a_gpu_says_so_in_a_sentence(tmp_path):
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, SCRIPT, "--quick", "--out", tmp_path / "new"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, cwd=tmp_path)
    assert done.returncode == 2 and done.stdout == "" and not list(tmp_path.iterdir())
    assert done.stderr.startswith("gpu_acceptance needs a GPU, and device='cuda' can't be used: found ")
    assert done.stderr.count("\n") == 1 and ". " not in done.stderr.strip()


def test_the_sections_of_a_whole_and_a_quick_run():
    whole, quick = (make_sections(Plan(None, ROOT, quick)) for quick in (False, True))
    names = [section.name for section in whole]
    assert names == [section.name for section in quick] and len(set(names)) == len(names)
    for name in ("environment", "GPU tests", "replay, fan beam", "compute-sanitizer", "time to SNR", "peak memory"):
        assert name in names
    assert names.index("conv roofline") < names.index("chain") < names.index("time to SNR")
    assert [section.name for section in whole if not section.needs_gpu] == [
        "GPU tests",
        "problems",
        "compute-sanitizer",
    ]


# --- parsers and processes -------------------------------------------------------------------------------------------

JUNIT = """<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite errors="1" failures="1" skipped="1" tests="4">
<testcase classname="tests.test_a" name="test_right" time="0.1"/>
<testcase classname="tests.test_a" name="test_wrong[1]"><failure message="x">...</failure></testcase>
<testcase classname="tests.test_a" name="test_absent"><skipped type="pytest.skip" message="no"/></testcase>
<testcase classname="" name="tests.test_b"><error message="collection failure">...</error></testcase>
</testsuite></testsuites>"""


def test_the_junit_file_is_read():
    counts = parse_junit(JUNIT)
    assert (counts.passed, counts.skipped) == (1, ("tests.test_a::test_absent",))
    assert counts.failed == ("tests.test_a::test_wrong[1]", "tests.test_b")


@pytest.mark.parametrize(
    ("body", "passed", "failure"),
    [
        ("def test_a(): pass", 1, None),
        ("def test_a(): import asyncred_gpu.kernels, asyncred_gpu.models", 1, None),  # not the folder beside it
        ("def test_a(tmp_path): tmp_path.joinpath('x').write_text('y')", 1, None),
        ("def test_a(): pass\ndef test_b(): assert 0", 1, "1 failed: test_it::test_b"),
        ("import nothing_of_this_name", 0, "1 failed: test_it"),
        ("def test_a(): __import__('pytest').skip('no GPU')", 0, "no test passed"),
        ("", 0, "no test passed"),
        ("def test_a(): __import__('os')._exit(7)", None, "ended with status 7, without a junit file"),
        ("def test_a(): __import__('time').sleep(60)", None, "were not done in time"),
    ],
)
def test_the_gpu_tests_are_run_and_counted(tmp_path, monkeypatch, body, passed, failure):
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    lines = "import pytest\npytestmark = pytest.mark.gpu\n" + body
    (tmp_path / "test_it.py").write_text(lines)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu: x\naddopts = --import-mode=importlib\n")
    (tmp_path / "asyncred_gpu").mkdir()
    (tmp_path / "asyncred_gpu" / "__init__.py").write_text("raise ImportError('the checkout, without kernels/')")
    before = sorted(tmp_path.rglob("*"))
    found = findings(4.0 if "sleep" in body else 60.0)
    run_gpu_tests(found, tmp_path)
    assert sorted(tmp_path.rglob("*")) == before  # nothing is written there: it may be read-only
    assert found.data.get("passed") == passed
    assert failure in " ".join(found.failures) if failure else not found.failures


CLEAN = "========= COMPUTE-SANITIZER\nthe small run is done\n========= ERROR SUMMARY: 0 errors\n"
FAULTY = """========= COMPUTE-SANITIZER
========= Invalid __global__ write of size 4 bytes
=========     at step+0x90
the small run is done
========= ERROR SUMMARY: 3 errors
"""


def test_the_sanitizers_output_is_read():
    assert parse_errors(CLEAN) == 0 and parse_errors(FAULTY) == 3 and parse_errors("nothing") is None
    assert parse_errors(FAULTY + "========= ERROR SUMMARY: 1 error\n") == 4
    assert first_error(FAULTY) == "Invalid __global__ write of size 4 bytes; at step+0x90"
    assert first_error(CLEAN) == "not shown"


def fake_tool(folder, text, status=0):
    tool = folder / "compute-sanitizer"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\nexit {status}\n")
    tool.chmod(0o755)
    return str(tool)


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (CLEAN, None),
        (FAULTY, "found 3 errors, the first: Invalid __global__ write"),
        ("the small run is done\n", "gave no summary"),
        (CLEAN.replace("the small run is done", "Killed"), "did not come to its end"),
    ],
)
def test_memcheck_fails_for_errors_and_for_runs_that_do_not_end(tmp_path, text, failure):
    found = findings()
    memcheck(found, fake_tool(tmp_path, text))
    assert failure in " ".join(found.failures) if failure else not found.failures


def test_memcheck_is_left_out_where_it_cannot_be(tmp_path, monkeypatch):
    assert find_sanitizer(Path(fake_tool(tmp_path, CLEAN)).parent) == str(tmp_path / "compute-sanitizer")
    with pytest.raises(LeftOut, match="can't check this machine: Device not supported"):
        memcheck(findings(), fake_tool(tmp_path, "Error: Device not supported\n"))
    monkeypatch.setattr("asyncred_gpu.acceptance.sanitizer.find_sanitizer", lambda: None)
    with pytest.raises(LeftOut, match="is not there"):
        memcheck(findings())


def test_the_small_run_ends_on_the_cpu():
    command = [sys.executable, "-m", "asyncred_gpu.acceptance.small", "--device", "cpu"]
    done = run_limited(command, 120)
    assert done.returncode == 0 and done.output.strip().endswith("the small run is done")


def test_a_command_is_ended_with_its_children(tmp_path):
    mark = tmp_path / "alive"
    script = f"import subprocess,sys,time; subprocess.Popen(['sh', '-c', 'sleep 3; touch {mark}']); time.sleep(60)"
    done = run_limited([sys.executable, "-c", script], 1.0)
    time.sleep(3.0)
    assert done.returncode is None and not mark.exists()
    assert run_limited(["sh", "-c", "echo out; echo err >&2; exit 3"], 20) == replace(
        done, returncode=3, output="out\nerr\n"
    )


def test_the_environment_is_described():
    facts = {**software_facts(), **host_facts()}
    assert facts["torch"] == torch.__version__ and facts["cores"] >= 1 and facts["processor"]
    values = ["NVIDIA H200", "580.159", "143771 MiB", "1980 MHz", "3201 MHz", "1980 MHz", "700.00 W", "35", "0 %"]
    assert parse_smi(", ".join(values) + "\nanother") == dict(
        zip([f"nvidia-smi {f}" for f in SMI_FIELDS], values, strict=True)
    )
    assert parse_smi("No devices") == {"nvidia-smi": f"1 values for {len(SMI_FIELDS)} fields"}


def test_the_commit_is_the_checkouts(tmp_path, monkeypatch):
    assert commit(tmp_path) == f"{NOT_THERE} (no checkout)"
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=b"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    assert len(commit(tmp_path)) == 40
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit(tmp_path) == f"{NOT_THERE} (no git)"


@pytest.mark.parametrize("told", [None, "abc+"])
def test_the_commit_may_be_told(tmp_path, monkeypatch, told):
    monkeypatch.setattr(environment, "gpu_facts", dict)
    found = findings()
    environment.describe(found, tmp_path, told)
    assert found.data["commit"] == (told or f"{NOT_THERE} (no checkout)")


def test_no_gpu_is_a_sentence_and_a_gpu_is_none(monkeypatch):
    monkeypatch.setattr(environment, "check_device", lambda device: (device,))
    assert environment.why_no_gpu() is None


# --- floors ----------------------------------------------------------------------------------------------------------


def test_operations_of_the_network_by_hand():
    network = DnCNN(depth=3, channels=4)
    # 10×9 → 8×7 → 6×5 → 4×3
    by_hand = 2 * 9 * (1 * 4 * 8 * 7 + 4 * 4 * 6 * 5 + 4 * 1 * 4 * 3)
    assert network_operations(network, 10, 9) == by_hand
    assert conv_operations(2, 3, 4, (3, 3), 5, 6) == 2 * 2 * 3 * 4 * 9 * 30
    with pytest.raises(ValueError, match="smaller than the network's receptive field"):
        network_operations(network, 6, 9)


def test_operations_of_the_shipped_network_are_the_designs():
    """0.371 MFLOP a pixel, the halo's pixels apart: 14.5 % more at 200²."""
    found = sweep_operations(DnCNN(), BlockGrid((800, 800), (200, 200)), 7) / 800**2
    assert 1.03 * DnCNN().operations_per_pixel() < found < 1.1 * DnCNN().operations_per_pixel()


def test_bytes_of_an_update_by_hand():
    """One block is the whole image: its own share is all there is to gather."""
    scan, _ = small_scan(size=24, angles=8, block=24)
    share = 8 * scan.footprint(0).width
    assert update_bytes(scan, 0, 2) == 4 * (2 * 28 * 28 + share + share + 2 * share + 6 * 24 * 24 + share)
    halves, _ = small_scan(size=24, angles=8, block=12)
    assert update_bytes(halves, 0, 2) < update_bytes(scan, 0, 2) < 4 * update_bytes(halves, 0, 2)


def test_ceilings_and_fractions():
    ceilings = Ceilings(2e12, {"float16": 4e14})
    assert ceilings.arithmetic(8e14, "float16") == 2.0 and ceilings.memory(1e12) == 0.5
    assert math.isnan(ceilings.arithmetic(1, "tf32")) and math.isnan(Measured().ceilings().memory(1.0))
    assert fraction(1.0, 4.0) == 0.25 and math.isnan(fraction(1.0, 0.0))
    assert (turns_for(1.0), turns_for(1e-4), turns_for(0.0)) == (1, 10, 50)


# --- on the simulated device -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def case():
    scan, truth = small_scan(size=24, angles=12, noise=0.05)
    operator = RadonCT(scan.sinogram, scan.geometry.angles, (24, 24), projector="auto")
    start = operator.fbp()
    return Case("24²", operator, small_network(0, 2, 4), start, truth, intensity_scale_of(start))


@needs_compiler
def test_the_fan_is_the_small_problem_seen_otherwise():
    cases = Cases()
    fan, small = cases.fan, cases.small
    assert fan.truth is small.truth and fan.operator.measurements == 90
    assert snr(fan.start, fan.truth) > 15 and fan.operator.geometry.coordinates(181, 0).min() > 0


@pytest.fixture(scope="module")
def arriving(case):
    """With a denoiser that lets a run arrive: linear, symmetric, nonexpansive."""
    return replace(case, network=LinearResidual())


@needs_compiler
def test_a_free_run_is_replayed_alike_on_the_device_and_the_cpu(case):
    found = findings()
    check_replay(found, SimulatedMachine(), case, 6, 4)
    assert not found.failures and found.measured["staleness"] == 0 and found.measured["replay"] <= 1e-4
    assert [row[:2] for row in found.tables[0]["rows"]] == [[1, 64], [2, 64]]


def test_replays_that_are_wrong_are_told():
    right = {"recorded": 1e-6, "replayed": 1e-6, "wrong step": 1e-3}
    for change, excess, words in [
        ({}, 0, None),
        ({"recorded": 2e-4}, 0, "CUDA's recorded image is 2.0e-04"),
        ({"replayed": math.nan}, 0, "CUDA's replayed image is nan"),
        ({"wrong step": 1e-5}, 0, "this check shows nothing"),
        ({}, 1, "staleness exceeds λ by 1"),
    ]:
        found = findings()
        judge_replay(found, right | change, excess, "x")
        assert words in " ".join(found.failures) if words else not found.failures
        verdicts = {verdict.aim.name: verdict.verdict for verdict in judge([found.measured])}
        assert verdicts["staleness"] == (NOT_REACHED if excess else REACHED)
        assert verdicts["replay"] == (NOT_REACHED if {"recorded", "replayed"} & set(change) else REACHED)


def test_staleness_is_the_schedules(case):
    solver = make_solver("cpu", case, block_shape=(6, 6), num_workers=2)
    schedule = run_on_cpu(solver, 2, case.start).schedule
    most, bound = staleness_and_bound(schedule)
    assert 0 < most <= bound == 16
    older = replace(schedule, read=schedule.read - 20)
    assert staleness_and_bound(older)[0] == most + 20 > bound


@needs_compiler
def test_the_fixed_point_is_the_cpus(arriving):
    found = findings()
    check_fixed_point(found, SimulatedMachine(), arriving, 6, 2, 40)
    assert not found.failures and found.measured["fixed_point"] <= 0.05
    assert [row[0] for row in found.tables[0]["rows"]] == ["CUDA", "CUDA, wrong τ", "CPU"]
    found = findings()
    check_fixed_point(found, SimulatedMachine(), arriving, 6, 2, 2, on_cpu=False)
    assert found.left_out == ["the CPU side"] and "fixed_point" not in found.measured


def test_another_fixed_point_is_told(arriving):
    """Controls: CUDA elsewhere, a run that hasn't arrived, and a wrong τ that makes no difference."""
    solvers = [make_solver("cpu", arriving, block_shape=(6, 6), num_workers=2, tau=tau) for tau in (TAU, 3 * TAU)]
    right, other = (run_on_cpu(solver, 40, arriving.start, reference=arriving.truth) for solver in solvers)
    short = run_on_cpu(solvers[0], 2, arriving.start, reference=arriving.truth)
    for cuda, wrong, words in [
        (right, other, None),
        (other, other, "more than 0.05"),
        (right, right, "this check shows nothing"),
        (short, other, "CUDA has not arrived"),
    ]:
        found = findings()
        compare_fixed_points(found, arriving, {"CUDA": cuda, "CUDA, wrong τ": wrong, "CPU": right})
        assert words in " ".join(found.failures) if words else not found.failures


@needs_compiler
def test_ordered_runs_are_compared_bit_for_bit(case, monkeypatch):
    found = findings()
    check_ordered(found, SimulatedMachine(), case, 6, 3, ("float32", "bfloat16"))
    assert not found.failures and found.measured["ordered"] == 0 and len(found.tables[0]["rows"]) == 2
    images = iter(np.random.default_rng(0).random((6, 24, 24)))
    fake = type("Fake", (), {"image": property(lambda self: next(images))})
    monkeypatch.setattr("asyncred_gpu.acceptance.correctness.run", lambda *arguments: fake())
    check_ordered(found, SimulatedMachine(), case, 6, 3, ("float32", "bfloat16"))
    assert found.measured["ordered"] == 2 and "two ordered runs differ" in found.failures[0]


@needs_compiler
def test_rooflines_are_measured():
    machine, measured, found = SimulatedMachine(), Measured(), findings()
    copy_bandwidth(found, machine, measured, 2**20)
    conv_rates(found, machine, measured, channels=4, side=16, crops=(1, 2))
    assert not found.failures and measured.bandwidth > 1e7 and measured.rates["float32"] > 1e5
    assert found.data["seconds"] == pytest.approx(2 * 2**20 / measured.bandwidth)
    (row,) = found.tables[1]["rows"]
    assert row[-1] == max(row[1:3]) == measured.rates["float32"] / 1e12
    late = findings(-1)
    conv_rates(late, machine, Measured(), channels=4, side=16, crops=(1, 2))
    assert late.left_out == ["2 of 2: float32, 1 crops; float32, 2 crops"]
    assert late.tables[0]["rows"] == [["float32", None, None, None]]


# --- the denoiser alone ----------------------------------------------------------------------------------------------


class ReducedMachine(SimulatedMachine):
    precisions = ("float16", "bfloat16", "float32")


NETWORK = DnCNN(depth=3, channels=8).eval().requires_grad_(False)


def test_the_most_informative_points_come_first():
    found = network_points(("float16", "bfloat16", "tf32", "float32"))
    assert len(set(found)) == len(found) == 2 * (2 * len(VARIANTS) + 3) + 2 * 5
    compared = {(point.variant, point.crops) for point in found[: 2 * len(VARIANTS)]}
    assert compared == {(variant, count) for variant in VARIANTS for count in (1, 4)}
    assert [str(point) for point in found[:1]] == ["float16, own kernels, 1 crops"]
    assert [point.crops for point in found if point.precision == "float16" and point.variant == OWN] == [1, 4, 2, 8, 16]
    assert {point.variant for point in found if point.precision == "tf32"} == {PLAIN}
    assert network_points(("float32",), (1, 2)) == network_points(("float32",))[:1] + network_points(("float32",))[2:3]


@needs_compiler
def test_every_variant_of_the_denoiser_is_checked_and_timed():
    found, measured = findings(), Measured(1e9, {"float16": 1e9, "bfloat16": 1e9, "float32": 1e9})
    denoiser_rates(found, ReducedMachine(), measured, NETWORK, 3, side=16, crops=(1, 2, 4))
    assert not found.failures and not found.left_out
    rows = {row[0]: row[1:] for row in found.tables[0]["rows"]}
    assert list(rows)[: len(VARIANTS)] == [f"float16, {variant.name}" for variant in VARIANTS] and len(rows) == 9
    assert all(row[0] > 0 and row[2] > 0 for row in rows.values())
    assert [name for name, row in rows.items() if row[1] is None] == [
        f"{precision}, {variant.name}" for precision in ("float16", "bfloat16") for variant in VARIANTS[1:]
    ]
    assert 1e-6 < rows["float16, own kernels"][-1] < rows["bfloat16, own kernels"][-1]
    data = found.data["float16, own kernels, 2 crops"]
    assert data["floor"] == 2 * network_operations(NETWORK, 16, 16) / 1e9 and data["seconds"] > 0
    assert rows["float16, own kernels"][1] == pytest.approx(data["floor"] / data["seconds"])


@needs_compiler
def test_the_variants_are_what_they_are_called(monkeypatch):
    """And another machine than a GPU has no fused layers."""
    made = []
    monkeypatch.setattr("asyncred_gpu.acceptance.denoisers.DeviceDenoiser", lambda *_, **options: made.append(options))
    for variant in VARIANTS:
        make_denoiser(SimulatedMachine(), NETWORK, DenoiserSettings(3, "float16", 1.0), variant)
    assert [options.pop("kernels") is not None for options in made] == [True, False, False, True]
    plain = {"deterministic": False, "fused": False, "pad_last": False}
    assert made == [plain, plain, plain | {"fused": True}, plain | {"pad_last": True}]


class Wrong:
    """A denoiser whose values are wrong by a share, or not there."""

    def __init__(self, denoiser, factor):
        self.denoiser, self.factor = denoiser, factor

    def residual(self, images):
        return self.denoiser.residual(images) * self.factor

    def residual_into(self, images, out):
        raise AssertionError("timed, though wrong")


@needs_compiler
@pytest.mark.parametrize(("precision", "factor"), [("float16", 1.004), ("bfloat16", 1.03), ("float32", math.nan)])
def test_a_wrong_variant_is_told_and_not_timed(monkeypatch, precision, factor):
    def make(machine, network, settings, variant):
        denoiser = make_denoiser(machine, network, settings, variant)
        return Wrong(denoiser, factor) if (settings.precision, variant) == (precision, wrong) else denoiser

    wrong = PLAIN if precision == "float32" else OWN
    monkeypatch.setattr("asyncred_gpu.acceptance.denoisers.make_denoiser", make)
    found, measured = findings(), Measured(1e9, {"float16": 1e9, "bfloat16": 1e9, "float32": 1e9})
    denoiser_rates(found, ReducedMachine(), measured, NETWORK, 3, side=16, crops=(1,))
    (failure,) = found.failures
    assert failure.startswith(f"{precision}, {wrong.name}, 1 crops: wrong by ")
    assert f"more than {TOLERANCES[precision]:.1e}, so it wasn't timed" in failure
    rows = {row[0]: row[1:] for row in found.tables[0]["rows"]}
    share, error = rows.pop(f"{precision}, {wrong.name}")
    assert share is None and not error <= TOLERANCES[precision] and all(row[0] > 0 for row in rows.values())


@needs_compiler
def test_a_variant_that_fails_does_not_stop_the_others(monkeypatch):
    def make(machine, network, settings, variant):
        if variant.fused:
            raise RuntimeError("cuDNN: not supported")
        return make_denoiser(machine, network, settings, variant)

    monkeypatch.setattr("asyncred_gpu.acceptance.denoisers.make_denoiser", make)
    found = findings()
    denoiser_rates(found, ReducedMachine(), Measured(), NETWORK, 3, side=16, crops=(1,))
    words = "fused by cuDNN, 1 crops: RuntimeError: cuDNN: not supported"
    assert found.failures == [f"float16, {words}", f"bfloat16, {words}"]
    assert sum("seconds" in data for data in found.data.values()) == 7
    late = findings(-1)
    denoiser_rates(late, ReducedMachine(), Measured(), NETWORK, 3, side=16, crops=(1,))
    assert late.left_out[0].startswith("9 of 9: float16, own kernels, 1 crops; ") and not late.failures


@needs_compiler
@pytest.mark.parametrize("reads_freed", [False, True])
def test_values_are_checked_after_freed_memory_is_poisoned(reads_freed):
    """The played allocator hands out what was freed last, as CUDA's does."""
    machine = SimulatedMachine()
    images = some_crops(machine, 2, 16)
    denoiser = make_denoiser(machine, NETWORK, DenoiserSettings(3, "float32", 1.0), PLAIN)
    freed = torch.ones(1)

    class Reads:
        def residual(self, images):
            return denoiser.residual(images) * (freed if reads_freed else 1.0)

    exact = exact_residual(machine, NETWORK, 3, images)
    error = value_error(Reads(), exact, images, lambda device, nbytes: freed.fill_(math.nan))
    assert math.isnan(error) == reads_freed and (error <= TOLERANCES["float32"]) == (not reads_freed)


def test_the_poison_is_nan_in_every_format_and_lies_in_several_places(monkeypatch):
    filled, full = [], torch.full
    monkeypatch.setattr(torch, "full", lambda *arguments, **options: filled.append(full(*arguments, **options)))
    poison_freed(torch.device("cpu"), 2**20)
    assert (
        {len(piece) for piece in filled} == {2**20, 2**19}
        and len(filled) == 16
        and all(
            piece.view(dtype).isnan().all()
            for piece in filled
            for dtype in (torch.float32, torch.float16, torch.bfloat16)
        )
    )


@needs_compiler
def test_every_stage_of_an_update_is_timed(case):
    found = findings()
    stage_times(found, SimulatedMachine(), case, 12, "float16", 2)
    names = ["crop", "residual", "network", "gradient", "combine", "step", "download", "publish", "project"]
    assert [row[0] for row in found.tables[0]["rows"]] == names
    assert all(seconds > 0 for seconds in found.data["12², float16, 2 a launch"].values())


@needs_compiler
def test_the_bench_does_a_whole_update(case):
    """What it publishes is what the solver's own update would: its back slots hold x moved from the start image."""
    machine = SimulatedMachine()
    bench = make_bench(machine, case, 12, "float32", 2)
    memory = bench.program._stage.scene.memory
    entry = bench.program._stage.scene.block_table[1]
    front, back = (memory[int(begin) : int(begin) + 144].clone() for begin in entry["slots"])
    assert torch.equal(front, back) and front.abs().max() > 0
    machine.timer.commands(bench.launches, repeats=1)
    moved = memory[int(entry["slots"][1]) : int(entry["slots"][1]) + 144]
    change = float((moved - back).norm() / back.norm())
    assert 1e-4 < change < 1 and torch.equal(front, memory[int(entry["slots"][0]) :][:144])


@needs_compiler
def test_the_chain_is_held_against_its_floor(case):
    found, measured = findings(), Measured(1e9, {"float16": 1e9, "float32": 1e9})
    chain_fractions(found, SimulatedMachine(), measured, case, 12, "float16", SIZES)
    rows = found.tables[0]["rows"]
    assert [row[0] for row in rows] == [1, 2, 4]  # of four blocks
    data = found.data["Block-update chain, 12², float16, 2 a launch"]
    assert data["arithmetic"] == 2 * network_operations(case.network, 16, 16) / 1e9
    assert found.measured["chain"] == max(row[-1] for row in rows)
    late = findings(-1)
    chain_fractions(late, SimulatedMachine(), measured, case, 12, "float32", SIZES)
    assert late.left_out == ["3 of 3: 1; 2; 4"] and not late.measured


def test_points_are_legal_and_those_that_share_a_search_come_together():
    blocks = {200: 16, 100: 64, 400: 4}
    found = points(blocks)
    assert len(set(found)) == len(found) == 34
    assert all(point.in_flight <= blocks[point.side] for point in found)
    assert (
        [point.side for point in found[:14]] == [200] * 14 and Point(200, 16, 1) in found and Point(200, 2, 8) in found
    )
    assert [point.in_flight for point in found[:5]] == [8, 16, 4, 2, 1]
    for place in (found[:14], found[14:]):
        assert [point.per_launch for point in place] == sorted(point.per_launch for point in place)
    searches = [(point.side, point.per_launch) for point in found]
    assert sum(a != b for a, b in itertools.pairwise(searches)) + 1 == len(set(searches))
    assert len(points({400: 4})) == 6


def test_the_best_point_leaves_room_for_momentum(case):
    found = {Point(6, 16, 1): 1.0, Point(6, 8, 1): 3.0, Point(6, 2, 4): 2.0}
    assert best_with_momentum(case, found) == Point(6, 2, 4)
    assert best_with_momentum(case, {Point(6, 16, 1): 1.0}) is None


def test_a_sweeps_time_is_the_median_after_the_first_few(case):
    solver = make_solver("cpu", case, block_shape=(12, 12), num_workers=1)
    result = run_on_cpu(solver, 8, case.start)
    seconds = np.concatenate([np.full(4, 10.0 * k) for k in range(4)] + [30 + np.full(4, k) for k in (1, 2, 3, 9)])
    slow_start = replace(result, history={**result.history, "seconds": seconds})
    assert sweep_seconds(slow_start, 4) == 1.0
    assert math.isnan(sweep_seconds(slow_start, 8))


@needs_compiler
def test_sweeps_are_timed_and_what_does_not_fit_is_named(case):
    found, measured = findings(), Measured(1e9, {"float32": 1e9})
    sweep_rates(found, SimulatedMachine(), measured, case, (12,), "float32", sweeps=6)
    assert not found.failures and len(found.tables[0]["rows"]) == 6
    assert measured.best is not None and measured.best.in_flight <= 2
    assert found.measured["sweep"] == min(row[4] for row in found.tables[0]["rows"])
    late = findings(-1)
    sweep_rates(late, SimulatedMachine(), Measured(), case, (12,), "float32", sweeps=6)
    assert late.left_out[0].startswith("6 of 6: 12², 4 in flight, 1 a launch; ") and not late.measured


@needs_compiler
def test_a_point_that_fails_does_not_stop_the_others(case, monkeypatch):
    def broken(*arguments, **settings):
        raise MemoryError("planted")

    monkeypatch.setattr("asyncred_gpu.acceptance.sweeps.run", broken)
    found = findings()
    sweep_rates(found, SimulatedMachine(), Measured(), case, (12,), "float32", sweeps=6)
    assert len(found.failures) == 6 and found.failures[0] == "12², 4 in flight, 1 a launch: MemoryError: planted"


@needs_compiler
def test_the_hosts_cost_is_taken_with_and_without_a_device(case):
    found = findings()
    host_time(found, SimulatedMachine(), case, [Point(12, 2, 1), Point(12, 1, 2)], "float32", sweeps=20)
    for costs in found.data.values():
        parts = costs["launching"] + costs["collecting"] + costs["engine"]
        assert costs["host"] == pytest.approx(parts) and costs["all"] == pytest.approx(parts + costs["polling"])
        assert 0 < costs["null"] < 1000 and 0 < costs["engine"] < 2000
    assert found.measured["host"] == found.data["12², 2 in flight, 1 a launch"]["host"]
    assert [row[0] for row in found.tables[0]["rows"]] == [
        "12², 2 in flight, 1 a launch",
        "12², 2 in flight, 2 a launch",
    ]


@needs_compiler
def test_memory_is_held_against_its_estimate(case):
    for reserves, failures in ((2**20, 0), (2**40, 1)):
        found = findings()
        peak_memory(found, SimulatedMachine(reserves), case, [(Point(12, 2, 1), "float32")])
        assert len(found.failures) == failures
        assert found.data["12², 2 in flight, 1 a launch, float32"]["estimate"] > 2**28


# --- the synchronous eager version -----------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize(("projector", "tolerance"), [("joseph", 1e-5), ("astra", 2e-3)])
def test_the_full_gradient_is_the_operators(case, projector, tolerance, wrong):
    device = SimulatedMachine().device
    make = {
        "joseph": lambda: JosephGradient(case.operator, device),
        "astra": lambda: AstraGradient(case.operator, HostCalls(), device.torch),
    }
    gradient = make[projector]()
    noise = np.random.default_rng(3).standard_normal((24, 24)).astype(np.float32)
    gradient(torch.from_numpy(case.start))  # nothing of an earlier call is left
    found = gradient(torch.from_numpy(noise)).numpy() * np.float32(1 + 2 * tolerance if wrong else 1)
    assert (relative(found, case.operator.gradient(noise)) < tolerance) == (not wrong)


@needs_compiler
@pytest.mark.parametrize("accelerate", [True, False])
def test_the_eager_version_is_gm_red_with_acceleration(case, accelerate):
    """‖G‖² of every iteration is that of the serial method on the CPU, and not that of the plain one."""
    device = SimulatedMachine().device
    course = synchronous_red(case, lambda: JosephGradient(case.operator, device), "float32", 15, torch.device("cpu"))
    settings = {"intensity_scale": case.scale, "x0": case.start, "max_sweeps": 15, "accelerate": accelerate}
    serial = gm_red(case.operator, case.network, TAU, **settings)
    assert np.allclose(course.residual, serial.history["residual"], rtol=1e-3, atol=0) == accelerate
    assert len(course.snr) == 15 and list(course.seconds) == sorted(course.seconds) and course.setup > 0
    assert course.snr[-1] == pytest.approx(snr(course.image.numpy(), case.truth))


def test_the_time_to_an_snr_is_the_first_time():
    course = Course(0.5, [1.0, 2.0, 3.0], [10.0, 30.0, 20.0])
    assert time_to_snr.time_to(15.0, course) == 2.0 and time_to_snr.time_to(31.0, course) is None


def timed(name, seconds, last=36.0):
    course = Course(0.5, [0.0, seconds], [20.0, last])
    return time_to_snr.Timed(name, course, course)


@pytest.mark.parametrize(
    ("ours", "last", "verdict"), [(0.1, 36.0, REACHED), (0.3, 36.0, NOT_REACHED), (0.1, 30.0, NOT_REACHED)]
)
def test_the_speedup_is_the_first_eager_version_over_ours(ours, last, verdict):
    runs = [
        timed("synchronous, eager, a", 1.0),
        timed("synchronous, eager, b", 9.0),
        timed("Async-RED BG, x", ours, last),
    ]
    found = findings()
    time_to_snr.compare(found, [*runs, timed("Async-RED SG, x", 1e-9)], 36.0, (32.0, 37.0))
    assert {one.aim.name: one.verdict for one in judge([found.measured])}["speedup"] == verdict
    warm, cold = found.tables
    assert warm["columns"][1:3] == ["32.00 dB", "35.90 dB"] and len(warm["columns"]) == 4
    assert warm["rows"][0][1] == 1000.0 and cold["rows"][0][1] == 1500.0


@needs_compiler
@pytest.mark.parametrize("with_astra", [False, True])
def test_time_to_snr_runs_all_methods(case, with_astra):
    found, default = findings(), Point(6, 2, 1)
    machine, measured = SimulatedMachine(with_astra=with_astra), Measured(best=Point(6, 2, 2))
    time_to_snr.time_to_snr(found, machine, measured, case, "float32", default, (1.0,), 40, 20)
    eager = ["synchronous, eager, our Joseph kernels"]
    eager = ["synchronous, eager, ASTRA's projectors (linear)", *eager] if with_astra else eager
    names = [row[0] for row in found.tables[0]["rows"]]
    assert names[: len(eager)] == eager and len(names) == len(eager) + 4
    assert len(found.left_out) == (not with_astra) and "speedup" in found.measured
    assert with_astra or "planted: no CUDA in ASTRA" in found.left_out[0]
    assert found.data["speedup"]["of"] == eager[0] and math.isfinite(found.data["fixed point"]["snr"])


# --- whole -----------------------------------------------------------------------------------------------------------


def test_the_problems_need_no_network():
    cases = Cases()
    assert cases.small.operator.image_shape == (256, 256) and cases.small.operator.measurements == 60
    assert cases.small.on_blocks(64).grid.layout == (4, 4) and cases.small.scale > 0.1


def test_solvers_of_both_sides_differ_in_the_device_alone(case, monkeypatch):
    monkeypatch.setattr("asyncred_gpu.solver.check_device", lambda device: ("cuda:0" if device == "cuda" else "cpu",))
    settings = {"block_shape": (6, 6), "num_workers": 4, "precision": "float32"}
    there, here = (make_solver(device, case, **settings) for device in ("cuda", "cpu"))
    assert isinstance(there, GpuAsyncRED) and there.parallelism == here.parallelism
    assert (there.tau, there.precision, there.intensity_scale) == (here.tau, here.precision, here.intensity_scale)


def test_work_that_declares_nothing_can_be_timed():
    calls = []
    assert HostTimer().operations([operation("x", lambda: calls.append(1))], repeats=4) >= 0
    assert len(calls) == 5


@needs_compiler
def test_a_run_on_the_machine_is_a_run_of_the_solver(case):
    machine = SimulatedMachine()
    solver = make_solver("cpu", case, block_shape=(12, 12), num_workers=2)
    result = run(machine.factory(solver), solver, 3, case.start, case.truth)
    assert len(result.schedule) == 12 and np.isfinite(result.history["snr"]).all()
