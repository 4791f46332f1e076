"""Objects that processes share by descriptor: the same content, arrays on the same pages, private when written to."""

import mmap
import os

import numpy as np
import pytest

from asyncred_gpu.runtime.shared import ALIGNMENT, anonymous_memory, load_shared, shared_object


def test_arrays_come_back_and_are_not_copied():
    given = {"a": np.arange(1000, dtype=np.float32), "b": np.ones((3, 5)), "empty": np.empty(0), "text": "x"}
    descriptor = shared_object(given)
    try:
        found, again = load_shared(descriptor), load_shared(descriptor)
        for name in ("a", "b", "empty"):
            assert np.array_equal(found[name], given[name]) and found[name].dtype == given[name].dtype
        assert found["text"] == "x" and not found["a"].flags.owndata
        assert found["a"].ctypes.data % ALIGNMENT == found["b"].ctypes.data % ALIGNMENT == 0
        found["a"][0] = -1  # a worker's own business
        assert again["a"][0] == 0 and load_shared(descriptor)["a"][0] == 0
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as memory:
            assert memory.find(given["a"].tobytes()) % ALIGNMENT == 0  # once, and beside the pickle
    finally:
        os.close(descriptor)


def test_closures_travel_too():
    numbers = np.arange(4)
    descriptor = shared_object(lambda x: numbers + x)
    assert np.array_equal(load_shared(descriptor)(2), [2, 3, 4, 5])
    os.close(descriptor)


def test_what_cannot_be_had_is_refused(monkeypatch):
    monkeypatch.setattr("asyncred_gpu.memory.available_memory", lambda: 1000)
    with pytest.raises(MemoryError, match=r"Sharing the measurements with the workers takes 4 MiB, and 0 MiB are free"):
        shared_object(np.zeros(2**20, np.float32))
    creates = "asyncred_gpu.runtime.shared.os.memfd_create"
    monkeypatch.setattr(creates, lambda name: pytest.fail("created before asked"), raising=False)
    with pytest.raises(MemoryError, match="The blocks' shared memory takes"):
        anonymous_memory(10**6)
