"""Training the denoiser: images, steps, checkpoints, and the script's answers to bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from asyncred_gpu import train
from asyncred_gpu.cli.main import main
from asyncred_gpu.models import ConditionalDnCNN, DnCNN, load_weights, training
from asyncred_gpu.models.images import load_images, random_patches, rescaled
from asyncred_gpu.models.lipschitz import lipschitz_bound
from asyncred_gpu.models.quality import psnr_before_after
from asyncred_gpu.models.training import Trainer
from asyncred_gpu.models.training_settings import TrainingSettings

from .helpers import blobs

SETTINGS = TrainingSettings(
    sigma=25, steps=30, patch=16, batch=4, learning_rate=2e-2, lipschitz=4.0, clip_every=5, precision="float32"
)


@pytest.fixture(autouse=True)
def quick(monkeypatch, one_thread):
    """A small network and one thread: quick, and sums come in one order."""
    monkeypatch.setattr(training, "DnCNN", lambda: DnCNN(3, 16))
    monkeypatch.setattr(training, "ConditionalDnCNN", lambda: ConditionalDnCNN(3, 16))


@pytest.fixture
def script():
    return train


@pytest.fixture
def images():
    return [torch.from_numpy(blobs(40, 36, seed)) for seed in range(3)]


@pytest.fixture
def folder(tmp_path, images):
    path = tmp_path / "images"
    path.mkdir()
    for index, image in enumerate(images):
        Image.fromarray((255 * image.numpy()).astype(np.uint8)).save(path / f"{index}.png")
    return path


# ---- images


def test_images_are_read_in_the_order_of_their_names_and_in_zero_to_one(folder, images):
    read = load_images(folder)
    differences = [float((found - image).abs().max()) for found, image in zip(read, images, strict=True)]
    assert max(differences) <= 1 / 255 < float((read[0] - images[1]).abs().max())


def test_small_images_are_left_out_of_the_scales(images):
    assert [tuple(image.shape) for image in rescaled(images[:1], (1.0, 0.5), 16)] == [(40, 36), (20, 18)]
    assert [tuple(image.shape) for image in rescaled(images[:1], (1.0, 0.5), 19)] == [(40, 36)]


def test_patches_are_flipped_and_turned_pieces_of_the_images():
    image = torch.arange(20.0 * 20).reshape(20, 20)
    patches = random_patches([image], 64, 8, torch.Generator().manual_seed(0))
    assert patches.shape == (64, 1, 8, 8)
    corners = patches[:, 0, :2, :2]
    directions = torch.stack((corners[:, 0, 1] - corners[:, 0, 0], corners[:, 1, 0] - corners[:, 0, 0]), dim=1)
    assert len(directions.unique(dim=0)) == 8
    for patch in patches:
        row, col = divmod(int(patch.min()), 20)
        assert torch.equal(patch.flatten().sort()[0], image[row : row + 8, col : col + 8].flatten())


# ---- steps and checkpoints


@pytest.mark.parametrize("wrong", [False, True], ids=["as it is", "learning rate almost zero"])
def test_a_few_steps_reduce_the_loss(images, wrong):
    rate = 1e-9 if wrong else SETTINGS.learning_rate
    losses: list[float] = []
    trainer = Trainer(TrainingSettings(**{**vars(SETTINGS), "learning_rate": rate, "steps": 100}), images)
    trainer.run(lambda step, loss: losses.append(loss))
    assert len(losses) == trainer.step == 100
    assert (np.mean(losses[-20:]) < 0.7 * np.mean(losses[:20])) == (not wrong)


def test_training_denoises_an_image_it_has_not_seen(images):
    trainer = Trainer(TrainingSettings(**{**vars(SETTINGS), "steps": 120}), images)
    unseen = torch.from_numpy(blobs(40, 40, seed=9))
    before = psnr_before_after(trainer.network, unseen, SETTINGS.sigma, seed=0)
    trainer.run()
    after = psnr_before_after(trainer.network, unseen, SETTINGS.sigma, seed=0)
    assert before[0] == after[0] == pytest.approx(20 * np.log10(255 / 25), abs=0.3)
    assert before[1] < before[0] + 1 < after[1]


def test_finish_makes_the_bound_hold(images):
    trainer = Trainer(SETTINGS, images)
    trainer.run()
    with torch.no_grad():
        trainer.network.layers[1].weight.mul_(10)
    assert lipschitz_bound(trainer.network) > 4
    assert trainer.finish() == lipschitz_bound(trainer.network) <= 4


def trained_in_two_parts(images, path, change=lambda state: None):
    first = Trainer(SETTINGS, images)
    first.run(until=13)
    first.save(path)
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    second = Trainer(SETTINGS, images)
    second.resume(path)
    second.run()
    return second


def other_noise(state):
    state["random"] = torch.Generator().manual_seed(99).get_state()


def no_moments(state):
    state["optimizer"]["state"] = {}


@pytest.mark.parametrize("wrong", [None, other_noise, no_moments])
def test_a_resumed_run_gives_the_same_bits(images, tmp_path, wrong):
    whole = Trainer(SETTINGS, images)
    whole.run()
    parts = trained_in_two_parts(images, tmp_path / "run.pt", wrong or (lambda state: None))
    assert parts.step == whole.step == 30
    same = all(map(torch.equal, whole.network.parameters(), parts.network.parameters()))
    assert same == (wrong is None)


def test_time_is_counted_over_all_parts_or_called_unknown(images, tmp_path):
    path = tmp_path / "run.pt"
    assert trained_in_two_parts(images, path, lambda state: state.update(seconds=1000.0)).seconds > 1000
    assert trained_in_two_parts(images, path, lambda state: state.pop("seconds")).seconds is None


def test_a_checkpoint_of_other_settings_is_refused(images, tmp_path):
    Trainer(SETTINGS, images).save(tmp_path / "run.pt")
    other = Trainer(TrainingSettings(**{**vars(SETTINGS), "steps": 31}), images)
    with pytest.raises(ValueError, match=r"other settings \(then, now\): \{'steps': \(30, 31\)\}"):
        other.resume(tmp_path / "run.pt")


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), "is damaged, or no checkpoint"),
        (lambda path: path.write_text("no checkpoint"), "is damaged, or no checkpoint"),
        (lambda path: path.write_bytes(b""), "is damaged, or no checkpoint"),
        (lambda path: torch.save({"step": 3, "settings": {}}, path), "has no network, optimizer, random, schedule"),
        (lambda path: torch.save(torch.zeros(3), path), "isn't a checkpoint of a training run"),
    ],
    ids=["truncated", "text", "empty", "other dictionary", "tensor"],
)
def test_a_spoilt_checkpoint_is_refused(images, tmp_path, spoil, text):
    path = tmp_path / "run.pt"
    Trainer(SETTINGS, images).save(path)
    spoil(path)
    with pytest.raises(ValueError, match=text):
        Trainer(SETTINGS, images).resume(path)


def test_a_diverging_run_stops(images):
    trainer = Trainer(SETTINGS, images)
    with torch.no_grad():
        trainer.network.layers[0].weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="loss is nan at step 1: training diverged"):
        trainer.run()


def test_a_checkpoint_of_another_device_is_refused(images, tmp_path):
    Trainer(SETTINGS, images).save(tmp_path / "run.pt")
    state = torch.load(tmp_path / "run.pt", weights_only=True)
    torch.save(state | {"device": "cuda"}, tmp_path / "run.pt")
    with pytest.raises(ValueError, match="was trained on cuda, this run is on cpu"):
        Trainer(SETTINGS, images).resume(tmp_path / "run.pt")


def test_a_checkpoint_from_before_a_setting_existed_goes_on(images, tmp_path):
    Trainer(SETTINGS, images).save(tmp_path / "run.pt")
    state = torch.load(tmp_path / "run.pt", weights_only=True)
    del state["settings"]["phantoms"]
    torch.save(state, tmp_path / "run.pt")
    Trainer(SETTINGS, images).resume(tmp_path / "run.pt")
    other = Trainer(TrainingSettings(**{**vars(SETTINGS), "phantoms": 2}), images)
    with pytest.raises(ValueError, match=r"\{'phantoms': \(0, 2\)\}"):
        other.resume(tmp_path / "run.pt")


# ---- variants: a start, no bound, many levels


def test_training_goes_on_from_given_weights(images):
    first = Trainer(TrainingSettings(**{**vars(SETTINGS), "steps": 120}), images)
    first.run()
    unseen = torch.from_numpy(blobs(40, 40, seed=9))
    once = TrainingSettings(**{**vars(SETTINGS), "steps": 1, "learning_rate": 1e-6})
    quality = []
    for start in (first.network, None):
        trainer = Trainer(once, images, start)
        trainer.run()
        quality.append(psnr_before_after(trainer.network, unseen, SETTINGS.sigma, seed=0)[1])
    assert quality[0] == pytest.approx(psnr_before_after(first.network, unseen, SETTINGS.sigma, seed=0)[1], abs=0.3)
    assert quality[0] > quality[1] + 1


def test_weights_of_another_network_to_start_from_are_refused(images):
    with pytest.raises(ValueError, match="to start from don't fit a dncnn"):
        Trainer(SETTINGS, images, DnCNN(4, 16))


def test_without_a_bound_nothing_is_clipped(images):
    free = Trainer(TrainingSettings(**{**vars(SETTINGS), "lipschitz": None}), images)
    bound = Trainer(SETTINGS, images)
    assert lipschitz_bound(free.network) > 10 > lipschitz_bound(bound.network)
    free.run()
    assert free.finish() == lipschitz_bound(free.network) > 10


CONDITIONAL = TrainingSettings(
    **{**vars(SETTINGS), "network": "dncnn-conditional", "lowest_sigma": 5, "sigma": 50, "steps": 250, "batch": 8}
)


def test_a_conditional_network_learns_what_the_level_means(images):
    trainer = Trainer(CONDITIONAL, images)
    trainer.run()
    assert trainer.finish() == lipschitz_bound(trainer.network) <= 4
    unseen = torch.from_numpy(blobs(40, 40, seed=9))

    def quality(noise, told):
        return psnr_before_after(trainer.network.at(told / 255), unseen, noise, seed=0)[1]

    for right, wrong in ((10, 45), (45, 10)):
        before = psnr_before_after(trainer.network.at(1.0), unseen, right, seed=0)[0]
        assert quality(right, right) > before + 1
        assert quality(right, right) > quality(right, wrong) + 0.5


def test_weaker_noise_beside_the_strongest_leaves_clean_images_as_they_are(images):
    strongest = replace(CONDITIONAL, network="dncnn", lowest_sigma=None)
    unseen = torch.from_numpy(blobs(40, 40, seed=9))
    quality = []
    for settings in (strongest, replace(strongest, lowest_sigma=5)):
        trainer = Trainer(settings, images)
        trainer.run()
        trainer.finish()
        quality.append(psnr_before_after(trainer.network, unseen, 5, seed=0)[1])
    assert quality[1] > quality[0] + 0.5


def test_the_noise_of_patches_covers_the_levels_asked_for(images):
    levels = torch.cat([Trainer(CONDITIONAL, images)._levels(2000), Trainer(SETTINGS, images)._levels(5)]) * 255
    assert 5 <= float(levels[:2000].min()) < 6
    assert 49 < float(levels[:2000].max()) <= 50
    assert torch.all(levels[2000:] == 25)


# ---- the script


def arguments(folder, tmp_path, **changes):
    paths = {"images": folder, "validation": tmp_path / "validation", "output": tmp_path / "weights"}
    paths["checkpoint"] = tmp_path / "runs" / "run.pt"
    options = paths | {"steps": 6, "patch": 16, "batch": 2, "precision": "float32", "threads": 1} | changes
    return [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture
def validation(tmp_path):
    path = tmp_path / "validation"
    path.mkdir()
    Image.fromarray((255 * blobs(32, 32, seed=8)).astype(np.uint8)).save(path / "a.png")
    return path


def test_the_script_writes_weights_facts_and_card_and_never_overwrites_unasked(
    script, folder, tmp_path, validation, capsys
):
    assert script.main(arguments(folder, tmp_path, validate_every=2, save_every=4)) == 0
    path = tmp_path / "weights" / "dncnn_sigma5.safetensors"
    network, facts = load_weights(path)
    assert facts["lipschitz"]["product"] == lipschitz_bound(network) <= 2
    assert facts["images"] == {"folder": "images", "count": 3, "phantoms": 0}
    assert facts["validation"]["count"] == 1
    after = psnr_before_after(network, load_images(validation)[0], 5.0, seed=0)[1]
    assert facts["validation"]["psnr_output"] == pytest.approx(after, abs=1e-3)
    assert "Mean PSNR on 1 images (validation)" in path.with_suffix(".md").read_text()

    written = path.stat().st_mtime_ns
    assert script.main(arguments(folder, tmp_path)) == 2
    assert "dncnn_sigma5.safetensors exists and isn't overwritten" in capsys.readouterr().err
    assert path.stat().st_mtime_ns == written


def test_a_checkpoint_from_elsewhere_at_its_last_step_goes_straight_to_the_weights(script, folder, tmp_path, capsys):
    settings = TrainingSettings(steps=6, patch=16, batch=2, precision="float32")
    trainer = Trainer(settings, load_images(folder))
    trainer.run()
    checkpoint = tmp_path / "elsewhere.pt"
    trainer.save(checkpoint)
    trainer.finish()

    options = arguments(folder, tmp_path, checkpoint=checkpoint)
    del options[2:4]  # no validation
    assert script.main(options) == 0
    network, facts = load_weights(tmp_path / "weights" / "dncnn_sigma5.safetensors")
    assert all(map(torch.equal, network.parameters(), trainer.network.parameters()))
    assert facts["seconds"] == trainer.seconds
    assert facts["validation"] is None
    assert "step " not in capsys.readouterr().out


def test_a_stopped_run_goes_on_to_the_same_weights(script, folder, tmp_path, validation, monkeypatch, capsys):
    assert script.main(arguments(folder, tmp_path, output=tmp_path / "whole", checkpoint=tmp_path / "whole.pt")) == 0

    def interrupt_at_step_3(trainer, *, advance=Trainer._advance):
        if trainer.step == 2:
            script.signal.raise_signal(script.signal.SIGINT)
        return advance(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_advance", interrupt_at_step_3)
        assert script.main(arguments(folder, tmp_path)) == 130
    assert "Stopped after step 3" in capsys.readouterr().out
    assert not list((tmp_path / "weights").iterdir())
    assert script.main(arguments(folder, tmp_path)) == 0
    whole, parts = (
        json.loads((tmp_path / name / "dncnn_sigma5.json").read_text())["sha256"] for name in ("whole", "weights")
    )
    assert whole == parts


def test_all_levels_are_trained_one_after_the_other_and_those_there_are_kept(
    script, folder, tmp_path, validation, capsys
):
    options = arguments(folder, tmp_path, sigma="all", checkpoint=tmp_path / "runs", steps=2)
    assert script.main(options) == 0
    names = [f"dncnn_sigma{sigma}" for sigma in (5, 10, 15, 20, 25)]
    assert sorted(path.stem for path in (tmp_path / "weights").glob("*.safetensors")) == sorted(names)
    assert sorted(path.stem for path in (tmp_path / "runs").glob("*.pt")) == sorted(names)
    noise = [json.loads((tmp_path / "weights" / f"{name}.json").read_text())["validation"] for name in names]
    assert [found["sigma"] for found in noise] == [5, 10, 15, 20, 25]
    assert [found["psnr_input"] for found in noise] == sorted((found["psnr_input"] for found in noise), reverse=True)

    for path in (tmp_path / "weights").glob("dncnn_sigma15.*"):
        path.unlink()
    capsys.readouterr()
    assert script.main(options) == 0
    said = capsys.readouterr().out
    assert said.count("exists and is kept") == 4
    assert "dncnn_sigma15.safetensors: Lipschitz value" in said


def test_a_conditional_network_is_measured_at_every_level(script, folder, tmp_path, validation, capsys):
    more = {"network": "dncnn-conditional", "lowest_sigma": 4, "sigma": 21, "phantoms": 3}
    assert script.main(arguments(folder, tmp_path, **more)) == 0
    network, facts = load_weights(tmp_path / "weights" / "dncnn_ct_conditional.safetensors")
    assert isinstance(network, ConditionalDnCNN)
    assert [found["sigma"] for found in facts["validation"]] == [5, 10, 15, 20]
    after = psnr_before_after(network.at(15 / 255), load_images(validation)[0], 15, seed=0)[1]
    assert facts["validation"][2]["psnr_output"] == pytest.approx(after, abs=1e-3)
    assert facts["lipschitz"]["product"] == lipschitz_bound(network) <= 2


def test_weights_without_a_bound_and_from_a_start_say_so(script, folder, tmp_path, validation):
    first = tmp_path / "weights" / "dncnn_sigma5.safetensors"
    assert script.main(arguments(folder, tmp_path)) == 0
    free = arguments(folder, tmp_path, lipschitz="none", start=first, checkpoint=tmp_path / "free.pt")
    assert script.main(free) == 0
    facts = load_weights(tmp_path / "weights" / "dncnn_unconstrained_sigma5.safetensors")[1]
    assert facts["lipschitz"]["bound"] is None
    assert facts["start"] == {"name": "dncnn_sigma5", "sha256": load_weights(first)[1]["sha256"]}
    assert "no bound was kept" in first.with_name("dncnn_unconstrained_sigma5.md").read_text()


def test_all_levels_go_on_from_a_folder_with_a_share_of_their_noise(script, folder, tmp_path, validation):
    natural = tmp_path / "weights"
    assert script.main(arguments(folder, tmp_path, sigma="all", steps=1)) == 0
    more = {"sigma": "all", "steps": 1, "phantoms": 2, "lowest_sigma": "20%", "start": natural}
    assert script.main(arguments(folder, tmp_path, **more)) == 0
    for sigma, lowest in ((5, 1), (10, 2), (15, 3), (20, 4), (25, 5)):
        facts = load_weights(natural / f"dncnn_ct_sigma{sigma}.safetensors")[1]
        first = load_weights(natural / f"dncnn_sigma{sigma}.safetensors")[1]
        assert facts["start"] == {"name": f"dncnn_sigma{sigma}", "sha256": first["sha256"]}
        assert facts["settings"]["lowest_sigma"] == pytest.approx(lowest)
        assert facts["settings"]["start"] == first["sha256"]


def write_text_as_image(folder):
    (folder / "b.png").write_text("no image")


def write_deep_image(folder):
    Image.fromarray(np.zeros((40, 40), np.uint16)).save(folder / "b.png")


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("change", "options", "text"),
    [
        (None, {"images": "nowhere"}, "nowhere doesn't exist, it must be a folder"),
        (None, {"images": __file__}, "is a file, it must be a folder"),
        (empty, {}, "holds no image"),
        (write_text_as_image, {}, "b.png can't be read as an image"),
        (write_deep_image, {}, "b.png has pixels of mode I;16, training images must have 8 bits"),
        (None, {"validation": "nowhere"}, "nowhere doesn't exist, it must be a folder"),
        (None, {"patch": 41}, "No training image holds a patch of 41×41 pixels"),
        (None, {"sigma": 0}, "--sigma 0.0 must be a number above 0"),
        (None, {"sigma": "nan"}, "--sigma nan must be a number above 0"),
        (None, {"steps": 0}, "--steps 0 must be a number above 0"),
        (None, {"batch": -1}, "--batch -1 must be a number above 0"),
        (None, {"learning_rate": "inf"}, "--learning-rate inf must be a number above 0"),
        (None, {"lipschitz": 0}, "--lipschitz 0.0 must be a number above 0"),
        (None, {"clip_every": 0}, "--clip-every 0 must be a number above 0"),
        (None, {"precision": "float16"}, "--precision float16 is unknown"),
        (None, {"threads": 0}, "--threads 0 must be at least 1"),
        (None, {"save_every": 0}, "--save-every 0 must be at least 1"),
        (None, {"output": __file__}, "can't be written to (Not a directory)"),
        (None, {"checkpoint": f"{__file__}/run.pt"}, "can't be written to"),
        (None, {"checkpoint": __file__}, "is damaged, or no checkpoint"),
        (None, {"lowest_sigma": 9}, "--lowest-sigma 9 is above --sigma 5"),
        (None, {"network": "dncnn-conditional"}, "--network dncnn-conditional with no --lowest-sigma"),
        (None, {"network": "dncnn-conditional", "lowest_sigma": 9}, "--lowest-sigma 9 is above --sigma 5"),
        (None, {"network": "dncnn-conditional", "lowest_sigma": 1, "sigma": "all"}, "one network a level"),
        (None, {"network": "unet"}, "--network unet is unknown"),
        (None, {"phantoms": -1}, "--phantoms -1 can't be. Pass a whole number from 0 to"),
        (None, {"seed": -1}, "--seed -1 can't be. Pass a whole number from 0 to"),
        (None, {"seed": 10**22}, f"--seed {10**22} can't be"),
        (None, {"device": "abacus"}, "--device abacus isn't known. Pass cpu, cuda, or cuda:N"),
        (None, {"checkpoint": Path(__file__).parent}, "tests is a folder. Pass a file in it"),
        (None, {"checkpoint": __file__, "sigma": "all"}, "is a file. Pass a folder, for a file of each --sigma"),
        (None, {"start": __file__}, "isn't a .safetensors file"),
        (None, {"start": "nowhere.safetensors"}, "nowhere.safetensors doesn't exist"),
        (None, {"start": Path(__file__).parent}, "dncnn_sigma5.safetensors doesn't exist"),
        (None, {"lowest_sigma": "101%"}, "--lowest-sigma 5.05 is above --sigma 5"),
        (None, {"device": "cuda:99"}, "--device cuda:99 isn't there"),
        (None, {"device": "mps"}, "--device mps can't train"),
    ],
)
def test_the_script_refuses_before_any_work(
    script, folder, tmp_path, validation, monkeypatch, capsys, change, options, text
):
    if change is not None:
        change(folder)
    monkeypatch.setattr(Trainer, "run", lambda *_: pytest.fail("training began"))
    assert script.main(arguments(folder, tmp_path, **options)) == 2
    err = capsys.readouterr().err
    assert text in err and err.startswith("error: ") and err.count("\n") == 1
    assert not (tmp_path / "weights").exists()


def test_words_that_are_no_numbers_are_named(script, capsys):
    for words, message in (
        (["--steps", "1.5"], "--steps: '1.5' isn't a whole number"),
        (["--sigma", "many"], "--sigma: 'many' isn't a number nor all"),
        (["--lowest-sigma", "x%"], "--lowest-sigma: 'x' isn't a number"),
        (["--images", ""], "--images: '' isn't a path"),
    ):
        with pytest.raises(SystemExit, match="2"):
            script.main(["--images", "nowhere", *words])
        assert message in capsys.readouterr().err


def no_space(*_):
    raise OSError(28, "No space left on device", "run.pt")


def test_a_checkpoint_that_cannot_be_written_is_said_and_training_goes_on(script, folder, tmp_path, validation, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "save", no_space)
        assert script.main(arguments(folder, tmp_path)) == 0
    err = capsys.readouterr().err
    assert "isn't kept; the checkpoint before is: run.pt: No space left on device. Free some space." in err
    assert (tmp_path / "weights" / "dncnn_sigma5.safetensors").exists()


def test_weights_that_cannot_be_written_are_a_failure(script, folder, tmp_path, validation, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asyncred_gpu.train.save_weights", lambda *_, **__: no_space())
        assert script.main(arguments(folder, tmp_path)) == 1
    assert capsys.readouterr().err == "error: run.pt: No space left on device. Free some space.\n"


def test_the_script_refuses_to_validate_on_training_images(script, folder, tmp_path, capsys):
    assert script.main(arguments(folder, tmp_path, validation=folder)) == 2
    assert "PSNR on images trained on says nothing" in capsys.readouterr().err


def test_the_script_names_what_argparse_misses(script, capsys):
    with pytest.raises(SystemExit, match="2"):
        script.main([])
    assert "--images" in capsys.readouterr().err


def test_the_command_passes_its_words_on(folder, validation, tmp_path, capsys):
    assert main(["train", "--help"]) == 0
    assert "usage: asyncred train" in capsys.readouterr().out
    assert main(["train", "--images"]) == 2
    assert capsys.readouterr().err == "error: argument --images: expected one argument. See --help.\n"
    assert main(["train", *arguments(folder, tmp_path)]) == 0
    assert list((tmp_path / "weights").glob("*.safetensors"))
