#!/usr/bin/env python
"""Reconstruct a CT slice by asynchronous RED, and draw what came out. `--help` lists the options.

python scripts/reconstruct_ct.py                            a simulated scan of an 800×800 retina
python scripts/reconstruct_ct.py --input scan.h5 --slice 0  a measured one (Data Exchange HDF5)
"""

import sys

from asyncred_gpu.reconstruct import main

if __name__ == "__main__":
    sys.exit(main())
