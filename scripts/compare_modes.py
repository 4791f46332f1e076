#!/usr/bin/env python
"""Compare RED on the GPU and the CPU: `asyncred compare`, whose options `--help` lists.

python scripts/compare_modes.py                   a simulated scan of an 800×800 retina
python scripts/compare_modes.py --problem cs      block compressed sensing
python scripts/compare_modes.py --input scan.h5   a measured scan
"""

import sys

from asyncred_gpu.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
