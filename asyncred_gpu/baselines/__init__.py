"""What Async-RED is compared with, on the same operators, denoisers, history and stopping."""

from .bc_red import bc_red
from .fbp import fbp
from .full_gradient import FullGradient
from .gm_red import gm_red
from .pgm_tv import pgm_tv
from .sirt import sirt
from .sync_red import sync_red

__all__ = ["FullGradient", "bc_red", "fbp", "gm_red", "pgm_tv", "sirt", "sync_red"]
