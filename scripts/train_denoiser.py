#!/usr/bin/env python
"""Train denoisers with a bounded Lipschitz constant: `asyncred train`, whose options `--help` lists.

python scripts/train_denoiser.py --images FOLDER --validation FOLDER --sigma all --checkpoint checkpoints
"""

import sys

from asyncred_gpu.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
