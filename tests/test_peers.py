"""The benchmark against peers: its matrix, the authors' update, tuning, and a report in which a peer may win.

Times are the point there, so here are none: literal curves. The peers' own packages are run if their environments are.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asyncred_gpu import RadonCT
from asyncred_gpu.denoiser import BlockDenoiser, DenoiserSettings
from asyncred_gpu.experiments import retina_image
from asyncred_gpu.operators.radon import project

from .helpers import half_turn, relative, small_network

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.usefixtures("one_thread")

SIZE, ANGLES = 32, 12
DETECTORS = 45
SCALE = 0.8
TAU = 0.03


@pytest.fixture(scope="module", autouse=True)
def scripts():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        yield


@pytest.fixture(scope="module")
def network():
    return small_network(depth=3, channels=4)


@pytest.fixture(scope="module")
def problem(tmp_path_factory, scripts, network):
    from peers.problem import SPARE_DETECTORS, Problem

    weights = {}
    for index, layer in enumerate(network.layers):
        weights |= {f"w{index}": layer.weight.numpy(), f"b{index}": layer.bias.numpy()}
    random = np.random.default_rng(0)
    noise = random.standard_normal((ANGLES, DETECTORS + SPARE_DETECTORS)).astype(np.float32)
    reference = retina_image(SIZE)
    start = (reference + 0.1 * random.standard_normal(reference.shape)).astype(np.float32)
    folder = tmp_path_factory.mktemp("problem")
    made = Problem(reference, start, noise, half_turn(ANGLES), DETECTORS, 40.0, SCALE, weights, folder)
    made.save()
    return made


@pytest.fixture(scope="module")
def scan(problem):
    return RadonCT(np.zeros((ANGLES, DETECTORS), np.float32), problem.angles, (SIZE, SIZE))


# --- the problem -----------------------------------------------------------------------------------------------------


def test_a_problem_is_read_as_it_was_written(problem):
    from peers.problem import Problem

    read = Problem.load(problem.folder)
    for name in ("reference", "start", "noise", "angles"):
        assert np.array_equal(getattr(read, name), getattr(problem, name))
    assert (read.detectors, read.noise_db, read.scale) == (DETECTORS, 40.0, SCALE)
    assert read.weights.keys() == problem.weights.keys()


@pytest.mark.parametrize("detectors", [DETECTORS - 1, DETECTORS, DETECTORS + 3])
def test_noise_has_its_level_on_everybodys_detectors(problem, detectors):
    clean = 1 + np.random.default_rng(1).random((ANGLES, detectors))
    noise = problem.noisy(clean) - clean
    assert 20 * np.log10(np.linalg.norm(clean) / np.linalg.norm(noise)) == pytest.approx(40, abs=1e-3)
    own = problem.noise[:, :detectors]
    assert np.vdot(noise, own) / np.linalg.norm(noise) / np.linalg.norm(own) == pytest.approx(1, abs=1e-6)


def test_too_many_detectors_are_refused(problem):
    with pytest.raises(ValueError, match=r"noise was drawn for 61\. Raise SPARE_DETECTORS"):
        problem.noisy(np.ones((ANGLES, 62)))


# --- the matrix and the authors' update ------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [0.0, 1e-3])
def test_the_matrix_is_our_operator_to_rounding(problem, scan, off):
    from peers.joseph_matrix import adjoint_of, joseph_matrix

    matrix = joseph_matrix(problem.folder / f"off{off}", SIZE, problem.angles + off, DETECTORS)
    image = np.random.default_rng(2).standard_normal((SIZE, SIZE)).astype(np.float32)
    rays = np.random.default_rng(3).standard_normal((ANGLES, DETECTORS)).astype(np.float32)
    forward = relative((matrix @ image.ravel()).reshape(rays.shape), scan.forward(image))
    adjoint = relative((adjoint_of(matrix) @ rays.ravel()).reshape(image.shape), scan.adjoint(rays))
    assert (forward < 1e-5 and adjoint < 1e-5) == (off == 0)


def test_a_mapped_matrix_is_read_again_and_cut_without_copies(problem):
    from peers.joseph_matrix import joseph_matrix, rows_between

    first = joseph_matrix(problem.folder, SIZE, problem.angles, DETECTORS)
    second = joseph_matrix(problem.folder, SIZE, problem.angles, DETECTORS)
    assert (first != second).nnz == 0
    part = rows_between(second, DETECTORS, 3 * DETECTORS)
    assert (part != first[DETECTORS : 3 * DETECTORS]).nnz == 0
    assert np.shares_memory(part.data, second.data)


@pytest.mark.parametrize("factor", [1.0, 1.01])
@pytest.mark.parametrize("block", [0, 6, 15])
def test_the_authors_update_is_the_dense_formula(problem, scan, network, block, factor):
    from peers.dncnn_torch import TorchDnCNN
    from peers.joseph_matrix import joseph_matrix, transposed_matrix
    from peers.run_authors import Blocks, BlockUpdate

    blocks = Blocks(SIZE)
    matrix = joseph_matrix(problem.folder, SIZE, problem.angles, DETECTORS)
    rows = blocks.rows(transposed_matrix(problem.folder, matrix, blocks.order(), "blocks"))
    sinogram = problem.noisy(scan.forward(problem.reference))
    scanned = scan.with_measurements(sinogram)
    denoiser = TorchDnCNN(problem.weights, SCALE, "float32")
    update = BlockUpdate(blocks, matrix, rows, sinogram.ravel(), scanned.scale, denoiser, TAU)
    padded = np.pad(problem.start, 3, mode="reflect")
    ours = BlockDenoiser(network, DenoiserSettings(3, "float32", SCALE))
    residual = ours.residual(padded, np.empty((SIZE, SIZE), np.float32))
    dense = (scanned.gradient(problem.start) + factor * TAU * residual)[blocks.slices(block)]
    assert (relative(update.gradient(problem.start, block), dense) < 1e-5) == (factor == 1)


def test_the_blocks_cover_the_image_once():
    from peers.run_authors import SIDE, Blocks

    blocks, seen = Blocks(30), np.zeros((30, 30), int)
    for block in range(SIDE**2):
        seen[blocks.slices(block)] += 1
    assert (seen == 1).all()
    assert np.array_equal(np.sort(blocks.order()), np.arange(900))


def test_shares_of_angles_are_all_of_them():
    from peers.angle_shares import shares

    assert shares(7, 3) == [slice(0, 2), slice(2, 5), slice(5, 7)]


# --- by hand ---------------------------------------------------------------------------------------------------------


def term_of(scan):
    """As the loops by hand are given it."""
    from peers.run_by_hand import Term

    return Term(scan.gradient, lambda image: np.float32(scan.scale) * scan.adjoint(scan.forward(image)))


@pytest.mark.parametrize("algorithm", ["nesterov", "admm"])
def test_by_hand_ends_where_red_does(problem, scan, algorithm):
    """Nesterov at ∇g + τR = 0; ADMM at D(x + u) = x with τu = −∇g, which isn't quite the same."""
    from peers.run_by_hand import ALGORITHMS

    scanned = scan.with_measurements(problem.noisy(scan.forward(problem.reference)))

    def residual(image):
        return 0.5 * (image - (np.roll(image, 1, 0) + np.roll(image, -1, 0)) / 2)

    steps = ALGORITHMS[algorithm](problem.start, term_of(scanned), residual, {"tau": 0.1, "cg": 4})
    image = next(image for count, image in enumerate(steps) if count == 150)
    slope = scanned.gradient(image)
    if algorithm == "nesterov":
        for tau in (0.1, 0.105):
            rest = np.linalg.norm(slope + tau * residual(image))
            assert (rest < 2e-2 * np.linalg.norm(slope)) == (tau == 0.1)
        return
    dual = -slope / 0.1
    assert np.linalg.norm(residual(image + dual) - dual) < 1e-2 * np.linalg.norm(dual)
    assert np.linalg.norm(residual(image) - dual) > 1e-2 * np.linalg.norm(dual)


@pytest.mark.parametrize("off", [1, 10])
def test_the_cone_filter_nearly_inverts_the_scan(problem, scan, off):
    from peers.cone_filter import cone_filter
    from peers.run_by_hand import conjugate_gradients, same

    right = np.random.default_rng(5).standard_normal((SIZE, SIZE)).astype(np.float32)

    def normal(image):
        return scan.gradient(image) + np.float32(TAU) * image

    def error(precondition):
        image, rest = conjugate_gradients(normal, np.zeros_like(right), right, 3, precondition)
        true_rest = right - normal(image)
        assert relative(rest, true_rest) < 1e-3
        return np.linalg.norm(true_rest) / np.linalg.norm(right)

    filtered = cone_filter(problem, scan.scale, off * TAU, 1)
    assert (error(filtered) < 0.3 * error(same)) == (off == 1)


@pytest.mark.parametrize("iterations", [9, 10, 11])
def test_the_carried_residual_is_that_of_the_equation(problem, scan, monkeypatch, iterations):
    from peers import run_by_hand

    scanned = scan.with_measurements(problem.noisy(scan.forward(problem.reference)))

    def reached():
        steps = run_by_hand.admm(problem.start, term_of(scanned), lambda x: 0.3 * x, {"tau": 0.1, "cg": 2})
        return next(image for count, image in enumerate(steps) if count == iterations)

    carried = reached()
    monkeypatch.setattr(run_by_hand, "RENEWED", 1)
    assert relative(carried, reached()) < 1e-5
    monkeypatch.setattr(run_by_hand, "conjugate_gradients", lambda normal, x, rest, *_: (x + 0.5 * rest, rest))
    assert relative(carried, reached()) > 1e-2


def test_shares_of_angles_add_up(problem, scan):
    from peers.angle_shares import AngleShares

    with AngleShares(problem, "matrix", 2) as operator:
        sinogram = problem.noisy(operator.forward(problem.reference))
        assert relative(operator.forward(problem.start), scan.forward(problem.start)) < 1e-5
        operator.measure(sinogram)
        scanned = scan.with_measurements(sinogram)
        assert relative(operator.gradient(problem.start) * scanned.scale, scanned.gradient(problem.start)) < 1e-5
        assert relative(operator.normal(problem.start) * scanned.scale, term_of(scan).normal(problem.start)) < 1e-5
        assert relative(operator.adjoint(sinogram), scan.adjoint(sinogram)) < 1e-5


def test_by_hand_projects_as_we_do(problem, scan):
    from peers.run_by_hand import OurProjector

    projector = OurProjector(problem)
    sinogram = problem.noisy(projector.forward(problem.reference))
    projector.measure(sinogram)
    scanned = scan.with_measurements(sinogram)
    assert relative(projector.gradient(problem.start) * scanned.scale, scanned.gradient(problem.start)) < 1e-6
    assert relative(projector.normal(problem.start) * scanned.scale, term_of(scan).normal(problem.start)) < 1e-6
    assert relative(projector.gradient(problem.start), projector.normal(problem.start)) > 0.1


# --- times, tuning, report -------------------------------------------------------------------------------------------


def curve(seconds, snr, **facts):
    from peers.verdict import Curve

    return Curve(seconds, snr, 1.0, facts)


def test_time_to_an_snr_is_the_first():
    found = curve([0, 1, 2, 3, 4], [20, 30, 29, 31, 30.5])
    assert [found.time_to(level) for level in (20, 29.5, 30.7, 31.1)] == [0, 1, 3, None]
    assert found.best == 31


def test_the_quickest_is_the_first_near_the_best_of_all():
    from peers.verdict import quickest

    early_low, late_high, sooner_high = (curve([0, 1], [20, 25]), curve([0, 9], [20, 30]), curve([0, 5], [20, 29.95]))
    assert quickest([early_low, late_high, sooner_high]) == 2
    assert quickest([early_low, late_high]) == 1
    assert quickest([replace(early_low, seconds=[], snr=[], failure="no"), late_high]) == 1


def measured(best_tau, best_step):
    """A stand-in for trials: the SNR falls with the distance from the best settings."""
    tried = []

    def run(settings):
        tried.extend((each["tau"], each["step"]) for each in settings)
        misses = [abs(np.log2(each["tau"] / best_tau)) + abs(each["step"] - best_step) for each in settings]
        return [curve([0, 1], [0, 30 - miss]) for miss in misses]

    return run, tried


@pytest.mark.parametrize("best", [0.005, 0.01, 0.04, 0.00125])
@pytest.mark.parametrize("step", [1, 2])
def test_tuning_finds_the_best_even_beyond_the_grid(best, step):
    from peers.methods import Axis
    from peers.search import search

    run, tried = measured(best, step)
    axes = (Axis("tau", (0.005, 0.01, 0.02), 2), Axis("step", (1, 2)))
    found = search(axes, {"method": "m"}, run)
    assert found.settings == {"method": "m", "tau": best, "step": step}
    assert min(found.tried["tau"]) < best < max(found.tried["tau"])
    assert len(set(tried)) < 14


@pytest.mark.parametrize(("best", "found", "end"), [(64, 16, "highest"), (0.5, 2, "lowest"), (8, 8, None)])
def test_tuning_stays_within_its_limits_and_says_so(best, found, end):
    from peers.methods import Axis
    from peers.search import at_an_end, search

    run, tried = measured(best, 0)
    tuned = search((Axis("tau", (4, 8), 2, least=2, most=16),), {"step": 0}, run)
    assert tuned.settings["tau"] == found and isinstance(tuned.settings["tau"], int)
    assert {tau for tau, _ in tried} == set(tuned.tried["tau"])
    assert at_an_end(tuned) == ({"tau": end} if end else {})


def test_an_axis_begins_where_it_says():
    from peers.methods import Axis
    from peers.search import search

    run, tried = measured(0.01, 1)
    search((Axis("tau", (0.005, 0.01)), Axis("step", (1, 2, 4), begin=2)), {}, run)
    assert tried[:2] == [(0.005, 4), (0.01, 4)]


def test_only_numbers_that_were_tuned_have_ends():
    from peers.search import Tuned, at_an_end

    tried = {"a": (False, True), "b": ("x", "y"), "c": (1.0,), "d": (1, 2), "e": (1, 2, 3)}
    assert at_an_end(Tuned({"a": True, "b": "x", "c": 1.0, "d": 2, "e": 2}, tried)) == {"d": "highest"}


def test_every_method_can_begin():
    from peers.methods import METHODS

    for method in METHODS.values():
        assert all(axis.begin < len(axis.values) for axis in method.axes)
        ordered = [axis.values for axis in method.axes if not isinstance(axis.values[0], bool | str)]
        assert all(list(values) == sorted(values) for values in ordered)
        names = [axis.name for axis in method.axes]
        assert "cg" not in names or names.index("cg") < min(names.index(n) for n in ("tau", "weight") if n in names)


def rows_of(**curves):
    from peers.verdict import compare

    titles = {name: name.title() for name in curves}
    return compare(titles, curves, "ours")


OURS = ([0, 2, 4, 8], [25, 35, 37.95, 38])


def test_a_peer_that_wins_is_said_to():
    from peers.verdict import sentences, table

    rows = rows_of(ours=curve(*OURS), rival=curve([0, 1, 2], [25, 37, 38.5]), slug=curve([0, 9, 16], [25, 30, 36]))
    text = sentences(rows)
    assert "**Faster than ours** to the common level: Rival (2 times as fast, 2 s against 4 to 37.90 dB)" in text
    assert "**Ends higher than ours**, by more than 0.1 dB, on its own data: Rival (38.50 dB)" in text
    assert "Slower than ours to the common level: Slug (4 times the time, 16 s against 4 to 35.90 dB)" in text
    assert "Of 2 others these reach our best − 0.1 dB within the time: Rival." in text
    assert "None of them is faster" not in text
    lines = table(rows).splitlines()
    assert lines[3] == "| Rival | 1.0 |  | 38.50 | 37.90 | 2 | 4 | 0.50 | 2 |"
    assert lines[4] == "| Slug | 1.0 |  | 36.00 | 35.90 | 16 | 4 | ≥ 4.00 | not reached |"


def test_who_still_rises_to_a_level_of_its_own_is_marked():
    from peers.verdict import RISING_NOTE, table

    peaked, higher = curve([0, 9, 16], [25, 36, 35.5]), curve([0, 9, 16], [25, 36, 39])
    lines = table(rows_of(ours=curve(*OURS), peaked=peaked, higher=higher))
    assert "≥" not in lines
    text = table(rows_of(ours=curve(*OURS), peaked=peaked, rising=curve([0, 9, 16], [25, 30, 36])))
    assert text.count("| ≥ ") == 1 and "| 4 | ≥ 4.00 |" in text.splitlines()[4]
    assert text.endswith(f"|\n\n{RISING_NOTE}")


def test_few_iterations_are_marked():
    from peers.verdict import FEW_NOTE, table

    def run(count):
        return curve(*OURS, notes={"iterations": count})

    text = table(rows_of(ours=curve(*OURS, notes={"sweeps": 99.7}), few=run(4), enough=run(5)))
    lines = text.splitlines()
    assert "| Few \\* | 1.0 | 4 |" in text and "| Enough | 1.0 | 5 |" in text and "| 1.0 | 100 |" in lines[2]
    assert text.endswith(f"|\n\n{FEW_NOTE}")
    assert "\\*" not in table(rows_of(ours=curve(*OURS), enough=run(5)))


def test_only_the_nearest_of_many_are_named():
    from peers.verdict import SHOWN, sentences

    slow = {f"p{k}": curve([0, 5 + k], [25, 37]) for k in range(SHOWN + 2)}
    text = sentences(rows_of(ours=curve(*OURS), **slow))
    assert f"P{SHOWN - 1} (" in text and f"P{SHOWN} (" not in text and "; and 2 more, up to 2.8 times." in text
    assert f"Of {SHOWN + 2} others these reach our best − 0.1 dB within the time: none." in text


def test_nobody_wins_and_one_failed():
    from peers.verdict import Curve, sentences, table

    rows = rows_of(ours=curve(*OURS), twin=curve(*OURS), broken=Curve([], [], failure="MemoryError"))
    text = sentences(rows)
    assert "None of them is faster than ours" in text and "As fast as ours within 5 %: Twin" in text
    assert "Faster" not in text and "Broken" not in text
    assert "| Broken | failed: MemoryError |" in table(rows)


def test_the_report_has_every_setting(tmp_path):
    from peers.methods import METHODS
    from peers.report import Found, write_report
    from peers.search import Tuned

    facts = {"arguments": "", "cores": 2, "processor": "P", "budget": 5, "tune": 1, "noise_db": 70, "sigma": 5}
    curves = {name: curve(*OURS, versions={"numpy": "2"}, others_cores=0.2) for name in METHODS}
    begun = {name: {axis.name: axis.values[axis.begin] for axis in METHODS[name].axes} for name in METHODS}
    tuning = {name: Tuned(settings, {}) for name, settings in begun.items()}
    tuning["ours"] = Tuned({"tau": 0.02}, {"tau": (0.01, 0.02)})
    page = write_report(tmp_path, Found("peers_32x9", "32²", curves, tuning, "16²"), facts)
    text = page.read_text()
    assert all(text.count(f"| {method.title} |") == 3 for method in METHODS.values())  # also beside plug-and-play
    assert f"Still at an end of the values tried are: {METHODS['ours'].title}: tau 0.02 (highest)." in text
    assert "others kept 0.20 cores busy" in text and "camera (16²)" in text and "too much" not in text
    assert "(peers_32x9.png)" in text and (tmp_path / "peers_32x9.png").stat().st_size > 10_000
    assert len(json.loads((tmp_path / "peers_32x9.json").read_text())["rows"]) == len(METHODS)
    disturbed = {"ours": curve(*OURS, others_cores=0.4)}
    page = write_report(
        tmp_path, Found("peers_64x9", "64²", disturbed, {"ours": Tuned({"tau": 0.02}, {})}, "32²"), facts
    )
    assert "prior='pnp'" in text and "prior='pnp'" not in page.read_text()
    assert "**That is too much**" in page.read_text() and "No best value is at an end" in page.read_text()


def test_methods_have_looks_of_their_own():
    from peers.figure import peers_figure
    from peers.methods import METHODS

    lines = peers_figure("", {name: curve(*OURS) for name in METHODS}).axes[0].lines
    assert len(lines) == len(METHODS)
    # get_linestyle calls all dashes alike.
    assert len({(line.get_color(), line.get_linestyle(), str(line._dash_pattern)) for line in lines}) == len(METHODS)


# --- runners ---------------------------------------------------------------------------------------------------------


def test_the_torch_denoiser_is_ours(problem, network):
    from peers.dncnn_torch import TorchDnCNN

    found = TorchDnCNN(problem.weights, SCALE, "float32").of_array(problem.start)
    padded = torch.from_numpy(np.pad(problem.start, 3, mode="reflect") / np.float32(SCALE))[None, None]
    expected = SCALE * network.interior(padded)[0, 0].numpy()
    assert relative(found, expected) < 1e-6
    assert relative(TorchDnCNN(problem.weights, 1.0, "float32").of_array(problem.start), expected) > 1e-3


@pytest.mark.parametrize("halo", [0, 1])
def test_the_torch_denoiser_in_tiles_is_that_of_the_whole(problem, network, monkeypatch, halo):
    from peers import dncnn_torch

    denoiser = dncnn_torch.TorchDnCNN(problem.weights, SCALE, "float32")
    image = np.random.default_rng(4).standard_normal((50, 33)).astype(np.float32)
    whole = denoiser.of_array(image)
    assert [len(dncnn_torch.tiles(side)) for side in (50, 33, 256, 512, 800)] == [1, 1, 1, 3, 4]
    monkeypatch.setattr(dncnn_torch, "TILE", 16)
    assert [part.stop - part.start for part in dncnn_torch.tiles(50)] == [17, 16, 17]
    padded = denoiser.interior
    monkeypatch.setattr(denoiser, "interior", lambda crop: padded(torch.roll(crop, halo, -1)))
    # Not the same bits everywhere: with AVX2 convolutions of other sizes add up in another order.
    assert (relative(denoiser.of_array(image), whole) < 1e-5) == (halo == 0)


def test_a_failed_runner_is_a_line_of_the_table(problem, tmp_path):
    from peers.methods import METHODS
    from peers.trials import Laboratory

    method = replace(METHODS["ours"], runner="run_nothing")
    laboratory = Laboratory(tmp_path, tmp_path, 1)
    found = laboratory.run(method, problem.folder, [{"method": "default", "tau": 0.01}], 1.0)[0]
    assert "run_nothing" in found.failure


def test_trials_are_made_once(problem, tmp_path):
    from peers.methods import METHODS
    from peers.trials import Laboratory

    laboratory, method = Laboratory(tmp_path, tmp_path, 1), METHODS["gm-red"]
    settings = [method.fixed | {"tau": 0.01}]
    first = laboratory.run(method, problem.folder, settings, 0.2)[0]
    stem = laboratory.stem(method, problem.folder, settings[0], 0.2)
    assert not first.failure and first.best > first.snr[0]
    assert first.facts["settings"] == settings[0] and first.facts["versions"]["cores"] == "1"
    with np.load(f"{stem}.npz") as stored:
        assert problem.snr(stored["image"]) == pytest.approx(first.snr[-1], abs=0.01)
    assert laboratory.run(method, problem.folder, settings, 0.2)[0] == first


def test_a_trial_is_made_anew_once_its_sources_change(tmp_path, monkeypatch):
    from peers import sources
    from peers.methods import METHODS
    from peers.trials import Laboratory

    (tmp_path / "run_deepinv.py").write_text("from .problem import Image\n")
    (tmp_path / "problem.py").write_text("1\n")
    (tmp_path / "figure.py").write_text("1\n")
    monkeypatch.setattr(sources, "HERE", tmp_path)
    method, laboratory = METHODS["deepinv-pnp-admm"], Laboratory(tmp_path, tmp_path, 1)
    settings = {axis.name: axis.values[0] for axis in method.axes}

    def stem(of=method):
        return laboratory.stem(of, tmp_path, settings, 1.0)

    first = stem()
    (tmp_path / "figure.py").write_text("2\n")
    assert stem() == first != stem(replace(method, fixed={}))
    (tmp_path / "problem.py").write_text("2\n")
    assert stem() != first


def test_sources_are_what_is_imported():
    from peers.sources import HERE, sources

    def names(runner):
        return {path.name for path in sources(HERE, runner)}

    assert names("run_scico") == {"run_scico.py", "dncnn_jax.py", "problem.py", "trial.py"}
    assert {"run_authors.py", "dncnn_torch.py", "joseph_matrix.py"} <= names("run_authors")
    assert {"run_ours.py", "solver.py", "host_kernels.cpp", "dncnn.py"} <= names("run_ours")


def test_runners_have_our_workers_allocator(problem, tmp_path, monkeypatch):
    from peers import trials
    from peers.methods import METHODS

    given = {}

    def run(command, *, env, **_):
        given.update(env)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(trials.subprocess, "run", run)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    method = METHODS["ours"]
    trials.Laboratory(tmp_path, tmp_path, 1).run(method, problem.folder, [method.fixed | {"tau": 0.01}], 1.0)
    assert {name for name in given if name.startswith("MALLOC_")} == trials.ALLOCATOR.keys()
    assert (given["MALLOC_MMAP_MAX_"], given["OMP_NUM_THREADS"]) == ("0", "7")
    assert len(trials.ALLOCATOR) == 3


@pytest.mark.parametrize(("cores", "staleness"), [(1, 2), (3, 2), (4, 3)])
def test_the_papers_methods_have_the_least_staleness(problem, monkeypatch, cores, staleness):
    from asyncred_gpu import GpuAsyncRED
    from peers.run_ours import METHODS, Ours

    monkeypatch.setattr(GpuAsyncRED, "_default_workers", lambda _: cores)
    runner = Ours(problem, cores)
    solvers = {name: runner._solver({"method": name, "tau": TAU}) for name in METHODS if name != "GM-RED"}
    assert solvers["BG"].parallelism.max_staleness == solvers["SG"].parallelism.max_staleness == staleness
    assert solvers["default"].parallelism.max_staleness >= 4
    assert (solvers["sync"].order, solvers["default"].order) == ("sync", "free")
    assert solvers["SG"].minibatch == ANGLES // 3 and solvers["BG"].minibatch is None


def peers_python(environment):
    python = ROOT / ".peers" / "environments" / environment / "bin" / "python"
    if not python.exists():
        pytest.skip(f"needs {python}, which scripts/bench_peers.py makes")
    return python


SCICO_ROWS = ("scico-admm-jax", "scico-admm-jax-plain", "scico-admm-svmbir", "scico-apgm-astra")


@pytest.mark.parametrize("name", ["deepinv-red-gd", "deepinv-pnp-admm-astra", *SCICO_ROWS])
def test_the_peers_run(problem, tmp_path, name):
    """Where `scripts/bench_peers.py` has made their environments, in .peers of the checkout."""
    from peers.methods import METHODS

    method = METHODS[name]
    python = peers_python(str(method.environment))
    settings = method.fixed | {axis.name: axis.values[-1] for axis in method.axes}
    trials = tmp_path / "trials.json"
    trials.write_text(json.dumps([{"output": str(tmp_path / "out"), "settings": settings, "seconds": 0.5}]))
    command = [str(python), "-P", "-m", f"peers.{method.runner}", str(problem.folder), str(trials), "1"]
    subprocess.run(command, env={"PYTHONPATH": str(ROOT / "scripts")}, check=True, timeout=120)
    with np.load(tmp_path / "out.npz") as stored:
        assert stored["snr"].max() > stored["snr"][0]


PROJECTED = """
import dataclasses, sys
from pathlib import Path
import numpy as np
from peers.problem import Problem

problem, which, seen = Problem.load(Path(sys.argv[1])), sys.argv[2], []
for turned in (0.0, float(sys.argv[3])):
    looked = dataclasses.replace(problem, angles=problem.angles + turned)
    if which == "own":
        import torch
        from peers.run_deepinv import DeepInverse
        with DeepInverse(looked, 1)._scan("own") as (physics, _):
            seen.append(physics.A(torch.from_numpy(problem.reference)[None, None])[0, 0].T.numpy())
    else:
        from peers.run_scico import Scico
        seen.append(np.asarray(Scico(looked, 1)._projector(which)(problem.reference)))
np.save(sys.argv[4], np.stack(seen))
"""


@pytest.mark.parametrize(
    ("environment", "projector"), [("scico", "jax"), ("scico", "astra"), ("scico", "svmbir"), ("deepinv", "own")]
)
def test_the_peers_look_from_our_directions(problem, tmp_path, environment, projector):
    """An odd number of angles is another set of directions once it is turned by a right angle."""
    python = peers_python(environment)
    odd = replace(problem, angles=half_turn(7), noise=problem.noise[:7], folder=tmp_path)
    odd.save()
    command = [str(python), "-c", PROJECTED, str(tmp_path), projector, str(np.pi / 14), str(tmp_path / "seen.npy")]
    environ = {"PYTHONPATH": str(ROOT / "scripts"), "HOME": str(tmp_path)}
    subprocess.run(command, env=environ, check=True, timeout=120)
    ours = project(problem.reference, odd.angles, DETECTORS)
    mismatches = []
    for theirs in np.load(tmp_path / "seen.npy"):
        width = min(theirs.shape[1], DETECTORS)
        here, there = (rays[:, (rays.shape[1] - width) // 2 :][:, :width] for rays in (ours, theirs))
        factor = np.vdot(there, here) / np.vdot(there, there)  # deepinv's is normalized
        mismatches.append(relative(factor * there, here))
    right, turned = mismatches
    assert right < 0.09 < turned


def test_the_command_refuses_angles_alone(capsys):
    import bench_peers
    from peers.methods import METHODS

    with pytest.raises(SystemExit):
        bench_peers.main(["--angles", "40"])
    assert "--angles is of the problem that --size asks for" in capsys.readouterr().err
    assert bench_peers.parse(["--methods", "gm-red"]).methods == ["ours", "gm-red"]
    everything = bench_peers.parse([]).methods
    assert set(everything) - set(bench_peers.parse(["--quick"]).methods) == {"scico-admm-jax-plain"}
    assert everything == list(METHODS)
    assert sys.modules["peers"].__doc__
