"""Checkpoints: a run killed anywhere goes on to the same image, and nothing that isn't its own is gone on from.

Most runs are simulated in this process, and "killed" by a callback; some are real processes, killed by SIGKILL.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asyncred_gpu import BlockCS, CheckpointError, GpuAsyncRED, RadonCT, RunInterrupted, Status, gaussian_matrices
from asyncred_gpu.keeping import Keeping, pause_after
from asyncred_gpu.operators.gaussian import measure_blocks
from asyncred_gpu.operators.radon import project
from asyncred_gpu.runtime.simulated import RandomOrder, SimulatedRuntime
from asyncred_gpu.runtime.simulated_streams import Machine, SimulatedDevice
from asyncred_gpu.runtime.stream_policies import AnyOrder
from asyncred_gpu.scheduler import Pattern
from asyncred_gpu.theory_problem import Average
from asyncred_gpu.whole_file import replace_file

from .helpers import ALL_RUNS, blobs, small_network
from .helpers import half_turn as half

SIZE, IMAGE = 36, blobs(36, 36)
ANGLES = half(12)
SINOGRAM = project(IMAGE, ANGLES, 52)
NETWORK = small_network()


class Killed(Exception):
    """What stands for SIGKILL in this process."""


def scan() -> RadonCT:
    return RadonCT(SINOGRAM, ANGLES, (SIZE, SIZE))


def sensing() -> BlockCS:
    matrices = gaussian_matrices(9, 70, 144)
    return BlockCS(measure_blocks(IMAGE, matrices, (12, 12), 40.0, 1), matrices, (SIZE, SIZE), (12, 12))


def solver(**changes: Any) -> GpuAsyncRED:
    settings = {"tau": 0.05, "block_shape": (12, 12), "num_workers": 3, "order": "ordered", "device": "cpu"}
    operator = changes.pop("operator", scan)()
    return GpuAsyncRED(operator, changes.pop("network", NETWORK), **settings | changes)


def killing(at: int) -> Any:
    def callback(progress: Any) -> None:
        if progress.update == at:
            raise Killed

    return callback


def killed_and_resumed(make: Any, file: Path, deaths: list[int], **run: Any) -> Any:
    """Die after each of these commits, each time in a run that goes on from the last checkpoint; then to the end."""
    for death in deaths:
        with pytest.raises(Killed):
            make().run(checkpoint=file, resume=True, callbacks=[killing(death)], **run)
    return make().run(checkpoint=file, resume=True, **run)


KINDS: dict[str, dict[str, Any]] = {
    "fast": {},
    "paper": {"method": "paper"},
    "epochs with momentum": {
        "step": "block",
        "momentum": 0.5,
        "sampling": "epoch",
        "data_updates": 0,
        "num_workers": 2,
    },
    "minibatches": {"method": "paper", "minibatch": 5},
    "no data updates": {"data_updates": 0},
    "plug-and-play": {"prior": "pnp"},
    "a step that is too long": {"method": "paper", "step": 12.0},
    "several a launch": {"blocks_per_launch": 2, "num_workers": 2},
    "nonnegative in a circle": {"nonnegative": True, "field_of_view": "circle"},
    "compressed sensing": {"operator": sensing, "tau": 0.5},
}


@pytest.mark.parametrize("order", ["ordered", "sync"])
@pytest.mark.parametrize("kind", KINDS)
def test_killed_anywhere_it_ends_with_the_same_bits(kind: str, order: str, tmp_path: Path, one_process: None) -> None:
    make = partial(solver, order=order, **KINDS[kind])
    run: dict[str, Any] = {"max_sweeps": 6, "checkpoint_every": 1.5, "reference": IMAGE}
    whole = make().run(checkpoint=tmp_path / "whole", **run)
    last = len(whole.schedule)
    deaths = sorted({1, last // 4, last // 3, last // 2, last - 1})
    again = killed_and_resumed(make, tmp_path / "killed", deaths, **run)
    np.testing.assert_array_equal(again.image, whole.image)
    assert again.status is whole.status
    for name in ("update", "sweep", "residual", "staleness", "block", "snr"):
        np.testing.assert_array_equal(again.history[name], whole.history[name])
    assert (np.diff(again.history["seconds"]) >= 0).all()
    for name in ("block", "read", "commit", "step", "momentum", "draw", "strength"):
        np.testing.assert_array_equal(getattr(again.schedule, name), getattr(whole.schedule, name))
    assert again.settings == whole.settings
    # The pauses are part of the order: without them another image comes, by a little.
    bare = make().run(max_sweeps=6)
    assert not np.array_equal(bare.image, whole.image)
    # And the schedule of a run that was killed is replayed like any other.
    replayed = make().run(replay=again.schedule)
    np.testing.assert_array_equal(replayed.image, again.image)


def test_the_guard_of_the_step_goes_on_too(tmp_path: Path, one_process: None) -> None:
    make = partial(solver, **KINDS["a step that is too long"])
    whole = make().run(max_sweeps=6, checkpoint=tmp_path / "a", checkpoint_every=1)
    assert any("every step was halved" in note for note in whole.notes)
    again = killed_and_resumed(make, tmp_path / "b", [20, 40], max_sweeps=6, checkpoint_every=1)
    assert again.notes == whole.notes
    np.testing.assert_array_equal(again.image, whole.image)


@pytest.mark.parametrize("seed", range(3))
def test_a_free_run_goes_on_where_it_was(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any order of the workers' stages; the image isn't the same, but no commit is lost, and it ends as well."""

    def runtime(setup: Any, workers: int, image: Any, spares: Any = None) -> SimulatedRuntime:
        return SimulatedRuntime(setup, workers, image, RandomOrder(seed))

    monkeypatch.setattr("asyncred_gpu.solver.CpuRuntime", runtime)
    make = partial(solver, order="free", network=Average(), tau=0.3)
    whole = make().run(max_sweeps=40)
    again = killed_and_resumed(make, tmp_path / "kept", [50, 200, 600], max_sweeps=40, checkpoint_every=1)
    again.schedule.check(9)
    assert again.history["update"].tolist() == list(range(1, len(whole.schedule) + 1))
    assert int(again.schedule.staleness.max()) <= again.settings["max_staleness"]
    off = np.linalg.norm(again.image - whole.image) / np.linalg.norm(whole.image)
    assert off < 1e-5
    replayed = make().run(replay=again.schedule)
    np.testing.assert_array_equal(replayed.image, again.image)


def test_a_free_run_keeps_its_end_and_can_be_made_longer(tmp_path: Path, one_process: None) -> None:
    file = tmp_path / "kept"
    short = solver(order="free").run(max_sweeps=3, checkpoint=file, checkpoint_every=50)
    longer = solver(order="free").run(max_sweeps=5, resume=file)
    assert len(longer.schedule) > len(short.schedule)
    np.testing.assert_array_equal(longer.schedule.block[: len(short.schedule)], short.schedule.block)
    # Nothing left to do: the image is the one that was kept.
    again = solver(order="free").run(max_sweeps=5, checkpoint=file, resume=True)
    np.testing.assert_array_equal(again.image, longer.image)
    assert again.status is Status.MAX_SWEEPS


def test_nothing_is_under_way_at_a_pause(tmp_path: Path, one_process: None) -> None:
    """What follows a pause reads no version before it, and what comes before commits before it."""
    result = solver(num_workers=4).run(max_sweeps=4, checkpoint=tmp_path / "kept", checkpoint_every=0.7)
    after = pause_after(Pattern(9, 3), 9, 0.7)
    place, pauses = 0, []
    while place < len(result.schedule):
        pauses.append(place)
        place = after(place)
    assert len(pauses) >= 5
    for pause in pauses:
        assert (result.schedule.read[pause:] >= pause).all()
        assert result.schedule.read[pause] == pause


@pytest.mark.parametrize("every", [0.05, 0.5, 1.0, 2.5])
@pytest.mark.parametrize("repeats", [0, 3])
def test_pauses_are_evenly_spaced(every: float, repeats: int) -> None:
    pattern = Pattern(9, repeats)
    after = pause_after(pattern, 9, every)
    places = [after(0)]
    while places[-1] < 40 * 9:
        places.append(after(places[-1]))
    assert places == sorted(set(places))
    # From wherever one asks, the same pauses.
    for version in range(places[-2]):
        assert after(version) == next(place for place in places if place > version)
    swept = np.diff([pattern.asking(place) for place in places])
    assert swept.max() <= max(1, np.ceil(every * 9))


def test_what_was_chosen_automatically_is_not_chosen_again(tmp_path: Path, one_process: None) -> None:
    file = tmp_path / "kept"
    first = GpuAsyncRED(scan(), NETWORK, tau="auto", block_shape=(12, 12), num_workers=2, order="ordered", device="cpu")
    first.tune(taus=[0.02, 0.2], sweeps=5, first_sweeps=5, progress=False)
    with pytest.raises(Killed):
        first.run(max_sweeps=4, checkpoint=file, checkpoint_every=1, callbacks=[killing(60)])
    again = GpuAsyncRED(scan(), NETWORK, tau="auto", block_shape=(12, 12), num_workers=2, order="ordered", device="cpu")
    result = again.run(max_sweeps=4, resume=file)
    assert result.settings["tau"] == first.tau
    assert "tuning" not in result.timings and again.tuned is None


# --- on simulated streams of a GPU -------------------------------------------------------------------------------


@pytest.mark.parametrize("devices", [1, 2])
def test_on_streams_it_goes_on_with_the_same_bits(devices: int, tmp_path: Path, monkeypatch: Any) -> None:
    from asyncred_gpu.kernels.host_build import HostKernels
    from asyncred_gpu.runtime.cuda_setup import make_cuda_runtime

    kernels = HostKernels()

    def runtime(setup: Any, workers: int, image: Any, spares: Any = None) -> Any:
        machine = Machine(AnyOrder(3), warms_up=False)
        there = [SimulatedDevice(machine, index, kernels) for index in range(devices)]
        return make_cuda_runtime(there, setup, workers, image, deterministic=True)

    monkeypatch.setattr("asyncred_gpu.solver.CpuRuntime", runtime)
    make = partial(solver, precision="float32")
    run: dict[str, Any] = {"max_sweeps": 3, "checkpoint_every": 1}
    whole = make().run(checkpoint=tmp_path / "whole", **run)
    again = killed_and_resumed(make, tmp_path / "killed", [20, 70], **run)
    np.testing.assert_array_equal(again.image, whole.image)


# --- real processes, really killed -------------------------------------------------------------------------------

PROGRAM = """
import sys
import numpy as np
from tests.test_checkpoint import solver
if __name__ == "__main__":
    result = solver(num_workers=2).run(max_sweeps=30, checkpoint="kept", checkpoint_every=1, resume=True)
    np.save("image.npy", result.image)
"""


@pytest.mark.own_workers
def test_killed_by_sigkill_at_random_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    random = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
    environment = os.environ | {"PYTHONPATH": str(root)}
    (tmp_path / "program.py").write_text(PROGRAM)

    def started() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "program.py"], cwd=tmp_path, env=environment, start_new_session=True)

    for _ in range(5 if ALL_RUNS else 2):
        process = started()
        deadline = time.monotonic() + 60
        while not (tmp_path / "kept").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(float(random.uniform(0.0, 0.6)))
        process.kill()
        process.wait()
    assert started().wait(timeout=120) == 0
    undisturbed = solver(num_workers=2).run(max_sweeps=30, checkpoint=tmp_path / "whole", checkpoint_every=1)
    np.testing.assert_array_equal(np.load(tmp_path / "image.npy"), undisturbed.image)


def test_a_write_that_is_killed_leaves_the_file_before(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    replace_file(path, lambda file: file.write(b"first"))

    def dies(file: Any) -> None:
        file.write(b"half of the sec")
        raise Killed

    with pytest.raises(Killed):
        replace_file(path, dies)
    assert path.read_bytes() == b"first" and [item.name for item in tmp_path.iterdir()] == ["kept"]
    (tmp_path / ".kept.part").write_bytes(b"what a kill left")
    replace_file(path, lambda file: file.write(b"second"))
    assert path.read_bytes() == b"second" and [item.name for item in tmp_path.iterdir()] == ["kept"]


def test_a_full_disk_ends_no_run(tmp_path: Path, one_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sync, count = os.fsync, [0]

    def full(descriptor: int) -> None:
        count[0] += 1
        if count[0] > 2:  # the file and its folder, once
            raise OSError(28, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    file = tmp_path / "kept"
    result = solver().run(max_sweeps=3, checkpoint=file, checkpoint_every=1)
    assert result.status is Status.MAX_SWEEPS
    assert any("the checkpoint couldn't be written (No space left on device)" in note for note in result.notes)
    monkeypatch.setattr(os, "fsync", sync)
    again = solver().run(max_sweeps=3, resume=file)
    np.testing.assert_array_equal(again.image, result.image)


# --- Ctrl-C and the time limit -----------------------------------------------------------------------------------


def interrupting(at: int, number: int = signal.SIGINT) -> Any:
    def callback(progress: Any) -> None:
        if progress.update == at:
            signal.raise_signal(number)

    return callback


@pytest.mark.parametrize("order", ["free", "ordered"])
def test_ctrl_c_gives_the_image_so_far(order: str, tmp_path: Path, one_process: None) -> None:
    file = tmp_path / "kept"
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(RunInterrupted) as caught:
        solver(order=order).run(
            max_sweeps=20, reference=IMAGE, checkpoint=file, checkpoint_every=1, callbacks=[interrupting(150)]
        )
    result = caught.value.result
    assert result.status is Status.INTERRUPTED and isinstance(caught.value, KeyboardInterrupt)
    # What is under way is finished where it is kept; an ordered run keeps its pauses alone.
    assert 150 <= len(result.schedule) <= 153
    error = np.linalg.norm(result.image - IMAGE)
    assert -20 * np.log10(error / np.linalg.norm(IMAGE)) == pytest.approx(result.history["snr"][-1], abs=1e-4)
    assert signal.getsignal(signal.SIGINT) is before
    again = solver(order=order).run(max_sweeps=20, resume=file)
    whole = solver(order=order).run(max_sweeps=20, checkpoint=tmp_path / "whole", checkpoint_every=1)
    assert len(again.schedule) == len(whole.schedule)
    if order == "ordered":
        np.testing.assert_array_equal(again.image, whole.image)


def test_a_second_ctrl_c_ends_it_at_once(one_process: None) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        solver().run(max_sweeps=20, callbacks=[interrupting(50), interrupting(50)])
    assert not isinstance(caught.value, RunInterrupted)


def test_a_handler_of_the_programs_own_is_left_alone(one_process: None) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        result = solver().run(max_sweeps=3, callbacks=[interrupting(20)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT] and result.status is Status.MAX_SWEEPS


def test_a_time_limit_counts_what_this_run_takes(tmp_path: Path, one_process: None) -> None:
    file = tmp_path / "kept"
    first = solver(order="free").run(max_sweeps=None, time_limit=0.5, checkpoint=file)
    assert first.status is Status.TIME_LIMIT
    second = solver(order="free").run(max_sweeps=None, time_limit=0.3, resume=file)
    assert second.status is Status.TIME_LIMIT
    assert len(second.schedule) > len(first.schedule)
    assert second.history["seconds"][-1] > first.history["seconds"][-1] + 0.2


# --- what can't be gone on from ----------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path: Path, one_process: None) -> Path:
    file = tmp_path / "kept"
    solver().run(max_sweeps=2, checkpoint=file, checkpoint_every=1)
    return file


def other_data() -> RadonCT:
    changed = SINOGRAM.copy()
    changed[3, 17] += 1e-3
    return RadonCT(changed, ANGLES, (SIZE, SIZE))


OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "the data": ({"operator": other_data}, "the data have changed. Go on with those of before, or begin anew"),
    "tau": ({"tau": 0.1}, "tau was 0.05, is 0.1"),
    "the seed": ({"seed": 1}, "seed was 0, is 1"),
    "the workers": ({"num_workers": 2}, "num_workers was 3, is 2"),
    "the order": ({"order": "sync"}, "order was 'ordered', is 'sync'"),
    "the method": ({"method": "paper"}, "step was 'preconditioned', is 'theory'"),
    "the blocks": (
        {"block_shape": (18, 18)},
        "isn't a checkpoint of this run, or a damaged one (its blocks are others",
    ),
    "smaller blocks": (
        {"block_shape": (9, 9)},
        "isn't a checkpoint of this run, or a damaged one (its blocks are others",
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_run_is_not_gone_on_from(what: str, kept: Path) -> None:
    changes, message = OTHERS[what]
    before = kept.read_bytes()
    with pytest.raises(CheckpointError) as caught:
        solver(**changes).run(max_sweeps=4, resume=kept)
    assert message in str(caught.value)
    assert kept.read_bytes() == before


def test_in_an_ordered_run_the_pauses_cannot_change(kept: Path) -> None:
    with pytest.raises(CheckpointError, match=r"checkpoint_every was 1\.0, is 2\.0"):
        solver().run(max_sweeps=4, resume=kept, checkpoint_every=2)


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        at = content.index(b"pixels.npy") + 2000
        path.write_bytes(content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :])
    elif how == "text":
        path.write_text("no checkpoint")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "arrays alone":
        with path.open("wb") as file:
            np.savez(file, pixels=np.zeros(3))
    elif how == "of another version":
        with np.load(path) as file:
            arrays = dict(file)
        meta = json.loads(str(arrays.pop("meta"))) | {"format": 99}
        with path.open("wb") as file:
            np.savez(file, meta=json.dumps(meta), **arrays)


@pytest.mark.parametrize("how", ["cut", "flipped", "text", "empty", "arrays alone", "of another version"])
def test_a_damaged_checkpoint_is_refused_and_kept(how: str, kept: Path) -> None:
    damaged(kept, how)
    before = kept.read_bytes()
    message = "is a checkpoint of format 99" if "version" in how else "isn't a checkpoint of this run, or a damaged one"
    with pytest.raises(CheckpointError, match=message) as caught:
        solver().run(max_sweeps=4, resume=kept)
    assert "\n" not in str(caught.value)
    assert kept.read_bytes() == before


def rewrite(path: Path, change: Any) -> None:
    """The file as it would be with other contents, whole."""
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays.pop("meta")))
    change(meta, arrays)
    with path.open("wb") as stream:
        np.savez(stream, meta=json.dumps(meta), **arrays)


UNLIKELY: dict[str, tuple[Any, str]] = {
    "no seconds": (lambda meta, arrays: meta.pop("seconds"), "it has no 'seconds'"),
    "a version in words": (lambda meta, arrays: meta.update(version="two"), "invalid literal"),
    "no notes": (lambda meta, arrays: meta.update(notes=None), "'NoneType' object is not iterable"),
    "no facts": (lambda meta, arrays: meta.update(facts={}), "it has no checkpoint_every"),
    "no settings": (lambda meta, arrays: meta.update(settings={}), "it has no measurements"),
    "no monitor": (lambda meta, arrays: meta.update(monitor={}), "it has no 'first'"),
    "no sampler": (lambda meta, arrays: meta.update(sampler=None), "damaged one"),
    "no guard": (lambda meta, arrays: meta.update(guard={"a": 1}), "it has no 'factor'"),
    "no blocks of commits": (lambda meta, arrays: arrays.pop("commits_block"), "it has no 'block'"),
    "unequal columns": (lambda meta, arrays: arrays.update(commits_read=np.zeros(1)), "shorter than argument 1"),
    "NaN": (lambda meta, arrays: arrays["pixels"].fill(np.nan), "its pixels has NaN or infinite values"),
}


@pytest.mark.parametrize("how", UNLIKELY)
def test_a_whole_file_that_lacks_something_is_refused_and_kept(how: str, kept: Path, one_process: None) -> None:
    change, message = UNLIKELY[how]
    rewrite(kept, change)
    before = kept.read_bytes()
    with pytest.raises(
        CheckpointError, match=r"isn't a checkpoint of this run, or a damaged one \(.*\)\. Begin anew"
    ) as e:
        solver().run(max_sweeps=4, resume=kept)
    assert message in str(e.value)
    assert kept.read_bytes() == before


def test_what_nobody_may_read_is_not_called_damaged(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: Any, **options: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    with pytest.raises(CheckpointError, match=r"can't be read \(Permission denied\)\. Check its permissions\."):
        solver().run(max_sweeps=4, resume=kept)


ARGUMENTS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no file": ({"checkpoint_every": 2}, ValueError, "checkpoint_every= needs the checkpoint's file"),
    "resume nothing": ({"resume": True}, ValueError, "resume=True needs the checkpoint's file"),
    "absent": ({"resume": "absent"}, CheckpointError, "absent doesn't exist, so nothing can go on from it"),
    "two files": ({"checkpoint": "a", "resume": "b"}, ValueError, "are two files. Pass one of them"),
    "there already": ({"checkpoint": "mine"}, FileExistsError, "mine is there already, and isn't overwritten"),
    "a folder": ({"checkpoint": ".", "resume": True}, ValueError, "isn't a file. Pass the path of a checkpoint"),
    "no folder": ({"checkpoint": "no/a"}, FileNotFoundError, "no isn't a folder. Make it"),
    "no path": ({"checkpoint": 3}, TypeError, "checkpoint=3, resume=False aren't paths"),
    "never": ({"checkpoint": "a", "checkpoint_every": 0}, ValueError, "checkpoint_every=0 would only keep"),
    "before": ({"checkpoint": "a", "checkpoint_every": -1}, ValueError, "checkpoint_every=-1 can't be"),
}


@pytest.mark.parametrize("kind", ARGUMENTS)
def test_arguments_that_cannot_be_are_refused_before_any_work(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, error, message = ARGUMENTS[kind]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("precious")
    made = solver()
    with pytest.raises(error, match=message):
        made.run(max_sweeps=1, **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"] and (tmp_path / "mine").read_text() == "precious"


def test_a_replay_keeps_nothing(tmp_path: Path, one_process: None) -> None:
    result = solver().run(max_sweeps=1)
    with pytest.raises(ValueError, match="A replay keeps no checkpoints"):
        solver().run(replay=result.schedule, checkpoint=tmp_path / "kept")


def test_the_usual_interval_and_that_of_before(kept: Path, tmp_path: Path) -> None:
    assert Keeping(tmp_path / "new", None, False).interval(None) == 5.0
    made = solver()
    from asyncred_gpu.slots import slot_layout

    keeping = Keeping(kept, None, True)
    state = keeping.load(slot_layout(made.operator))
    assert state is not None and keeping.interval(state) == 1.0
