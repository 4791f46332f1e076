"""Callbacks and the log: what a long run tells while it runs."""

from __future__ import annotations

import errno
import io
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asyncred_gpu.callbacks import JsonLines, Now, TensorBoard
from asyncred_gpu.result import Progress

from .test_checkpoint import IMAGE, Killed, killing, solver

pytestmark = pytest.mark.usefixtures("one_process")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("every", [0.5, 1.0, 3.0])
def test_now_and_then_is_once_every_so_many_sweeps(every: float) -> None:
    now = Now(every)
    sweeps = np.arange(0, 12.01, 0.1).round(6)
    told = [sweep for sweep in sweeps if now(sweep)]
    np.testing.assert_allclose(told, np.arange(0, 12.01, every))


def test_json_lines_are_the_history(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    with JsonLines(path, every=0.5) as lines:
        result = solver().run(max_sweeps=4, reference=IMAGE, callbacks=[lines])
    found = lines_of(path)
    assert 8 <= len(found) <= 9
    for line in found:
        at = line["update"] - 1
        for name in ("sweep", "residual", "staleness", "snr"):
            assert line[name] == result.history[name][at]


def test_a_run_that_goes_on_appends_and_half_a_line_is_cut(tmp_path: Path) -> None:
    path, kept = tmp_path / "progress.jsonl", tmp_path / "kept"
    with pytest.raises(Killed), JsonLines(path) as lines:
        solver().run(max_sweeps=6, checkpoint=kept, checkpoint_every=1, callbacks=[lines, killing(120)])
    before = lines_of(path)
    with path.open("ab") as file:
        file.write(b'{"update": 12')  # a kill in the middle of a line
    with JsonLines(path) as lines:
        solver().run(max_sweeps=6, resume=kept, callbacks=[lines])
    found = lines_of(path)
    assert found[: len(before)] == before and len(found) > len(before)
    assert found[-1]["sweep"] > 5


def test_what_is_not_finite_or_not_known_is_null(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    with JsonLines(path) as lines:
        lines(Progress(1, 0.1, 0.0, float("nan"), 0, 0, None, 4.0))
        lines(Progress(2, 1.1, 0.0, 1.0, 0, 0, float("-inf"), 4.0))
    assert [(line["residual"], line["snr"]) for line in lines_of(path)] == [(None, None), (1.0, None)]


def test_a_callback_sees_the_image_of_its_commit(tmp_path: Path) -> None:
    seen: list[Any] = []

    def look(progress: Progress) -> None:
        assert progress.image is not None
        error = np.linalg.norm(progress.image() - IMAGE)
        seen.append((-20 * np.log10(error / np.linalg.norm(IMAGE)), progress.snr, progress.image()))

    result = solver(order="free").run(max_sweeps=2, reference=IMAGE, callbacks=[look])
    for found, told, _ in seen:
        assert found == pytest.approx(told, abs=1e-4)
    assert seen[0][1] != seen[-1][1]
    np.testing.assert_array_equal(seen[-1][2], result.image)
    assert not np.array_equal(seen[0][2], seen[-1][2])  # copies


def test_tensorboard_has_the_curves_and_the_image(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard"
    )
    with TensorBoard(tmp_path / "board", every=1.0, images=2.0) as board:
        result = solver().run(max_sweeps=4, reference=IMAGE, callbacks=[board])
    events = accumulator.EventAccumulator(str(tmp_path / "board"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"residual", "staleness", "snr"}
    for event in events.Scalars("snr"):
        assert event.value == pytest.approx(result.history["snr"][event.step - 1], rel=1e-6)
    images = events.Images("image")
    assert len(images) in (2, 3) and (images[0].width, images[0].height) == (36, 36)


def test_without_tensorboard_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"needs the package tensorboard: `pip install tensorboard`"):
        TensorBoard("nowhere")


def test_a_log_that_is_full_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, *arguments: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda *arguments: Full())
    lines = JsonLines(tmp_path / "progress.jsonl", every=0.5)
    with lines:
        result = solver().run(max_sweeps=2, callbacks=[lines])
    assert result.history["sweep"][-1] == 2
    assert lines.trouble is not None and "No space left" in str(lines.trouble)


def test_a_log_begins_with_the_run(tmp_path: Path) -> None:
    with JsonLines(tmp_path / "a"), TensorBoard(tmp_path / "b"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"every=0 can't be\. Pass sweeps"):
        JsonLines(tmp_path / "a", every=0)
    with pytest.raises(FileNotFoundError):
        JsonLines(tmp_path / "no" / "a")


def test_the_library_logs_and_is_silent_unless_asked(tmp_path: Path, caplog: Any) -> None:
    warns = "import asyncred_gpu, logging; logging.getLogger('asyncred_gpu.engine').warning('a step was halved')"
    assert subprocess.run([sys.executable, "-c", warns], capture_output=True, timeout=60).stderr == b""
    caplog.set_level(logging.INFO, "asyncred_gpu")
    solver(method="paper", step=12.0).run(max_sweeps=6, checkpoint=tmp_path / "kept", checkpoint_every=2)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert any(level == "INFO" and "run of 36×36 in 9 blocks by 3 workers on cpu began" in text for level, text in said)
    assert any(level == "INFO" and text.startswith("checkpoint after ") for level, text in said)
    assert any(level == "WARNING" and "every step was halved" in text for level, text in said)
    assert any(level == "INFO" and text.startswith("run ended after ") for level, text in said)
