"""Memory that is used again by later updates."""

import numpy as np

from asyncred_gpu.workspace import Workspace, Workspaces


def test_an_array_grows_and_is_used_again():
    space = Workspace()
    first = space.take("a", (4, 5))
    smaller = space.take("a", (3, 6))
    assert smaller.shape == (3, 6) and np.shares_memory(first, smaller)
    assert not np.shares_memory(first, space.take("b", (4, 5)))
    assert not np.shares_memory(first, space.take("a", (5, 5)))
    source = np.arange(6, dtype=np.float32).reshape(2, 3)
    copied = space.copy("c", source)
    assert np.array_equal(copied, source) and not np.shares_memory(copied, source)


def test_two_updates_at_once_have_two_workspaces():
    spaces = Workspaces()
    first, second = spaces.take(), spaces.take()
    assert first is not second
    spaces.give_back(first)
    assert spaces.take() is first
