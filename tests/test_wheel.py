"""The built wheel: kernels/ and models/ install into the package, with their data files, and nowhere else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ["pyproject.toml", "setup.cfg", "README.md", "LICENSE", "asyncred_gpu", "kernels", "models"]
PACKAGE_DATA = "[options.package_data]"
LISTED = "packages =\n    asyncred_gpu\n    asyncred_gpu.cli\n    asyncred_gpu.config\n"

pytestmark = pytest.mark.skipif(
    int(version("setuptools").split(".")[0]) < 77,
    reason=f"building needs setuptools >= 77 in this environment, it has {version('setuptools')}",
)


def copied(folder: Path) -> Path:
    """The sources on their own: a build writes beside them, and reuses what an earlier one left."""
    folder.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder / name)
    return folder


def built(sources: Path, into: Path) -> set[str]:
    """The names of the files in the wheel, without its metadata."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*command, "--wheel-dir", into, sources], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = into.glob("asyncred_gpu-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def expected(sources: Path) -> set[str]:
    """What must be inside: all code, and every file of models/weights."""
    inside = {"asyncred_gpu": "asyncred_gpu", "kernels": "asyncred_gpu/kernels", "models": "asyncred_gpu/models"}
    suffixes = {".py", ".typed", ".pyi", ".cu", ".cuh", ".h", ".cpp", ".html", ".css", ".js", ".txt"}
    return {
        f"{target}/{path.relative_to(sources / folder).as_posix()}"
        for folder, target in inside.items()
        for path in (sources / folder).rglob("*")
        if path.suffix in suffixes or path.parent.name == "weights"
    }


@pytest.mark.parametrize(
    ("found", "instead"),
    [
        (None, None),
        (PACKAGE_DATA, "[options.exclude_package_data]"),
        (LISTED, "packages = find:\nno_packages ="),
    ],
    ids=["as it is", "without package_data", "with find:"],
)
def test_the_wheel_holds_the_package_and_nothing_else(tmp_path, found, instead):
    sources = copied(tmp_path / "sources")
    if found is not None:
        setup = (sources / "setup.cfg").read_text()
        assert found in setup
        (sources / "setup.cfg").write_text(setup.replace(found, instead))
    names, wanted = built(sources, tmp_path / "wheel"), expected(sources)
    assert (names == wanted) == (found is None), f"missing {wanted - names}, too much {names - wanted}"


def test_what_is_expected_has_the_weights_and_the_marker_of_types():
    wanted = expected(ROOT)
    assert {"asyncred_gpu/py.typed", "asyncred_gpu/__init__.pyi"} <= wanted
    assert "asyncred_gpu/models/weights/dncnn_sigma5.safetensors" in wanted
    assert not {name for name in wanted if name.startswith(("kernels/", "models/"))}
