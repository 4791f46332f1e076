"""Tests run as if there were no GPU, unless they are marked `gpu`: the same tests everywhere."""

import pytest
import torch


@pytest.fixture(autouse=True)
def gpu_only_where_marked(request, monkeypatch):
    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for processes that a test starts
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
