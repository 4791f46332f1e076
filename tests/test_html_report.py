"""The HTML report: what is in it, and, where there is Chromium, that sliders, zoom and curves do what they say."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from asyncred_gpu import html_report
from asyncred_gpu.cli.main import main
from asyncred_gpu.html_report import Told, binned, page
from asyncred_gpu.run_folder import read_columns

from .helpers import blobs

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def told(**changes: Any) -> Told:
    """A run of two workers, 40 commits."""
    count, true = 40, blobs(48, 60)
    rough = (true + 0.1 * np.random.default_rng(0).standard_normal(true.shape)).astype(np.float32)
    steps = np.arange(count)
    history = {"update": steps + 1, "sweep": (steps + 1) / 4, "seconds": 0.1 * steps, "snr": 20 + 0.1 * steps}
    history |= {"residual": 0.9**steps, "staleness": steps % 3, "block": steps % 4}
    timeline = {"worker": steps % 2, "launched": 0.1 * steps, "published": 0.1 * steps + 0.15, "asked": steps % 3 == 0}
    timeline |= {"committed": timeline["published"], "block": steps % 4}
    values: dict[str, Any] = {
        "title": "A slice",
        "summary": "10 sweeps in 4 s",
        "notes": ["a step was halved"],
        "images": {"FBP": rough, "Async-RED": (true * 0.98).astype(np.float32)},
        "reference": true,
        "history": history,
        "timeline": timeline,
        "settings": {"solver": {"tau": 0.05}},
    }
    return Told(**values | changes)


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def unpacked(image: dict[str, Any], shape: tuple[int, int]) -> np.ndarray:
    steps = np.frombuffer(base64.b64decode(image["pixels"]), "<u2").reshape(shape)
    return image["low"] + (image["high"] - image["low"]) / 65535 * steps


def test_the_page_holds_everything_and_needs_nothing() -> None:
    given = told()
    text = page(given)
    assert not re.search(r'(src|href)\s*=\s*["\']', text)
    assert not re.findall(r"%[A-Z_]+%", text)
    data = data_of(text)
    assert [image["name"] for image in data["images"]] == [
        *("FBP", "Async-RED", "reference", "FBP − reference", "Async-RED − reference")
    ]
    for image, expected in zip(data["images"], [*given.images.values(), given.reference], strict=False):
        assert expected is not None
        np.testing.assert_allclose(unpacked(image, (48, 60)), expected, atol=2e-5)
    difference = unpacked(data["images"][3], (48, 60))
    assert given.reference is not None
    np.testing.assert_allclose(difference, given.images["FBP"] - given.reference, atol=2e-5)
    assert data["history"]["snr"] == pytest.approx(given.history["snr"].tolist())
    assert data["timeline"]["workers"] == 2 and "0 74 %, 1 74 %" in data["timeline"]["said"]


def test_what_a_title_holds_ends_no_script() -> None:
    text = page(told(title="</script><script>alert(1)</script>", notes=["a </script> b"]))
    data = data_of(text)
    assert data["title"] == "</script><script>alert(1)</script>" and data["notes"] == ["a </script> b"]
    assert "<script>alert" not in text and text.count("</script>") == 3


def test_large_images_are_binned_and_long_histories_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html_report, "MOST_PIXELS", 30)
    monkeypatch.setattr(html_report, "MOST_POINTS", 10)
    monkeypatch.setattr(html_report, "MOST_UPDATES", 16)
    data = data_of(page(told()))
    assert (data["rows"], data["cols"], data["binning"]) == (24, 30, 2)
    assert len(data["history"]["sweep"]) == 10 and data["history"]["sweep"][-1] == 10
    assert len(data["timeline"]["worker"]) == 16 and data["timeline"]["said"].startswith("The first 16 updates.")
    image = np.arange(35, dtype=np.float32).reshape(5, 7)
    np.testing.assert_allclose(binned(image, 2), [[4, 6, 8], [18, 20, 22]])


def test_without_a_reference_or_a_timeline(monkeypatch: pytest.MonkeyPatch) -> None:
    history = {name: values for name, values in told().history.items() if name != "snr"}
    data = data_of(page(told(reference=None, timeline=None, history=history)))
    assert [image["name"] for image in data["images"]] == ["FBP", "Async-RED"]
    assert data["timeline"] is None and [curve["name"] for curve in data["curves"]] == ["residual", "staleness"]


def test_what_is_not_set_is_not_listed() -> None:
    settings = {
        "a": None,
        "b": 0,
        "c": {},
        "d": [],
        "e": {"f": None},
        "solver": {"h": False, "fit": 6},
        "i": [1],
        "fit": 1,
    }
    assert data_of(page(told(settings=settings)))["settings"] == {
        "b": 0,
        "solver": {"h": False, "conjugate gradients before the first sweep": 6},
        "i": [1],
        "fit": 1,
    }


def test_the_first_grey_levels_leave_the_brightest_part_its_detail() -> None:
    """One pixel of a hundred is bright, as the enamel of a tooth is, and not all alike."""
    image = np.zeros((50, 40), np.float32)
    image.flat[:20] = np.linspace(1, 1.2, 20)
    data = data_of(page(told(images={"Async-RED": image}, reference=None)))
    assert (image < data["white"]).mean() > 0.998
    assert data["black"] == 0 and data["white"] < 1.5


def test_a_run_writes_it_and_the_command_makes_it_again(tmp_path: Path, one_process: None, capsys: Any) -> None:
    run = tmp_path / "run"
    words = ["--size", "48", "--angles", "20", "--sweeps", "2", "--workers", "2", "--method", "paper", "--quiet"]
    assert main(["reconstruct", *words, "--output", str(run)]) == 0
    text = (run / "report.html").read_text()
    data = data_of(text)
    assert data["title"] == "Retina, 48 × 48 from 20 angles × 68 detectors, 70 dB"
    assert data["summary"].startswith("2 sweeps in ") and "‖G‖²/‖G₀‖² " in data["summary"]
    assert "The number of sweeps asked for was done" in data["summary"]
    solver = data["settings"]["solver"]
    assert solver["momentum"] == 0 and "prior" not in solver and "minibatch" not in solver  # None
    assert data["settings"]["chosen"] == {"denoiser": "dncnn", "sigma": 5, "method": "paper", "prior": "red"}
    assert "denoiser, and its checksum" in solver and "notes" not in data["settings"]["result"]
    image = tifffile.imread(run / "reconstruction.tif")
    np.testing.assert_allclose(unpacked(data["images"][1], (48, 48)), image, atol=1e-4)
    timeline = read_columns(run / "timeline.csv")
    assert len(timeline["worker"]) == len(read_columns(run / "history.csv")["sweep"])
    assert (timeline["launched"] <= timeline["published"]).all() and set(timeline["worker"]) == {0, 1}
    assert main(["report", str(run)]) == 2
    assert "report.html exists already and isn't overwritten" in capsys.readouterr().err
    assert main(["report", str(run), "--output", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text() == text


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "run.json").write_text("{}")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    for folder, message in (
        ("absent", "absent isn't a folder"),
        ("empty", "has no run.json, so it isn't the folder of a finished run"),
        ("half", "isn't a reconstruction's: it has no result"),
        ("broken", "run.json is damaged: it isn't JSON (Expecting property name"),
    ):
        assert main(["report", str(tmp_path / folder)]) == 2
        err = capsys.readouterr().err
        assert message in err and err.startswith("error: ") and err.count("\n") == 1


# --- in a browser ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (apt install chromium)")
    sync = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install asyncred-gpu[browser])")
    with sync.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """The page, opened from a file without a network; any error of its script fails the test."""
    (tmp_path / "report.html").write_text(page(told()), "utf-8")
    errors: list[str] = []
    context = browser.new_context(offline=True, viewport={"width": 1320, "height": 1000})
    tab = context.new_page()
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.goto((tmp_path / "report.html").as_uri())
    tab.wait_for_function("window.reportReady === true", timeout=20_000)
    yield tab
    context.close()
    assert errors == []


STRIDE = 4
GREYS = """([n, stride]) => {
    const canvas = document.querySelectorAll('#images canvas')[n], side = canvas.width, found = [];
    const data = canvas.getContext('2d').getImageData(0, 0, side, side).data;
    for (let y = 0; y < side; y += stride)
        for (let x = 0; x < side; x += stride) found.push(data[4 * (y * side + x)]);
    return found;
}"""
SLIDE = """([name, value]) => {
    const slider = document.getElementById(name);
    slider.value = value;
    slider.dispatchEvent(new Event('input'));
}"""
LANES = """() => {
    const canvas = document.getElementById('timeline');
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let blue = 0, orange = 0;
    for (let i = 0; i < data.length; i += 4) {
        blue += data[i] == 0x1f && data[i + 1] == 0x6f;
        orange += data[i] == 0xd9 && data[i + 1] == 0x5f;
    }
    return [blue, orange];
}"""


def pixels(tab: Any, number: int) -> np.ndarray:
    """(200, 200) of grey: red of every fourth pixel of an image's canvas."""
    return np.array(tab.evaluate(GREYS, [number, STRIDE]), np.uint8).reshape(200, 200)


def slide(tab: Any, name: str, value: int) -> None:
    tab.evaluate(SLIDE, [name, value])


def test_images_are_drawn_as_they_are(opened: Any) -> None:
    given, data = told(), data_of(page(told()))
    shown = pixels(opened, 1)
    expected = (given.images["Async-RED"] - data["black"]) / (data["white"] - data["black"]) * 255
    zoom = 800 / 60
    for row, col in ((5, 5), (20, 40), (40, 13), (47, 59)):
        found = shown[int((row + 0.5) * zoom) // STRIDE, int((col + 0.5) * zoom) // STRIDE]
        assert abs(float(found) - np.clip(expected[row, col], 0, 255)) <= 2


def test_grey_levels_move_all_images(opened: Any) -> None:
    before = [pixels(opened, number) for number in (0, 1)]
    slide(opened, "white", 300)
    after = [pixels(opened, number) for number in (0, 1)]
    for one, other in zip(before, after, strict=True):
        assert other.mean() > one.mean() + 5
    assert "to" in opened.inner_text("#levels")


def test_zoom_and_move_are_linked(opened: Any) -> None:
    canvas = opened.query_selector_all("#images canvas")[0]
    before = [pixels(opened, number) for number in (0, 1, 2)]
    box = canvas.bounding_box()
    opened.mouse.move(box["x"] + 100, box["y"] + 100)
    for _ in range(4):
        opened.mouse.wheel(0, -100)
    opened.wait_for_function("view.side < 30")
    zoomed = [pixels(opened, number) for number in (0, 1, 2)]
    opened.mouse.down()
    opened.mouse.move(box["x"] + 40, box["y"] + 60, steps=4)
    opened.mouse.up()
    moved = [pixels(opened, number) for number in (0, 1, 2)]
    for one, two, three in zip(before, zoomed, moved, strict=True):
        assert (one != two).mean() > 0.2 and (two != three).mean() > 0.2
    opened.click("#reset")
    for one, number in zip(before, (0, 1, 2), strict=True):
        np.testing.assert_array_equal(pixels(opened, number), one)


def test_a_click_draws_the_profile_there(opened: Any) -> None:
    given = told()
    canvas = opened.query_selector_all("#images canvas")[2]
    box = canvas.bounding_box()
    opened.mouse.click(box["x"] + box["width"] * 20.5 / 60, box["y"] + box["height"] * 10.5 / 60)
    assert opened.inner_text("#profile-title") == "Profile along row 10"
    series = opened.evaluate("profileChart.data.map(values => Array.from(values))")
    assert len(series) == 4 and len(series[0]) == 60
    assert given.reference is not None
    np.testing.assert_allclose(series[3], given.reference[10], atol=2e-5)
    np.testing.assert_allclose(series[1], given.images["FBP"][10], atol=2e-5)
    opened.check("#along-column")
    assert opened.inner_text("#profile-title") == "Profile along column 20"
    series = opened.evaluate("profileChart.data.map(values => Array.from(values))")
    np.testing.assert_allclose(series[3], given.reference[:, 20], atol=2e-5)


def test_curves_are_over_sweeps_or_seconds(opened: Any) -> None:
    given = told()
    titles = [element.inner_text() for element in opened.query_selector_all("#curves .u-title")]
    assert titles == ["SNR, dB", "‖G‖²/‖G₀‖²", "staleness, commits"]
    for over in ("sweeps", "seconds"):
        opened.check(f"#over-{over}")
        x, snr = opened.evaluate("charts[0].data.map(values => Array.from(values))")
        np.testing.assert_allclose(x, given.history["sweep" if over == "sweeps" else "seconds"])
        np.testing.assert_allclose(snr, given.history["snr"])
    drawn = "Array.from(document.querySelector('#curves canvas').getContext('2d').getImageData(0, 0, 600, 200).data)"
    assert len(set(opened.evaluate(drawn))) > 10


def test_the_timeline_slides(opened: Any) -> None:
    blue, orange = opened.evaluate(LANES)
    assert orange > 1.5 * blue > 1000  # one of three asks
    whole = opened.inner_text("#window")
    slide(opened, "shown", 300)
    slide(opened, "from", 500)
    assert opened.inner_text("#window") != whole
    assert opened.evaluate(LANES) != [blue, orange]
    assert "0 74 %, 1 74 %" in opened.inner_text("#busy")


def test_black_and_white_do_not_cross_and_are_set_back(opened: Any) -> None:
    first = pixels(opened, 1)
    slide(opened, "white", 10)
    slide(opened, "black", 600)
    assert [float(opened.input_value(f"#{name}")) for name in ("black", "white")] == [600, 601]
    slide(opened, "white", 200)
    assert [float(opened.input_value(f"#{name}")) for name in ("black", "white")] == [199, 200]
    slide(opened, "black", 1000)
    assert [float(opened.input_value(f"#{name}")) for name in ("black", "white")] == [999, 1000]
    assert not np.array_equal(pixels(opened, 1), first)
    opened.click("#reset")
    np.testing.assert_array_equal(pixels(opened, 1), first)


def test_settings_are_listed(opened: Any) -> None:
    assert "tau\t0.05" in opened.inner_text("#settings")
    assert opened.inner_text("#notes") == "a step was halved"
