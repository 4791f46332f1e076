"""The peers' virtual environments, made in the work folder with pinned versions; ours is the interpreter running this.

deepinv needs torchvision, which must be built for its torch: these two are PyPI's pair, a CUDA build of several GB
where pip finds no other, which runs on the CPU. SCICO 0.0.7 asks for jax ≤ 0.8.1.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# pip is called once a line: torchvision first, so that nothing takes another torch later.
PINS: dict[str, tuple[tuple[str, ...], ...]] = {
    "deepinv": (("torch==2.14.1", "torchvision==0.29.1"), ("deepinv==0.5.0", "astra-toolbox==2.5.0")),
    "scico": (
        ("scico==0.0.7", "jax==0.8.1", "jaxlib==0.8.1", "flax==0.12.0", "astra-toolbox==2.5.0", "svmbir==0.5.0"),
    ),
}


class InstallError(RuntimeError):
    """An environment that couldn't be made."""


def interpreter(folder: Path, name: str | None) -> Path:
    """The Python of this environment, which is made if it isn't there with these pins.

    Raises:
        InstallError: pip failed; its last lines.
    """
    if name is None:
        return Path(sys.executable)
    place, pins = folder / name, "\n".join(" ".join(line) for line in PINS[name])
    python, ready = place / "bin" / "python", place / "pins.txt"
    if ready.exists() and ready.read_text() == pins:
        return python
    print(f"making {place}: {pins}".replace("\n", " "), flush=True)
    _call([sys.executable, "-m", "venv", "--clear", str(place)])
    for line in PINS[name]:
        _call([str(python), "-m", "pip", "install", "--quiet", *line])
    ready.write_text(pins)
    return python


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise InstallError(f"{' '.join(command)} failed:\n{last}\nMake the environment by hand, or leave it out.")
