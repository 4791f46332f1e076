"""τ and σ that the solver chooses on its own, and the families of denoisers it chooses among."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
import torch

from asyncred_gpu import GpuAsyncRED, RadonCT, load_denoiser, tuning, warm_start
from asyncred_gpu.baselines import gm_red
from asyncred_gpu.cli.main import main
from asyncred_gpu.denoiser import load_network
from asyncred_gpu.family import DenoiserFamily
from asyncred_gpu.models import ConditionalDnCNN, DnCNN, save_weights, weights_io
from asyncred_gpu.models.training_settings import TrainingSettings
from asyncred_gpu.operators.radon import project

from .helpers import blobs

ANGLES = np.linspace(0, np.pi, 40, endpoint=False)


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Weights as the package ships them, but small and of three levels, and a conditional network."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(weights_io, "WEIGHTS_FOLDER", folder)
    for level in (20, 5, 10):
        torch.manual_seed(level)
        save_weights(DnCNN(2, 4), folder / f"dncnn_sigma{level}.safetensors", {"sigma": level})
    torch.manual_seed(0)
    facts = {"settings": asdict(TrainingSettings(network="dncnn-conditional", lowest_sigma=2, sigma=30))}
    save_weights(ConditionalDnCNN(2, 4), folder / "dncnn_conditional.safetensors", facts)
    return folder


@pytest.fixture
def ct():
    clean = project(blobs(32, 32, 0), ANGLES, 47)
    noise = np.random.default_rng(0).standard_normal(clean.shape)
    return RadonCT((clean + noise).astype(np.float32), ANGLES, (32, 32))


OPTIONS = {"block_shape": (16, 16), "num_workers": 2, "precision": "float32", "device": "cpu"}
FEW = {"first_sweeps": 2, "sweeps": 1, "progress": False}

# ---- families


def test_a_family_knows_its_levels(weights):
    family = load_denoiser("dncnn", sigma="auto")
    assert family == DenoiserFamily("dncnn")
    assert family.sigmas == (5.0, 10.0, 20.0)
    for level in family.sigmas:
        same = load_denoiser("dncnn", sigma=level)
        assert all(map(torch.equal, family.at(level).parameters(), same.parameters()))
    assert not torch.equal(family.at(5).layers[0].weight, family.at(10).layers[0].weight)
    assert load_denoiser(family) is family


@pytest.mark.parametrize(
    ("sigma", "text"),
    [
        (15, "has no weights for sigma=15, but for 5, 10, 20. Pass one of these, 'auto', or 'dncnn-conditional'"),
        (0, "sigma=0 isn't a noise level"),
        ("5", "sigma='5' can't be for this denoiser"),
        (True, "sigma=True isn't a noise level"),
        (float("nan"), "sigma=nan isn't a noise level"),
    ],
)
def test_a_level_without_weights_is_refused(weights, sigma, text):
    with pytest.raises(ValueError, match=text):
        load_denoiser("dncnn", sigma=sigma)


def test_the_conditional_network_is_told_its_level(weights):
    told = weights_io.load_weights(weights / "dncnn_conditional.safetensors")[0]
    image = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    for level in (5, 12.5):
        network = load_denoiser("dncnn-conditional", sigma=level)
        assert isinstance(network, DnCNN)
        expected = told(image, torch.full((1, 1, 1, 1), level / 255))
        torch.testing.assert_close(network(image), expected)
        assert not torch.allclose(network(image), told(image, torch.full((1, 1, 1, 1), 0.2)), atol=1e-4)
    by_path = load_denoiser(weights / "dncnn_conditional.safetensors", sigma=5)
    torch.testing.assert_close(by_path(image), told(image, torch.full((1, 1, 1, 1), 5 / 255)))
    assert load_denoiser("dncnn-conditional", sigma="auto").sigmas == (5, 10, 15, 20, 25)
    for level in (1, 31):
        with pytest.raises(ValueError, match=f"was trained for sigma from 2 to 30, not {level}"):
            load_denoiser("dncnn-conditional", sigma=level)


def test_a_family_without_weights_is_refused(weights, ct):
    (weights / "dncnn_conditional.safetensors").unlink()
    for use in (
        lambda: GpuAsyncRED(ct, load_denoiser("dncnn-ct", sigma="auto")),
        lambda: tuning.tune(ct, "dncnn-ct", progress=False),
        lambda: load_denoiser("dncnn-ct", sigma=5),
    ):
        with pytest.raises(ValueError, match="has no weights of 'dncnn-ct'"):
            use()
    with pytest.raises(ValueError, match="No weights are named 'dncnn_conditional'"):
        tuning.tune(ct, "dncnn-conditional", progress=False)


def test_only_shipped_families_have_a_sigma_to_choose(weights):
    with pytest.raises(ValueError, match="σ is chosen among shipped ones"):
        load_denoiser(DnCNN(2, 4), sigma="auto")
    with pytest.raises(ValueError, match="No denoisers are named 'unet'"):
        DenoiserFamily("unet")


def test_what_takes_one_network_refuses_a_family(weights, ct):
    family = load_denoiser("dncnn", sigma="auto")
    with pytest.raises(ValueError, match="is the family 'dncnn', and here it takes one network"):
        gm_red(ct, family, tau=0.1)
    with pytest.raises(ValueError, match="is the family 'dncnn'"):
        load_network(family)
    with pytest.raises(ValueError, match="tau='auto' can't be"):
        warm_start(ct, DnCNN(2, 4), tau="auto")


# ---- the solver


def test_tau_and_sigma_are_chosen_before_the_first_run_alone(one_process, weights, ct):
    solver = GpuAsyncRED(ct, load_denoiser("dncnn", sigma="auto"), tau="auto", **OPTIONS)
    assert solver.chooses
    assert solver.tuned is None
    tuned = solver.tune(taus=(0.01, 0.1, 1.0), exhaustive=True, **FEW)
    assert (solver.tau, solver.tuned) == (tuned.tau, tuned)
    assert len(tuned.trials) == 9
    expected = load_denoiser("dncnn", sigma=tuned.sigma)
    assert all(map(torch.equal, solver.network.parameters(), expected.parameters()))

    result = solver.run(max_sweeps=1)
    assert solver.tuned is tuned
    assert result.settings["tau"] == tuned.tau
    assert result.settings["intensity_scale"] == tuned.intensity_scale
    assert f"gcv chose σ = {tuned.sigma:g}/255 and τ = {tuned.tau:.3g} (9 tried)" in result.notes[0]
    assert result.settings["sigma"] == tuned.sigma
    assert "tuning" not in result.timings  # it was before

    plain = GpuAsyncRED(
        ct, expected, tau=tuned.tau, intensity_scale=tuned.intensity_scale, order="ordered", **OPTIONS
    ).run(max_sweeps=1, x0=tuned.image)
    again = GpuAsyncRED(ct, load_denoiser("dncnn", sigma="auto"), tau="auto", order="ordered", **OPTIONS)
    again.tune(taus=(0.01, 0.1, 1.0), exhaustive=True, **FEW)
    np.testing.assert_array_equal(again.run(max_sweeps=1).image, plain.image)
    assert not np.array_equal(again.run(max_sweeps=1, x0="zeros").image, plain.image)


@pytest.fixture
def quick_search(monkeypatch):
    monkeypatch.setattr(tuning, "tune", partial(tuning.tune, first_sweeps=2, sweeps=1))


def test_run_chooses_by_itself(one_process, weights, ct, quick_search):
    solver = GpuAsyncRED(ct, DnCNN(2, 4), tau="auto", **OPTIONS)
    result = solver.run(max_sweeps=1)
    assert solver.tuned is not None
    assert solver.tuned.sigma is None
    assert result.timings["tuning"] > 0
    assert result.notes[0].startswith(f"gcv chose τ = {solver.tau:.3g}")


def test_a_second_search_begins_anew(one_process, weights, ct):
    solver = GpuAsyncRED(ct, DnCNN(2, 4), tau="auto", **OPTIONS)
    start = ct.fbp()
    scales = [solver.tune(x0=start * factor, taus=(0.1,), **FEW).intensity_scale for factor in (1, 10)]
    assert scales[1] == pytest.approx(10 * scales[0])


def test_a_given_tau_stays_when_sigma_is_chosen(one_process, weights, ct):
    solver = GpuAsyncRED(ct, load_denoiser("dncnn", sigma="auto"), tau=0.07, **OPTIONS)
    tuned = solver.tune(exhaustive=True, **FEW)
    assert {trial.tau for trial in tuned.trials} == {0.07}
    assert {trial.sigma for trial in tuned.trials} == {5, 10, 20}


def test_a_solver_with_nothing_to_choose_says_so(weights, ct):
    solver = GpuAsyncRED(ct, DnCNN(2, 4), tau=0.1, **OPTIONS)
    assert not solver.chooses
    with pytest.raises(ValueError, match='Neither tau nor sigma is "auto"'):
        solver.tune()
    with pytest.raises(ValueError, match="tau='autp' can't be"):
        GpuAsyncRED(ct, DnCNN(2, 4), tau="autp")


def test_a_schedule_is_not_replayed_before_the_choice(one_process, weights, ct):
    network = DnCNN(2, 4)
    recorded = GpuAsyncRED(ct, network, tau=0.1, intensity_scale=1.0, **OPTIONS).run(max_sweeps=1)
    with pytest.raises(ValueError, match="one of them is still to be chosen"):
        GpuAsyncRED(ct, network, tau="auto", **OPTIONS).run(replay=recorded.schedule)


# ---- the command


def test_the_command_chooses_and_shows_what_it_tried(one_process, weights, quick_search, tmp_path, capsys):
    words = ["--size", "32", "--angles", "20", "--noise-db", "40", "--sweeps", "1", "--workers", "2", "--tau", "auto"]
    folder = tmp_path / "out"
    assert main(["reconstruct", *words, "--sigma", "auto", "--output", str(folder)]) == 0
    said = capsys.readouterr()
    assert "gcv chose σ = " in said.out
    assert "trial 1: σ = 5" in said.err
    assert "| σ | τ | score |" in (folder / "tuning.md").read_text()
    assert (folder / "tuning.png").stat().st_size > 5000
    assert (folder / "start.tif").exists()
    settings = json.loads((folder / "run.json").read_text())
    assert f"τ = {settings['solver']['tau']:.3g}" in said.out
    shutil.rmtree(folder)
    assert main(["reconstruct", *words, "--quiet", "--tuning", "discrepancy", "--output", str(folder)]) == 0
    assert capsys.readouterr().err == ""
    assert "discrepancy" in (folder / "tuning.md").read_text()


def test_the_command_refuses_a_search_that_cannot_be(one_process, weights, tmp_path, capsys):
    words = ["--size", "32", "--angles", "20", "--tau", "auto", "--sigma", "auto", "--tuning", "discrepancy"]
    assert main(["reconstruct", *words, "--output", str(tmp_path / "out")]) == 2
    assert "which every σ reaches with some τ" in capsys.readouterr().err


def test_a_way_to_choose_without_anything_to_choose_is_refused(capsys):
    assert main(["reconstruct", "--tuning", "held-out"]) == 2
    assert "--tuning is how --tau auto and --sigma auto choose, and neither is given" in capsys.readouterr().err
