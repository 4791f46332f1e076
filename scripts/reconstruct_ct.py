#!/usr/bin/env python
"""Reconstruct a CT slice, and draw what came out: `asyncred reconstruct`, whose options `--help` lists.

python scripts/reconstruct_ct.py                            a simulated scan of an 800×800 retina
python scripts/reconstruct_ct.py --input scan.h5 --slice 0  a measured one
"""

import sys

from asyncred_gpu.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["reconstruct", *sys.argv[1:]]))
