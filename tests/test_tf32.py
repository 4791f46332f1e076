"""TF32 is as asked inside, and as it was afterwards: the settings of torch are global, a CPU build has them too."""

from contextlib import contextmanager

import pytest
import torch

from asyncred_gpu.denoiser import DenoiserSettings, DeviceDenoiser
from asyncred_gpu.tf32 import by_flags, float32_rules

ROOT, CUDNN, MATMUL = torch.backends, torch.backends.cudnn, torch.backends.cuda.matmul
since_2_9 = pytest.mark.skipif(not hasattr(ROOT, "fp32_precision"), reason="torch before 2.9 has only flags")


def settings():
    """What torch answers, as it is and as it would be with other values above it: so inherited ones are told apart."""
    seen = [CUDNN.benchmark, CUDNN.deterministic]
    kept = ROOT.fp32_precision
    for parent in (kept, "none", "ieee", "tf32"):
        ROOT.fp32_precision = parent
        seen += [CUDNN.fp32_precision, CUDNN.conv.fp32_precision, MATMUL.fp32_precision]
    ROOT.fp32_precision = kept
    return seen


@pytest.fixture(
    params=[
        {},
        {"root": "tf32"},
        {"root": "ieee"},
        {"root": "tf32", "conv": "ieee"},
        {"root": "tf32", "cudnn": "ieee", "conv": "tf32"},
        {"root": "ieee", "matmul": "tf32"},
        {"root": "tf32", "matmul": "tf32", "conv": "none"},
        {"cudnn": "tf32"},
    ],
    ids=str,
)
def users_settings(request):
    """A user's, by the newer interface; afterwards every value is none or its usual one."""
    places = {"root": ROOT, "cudnn": CUDNN, "conv": CUDNN.conv, "matmul": MATMUL}
    usual = {"root": "none", "cudnn": "none", "conv": "tf32", "matmul": "none"}
    for name, value in request.param.items():
        places[name].fp32_precision = value
    yield
    for name in request.param:
        places[name].fp32_precision = usual[name]


@contextmanager
def torchs_flags(allow_tf32, deterministic):
    """The obvious way."""
    with CUDNN.flags(True, not deterministic, deterministic=deterministic, allow_tf32=allow_tf32):
        yield


def inside(rules, allow):
    """What holds inside the rules, which an exception ends."""
    try:
        with rules(allow, True):
            seen = CUDNN.conv.fp32_precision, MATMUL.fp32_precision, CUDNN.benchmark, CUDNN.deterministic
            raise KeyError
    except KeyError:
        return seen


@since_2_9
@pytest.mark.parametrize("allow", [False, True])
def test_tf32_is_as_asked_and_the_users_settings_stay(users_settings, allow):
    before = settings()
    wanted = "tf32" if allow else "ieee"
    assert inside(float32_rules, allow) == (wanted, wanted, False, True)
    assert settings() == before


@since_2_9
def test_torchs_own_flags_would_not_do():
    """The control: if this fails, torch has mended them, and tf32.py can be simpler."""
    ROOT.fp32_precision = "tf32"
    try:
        with pytest.raises(RuntimeError, match="mix of the legacy and new APIs"):
            inside(torchs_flags, False)
    finally:
        ROOT.fp32_precision, CUDNN.fp32_precision, CUDNN.allow_tf32 = "none", "none", True


@pytest.mark.parametrize("allow", [False, True])
@pytest.mark.parametrize("products", ["highest", "high", "medium"])
def test_flags_of_older_releases(allow, products):
    kept = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(products)
    try:
        with pytest.raises(KeyError), by_flags(allow):
            assert CUDNN.allow_tf32 == MATMUL.allow_tf32 == allow
            raise KeyError
        assert CUDNN.allow_tf32 and torch.get_float32_matmul_precision() == products
    finally:
        torch.set_float32_matmul_precision(kept)


class Recording(torch.nn.Module):
    """A foreign network that notes what holds while it runs, and may fail."""

    def __init__(self, seen, fails):
        super().__init__()
        self.seen, self.fails = seen, fails

    def __deepcopy__(self, memo):
        return self  # a copy of the list would keep its notes to itself

    def forward(self, image):
        self.seen.append((CUDNN.conv.fp32_precision, MATMUL.fp32_precision, CUDNN.benchmark, CUDNN.deterministic))
        if self.fails:
            raise KeyError("planted")
        return image


@since_2_9
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(("precision", "expected"), [("float32", "ieee"), ("tf32", "tf32")])
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_foreign_network_runs_under_these_rules(fails, precision, expected, deterministic):
    before, seen = settings(), []
    network = Recording(seen, fails)
    denoiser = DeviceDenoiser(network, DenoiserSettings(0, precision, 1.0), torch.device("cpu"), deterministic)
    try:
        denoiser.residual(torch.zeros(1, 1, 4, 4))
        assert not fails
    except KeyError:
        assert fails
    assert seen == [(expected, expected, not deterministic, deterministic)]
    assert settings() == before
