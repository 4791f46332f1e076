"""Measuring denoisers: what goes into facts and card, what the script refuses, and the card's sentences."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from asyncred_gpu.models import ConditionalDnCNN, load_weights, save_weights, weights_path
from asyncred_gpu.models.card import card_text
from asyncred_gpu.models.images import load_images
from asyncred_gpu.models.jacobian import JacobianNorm, jacobian_norm, linear_norm
from asyncred_gpu.models.measure import NormsAt, frozen_residual, middle, mirrored_residual, norms_at, summary
from asyncred_gpu.models.quality import noisy
from asyncred_gpu.models.unconstrained import find_unconstrained, unconstrained_facts
from asyncred_gpu.models.weights_io import load_facts, save_facts
from asyncred_gpu.runtime.cpu import available_cores

from .helpers import SHARED, blobs, needs, small_network

VALIDATION = {"folder": "others", "count": 4, "psnr_input": 34.15, "psnr_output": 36.5, "psnr_output_of_each": [36.5]}
SETTINGS = {
    "sigma": 5.0,
    "steps": 8000,
    "patch": 64,
    "batch": 16,
    "learning_rate": 1e-3,
    "lipschitz": 2.0,
    "clip_every": 10,
    "seed": 0,
    "precision": "bfloat16",
}
FACTS = {
    "sigma": 5.0,
    "settings": SETTINGS,
    "lipschitz": {"product": 1.9, "bound": 2.0},
    "validation": VALIDATION,
}


def changed(facts, **changes):
    """The facts with other values; `settings__steps=1` goes into facts["settings"]."""
    facts = copy.deepcopy(facts)
    for name, value in changes.items():
        *path, last = name.split("__")
        inner = facts
        for key in path:
            inner = inner[key]
        inner[last] = value
    return facts


LOOSE = changed(
    FACTS, settings__lipschitz=None, lipschitz={"product": 17.5, "bound": None}, validation__psnr_output=36.75
)


pytestmark = pytest.mark.usefixtures("one_thread")  # the script sets torch's threads


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    import measure_denoiser

    return measure_denoiser


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights" / "small.safetensors"
    path.parent.mkdir()
    save_weights(small_network(bound=1.9), path, FACTS)
    return path


@pytest.fixture
def loose(tmp_path):
    """A folder with the same network without a bound."""
    path = tmp_path / "loose" / "small_unconstrained.safetensors"
    path.parent.mkdir()
    save_weights(small_network(bound=17.5), path, LOOSE)
    return path.parent


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "photos"
    path.mkdir()
    for index in range(4):
        Image.fromarray((255 * blobs(20, 24, index)).astype(np.uint8)).save(path / f"{index}.png")
    return path


@pytest.fixture
def reconstruction(tmp_path):
    path = tmp_path / "slice.npy"
    np.save(path, blobs(18, 18, seed=9))
    return path


def called(script, *arguments):
    return script.main([str(argument) for argument in (*arguments, "--threads", 1)])


# ---- the numbers


def test_the_summary_counts_what_is_above_one():
    def at(denoiser, residual, converged=True):
        return NormsAt(JacobianNorm(denoiser, 9, 0.0, converged), JacobianNorm(residual, 9, 0.0, True))

    norms = [at(1.2, 0.5), at(1.000001, 0.7), at(0.9, 0.6), at(1.001, 0.6, converged=False)]
    found = summary(norms, [torch.zeros(8, 9)] * 3 + [torch.zeros(9, 8)])
    assert found["D"] == {"mean": 1.02525, "max": 1.2, "each": [1.2, 1.0, 0.9, 1.001]}
    assert found["R"]["mean"] == pytest.approx(0.6)
    assert found["share_of_D_above_1"] == 0.5  # 1.000001 is rounding
    assert (found["count"], found["not_converged"]) == (4, 1)
    assert found["sizes"] == ["8×9", "9×8"]


def test_the_middle_of_an_image():
    image = torch.arange(30.0).reshape(5, 6)
    assert torch.equal(middle(image, 3), image[1:4, 1:4])
    assert torch.equal(middle(image, 5), image[:, 0:5])
    assert torch.equal(middle(image, 100), image)


def test_noise_has_the_networks_level():
    image = torch.zeros(200, 200)
    assert float(noisy(image, 25, seed=0).std()) == pytest.approx(25 / 255, rel=0.02)
    assert torch.equal(noisy(image, 25, seed=0), noisy(image, 25, seed=0))
    assert not torch.equal(noisy(image, 25, seed=0), noisy(image, 25, seed=1))


# ---- the script


def test_the_script_writes_what_it_measured_and_leaves_the_weights_alone(
    script, weights, loose, folder, reconstruction, capsys
):
    before = weights.read_bytes()
    options = ["--images", folder, "--count", 3, "--side", 16, "--noisy", "--reconstructions", reconstruction]
    assert called(script, weights, *options, "--unconstrained", loose) == 0
    assert weights.read_bytes() == before
    network, facts = load_weights(weights)
    assert {name: facts[name] for name in FACTS} == FACTS

    found = facts["nonexpansive"]
    assert (found["sigma"], found["tolerance"], found["patience"]) == (5.0, 1e-4, 5)
    images = [middle(image, 16) for image in load_images(folder)[:3]]
    for index, image in enumerate(images):
        residual = jacobian_norm(lambda x: mirrored_residual(network, x), image).value
        denoiser = jacobian_norm(lambda x: x - mirrored_residual(network, x), image).value
        assert found["images"]["R"]["each"][index] == pytest.approx(residual, abs=2e-5)
        assert found["images"]["D"]["each"][index] == pytest.approx(denoiser, abs=2e-5)
    assert (found["images"]["folder"], found["images"]["count"], found["images"]["sizes"]) == ("photos", 3, ["16×16"])
    third = norms_at(network, noisy(images[2], 5, seed=2))
    assert found["noisy_images"]["D"]["each"][2] == pytest.approx(third.denoiser.value, abs=2e-5)
    assert found["noisy_images"]["D"]["each"] != found["images"]["D"]["each"]
    assert found["reconstructions"]["names"] == ["slice"]

    other = facts["unconstrained"]
    assert other["name"] == "small_unconstrained"
    assert other["nonexpansive"]["images"]["R"]["max"] > 2 * found["images"]["R"]["max"]
    at_slice = norms_at(small_network(bound=17.5), middle(torch.from_numpy(np.load(reconstruction)), 16))
    assert other["nonexpansive"]["reconstructions"]["R"]["each"] == [pytest.approx(at_slice.residual.value, abs=2e-5)]

    card = weights.with_suffix(".md").read_text()
    assert card == card_text("small", facts)
    assert f"| 3 images (photos, the middle 16×16) | {found['images']['D']['mean']:.4f} |" in card
    assert "its PSNR is 0.25 dB higher." in card
    out = capsys.readouterr().out
    assert "images 3/3: ‖J_D‖ ≥ " in out
    assert "small_unconstrained.safetensors, without the bound:" in out


def test_what_is_not_measured_anew_stays_if_it_was_measured_the_same_way(script, weights, folder, reconstruction):
    assert called(script, weights, "--images", folder, "--count", 1) == 0
    assert called(script, weights, "--reconstructions", reconstruction) == 0
    found = load_facts(weights)["nonexpansive"]
    assert {"images", "reconstructions"} < found.keys()
    assert called(script, weights, "--reconstructions", reconstruction, "--tolerance", 1e-2) == 0
    found = load_facts(weights)["nonexpansive"]
    assert found["tolerance"] == 1e-2
    assert "images" not in found


def test_norms_at_other_images_are_not_compared(script, weights, loose, folder, reconstruction):
    both = ["--images", folder, "--reconstructions", reconstruction]
    assert called(script, weights, *both, "--count", 2, "--unconstrained", loose) == 0
    assert called(script, weights, "--images", folder, "--count", 1) == 0
    facts = load_facts(weights)
    assert facts["nonexpansive"].keys() >= {"images", "reconstructions"}
    assert facts["unconstrained"]["nonexpansive"].keys() == {"reconstructions"}
    assert "largest ‖J_D‖, 1 reconstructions" in weights.with_suffix(".md").read_text()
    assert "largest ‖J_D‖, 1 images" not in weights.with_suffix(".md").read_text()


def test_a_level_the_network_was_not_trained_for_is_refused(script, conditional, folder, capsys):
    assert called(script, conditional, "--images", folder, "--sigma", 25) == 2
    assert "--sigma 25: conditional is for 5 to 10" in capsys.readouterr().err


def test_reconstructions_are_made_with_the_weights_measured(script, weights, folder, monkeypatch, one_process):
    made = []

    def noted(network, image, seed, *, original=script.reconstructed):
        made.append((network, original(network, image, seed)))
        return made[-1][1]

    monkeypatch.setattr(script, "reconstructed", noted)
    monkeypatch.setattr("reconstructions.SWEEPS", 2)
    assert called(script, weights, "--reconstruct", folder) == 0
    found = load_facts(weights)["nonexpansive"]["reconstructions"]
    assert (found["count"], found["sizes"]) == (3, ["20×24"])
    assert found["scan"]["folder"] == "photos"
    assert found["scan"]["snr"] == [round(snr, 2) for _, (_, snr) in made]
    network = load_weights(weights)[0]
    for index, (used, (image, snr)) in enumerate(made):
        assert all(map(torch.equal, used.parameters(), network.parameters()))
        assert snr > 10
        truth = load_images(folder)[index]
        assert float((image - truth).norm() / truth.norm()) == pytest.approx(10 ** (-snr / 20), rel=1e-3)
        assert found["D"]["each"][index] == pytest.approx(norms_at(network, image).denoiser.value, abs=2e-5)
    card = weights.with_suffix(".md").read_text()
    assert (
        "3 reconstructions by Async-RED with these weights (scans of photos simulated, 60 angles, 70 dB noise" in card
    )


@pytest.fixture
def conditional(tmp_path):
    torch.manual_seed(0)
    network = ConditionalDnCNN(3, 8).eval().requires_grad_(False)
    network.dncnn = small_network()
    path = tmp_path / "conditional.safetensors"
    validation = [{**VALIDATION, "sigma": sigma, "psnr_output": 30.0 + sigma} for sigma in (5.0, 10.0)]
    settings = {"network": "dncnn-conditional", "sigma": 10.0, "lowest_sigma": 5.0}
    save_weights(network, path, {**FACTS, "sigma": 10.0, "settings": SETTINGS | settings, "validation": validation})
    return path


@pytest.mark.parametrize("sigma", [None, 5.0])
def test_a_network_that_is_told_the_level_is_measured_at_one(script, conditional, folder, sigma):
    told = [] if sigma is None else ["--sigma", sigma]
    assert called(script, conditional, "--images", folder, "--count", 1, *told) == 0
    network, facts = load_weights(conditional)
    image, level = load_images(folder)[0], sigma or 10.0
    assert facts["nonexpansive"]["sigma"] == level
    found = facts["nonexpansive"]["images"]["D"]["max"]
    assert found == pytest.approx(norms_at(network.at(level / 255), image).denoiser.value, abs=2e-5)
    assert abs(found - norms_at(network.at(50 / 255), image).denoiser.value) > 1e-4


def test_without_names_all_shipped_weights_are_measured(script, folder, monkeypatch):
    seen = []
    monkeypatch.setattr(script, "run", lambda job, *_: seen.append(job.path.stem))
    assert called(script, "--images", folder, "--count", 1) == 0
    assert seen == sorted(path.stem for path in script.WEIGHTS_FOLDER.glob("*.safetensors"))
    assert "dncnn_sigma5" in seen


def test_a_stopped_run_leaves_the_card_as_it_was(script, weights, folder, monkeypatch, capsys):
    before = weights.with_suffix(".json").read_bytes()

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "norms_at", stop)
    assert called(script, weights, "--images", folder) == 130
    assert "The card of small is as it was" in capsys.readouterr().out
    assert weights.with_suffix(".json").read_bytes() == before


def not_an_image(path):
    np.save(path, np.zeros((3, 8, 8), np.float32))


def not_finite(path):
    np.save(path, np.full((8, 8), np.nan))


def counts(path):
    np.save(path, np.full((20, 20), 1000.0))


def attenuation(path):
    np.save(path, np.full((20, 20), 0.01))


def tiny(path):
    np.save(path, np.full((3, 20), 0.5))


def truncated(path):
    path.write_bytes(path.read_bytes()[:50])


@pytest.mark.parametrize(
    ("spoil", "options", "text"),
    [
        (None, [], "There is nothing to measure at. Pass --images"),
        (None, ["--images", "nowhere"], "nowhere doesn't exist, it must be a folder"),
        (None, ["--noisy", "--reconstructions", "SLICE"], "--noisy has no images to put noise on"),
        (None, ["--reconstruct", "FOLDER", "--reconstructions", "SLICE"], "Pass one of them"),
        (None, ["--images", "FOLDER", "--count", "0"], "--count 0 must be above 0"),
        (None, ["--images", "FOLDER", "--side", "-1"], "--side -1 must be above 0"),
        (None, ["--images", "FOLDER", "--tolerance", "nan"], "--tolerance nan must be above 0"),
        (None, ["--images", "FOLDER", "--side", "3"], "An image has 3 pixels a side, the network looks 3 far"),
        (None, ["--images", "FOLDER", "--sigma", "7"], "--sigma 7: small takes no level, it is for 5"),
        (None, ["--images", "FOLDER", "--unconstrained", "nowhere"], "nowhere isn't a folder"),
        (None, ["--images", "FOLDER", "--unconstrained", "FOLDER"], "holds 0 networks like small without its bound"),
        (None, ["--reconstructions", "nowhere.npy"], "nowhere.npy doesn't exist"),
        (None, ["--reconstructions", __file__], "is no .npy, .npz or .tif file"),
        (not_an_image, ["--reconstructions", "SLICE"], "holds float32 of shape (3, 8, 8)"),
        (not_finite, ["--reconstructions", "SLICE"], "or NaN or infinity"),
        (counts, ["--reconstructions", "SLICE"], "has white (its 99.9th percentile) at 1e+03"),
        (attenuation, ["--reconstructions", "SLICE"], "at 0.01, the network takes images in [0, 1]"),
        (tiny, ["--reconstructions", "SLICE"], "An image has 3 pixels a side"),
        (truncated, ["--reconstructions", "SLICE"], "can't be read as one image"),
    ],
)
def test_the_script_refuses_before_any_work(
    script, weights, folder, reconstruction, monkeypatch, capsys, spoil, options, text
):
    monkeypatch.setattr(script, "norms_at", lambda *_: pytest.fail("measuring began"))
    if spoil is not None:
        spoil(reconstruction)
    places = {"FOLDER": str(folder), "SLICE": str(reconstruction)}
    assert called(script, weights, *(places.get(option, option) for option in options)) == 2
    assert text in capsys.readouterr().err


def test_unknown_weights_are_refused(script, folder, capsys):
    assert called(script, "dncnn_sigma7.5", "--images", folder) == 2
    assert "No weights are named 'dncnn_sigma7.5'" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".tif"])
def test_reconstructions_are_read_from_files(script, tmp_path, suffix):
    from reconstructions import read_reconstruction

    image = blobs(12, 10)
    path = tmp_path / f"slice{suffix}"
    write = {".npy": np.save, ".npz": lambda path, image: np.savez(path, image=image), ".tif": tifffile.imwrite}
    write[suffix](path, image)
    assert torch.equal(read_reconstruction(path), torch.from_numpy(image))


# ---- the network without the bound


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"sigma": 10.0}, "holds 0 networks like small"),
        ({"settings__network": "dncnn-conditional"}, "holds 0 networks like small"),
        ({"settings__phantoms": 40}, "holds 0 networks like small"),
        ({"lipschitz": {"product": 1.2, "bound": 1.5}}, "holds 0 networks like small"),
        ({"validation": None}, "on nothing: their PSNR can't be compared"),
        ({"validation__folder": "elsewhere"}, "'elsewhere', 4.*can't be compared"),
    ],
)
def test_only_the_same_network_without_the_bound_is_compared(tmp_path, change, text):
    path = tmp_path / "other.safetensors"
    save_weights(small_network(), path, LOOSE)
    assert find_unconstrained(tmp_path, FACTS, "small") == path
    save_facts(path, {**changed(LOOSE, **change), "sha256": "0"})
    with pytest.raises(ValueError, match=text):
        find_unconstrained(tmp_path, FACTS, "small")


def test_two_networks_without_the_bound_are_one_too_many(tmp_path):
    for name in ("a", "b"):
        save_weights(small_network(), tmp_path / f"{name}.safetensors", LOOSE)
    with pytest.raises(ValueError, match=r"holds 2 networks like small.*a\.safetensors, b\.safetensors"):
        find_unconstrained(tmp_path, FACTS, "small")


def test_weights_without_a_bound_of_their_own_are_compared_with_none(script, loose, folder):
    path = loose / "small_unconstrained.safetensors"
    assert called(script, path, "--images", folder, "--count", 1, "--unconstrained", loose) == 0
    assert "unconstrained" not in load_facts(path)


def test_other_settings_are_told():
    other = {**changed(LOOSE, settings__steps=6000, settings__seed=1), "sha256": "0"}
    found = unconstrained_facts(FACTS, other, "other")
    assert found["other_settings"] == {"seed": [0, 1]}
    assert found["steps"] == 6000
    assert "psnr_output_of_each" not in found["validation"]
    card = card_text("small", {**FACTS, "sha256": "0", "unconstrained": found})
    assert "differ in other settings too (with, without): seed 0 and 1." in card
    assert "| steps | 8000 | 6000 |" in card
    assert "| product of the layers' norms | 1.9 | 17.5 |" in card


# ---- the card


def part(denoiser, above, not_converged=0):
    norms = {"mean": denoiser, "max": denoiser, "each": [denoiser]}
    facts = {"folder": "photos", "sigma": 5.0, "count": 20, "sizes": ["256×256"], "D": norms, "R": norms}
    return {**facts, "share_of_D_above_1": above, "not_converged": not_converged}


def with_norms(*parts, **changes):
    measured = dict(zip(("images", "noisy_images"), parts, strict=False))
    how = {"sigma": 5.0, "tolerance": 1e-4, "patience": 5}
    return {**FACTS, "sha256": "0", "nonexpansive": {**how, **measured}, **changes}


def test_the_card_says_that_a_denoiser_is_not_nonexpansive_and_never_that_it_is():
    above = card_text("small", with_norms(part(1.1, 0.25)))
    assert "**D isn't nonexpansive**" in above
    assert "| 20 images (photos, the middle 256×256) | 1.1000 | 1.1000 | 25% | 1.1000 | 1.1000 |" in above
    below = card_text("small", with_norms(part(0.99, 0.0)))
    assert "no proof for other images" in below
    assert "isn't nonexpansive" not in below
    for card in (above, below):
        assert "a lower bound of the norm" in card
        assert "limit of iterations" not in card
    assert "At 2 of the images the limit of iterations was met" in card_text("small", with_norms(part(0.99, 0.0, 2)))


def test_what_is_missing_leaves_its_section_out():
    card = card_text("small", {"sha256": "0"})
    headings = [line for line in card.splitlines() if line.startswith("## ")]
    assert headings == ["## Use", "## Licence"]
    measured = card_text("small", with_norms(part(1.1, 1.0)))
    assert "## How nonexpansive D is" in measured
    assert "## What the Lipschitz bound costs" not in measured
    assert "| these with noise of σ" not in measured
    assert "| these with noise of σ" in card_text("small", with_norms(part(1.1, 1.0), part(1.1, 1.0)))
    assert "D isn't shown to be nonexpansive" in card_text("small", {**FACTS, "sha256": "0"})


@pytest.mark.parametrize(
    ("psnr", "text"), [(36.75, "0.25 dB higher"), (36.4, "0.10 dB lower"), (36.501, "the same to 0.01 dB")]
)
def test_the_price_of_the_bound(psnr, text):
    other = unconstrained_facts(FACTS, {**changed(LOOSE, validation__psnr_output=psnr), "sha256": "0"}, "other")
    card = card_text("small", {**FACTS, "sha256": "0", "unconstrained": other})
    assert f"The same network, trained without the bound: its PSNR is {text}." in card
    assert "| PSNR with noise | 34.15 dB | 34.15 dB |" in card
    other["nonexpansive"] = {"images": part(3.0, 1.0)}
    card = card_text("small", with_norms(part(1.1, 1.0), part(1.1, 1.0), unconstrained=other))
    assert "| largest ‖J_D‖, 20 images (photos, the middle 256×256) | 1.1000 | 3.0000 |" in card


def test_several_noise_levels_are_a_table(conditional):
    card = conditional.with_suffix(".md").read_text()
    assert "It is told the noise level" in card
    assert "any σ from 5/255 to 10/255:" in card
    assert "| 5 | 34.15 | **35.00** | 0.85 |\n| 10 | 34.15 | **40.00** | 5.85 |\n" in card
    facts = load_facts(conditional)
    loose = changed(facts, lipschitz={"product": 17.5, "bound": None})
    loose["validation"][1]["psnr_output"] += 1
    facts["unconstrained"] = unconstrained_facts(facts, loose, "other")
    card = card_text("small", facts)
    assert "its PSNR is 0.50 dB higher" in card
    assert "| PSNR denoised, σ = 10/255 | 40.00 dB | 41.00 dB |" in card


def test_the_card_of_one_level_is_a_sentence():
    card = card_text("small", {**FACTS, "sha256": "0"})
    assert "4 images (others) with noise of σ = 5/255, whole" in card
    assert "34.15 dB\nwith noise, **36.50 dB** denoised, 2.35 dB" in card
    assert "It is told the noise level" not in card
    assert "any σ from" not in card


def test_the_card_says_that_noise_of_a_range_was_not_told():
    settings = {**FACTS["settings"], "lowest_sigma": 1.0, "network": "dncnn"}
    card = card_text("small", {**FACTS, "settings": settings, "sha256": "0"})
    assert "any σ from 1/255 to 5/255, which the network isn't told:" in card
    assert "loss\n(5/255 / σ) ‖R(x + n) − n‖²" in card


# ---- the weights that come with the package


@needs("bsd68")
def test_the_shipped_card_says_what_is_measured_at_an_image():
    torch.set_num_threads(len(available_cores()))
    network, facts = load_weights(weights_path("dncnn_sigma5"))
    found = facts["nonexpansive"]["images"]
    assert (found["folder"], found["count"], found["sizes"]) == ("bsd68", 20, ["128×128"])
    residual = frozen_residual(network, middle(load_images(SHARED / "bsd68")[4], 128))
    norm = linear_norm(lambda change: change - residual(change), torch.zeros(128, 128), tolerance=1e-3)
    near = np.abs(norm.value / np.array(found["D"]["each"]) - 1) < 2e-3
    assert near[4] and not near[5]  # of another image


def test_the_facts_are_plain_json(weights, script, folder):
    assert called(script, weights, "--images", folder, "--count", 1) == 0
    assert json.loads(weights.with_suffix(".json").read_text()) == load_facts(weights)
