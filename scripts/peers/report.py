"""The report: peers.md, its numbers as peers.json. Every sentence that judges comes from the numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asyncred_gpu.precision import resolve_precision
from asyncred_gpu.processor import processor_name

from .methods import METHODS, OURS
from .verdict import BELOW, Curve, Row, compare, sentences, table

HEAD = """\
# Other methods and packages, side by side

`python scripts/bench_peers.py {arguments}`: which method gets to a given SNR first, on the same machine, cores, data,
start image and denoiser weights? Measured on {cores} cores of {processor}; {budget:g} s a run.

![SNR against seconds](peers.png)

"""

HOW = """\
## How it was measured

- **Data.** The retina in [0, 1], projected; white noise of {noise_db:g} dB. Packages place their rays differently
  (SCICO's JAX projector up to 0.35 pixel from Joseph's), so each has data made by *its own* projector, from the same
  image and the same noise realisation, scaled to the same input SNR. All begin at the same image, our FBP of our data.
- **Denoiser.** The same weights (`dncnn`, σ = {sigma:g}), intensity scale and mirrored border for all. Where the
  processor multiplies bfloat16 natively, ours and all that use torch take it, but for the authors' structure (float32,
  as theirs); JAX has float32.
- **Clock.** The solver alone. What comes before is *setup*, beside it: norms, matrices, compilation, a first call,
  starting processes. The clock stands still while an SNR is computed; ours doesn't, and has the projection of the
  start image added, which the others do under the clock. Every method is a process with {cores} cores.
- **Settings** are tuned, for ours as for all others, on another image, scikit-image's camera ({tuned_on}),
  with {tune:g} s a trial: one setting after the other, twice if there are several; the value that first comes within
  {below} dB of the best SNR of its row. Where the best is at an end of the grid of τ or what plays its part, the grid
  goes on.
- **The best SNR** is the highest on the way: whoever peaks early is taken to have stopped there. The common level of
  a row is {below} dB below the lower one of its best SNR and ours.
- **The machine** may be shared: others kept {others:.2f} cores busy on average in the run they disturbed
  most.{verdict}
- deepinv's `TomographyWithAstra` runs on CUDA only, so deepinv has its own CPU operator.

## Settings found

"""
# Cores that others may keep busy; more, and methods whose threads wait for each other lose most.
MOST_OTHERS = 0.2
DISTURBED = """
  **That is too much**: threads that wait for each other (torch's, XLA's) suffer more than processes that don't, as
  ours. Don't trust these times; repeat the runs on a machine that is free, with `--again`."""


@dataclass(frozen=True)
class Found:
    """A problem's results.

    Args:
        curves, settings: by the methods' names.
        tuned_on: the tuning problem in words.
    """

    title: str
    curves: Mapping[str, Curve]
    settings: Mapping[str, Mapping[str, Any]]
    tuned_on: str

    @property
    def rows(self) -> list[Row]:
        """The table, ours first."""
        titles = {name: METHODS[name].title for name in self.curves}
        return compare(titles, self.curves, OURS)


def report_text(found: list[Found], facts: Mapping[str, Any]) -> str:
    """The whole Markdown."""
    parts = [HEAD.format(**facts)]
    for each in found:
        rows = each.rows
        parts.append(f"## {each.title}\n\n{table(rows)}\n\n{sentences(rows)}\n\n")
    curves = [curve for each in found for curve in each.curves.values()]
    others = max((float(curve.facts.get("others_cores", 0.0)) for curve in curves), default=0.0)
    verdict = DISTURBED if others > MOST_OTHERS else ""
    tuned_on = "; ".join(f"{each.tuned_on} for {each.title}" for each in found)
    parts.append(HOW.format(**facts, below=BELOW, others=others, verdict=verdict, tuned_on=tuned_on))
    parts.append(_settings_table(found))
    parts.append(f"\nVersions: {_versions(curves)}.\n")
    return "".join(parts)


def _settings_table(found: list[Found]) -> str:
    """What was tuned, a column a problem."""
    lines = ["| method | " + " | ".join(each.title for each in found) + " |", "|---|" + "---|" * len(found)]
    for name in found[0].settings:
        cells = [
            ", ".join(f"{axis.name} {each.settings[name][axis.name]}" for axis in METHODS[name].axes) for each in found
        ]
        lines.append(f"| {METHODS[name].title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _versions(curves: list[Curve]) -> str:
    """Every package with the versions that ran."""
    seen: dict[str, set[str]] = {}
    for curve in curves:
        for name, version in curve.facts.get("versions", {}).items():
            seen.setdefault(name, set()).add(version)
    return ", ".join(f"{name} {' and '.join(sorted(versions))}" for name, versions in seen.items() if name != "cores")


def write_report(folder: Path, found: list[Found], facts: Mapping[str, Any]) -> None:
    """peers.md and peers.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "peers.md").write_text(report_text(found, facts))
    problems = [
        {
            "title": each.title,
            "tuned_on": each.tuned_on,
            "rows": [asdict(row) | {"ratio": row.ratio} for row in each.rows],
            "trials": {name: dict(curve.facts) for name, curve in each.curves.items()},
        }
        for each in found
    ]
    content = {"facts": dict(facts), "problems": problems}
    (folder / "peers.json").write_text(json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n")


def processor() -> str:
    """Its name, and whether it multiplies bfloat16."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return processor_name()
    widest = next((name for name in ("avx512f", "avx2") if name in flags), "no AVX2")
    native = resolve_precision("auto") == "bfloat16"
    return f"{processor_name()} ({widest.upper()}, bfloat16 {'native' if native else 'not native'})"
