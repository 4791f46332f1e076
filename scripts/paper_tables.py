#!/usr/bin/env python
"""The experiments of the Async-RED paper and its supplement, the paper's numbers beside ours. `--help`: options.

python scripts/paper_tables.py --quick --images FOLDER                          one image, minutes on two cores
python scripts/paper_tables.py --full --images FOLDER --denoiser weights.npz    six images, all tables and figures

FOLDER holds Set12's first six images, 01.png to 06.png. Writes Markdown, JSON and figures into docs/results/.
"""

import sys

from asyncred_gpu.paper.main import main

if __name__ == "__main__":
    sys.exit(main())
