"""The figures: one window for all images, one scale for all errors, a magnified part with something in it."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from asyncred_gpu.convergence import convergence_figure
from asyncred_gpu.figures import comparison_figure, detailed_part, quality

RNG = np.random.default_rng(0)
TRUTH = np.zeros((120, 100), np.float32)
TRUTH[60:80, 40:70:3] = 1
NOISY = TRUTH + 0.1 * RNG.standard_normal(TRUTH.shape).astype(np.float32)
CLOSE = TRUTH + 0.01 * RNG.standard_normal(TRUTH.shape).astype(np.float32)
INSIDE = np.hypot(*np.mgrid[-1:1:120j, -1:1:100j]) < 1


def windows(figure: Figure) -> list[set[tuple[float, float]]]:
    """The scales in each row of images."""
    rows: dict[int, set[tuple[float, float]]] = {}
    for axes in figure.axes:
        place = axes.get_subplotspec()
        for image in axes.get_images():
            assert place is not None
            rows.setdefault(place.rowspan.start, set()).add(image.get_clim())
    return [rows[row] for row in sorted(rows)]


@pytest.mark.parametrize("reference", [TRUTH, None])
def test_each_row_has_one_scale(reference: np.ndarray | None) -> None:
    figure = comparison_figure({"FBP": NOISY, "Async-RED": CLOSE}, reference, field_of_view=INSIDE)
    found = windows(figure)
    assert [len(scales) for scales in found] == [1, 1, 1]
    assert found[0] == found[1]
    ((low, high),) = found[2]
    assert low == -high


def test_without_a_reference_all_others_are_held_against_the_first() -> None:
    images = {"FBP": NOISY, "Async-RED": CLOSE, "BC-RED": CLOSE + 1}
    figure = comparison_figure(images)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[6:9] == ["", "Async-RED − FBP", "BC-RED − FBP"]
    (drawn,) = figure.axes[8].get_images()
    np.testing.assert_array_equal(drawn.get_array(), images["BC-RED"] - NOISY)


def test_titles_carry_the_quality() -> None:
    figure = comparison_figure({"FBP": NOISY, "Async-RED": CLOSE}, TRUTH, notes={"FBP": "a note"})
    lines = [line for axes in figure.axes for item in axes.texts for line in item.get_text().split("\n")]
    assert quality(NOISY, TRUTH) in lines and quality(CLOSE, TRUTH) in lines and "a note" in lines
    assert quality(1.1 * TRUTH, TRUTH).startswith("SNR 20.00 dB   PSNR ")


def test_the_magnified_part_holds_the_detail() -> None:
    rows, cols = detailed_part(TRUTH, INSIDE)
    assert rows.start <= 62 <= 78 <= rows.stop
    assert 40 <= (cols.start + cols.stop) / 2 <= 70
    edge = np.zeros_like(TRUTH)
    edge[:20:2, :20] = 1  # detail outside the field of view doesn't count
    rows, cols = detailed_part(edge + 0.2 * TRUTH, INSIDE)
    assert rows.start > 20


def test_constant_and_tiny_images_still_draw() -> None:
    comparison_figure({"FBP": 0 * TRUTH, "Async-RED": 0 * TRUTH}).canvas.draw()
    comparison_figure({"FBP": NOISY[60:69, 40:46], "Async-RED": TRUTH[60:69, 40:46]}, TRUTH[60:69, 40:46]).canvas.draw()


@pytest.mark.parametrize(("snr", "panels"), [(True, 5), (False, 3)])
def test_convergence_shows_what_there_is(snr: bool, panels: int) -> None:
    count = 20
    history = {
        "sweep": np.arange(count) / 4,
        "seconds": np.arange(count) * 0.1,
        "residual": np.append(0, 0.5 ** np.arange(count - 1)),
        "staleness": np.arange(count) % 3,
        "snr": np.where(np.arange(count) % 4 == 0, 20.0, np.nan) if snr else np.full(count, np.nan),
    }
    figure = convergence_figure(history, baselines={"FBP": 18.0}, max_staleness=4)
    assert len(figure.axes) == panels
    assert "largest 2, allowed 4" in figure.axes[-1].get_title(loc="left")
    figure.canvas.draw()


def test_a_run_without_a_commit_still_draws() -> None:
    empty = {name: np.empty(0) for name in ("sweep", "seconds", "residual", "staleness", "snr")}
    convergence_figure(empty).canvas.draw()
