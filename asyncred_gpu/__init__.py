"""Asynchronous regularization by denoising (Async-RED) for large computed tomography and compressed sensing.

The public names are in __init__.pyi, and each is imported when it is first used: `asyncred --help` needs no torch.
"""

import logging

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
logging.getLogger(__name__).addHandler(logging.NullHandler())  # silent until the program asks
