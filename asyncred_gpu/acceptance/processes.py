"""Commands as processes of their own, ended with all their children when their time is over."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# After the kill, to collect what was written.
GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Finished:
    """A command's end: its exit status, None if its time was over, and all it wrote."""

    returncode: int | None
    output: str

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.output.strip().splitlines()[-lines:])


def run_limited(
    command: Sequence[str], seconds: float, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> Finished:
    """Run it for at most that long; nothing of it is left afterwards.

    Raises:
        OSError: it can't be started.
    """
    process = subprocess.Popen(
        list(command),
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
        return Finished(process.returncode, output)
    except subprocess.TimeoutExpired:
        _end(process)
        output, _ = process.communicate(timeout=GRACE_SECONDS)
        return Finished(None, output)
    finally:  # also if this process is being interrupted
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Kill the command and its children, which are a group of their own, unless it has ended."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
