#!/usr/bin/env python
"""On a GPU machine: all checks, then measurements, then a report, in under 8 minutes and without a network.

python scripts/gpu_acceptance.py [--out docs/results] [--quick] [--commit …]

Writes gpu-<name of the GPU>.json and .md after every section; an older report is kept under a name with its date.
Exit status: 0 nothing failed (what was left out is listed; a speed aimed at and not reached is no failure), 1 something
failed, 2 no GPU. The package must be installed: docs/gpu-acceptance.md says how, also where there is no network.
"""

import sys
from pathlib import Path

from asyncred_gpu.acceptance.main import main

if __name__ == "__main__":
    sys.exit(main(root=Path(__file__).resolve().parents[1]))
