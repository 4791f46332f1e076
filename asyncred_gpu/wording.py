"""An error in one line and in the words of the command line: block_shape=(64, 64) is --block 64x64 there. Pure.

Only a known argument with a value as Python shows it is taken for one, so that a path keeps its letters.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping

from .choices import CRITERIA

# Arguments of the library by the option's name, where that isn't the same.
RENAMED = {
    **{"block_shape": "block", "image_shape": "size", "max_sweeps": "sweeps", "num_workers": "workers"},
    "detector_tilt": "tilt",
}
SAME = (
    *("axes", "at_once", "blocks_per_launch", "center", "checkpoint_every", "continuation", "dark", "data_updates"),
    *(
        "dataset",
        "denoiser",
        "detector_distance",
        "device",
        "every",
        "field_of_view",
        "intensity_scale",
        "max_staleness",
        "method",
    ),
    *("minibatch", "momentum", "order", "pad", "precision", "prior", "resume", "seed", "sigma", "sigmas", "size"),
    *(
        "shifts",
        "slices",
        "source_distance",
        "step",
        "tau",
        "taus",
        "theta",
        "time_limit",
        "tol",
        "values",
        "warm_start",
        "warm_sweeps",
        "white",
    ),
)
OF_TRAINING = ("batch", "clip_every", "learning_rate", "lipschitz", "lowest_sigma", "network", "patch", "phantoms")
OPTIONS: Mapping[str, str] = RENAMED | {
    name: name.replace("_", "-") for name in (*SAME, *OF_TRAINING, "start", "steps")
}

# As `repr` writes them; nothing where the value is left to the reader.
VALUE = r"'[^']*'|\"[^\"]*\"|\([^()]*\)|\[[^\[\]]*\]|[-+]?\d[\d.]*(?:e[-+]?\d+)?|nan|inf|None|True|False|"
END = r"(?=[.,;:)]*(?:\s|$))"
GIVEN = re.compile(rf"(?<![^\s(])({'|'.join(OPTIONS)})=({VALUE}){END}")
NAMED = re.compile(rf"(?<![^\s(])({'|'.join(name for name in OPTIONS if '_' in name)}){END}")
NONE = re.compile(r",? or None\b[^.,;]*")

# What to do about an error of the system.
REMEDIES = {
    errno.ENOSPC: "Free some space",
    errno.EDQUOT: "Free some space",
    errno.EACCES: "Check its permissions",
    errno.EPERM: "Check its permissions",
    errno.EROFS: "Pass a place you may write to",
    errno.ENAMETOOLONG: "Pass a shorter name",
}


def said(error: BaseException, renamed: Mapping[str, str] | None = None) -> str:
    """For whoever typed a command.

    Args:
        renamed: options that the command calls otherwise than others do, by the argument.
    """
    if isinstance(error, OSError) and error.strerror is not None:  # the system's own words, not ours
        where = "" if error.filename is None else f"{error.filename}: "
        return one_line(f"{where}{error.strerror}. {REMEDIES.get(error.errno or 0, 'Check the path')}.")
    if isinstance(error, MemoryError) and not str(error):
        return "there isn't enough memory. Use a smaller --size, or fewer --workers."
    return as_typed(one_line(str(error)), renamed)


def reason_of(error: BaseException) -> str:
    """Another library's error, for the brackets in ours."""
    text = one_line(str(error)) or type(error).__name__
    if "pickle" in text or "Python objects" in text:  # NumPy's advice is to load them all the same
        return "it isn't an array of numbers"
    return f"it has no {text}" if isinstance(error, KeyError) else text


def one_line(text: str) -> str:
    """Line breaks, which a file's name or another library's message may have, as spaces."""
    return re.sub(r"\s*[\r\n\t]\s*", " ", text).strip()


def duration(seconds: float) -> str:
    """As exact as an estimate is."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def as_typed(text: str, renamed: Mapping[str, str] | None = None) -> str:
    """Arguments of Python as options."""
    options = {**OPTIONS, **(renamed or {})}
    text = GIVEN.sub(lambda found: _given(found[1], options[found[1]], found[2]), text)
    text = NAMED.sub(lambda found: f"--{options[found[1]]}", text)
    return NONE.sub(", or leave it out", text)


def _given(name: str, option: str, value: str) -> str:
    bare = value.strip("'\"")
    if name == "method" and bare in CRITERIA:
        option = "tuning"
    if bare == "None":
        return f"no --{option}"
    if value[:1] in ("(", "["):
        parts = [part.strip().strip("'\"") for part in value[1:-1].split(",")]
        bare = ("x" if value[0] == "(" else ",").join(part for part in parts if part)
    return f"--{option} {bare}".rstrip()
