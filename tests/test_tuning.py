"""Tuning: the noise of a sinogram, the criteria against their definitions, the search, and the choice it makes."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from scipy.ndimage import gaussian_filter
from torch import nn

from asyncred_gpu import BlockCS, GpuAsyncRED, RadonCT, Status, gaussian_matrices, snr
from asyncred_gpu.family import DenoiserFamily
from asyncred_gpu.operators.radon import project
from asyncred_gpu.tuning import SearchInterrupted, Tuned, TuningError, estimate_noise, tune
from asyncred_gpu.tuning.costs import FIRST_SWEEPS, SWEEPS
from asyncred_gpu.tuning.criteria import (
    RECONSTRUCTIONS,
    Discrepancy,
    GeneralizedCrossValidation,
    HeldOut,
    Reference,
    misfit,
)
from asyncred_gpu.tuning.display import TuningDisplay
from asyncred_gpu.tuning.forecast import Forecast, make_forecast
from asyncred_gpu.tuning.search import descend, everything, nearest, search
from asyncred_gpu.tuning.trial import Score, Trial

from .helpers import blobs

ANGLES = np.linspace(0, np.pi, 48, endpoint=False)


def scan(noise=0.5, size=48, seed=0, weights=None):
    image = blobs(size, size, seed)
    clean = project(image, ANGLES, 70)
    rough = clean + noise * np.random.default_rng(seed).standard_normal(clean.shape)
    return image, RadonCT(rough.astype(np.float32), ANGLES, (size, size), weights=weights)


class Smoother(nn.Module):
    """A linear denoiser: its residual is the difference to the mean of 3×3 pixels."""

    receptive_radius = 1

    def forward(self, image):
        return image - nn.functional.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)


# ---- the noise


def smooth_sinogram(noise):
    clean = project(gaussian_filter(blobs(96, 96, 0), 2), ANGLES, 137)
    return (clean + noise * np.random.default_rng(0).standard_normal(clean.shape)).astype(np.float32)


@pytest.mark.parametrize("noise", [0.05, 0.5, 3.0])
def test_white_noise_is_estimated(noise):
    rough = smooth_sinogram(noise)
    assert estimate_noise(rough) == pytest.approx(noise, rel=0.06)
    assert estimate_noise(torch.from_numpy(10 * rough)) == pytest.approx(10 * estimate_noise(rough), rel=1e-4)


def test_little_of_the_object_is_taken_for_noise():
    clean = smooth_sinogram(0.0)
    assert 20 * estimate_noise(clean) < np.median(np.abs(np.diff(clean, axis=1)))


def test_the_noise_of_weighted_rays_is_that_of_their_whitened_values():
    """W = 1/s² for noise of deviation s makes it 1, whatever rays are missing."""
    clean = smooth_sinogram(0.0) + 200
    spread = np.where(np.arange(137) < 60, 1.0, 3.0) * np.where(np.arange(48)[:, None] % 3, 1.0, 2.0)
    rough = clean + spread * np.random.default_rng(0).standard_normal(clean.shape)
    weights = np.where(np.arange(137) % 12 == 7, 0.0, 1 / spread**2)
    weights[10:20] = 0
    assert estimate_noise(rough, weights) == pytest.approx(1.0, rel=0.06)
    assert estimate_noise(rough * np.sqrt(weights)) > 1.5  # the gaps would be taken for noise
    with pytest.raises(ValueError, match="weights leave no 9 detectors side by side"):
        estimate_noise(rough, np.broadcast_to(np.arange(137) % 8 != 0, rough.shape).astype(np.float32))


def test_a_noise_that_cannot_be_estimated_is_refused():
    with pytest.raises(ValueError, match="has 15 detectors, its noise is estimated from 16 or more"):
        estimate_noise(np.zeros((90, 15)))
    with pytest.raises(ValueError, match="sinogram holds 1 NaN"):
        estimate_noise(np.where(np.arange(320).reshape(10, 32) == 5, np.nan, 0.0))


# ---- restricted operators


@pytest.mark.parametrize("weighted", [False, True])
def test_some_angles_alone_are_a_scan_of_their_own(weighted):
    weights = np.random.default_rng(1).random((48, 70)) if weighted else None
    image, ct = scan(weights=weights)
    some = np.array([3, 40, 7])
    part = ct.restricted(some)
    np.testing.assert_array_equal(part.measured, ct.measured[some])
    np.testing.assert_allclose(part.forward(image), ct.forward(image)[some], atol=1e-4)
    assert np.abs(part.forward(image) - ct.forward(image)[[7, 3, 40]]).max() > 0.1
    assert (part.precision_weights is None) == (not weighted)
    if weighted:
        np.testing.assert_array_equal(part.precision_weights, ct.precision_weights[some])
    assert part.lipschitz == pytest.approx(1.0)
    assert part.scale > 5 * ct.scale


def test_a_scan_with_another_sinogram_keeps_its_geometry():
    _, ct = scan()
    other = ct.with_measurements(torch.from_numpy(2 * ct.sinogram))
    np.testing.assert_array_equal(other.measured, 2 * ct.measured)
    np.testing.assert_allclose(other.fbp(), 2 * ct.fbp(), atol=1e-5)
    assert isinstance(other.like_input(ct.fbp()), torch.Tensor)
    assert isinstance(ct.like_input(ct.fbp()), np.ndarray)
    assert other.fingerprint != ct.fingerprint
    with pytest.raises(ValueError, match=r"sinogram is \(70, 48\), this scan's is \(48, 70\)"):
        ct.with_measurements(ct.sinogram.T)


def block_cs(noise=0.02, rows=200):
    image = blobs(32, 32, 3)
    matrices = gaussian_matrices(4, m=rows, n=256)
    pixels = image.reshape(2, 16, 2, 16).swapaxes(1, 2).reshape(4, 256)
    clean = np.einsum("bmn,bn->bm", matrices, pixels)
    rough = clean + noise * np.random.default_rng(0).standard_normal(clean.shape)
    return image, BlockCS(rough.astype(np.float32), matrices, image_shape=(32, 32))


def test_some_rows_alone_are_a_measurement_of_their_own():
    image, cs = block_cs()
    some = np.array([5, 0, 199])
    part = cs.restricted(some)
    np.testing.assert_array_equal(part.measured, cs.measured[:, some])
    np.testing.assert_allclose(part.forward(image), cs.forward(image)[:, some], atol=1e-5)
    assert part.precision_weights is None
    assert isinstance(part.like_input(image), np.ndarray)


# ---- the criteria


def test_the_misfit_counts_measurements_with_a_weight_alone():
    weights = np.random.default_rng(1).random((48, 70)) * (np.arange(70) > 9)
    image, ct = scan(weights=weights)
    residual = ct.forward(image) - ct.sinogram
    expected = math.sqrt(float((weights * residual**2).sum() / (48 * 60)))
    assert misfit(ct, image) == pytest.approx(expected, rel=1e-4)
    assert misfit(ct, image) != pytest.approx(math.sqrt(float((weights * residual**2).mean())), rel=1e-2)
    plain = scan()[1]
    assert misfit(plain, image) == pytest.approx(0.5, rel=0.05)


def ridge(matrix, weight):
    """The hat matrix H of x = (AᵀA + weight)⁻¹Aᵀy: A x = H y."""
    return matrix @ np.linalg.solve(matrix.T @ matrix + weight * np.eye(matrix.shape[1]), matrix.T)


@pytest.mark.parametrize("wrong", [False, True], ids=["as it is", "freedom of other data"])
def test_gcv_measures_the_trace_of_a_linear_method(wrong):
    image = blobs(16, 16, 3)
    matrix = gaussian_matrices(1, m=600, n=256)[0]
    rough = matrix @ image.ravel() + 0.05 * np.random.default_rng(0).standard_normal(600)
    cs = BlockCS(rough[None].astype(np.float32), matrix[None], image_shape=(16, 16))
    criterion = GeneralizedCrossValidation(cs, seed=5)
    hat = ridge(matrix.astype(np.float64), 0.5)
    back = np.linalg.lstsq(matrix.astype(np.float64), hat, rcond=None)[0]
    ys = [job.operator.measured[0].astype(np.float64) for job in criterion.jobs]
    images = tuple((back @ (y / 2 if wrong else y)).reshape(16, 16).astype(np.float32) for y in ys)
    score = criterion.score(images)
    freedom = np.trace(hat) / 600
    expected = np.mean((hat @ ys[0] - ys[0]) ** 2) / (1 - freedom) ** 2
    assert (score.freedom == pytest.approx(freedom, rel=0.1)) == (not wrong)
    assert (score.value == pytest.approx(expected, rel=0.03)) == (not wrong)
    assert [job.tau_factor for job in criterion.jobs] == [1.0, 1.0]


def test_gcv_leaves_rays_without_weight_alone():
    weights = np.ones((48, 70)) * (np.arange(70) > 9)
    weights[:, 40:] = 4
    _, ct = scan(weights=weights)
    first, second = GeneralizedCrossValidation(ct).jobs
    change = np.abs(second.operator.measured - first.operator.measured)
    assert not change[:, :10].any()
    # Half the noise where the weight is four times as large.
    np.testing.assert_allclose(change[:, 10:40], 2 * change[0, 40], rtol=1e-3)


def test_held_out_angles_are_predicted_from_the_others_with_the_same_weight_of_the_prior():
    image, ct = scan()
    criterion = HeldOut(ct, reference=image)
    assert [job.operator.measurements for job in criterion.jobs] == [42, 42]
    for job, out in zip(criterion.jobs, criterion._out, strict=True):
        assert not set(job.operator.geometry.angles) & set(out.geometry.angles)
        assert job.tau_factor == pytest.approx(48 / 42, rel=0.03)
    score = criterion.score((image, image))
    assert score.value == pytest.approx(0.25, rel=0.15)  # the noise alone
    assert score.snr == math.inf
    assert criterion.score((0.9 * image, image)).value > 2 * score.value
    with pytest.raises(ValueError, match="has 15 measurements: every 8th is left out, which takes 16"):
        HeldOut(ct.restricted(np.arange(15)))


def test_angles_without_weight_are_not_left_out():
    weights = np.ones((48, 70))
    weights[2::8] = 0
    criterion = HeldOut(scan(weights=weights)[1])
    for job, out in zip(criterion.jobs, criterion._out, strict=True):
        assert out.precision_weights.all()
        assert out.measurements + job.operator.measurements == 48


def test_measurements_of_zero_choose_nothing():
    empty = scan()[1].with_measurements(np.zeros((48, 70), np.float32))
    with pytest.raises(ValueError, match="The measurements are zero everywhere"):
        GeneralizedCrossValidation(empty)


def test_the_discrepancy_is_least_where_the_residual_is_the_noise():
    image, ct = scan()
    criterion = Discrepancy(ct, 0.5, reference=image)
    values = [criterion.score(((1 + error) * image,)).value for error in (0.0, 0.02, 0.05)]
    assert values == sorted(values)
    assert values[0] < 0.1
    assert Discrepancy(ct, 1.0).score((image,)).value == pytest.approx(2 * math.log(2), rel=0.1)


def test_the_reference_ranks_by_snr():
    image, ct = scan()
    worse = (image + 0.01).astype(np.float32)
    assert Reference(ct, image).score((worse,)).value == pytest.approx(-snr(worse, image))


# ---- the search


def test_a_valley_is_descended_from_either_side():
    for count in (1, 2, 5, 13):
        for lowest in range(count):
            for start in range(count):
                asked = []

                def score(place, lowest=lowest, asked=asked):
                    asked.append(place)
                    return (place - lowest) ** 2

                assert descend(score, start, count) == lowest
                assert asked[0] == start


def test_the_search_finds_a_tilted_valley_with_few_trials():
    sigmas, taus = (5.0, 10.0, 15.0, 20.0, 25.0), tuple(10 ** np.arange(-3, 0.1, 0.25))
    for best in ((0, 8), (2, 6), (4, 5)):
        tried = {}

        def evaluate(sigma, tau, best=best, tried=tried):
            ridge = math.log(taus[tau] * sigmas[sigma]) - math.log(taus[best[1]] * sigmas[best[0]])
            tried[sigma, tau] = ridge**2 + 0.3 * (sigma - best[0]) ** 2
            return tried[sigma, tau]

        search(evaluate, sigmas, taus, (0, 7))
        assert min(tried, key=tried.get) == best
        assert len(tried) <= 24 < len(sigmas) * len(taus)


def test_everything_goes_outwards_from_where_the_valley_should_be():
    tried = []

    def evaluate(sigma, tau, begin):
        tried.append((sigma, tau, begin))
        return 0, 2

    everything(evaluate, (5.0, 10.0), (0.1, 0.2, 0.4, 0.8), 1)
    assert tried[:4] == [(0, 1, "best"), (0, 2, "last"), (0, 3, "last"), (0, 0, "row")]
    assert tried[4:] == [(1, 1, "best"), (1, 2, "last"), (1, 3, "last"), (1, 0, "row")]


def test_the_nearest_is_by_ratio():
    assert nearest((0.1, 1.0, 10.0), 0.4) == 1
    assert nearest((0.1, 1.0, 10.0), 0.3) == 0
    assert nearest((5.0,), 100.0) == 0


# ---- the choice


@pytest.fixture
def quick(one_process):
    """Few workers and little said."""
    return {"num_workers": 2, "progress": False, "intensity_scale": 1.0, "block_shape": (24, 24), "device": "cpu"}


TAUS = (1e-2, 0.03, 0.1, 0.3, 1.0, 3.0)


def chosen(method, quick, exhaustive=True, noise=3.0, **options):
    image, ct = scan(noise)
    settings = {"taus": TAUS, "first_sweeps": 20, "sweeps": 12} | quick | options
    return tune(ct, Smoother(), method=method, reference=image, exhaustive=exhaustive, **settings)


@pytest.fixture(scope="module")
def whole_grid():
    """What each method finds on the whole grid; made once, since it takes most of this file's time."""
    found = {}

    def find(method, quick):
        if method not in found:
            found[method] = chosen(method, quick)
        return found[method]

    return find


@pytest.mark.parametrize("method", ["gcv", "held-out", "discrepancy", "reference"])
def test_the_choice_is_near_the_best_there_is(quick, whole_grid, method):
    tuned = whole_grid(method, quick)
    best = max(trial.score.snr for trial in tuned.trials)
    worst = min(trial.score.snr for trial in tuned.trials)
    assert tuned.best.score.snr > best - {"gcv": 0.3, "reference": 1e-9}.get(method, 1.5)
    assert worst < best - 2
    assert tuned.tau == tuned.best.tau
    assert tuned.sigma is None
    assert tuned.method == method
    assert len(tuned.trials) == len(TAUS)


def test_the_search_chooses_as_the_whole_grid_does(quick, whole_grid):
    tuned = chosen("gcv", quick, exhaustive=False)
    assert tuned.tau == whole_grid("gcv", quick).tau
    assert tuned.best in tuned.trials
    # The best one and its neighbours are tried again, all from its images, and the last word is theirs.
    assert len(tuned.trials) > len(tuned.last())
    assert tuned.best in tuned.last()


def test_the_truth_does_not_sway_a_choice_without_it(quick, whole_grid):
    with_it = whole_grid("gcv", quick)
    image, ct = scan(3.0)
    settings = {"taus": TAUS, "first_sweeps": 20, "sweeps": 12} | quick
    without = tune(ct, Smoother(), exhaustive=True, **settings)
    assert [trial.score.value for trial in without.trials] == [trial.score.value for trial in with_it.trials]
    assert all(trial.score.snr is None for trial in without.trials)
    np.testing.assert_array_equal(without.image, with_it.image)
    assert snr(without.image, image) == pytest.approx(with_it.best.score.snr)


def test_block_compressed_sensing_is_tuned_too(quick):
    image, cs = block_cs(0.1)
    options = {name: value for name, value in quick.items() if name != "block_shape"}
    for method in ("gcv", "held-out"):
        tuned = tune(cs, Smoother(), taus=TAUS, method=method, reference=image, exhaustive=True, **options)
        found = [trial.score.snr for trial in tuned.trials]
        assert tuned.best.score.snr > max(found) - 0.7 > min(found) + 2


def test_a_budget_ends_the_search_with_the_best_so_far(quick):
    tuned = chosen("gcv", quick, max_sweeps=70, x0="fbp")
    assert [trial.sweeps for trial in tuned.trials] == [40, 24]
    warm = chosen("gcv", quick, max_sweeps=110)  # 8 sweeps each with four stronger denoisers come before the first
    assert [trial.sweeps for trial in warm.trials] == [104]
    assert any("The budget ended the search" in note for note in tuned.notes)


RUN = GpuAsyncRED.run


class Clock:
    """Of a machine on which a sweep takes so many seconds, each time it is asked for one."""

    def __init__(self, *seconds):
        self.now, self._seconds = 100.0, iter(seconds)

    def __call__(self):
        return self.now

    def run(self, solver, max_sweeps, x0, time_limit=None, callbacks=()):
        cost = next(self._seconds)
        done = max_sweeps if time_limit is None else min(max_sweeps, time_limit / cost)
        result = RUN(solver, max_sweeps=max(done, 0.25), x0=x0, callbacks=callbacks)
        self.now += done * cost
        return result if done == max_sweeps else replace(result, status=Status.TIME_LIMIT)


def timed(clock, quick, monkeypatch, **options):
    monkeypatch.setattr("asyncred_gpu.tuning.trials.perf_counter", clock)
    monkeypatch.setattr(GpuAsyncRED, "run", lambda solver, **arguments: clock.run(solver, **arguments))
    few = {"first_sweeps": 4, "sweeps": 2, "x0": "fbp"} | options
    return chosen("gcv", quick, **few)


def test_a_trial_under_way_is_given_up_when_the_time_is_over(quick, monkeypatch):
    clock = Clock(1, 1, 1, 1, 1, 1, 9, 9)  # of the two reconstructions of each trial
    tuned = timed(clock, quick, monkeypatch, time_limit=21.0)
    assert [trial.seconds for trial in tuned.trials] == [8, 4, 4]
    assert clock.now == 121.0  # and not 152, which the fourth would have taken
    assert "The time limit ended the search; the choice is the best of 3 trials." in tuned.notes
    assert tuned.best in tuned.trials


def test_a_trial_that_would_not_be_done_in_time_is_not_begun(quick, monkeypatch):
    clock = Clock(1, 1, 1, 1)
    tuned = timed(clock, quick, monkeypatch, time_limit=15.0)
    assert [trial.seconds for trial in tuned.trials] == [8, 4] and clock.now == 112.0
    assert "The budget ended the search; the choice is the best of 2 trials." in tuned.notes


def test_without_one_trial_in_time_there_is_no_choice(quick, monkeypatch):
    with pytest.raises(
        TuningError, match=r"time_limit=6 was over before the first trial was: 6 of its 8 sweeps were made"
    ):
        timed(Clock(1, 1), quick, monkeypatch, time_limit=6.0)
    with pytest.raises(TuningError, match=r"Allow about 8 s at least, and as much again to compare"):
        timed(Clock(1, 1), quick, monkeypatch, time_limit=6.0)
    warm = r"time_limit=12 was over before the first trial was: 12 of its 72 sweeps were made.*Allow about 72 s"
    with pytest.raises(TuningError, match=warm):  # in the second of four runs with stronger denoisers
        timed(Clock(1, 1), quick, monkeypatch, time_limit=12.0, x0="auto")
    with pytest.raises(TuningError, match=r"time_limit=0 was over .* Allow more at least"):
        timed(Clock(), quick, monkeypatch, time_limit=0.0)


def test_an_interrupted_search_has_the_best_so_far(quick, monkeypatch):
    done = []

    def interrupted(solver, **arguments):
        if len(done) == 5:  # in the third trial
            raise KeyboardInterrupt
        done.append(arguments)
        return RUN(solver, **arguments)

    monkeypatch.setattr(GpuAsyncRED, "run", interrupted)
    with pytest.raises(SearchInterrupted, match="in the exception's `tuned`") as caught:
        chosen("gcv", quick, first_sweeps=4, sweeps=2, x0="fbp")
    tuned = caught.value.tuned
    assert len(tuned.trials) == 2 and tuned.best in tuned.trials
    assert "Ctrl-C ended the search; the choice is the best of 2 trials." in tuned.notes
    done[:] = [None] * 5
    with pytest.raises(KeyboardInterrupt) as caught:  # before there is anything to choose
        chosen("gcv", quick, first_sweeps=4, sweeps=2, x0="fbp")
    assert not isinstance(caught.value, SearchInterrupted)


def test_tau_is_looked_for_on_the_scale_of_the_data_term(quick):
    chosen_by = {}
    for normalize in (True, False):
        image = blobs(48, 48, 0)
        ct = RadonCT(scan(3.0)[1].sinogram, ANGLES, (48, 48), normalize=normalize)
        found = tune(ct, Smoother(), method="reference", reference=image, first_sweeps=20, sweeps=10, **quick)
        chosen_by[normalize] = found.tau / ct.lipschitz
    assert chosen_by[False] == pytest.approx(chosen_by[True], rel=1e-3)
    assert ct.lipschitz > 100


def test_trials_that_have_not_converged_say_so(quick):
    hurried = chosen("gcv", quick, exhaustive=False, taus=(0.1,), first_sweeps=1, sweeps=1, x0="zeros")
    assert any("The trials hadn't converged" in note for note in hurried.notes)
    settled = chosen("gcv", quick, exhaustive=False, first_sweeps=60, sweeps=40)
    assert not any("converged" in note for note in settled.notes)


def test_an_object_outside_the_field_of_view_is_noted(quick):
    tuned = chosen("gcv", quick, taus=(0.1,), first_sweeps=1, field_of_view="circle", x0=np.ones((48, 48)))
    assert any("lies outside the field of view" in note for note in tuned.notes)


def test_a_choice_at_the_edge_says_so(quick, whole_grid):
    tuned = chosen("reference", quick, taus=(1e-3, 1e-2), first_sweeps=10, sweeps=5)
    assert any("τ = 0.01 is the largest of those to choose among" in note for note in tuned.notes)
    inside = whole_grid("gcv", quick)
    assert TAUS[0] < inside.tau < TAUS[-1]
    assert not any("of those to choose among" in note for note in inside.notes)


def test_a_family_has_its_sigma_chosen(quick):
    _, ct = scan(3.0)
    tuned = tune(ct, "dncnn", sigmas=[5], taus=(0.01, 0.1), first_sweeps=2, sweeps=1, precision="float32", **quick)
    assert tuned.sigma == 5
    assert {trial.sigma for trial in tuned.trials} == {5}
    assert "σ" in tuned.table()


def test_diverging_trials_are_passed_over_or_end_in_an_error(quick, monkeypatch):
    run = GpuAsyncRED.run

    def diverge(solver, *arguments, **options):
        result = run(solver, *arguments, **options)
        return replace(result, status=Status.DIVERGED) if solver.tau > 0.05 else result

    monkeypatch.setattr(GpuAsyncRED, "run", diverge)
    few = quick | {"first_sweeps": 2, "sweeps": 1, "exhaustive": True}
    with pytest.raises(TuningError, match="Every reconstruction tried diverged"):
        tune(scan()[1], Smoother(), taus=(0.1, 1.0), **few)
    tuned = tune(scan()[1], Smoother(), taus=(0.01, 0.06), **few)
    assert tuned.tau == 0.01
    assert [math.isinf(trial.score.value) for trial in tuned.trials] == [True, False]


def test_the_table_and_the_figure_show_what_was_tried(quick, whole_grid, tmp_path):
    tuned = whole_grid("gcv", quick)
    table = tuned.table()
    assert table.count("\n") == len(TAUS) + 2
    assert table.splitlines()[0] == "| τ | score | misfit | freedom | SNR, dB | sweeps | seconds |"
    assert f"| **{tuned.tau:.4g}** |" in table
    legend = tuned.legend().splitlines()
    assert [line.split(":")[0] for line in legend] == ["- score", "- misfit", "- freedom", "- sweeps"]
    assert "the misfit's square over (1 − freedom)²; the least is chosen" in legend[0]
    again = replace(tuned, trials=(*tuned.trials, replace(tuned.trials[0], again=True)))
    assert again.legend().endswith("Of a pair tried again, from a better image, the last score is shown.\n")
    tuned.save_figure(tmp_path / "tuning.png")
    assert (tmp_path / "tuning.png").stat().st_size > 5000
    with pytest.raises(FileExistsError):
        tuned.save_figure(tmp_path / "tuning.png")
    with pytest.raises(ValueError, match="not supported"):
        tuned.save_figure(tmp_path / "tuning.xyz")
    assert not (tmp_path / "tuning.xyz").exists()


def test_progress_is_told_a_trial_at_a_time():
    for terminal in (False, True):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=150)
        with TuningDisplay(100, console) as display:
            display(Trial(5, 0.1, Score(3.0, 1.0), 20, 1.5))
            display(Trial(5, 0.2, Score(4.0, 1.0, snr=20.0), 10, 1.5))
        said = console.file.getvalue()
        assert "σ = 5, τ = 0.2: 4, 20.00 dB" in said
        assert "best σ = 5, τ = 0.1: 3" in said
    console = Console(file=io.StringIO())
    with TuningDisplay(None, console, quiet=True) as display:
        display(Trial(None, 0.1, Score(3.0, 1.0), 20, 1.5))
        display.under_way(3, 20)
    assert console.file.getvalue() == ""


def test_the_best_one_tried_again_is_shown_with_its_last_score():
    console = Console(file=io.StringIO(), width=150)
    with TuningDisplay(None, console) as display:
        display(Trial(5, 0.1, Score(3.0, 1.0), 20, 1.5))
        display(Trial(5, 0.1, Score(3.5, 1.0), 20, 1.5, again=True))
        display(Trial(5, 0.1, Score(math.inf, math.inf), 20, 1.5, again=True))
    lines = console.file.getvalue().splitlines()
    again = "again from a better image, whose score counts, 1.5 s"
    assert lines[1] == f"trial 2: σ = 5, τ = 0.1: 3.5, {again}; best σ = 5, τ = 0.1: 3.5"
    assert lines[2].endswith("best σ = 5, τ = 0.1: 3.5")


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_within_a_trial_is_told_now_and_then(terminal, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("asyncred_gpu.tuning.display.time", SimpleNamespace(monotonic=lambda: now[0]))
    console = Console(file=io.StringIO(), force_terminal=terminal, width=150)
    with TuningDisplay(None, console) as display:
        for second in range(70):
            now[0] = 100.0 + second
            display.under_way(second, 164)
    said = console.file.getvalue()
    if terminal:
        assert "trial 1: sweep 69 of 164" in said
    else:
        assert said.splitlines() == ["trial 1: sweep 30 of 164, 30 s", "trial 1: sweep 60 of 164, 60 s"]


def test_what_a_trial_has_done_grows_to_what_it_takes(quick, monkeypatch):
    told = []
    monkeypatch.setattr(TuningDisplay, "under_way", lambda display, sweeps, of: told.append((sweeps, of)))
    chosen("gcv", quick, taus=(0.1,), max_sweeps=72, first_sweeps=4, sweeps=2)
    sweeps = [done for done, _ in told]
    assert {of for _, of in told} == {72.0}  # of two reconstructions, each of 4 after 8 with four stronger denoisers
    assert sweeps == sorted(sweeps) and sweeps[-1] == 72.0


# --- what a search costs -----------------------------------------------------------------------------------------


def test_every_criterion_has_the_reconstructions_it_is_said_to_have():
    image, operator = scan()
    made = {
        "gcv": GeneralizedCrossValidation(operator),
        "held-out": HeldOut(operator),
        "discrepancy": Discrepancy(operator, 1.0),
        "reference": Reference(operator, image),
    }
    assert {name: len(criterion.jobs) for name, criterion in made.items()} == RECONSTRUCTIONS


def test_the_forecast_is_in_the_sweeps_that_trials_take(quick):
    _, operator = scan()
    options = {name: value for name, value in quick.items() if name != "progress"}
    forecast = make_forecast(GpuAsyncRED(operator, Smoother(), 0.1, data_updates=0, **options), "gcv")
    usual = {"first_sweeps": FIRST_SWEEPS, "sweeps": SWEEPS}
    first, later, *_ = chosen("gcv", quick, max_sweeps=204, **usual).trials
    assert (forecast.first_sweeps, forecast.sweeps) == (first.sweeps, later.sweeps) == (164, 40)
    assert 0 < forecast.each < forecast.first


def test_a_limit_too_short_for_a_trial_is_refused_at_once():
    forecast = Forecast(164, 40, 100.0, 25.0)
    assert forecast.check(None) == forecast.check(125.0) == ""
    assert "warning: in 80 s there is hardly more than one trial" in forecast.check(80.0)
    with pytest.raises(
        ValueError, match=r"time_limit=49 is over before the first trial .* Allow 280 s for a search, or leave it out"
    ):
        forecast.check(49.0)
    assert forecast.line() == (
        "the first trial takes 164 sweeps, about 100 s here, the others 40, about 25 s; the usual search, 8 to 20 "
        "trials, 5 min to 10 min"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"method": "guess"}, "method='guess' isn't known. Pass one of gcv, held-out"),
        ({"method": "reference"}, "needs the true image"),
        ({"taus": ()}, r"taus=\(\) isn't a list of positive numbers"),
        ({"taus": (0.1, 0.0)}, "isn't a list of positive numbers"),
        ({"taus": "0.1"}, "taus='0.1' isn't a list of positive numbers"),
        ({"taus": (0.1, "a")}, "isn't a list of positive numbers"),
        ({"taus": (0.1, float("nan"))}, "isn't a list of positive numbers"),
        ({"taus": np.float64(0.1)}, "isn't a list of positive numbers"),
        ({"callbacks": print}, "isn't a list of functions"),
        ({"sigmas": [5]}, "denoiser is one network"),
        ({"method": "discrepancy", "noise": 0.0}, "noise=0: no residual is as small"),
        ({"sweeps": 0}, "sweeps=0 can't be"),
        ({"max_sweeps": -1}, "max_sweeps=-1 can't be"),
        ({"tau": 0.1}, "multiple values for"),
    ],
)
def test_bad_input_is_refused_before_any_reconstruction(monkeypatch, options, text):
    monkeypatch.setattr("asyncred_gpu.solver.GpuAsyncRED.run", lambda *_, **__: pytest.fail("a run began"))
    with pytest.raises((ValueError, TypeError), match=text):
        tune(scan()[1], Smoother(), progress=False, **options)


def test_an_operator_that_cannot_be_restricted_is_refused():
    with pytest.raises(TypeError, match="operator is a Smoother, whose σ and τ can't be chosen"):
        tune(Smoother(), Smoother(), progress=False)


def test_one_residual_does_not_choose_among_many_sigmas(monkeypatch):
    monkeypatch.setattr(DenoiserFamily, "at", lambda family, sigma: Smoother())
    monkeypatch.setattr(DenoiserFamily, "sigmas", (5.0, 10.0))
    with pytest.raises(ValueError, match="which every σ reaches with some τ"):
        tune(scan()[1], "dncnn-conditional", method="discrepancy", progress=False)
    with pytest.raises(ValueError, match="isn't estimated for a BlockCS"):
        tune(block_cs()[1], Smoother(), method="discrepancy", progress=False)


def test_what_is_found_is_a_tuned(quick):
    assert isinstance(chosen("reference", quick, taus=(0.1,), first_sweeps=1), Tuned)
