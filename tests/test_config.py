"""Settings from the command line and from YAML: one declaration for both, and what is said of those that can't be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rich_click as click
from click.testing import CliRunner

from asyncred_gpu.cli.command import SettingsCommand, options_of
from asyncred_gpu.cli.main import group, main
from asyncred_gpu.config.comparison import CompareSettings
from asyncred_gpu.config.forms import form_of
from asyncred_gpu.config.read import SettingsError, make_settings
from asyncred_gpu.config.repeat import as_given, as_yaml
from asyncred_gpu.config.settings import ReconstructSettings, Settings


def written(folder: Path, text: str | bytes, name: str = "settings.yaml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, "tau: 1e-3\nsweeps: 4\nnoise-db: 50\nnonnegative: true\nblock: [30, 40]\nstep: block\n")
    settings = make_settings(ReconstructSettings, {"sweeps": "7"}, file)
    assert (settings.tau, settings.sweeps, settings.noise_db) == (0.001, 7.0, 50.0)
    assert (settings.nonnegative, settings.block, settings.step) == (True, (30, 40), "block")
    assert settings.seed == 0 and settings.momentum is None


def test_a_file_may_begin_as_windows_lets_it(tmp_path: Path) -> None:
    file = written(tmp_path, b"\xef\xbb\xbftau: 0.1\r\nsweeps: 3\r\n")
    assert make_settings(ReconstructSettings, {}, file).tau == 0.1


def test_null_and_an_empty_file_leave_the_defaults(tmp_path: Path) -> None:
    nothing = make_settings(ReconstructSettings, {})
    assert make_settings(ReconstructSettings, {}, written(tmp_path, "")) == nothing
    assert make_settings(ReconstructSettings, {}, written(tmp_path, "sweeps: null\ntau:\n")) == nothing


@pytest.mark.parametrize("kind", [ReconstructSettings, CompareSettings])
def test_every_setting_is_an_option_once(kind: type[Settings]) -> None:
    names = [option.name for option in options_of(kind)]
    assert sorted(names) == sorted(kind.model_fields)
    for option in options_of(kind):
        field = kind.model_fields[option.name]
        assert option.is_flag == (form_of(field) is None) == (field.annotation is bool)
        assert option.help.endswith("]") and option.panel in ("data", "beam", "method", "run")


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    words: dict[str, Any] = {"tau": "auto", "tuning": "held-out", "block": "20x30", "device": "cuda:0,cuda:1"}
    settings = make_settings(ReconstructSettings, words | {"input": "scan.h5", "center": "1.5", "quiet": True})
    file = written(tmp_path, as_yaml(as_given(settings), "asyncred reconstruct"))
    again = make_settings(ReconstructSettings, {}, file)
    assert again == settings.model_copy(update={"input": Path("scan.h5").absolute(), "quiet": False})


TRAPS = {
    # YAML 1.1 has 620, True and a duplicate that wins in silence.
    "10:20": "denoiser: 10:20\n",
    "no": "denoiser: no\n",
    "0x10": "denoiser: '0x10'\n",
}


@pytest.mark.parametrize("word", TRAPS)
def test_texts_stay_texts(word: str, tmp_path: Path) -> None:
    assert make_settings(ReconstructSettings, {}, written(tmp_path, TRAPS[word])).denoiser == word


WRONG_FILES: dict[str, tuple[str | bytes, str]] = {
    "unknown": ("tua: 0.1\n", "settings.yaml: tua isn't a setting. Is it tau?"),
    "unlike any": ("zzz: 1\n", "zzz isn't a setting. There are input, slice"),
    "another command's": ("search_sweeps: 9\n", "search_sweeps isn't a setting here, but of asyncred tune."),
    "a number for a text": ("theta: 180\n", "settings.yaml: theta: 180 isn't a text"),
    "lists in lists": ("[" * 1000, "isn't a file of settings: lists in lists"),
    "a device twice over": ("device: [cuda:0, cpu]\n", "settings.yaml: device: 'cpu' can't be, it takes auto, cpu"),
    "a file kind twice": ("save: [tif, tif]\n", "settings.yaml: save: 'tif,tif' names tif twice"),
    "twice": ("tau: 0.1\ntau: 0.2\n", 'settings.yaml isn\'t YAML: line 2, found duplicate key "tau"'),
    "twice, written otherwise": ("noise_db: 3\nnoise-db: 4\n", "sets noise_db twice. Leave one out"),
    "a list": ("- tau\n- sweeps\n", "holds a list, not settings. Write one a line, as tau: 0.05"),
    "a number": ("3\n", "holds one value, not settings"),
    "open bracket": ("block: [1, 2\n", "settings.yaml isn't YAML"),
    "a tab": ("tau:\t- 1\n\t- 2", "settings.yaml isn't YAML"),
    "a python object": ("tau: !!python/object:os.system 1\n", "settings.yaml isn't YAML"),
    "latin": (b"denoiser: caf\xe9\n", "isn't a text in UTF-8"),
    "negative": ("tau: -1\n", "settings.yaml: tau: -1 is out of range, it takes more than 0"),
    "infinite": ("tau: .inf\n", "settings.yaml: tau: inf isn't finite"),
    "a switch for a number": ("sweeps: true\n", "settings.yaml: sweeps: 'True' isn't a number"),
    "a fraction": ("workers: 1.5\n", "settings.yaml: workers: '1.5' isn't a whole number"),
    "a map for a number": ("tau: {a: 1}\n", "settings.yaml: tau: \"{'a': 1}\" isn't a number, nor auto"),
    "a word for a switch": (
        "nonnegative: perhaps\n",
        "settings.yaml: nonnegative: 'perhaps' is neither true nor false",
    ),
    "three sides": ("block: [1, 2, 3]\n", "settings.yaml: block: '1x2x3' isn't a block"),
    "both kinds of scan": ("input: a.h5\nangles: 3\n", "--angles shape the simulated scan"),
}


@pytest.mark.parametrize("kind", WRONG_FILES)
def test_a_file_that_cannot_be_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    text, message = WRONG_FILES[kind]
    monkeypatch.chdir(tmp_path)
    written(tmp_path, text)
    assert main(["reconstruct", "--config", "settings.yaml"]) == 2
    out, err = capsys.readouterr()
    assert message in err and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["settings.yaml"]


def test_a_file_that_is_not_there_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent\.yaml doesn't exist\. Pass a YAML file of settings"):
        make_settings(ReconstructSettings, {}, tmp_path / "absent.yaml")
    with pytest.raises(SettingsError, match="isn't a file"):
        make_settings(ReconstructSettings, {}, tmp_path)
    with pytest.raises(SettingsError, match="has 2 MB: that isn't a file of settings"):
        make_settings(ReconstructSettings, {}, written(tmp_path, b" " * 2_000_000))
    if os.getuid():
        locked = written(tmp_path, "tau: 1\n", "locked.yaml")
        locked.chmod(0)
        with pytest.raises(SettingsError, match="Check its permissions"):
            make_settings(ReconstructSettings, {}, locked)


def test_help_has_the_sections_in_order() -> None:
    shown = CliRunner().invoke(group, ["reconstruct", "--help"], prog_name="asyncred")
    assert shown.exit_code == 0
    places = [shown.output.index(word) for word in ("data ─", "--input", "method ─", "--tau", "run ─", "free|ordered")]
    assert places == sorted(places)


def test_help_needs_no_torch() -> None:
    program = "import sys; from asyncred_gpu.cli.main import main; main({}); print('torch' in sys.modules)"
    for words, loaded in ((["--help"], "False"), (["reconstruct", "--help"], "False"), (["reconstruct", "x"], "True")):
        done = subprocess.run([sys.executable, "-c", program.format(words)], capture_output=True, text=True, timeout=60)
        assert done.stdout.splitlines()[-1] == loaded


def test_words_of_a_choice_are_completed() -> None:
    command = group.get_command(click.Context(group), "reconstruct")
    assert isinstance(command, SettingsCommand)
    (option,) = (option for option in command.params if option.name == "order")
    found = option.shell_complete(click.Context(command), "or")
    assert [item.value for item in found] == ["ordered"]


def test_a_negation_on_the_command_line_undoes_the_file(tmp_path: Path) -> None:
    seen: list[ReconstructSettings] = []
    command = SettingsCommand("try", ReconstructSettings, lambda settings, words: seen.append(settings) or 0, help="")
    file = written(tmp_path, "nonnegative: true\n")
    for words in ([], ["--no-nonnegative"]):
        command.main(["--config", str(file), *words], standalone_mode=False)
    assert [settings.nonnegative for settings in seen] == [True, False]
