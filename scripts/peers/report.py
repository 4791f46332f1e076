"""A problem's report, its numbers as JSON, and the figure. Every sentence that judges comes from the numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asyncred_gpu.precision import resolve_precision
from asyncred_gpu.processor import processor_name

from .figure import peers_figure
from .methods import METHODS, OURS, OURS_PNP
from .search import Tuned, at_an_end
from .verdict import BELOW, Curve, Row, compare, sentences, table

HEAD = """\
# Other methods and packages, side by side: {title}

Which method gets to a given SNR first, on the same machine, cores, data, start image and denoiser weights?
`python scripts/bench_peers.py {arguments}`, on {cores} cores of {processor}; {budget:g} s a run.

![SNR against seconds]({name}.png)

"""

HOW = """\
## How it was measured

- **Data.** The retina in [0, 1], projected; white noise of {noise_db:g} dB. Packages place their rays differently
  (SCICO's JAX projector up to 0.35 pixel from Joseph's), so each has data made by *its own* projector, from the same
  image and the same noise realisation, scaled to the same input SNR; all look from the same directions. All begin at
  the same image, our FBP of our data.
- **Denoiser.** The same weights (`dncnn`, σ = {sigma:g}), intensity scale and mirrored border for all. Where
  convolutions are faster in bfloat16, ours and all that use torch take it, but for the authors' structure (float32,
  as theirs); JAX has float32.
- **Clock.** The solver alone. What comes before is *setup*, beside it: norms, matrices, compilation, a first call,
  starting processes. The clock stands still while an SNR is computed; ours doesn't, and has what is done to the start
  image before the workers start added: bringing it to the data, and its projection. Every method is a process with
  {cores} cores, and has the same settings of glibc's allocator as our workers.
- **Settings** are tuned, for ours as for all others, on another image, scikit-image's camera ({tuned_on}),
  with {tune:g} s a trial: one setting after the other, twice if there are several; the value that first comes within
  {below} dB of the best SNR of its row. Where the best is at an end of the grid of τ or what plays its part, of
  conjugate gradients or of the authors' step, the grid goes on, to a limit. {ends}
- **ADMM's conjugate gradients** by hand and in SCICO may be preconditioned with the scan's point spread, by FFT, which
  is one of their settings, which we wrote for them; one row has SCICO's without. deepinv's take no preconditioner.
- **The best SNR** is the highest on the way: whoever peaks early is taken to have stopped there. The common level of
  a row is {below} dB below the lower one of its best SNR and ours.
- **The machine** may be shared: others kept {others:.2f} cores busy on average in the run they disturbed most.{verdict}
- deepinv's `TomographyWithAstra` runs on CUDA only, so deepinv has its own CPU operator, and in one row ASTRA on
  processes as by hand.

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
        name: of its files.
        curves, tuning: by the methods' names.
        tuned_on: the tuning problem in words.
    """

    name: str
    title: str
    curves: Mapping[str, Curve]
    tuning: Mapping[str, Tuned]
    tuned_on: str

    def beside(self, ours: str) -> list[Row]:
        """The table of this method and all others."""
        titles = {name: METHODS[name].title for name in self.curves}
        return compare(titles, self.curves, ours)

    @property
    def rows(self) -> list[Row]:
        """The table, ours first."""
        return self.beside(OURS)


def report_text(found: Found, facts: Mapping[str, Any]) -> str:
    """The whole Markdown."""
    rows, curves = found.rows, list(found.curves.values())
    others = max((float(curve.facts.get("others_cores", 0.0)) for curve in curves), default=0.0)
    verdict = DISTURBED if others > MOST_OTHERS else ""
    head = HEAD.format(**facts, title=found.title, name=found.name)
    how = HOW.format(**facts, below=BELOW, others=others, verdict=verdict, tuned_on=found.tuned_on, ends=_ends(found))
    versions = f"Versions: {_versions(curves)}."
    said = f"{table(rows)}\n\n{sentences(rows)}\n\n{_beside_pnp(found)}"
    return f"{head}{said}{how}{_settings_table(found)}\n{versions}\n"


def _beside_pnp(found: Found) -> str:
    """The same once more, beside ours with plug-and-play's solution: nothing, if that wasn't run."""
    curve = found.curves.get(OURS_PNP)
    if curve is None or curve.failure:
        return ""
    rows = found.beside(OURS_PNP)
    return (
        f"## Beside ours with prior='pnp', whose solution is plug-and-play's\n\n{table(rows)}\n\n{sentences(rows)}\n\n"
    )


def _ends(found: Found) -> str:
    """Every setting whose best might lie further on."""
    named = [
        f"{METHODS[name].title}: {setting} {tuned.settings[setting]} ({end})"
        for name, tuned in found.tuning.items()
        for setting, end in at_an_end(tuned).items()
    ]
    if not named:
        return "No best value is at an end of those tried."
    return f"Still at an end of the values tried are: {'; '.join(named)}."


def _settings_table(found: Found) -> str:
    """What was tuned."""
    lines = ["| method | settings |", "|---|---|"]
    for name, tuned in found.tuning.items():
        chosen = ", ".join(f"{axis.name} {tuned.settings[axis.name]}" for axis in METHODS[name].axes)
        lines.append(f"| {METHODS[name].title} | {chosen} |")
    return "\n".join(lines) + "\n"


def _versions(curves: Sequence[Curve]) -> str:
    """Every package with the versions that ran."""
    seen: dict[str, set[str]] = {}
    for curve in curves:
        for name, version in curve.facts.get("versions", {}).items():
            seen.setdefault(name, set()).add(version)
    return ", ".join(f"{name} {' and '.join(sorted(versions))}" for name, versions in seen.items() if name != "cores")


def write_report(folder: Path, found: Found, facts: Mapping[str, Any]) -> Path:
    """The problem's .md, .png and .json; the path of the first."""
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{found.name}.md"
    page.write_text(report_text(found, facts))
    content = {
        "facts": dict(facts),
        "title": found.title,
        "tuned_on": found.tuned_on,
        "rows": [asdict(row) | {"ratio": row.ratio} for row in found.rows],
        "trials": {name: dict(curve.facts) for name, curve in found.curves.items()},
    }
    page.with_suffix(".json").write_text(json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n")
    peers_figure(found.title, found.curves).savefig(page.with_suffix(".png"), dpi=110)
    return page


def processor() -> str:
    """Its name, and whether it is faster in bfloat16."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return processor_name()
    widest = next((name for name in ("avx512f", "avx2") if name in flags), "no AVX2")
    return f"{processor_name()} ({widest.upper()}, the denoiser in {resolve_precision('auto')})"
