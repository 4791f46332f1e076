"""What the paper and its demo say: settings, and results in dB SNR.

Sun, Liu, Sun, Wohlberg, Kamilov, Async-RED, ICLR 2021, supplement, Tables 1 to 3; the authors' demo for τ, its 4356
rows and its halo.
"""

from __future__ import annotations

IMAGE_SIDE = 240
NAMES = ("cameraman", "house", "pepper", "starfish", "butterfly", "jet")
# The demo's, one an image, beside a data term that isn't normalized; for its σ = 5 network.
TAUS = (0.8007, 1.4991, 1.0867, 0.9312, 0.8857, 1.3197)
RATIO = 0.7  # m / n
INPUT_SNR = 30.0  # dB
SIDE = 80  # of a block, if nothing else is said

TABLE_1 = {120: {"average": 29.05, "cameraman": 27.77}, 80: {"average": 29.01, "cameraman": 27.75}}
TABLE_1 |= {60: {"average": 28.99, "cameraman": 27.74}}
TABLE_2 = {1120: 28.03, 2240: 28.51, 3360: 28.93}  # minibatch of 4480: average
TABLE_3 = {0: 28.89, 10: 29.00, 20: 29.01, "full": 29.01}  # pad: average

DEMO_ROWS = 4356
DEMO_CAMERAMAN = 27.72  # its fixed point with other random matrices, the whole image denoised
DEMO_CAMERAMAN_MIRRORED = 27.67  # likewise, with every block denoised by itself
DEMO_TOLERANCE = 0.15
# The demo from zeros with step 1/(2 + 2τ): SNR after so many sweeps, about.
DEMO_CURVE = {30: 5.0, 300: 22.0, 350: 27.7}


def demo_step(tau: float) -> float:
    """The demo's step length."""
    return 1 / (2 + 2 * tau)


def rows_of(side: int) -> int:
    """Measurements m of a block of side × side pixels."""
    return round(RATIO * side * side)
