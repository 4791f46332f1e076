"""Memory without a name that processes share: the slots, and what a worker is made of.

Large arrays lie behind the pickle, so that every worker maps the same pages and none copies them (pickle protocol 5,
PEP 574). Nothing appears in /dev/shm, and all of it is gone with the last process that holds its descriptor.
"""

from __future__ import annotations

import mmap
import os
import pickle
import struct
import sys
import tempfile
from typing import Any

import cloudpickle

from ..memory import check_available

# Every array begins on a cache line.
ALIGNMENT = 64
LENGTH = struct.Struct("<Q")


def anonymous_memory(nbytes: int, what: str = "The blocks' shared memory takes") -> int:
    """A descriptor of shared memory.

    Raises:
        MemoryError: there isn't that much.
    """
    check_available(what, nbytes, "Use fewer measurements, a smaller image, or a machine with more memory.")
    if sys.platform == "linux":
        descriptor = os.memfd_create("asyncred_gpu")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, nbytes)
    return descriptor


def shared_object(thing: Any) -> int:
    """A descriptor of the pickled object: lengths, then the pickle, then its arrays."""
    buffers: list[pickle.PickleBuffer] = []
    content = cloudpickle.dumps(thing, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(content), *(buffer.raw() for buffer in buffers)]
    table = LENGTH.pack(len(parts)) + b"".join(LENGTH.pack(len(part)) for part in parts)
    offsets, end = _places([len(part) for part in parts])
    descriptor = anonymous_memory(end, "Sharing the measurements with the workers takes")
    try:
        with mmap.mmap(descriptor, end) as memory:
            memory[: len(table)] = table
            for offset, part in zip(offsets, parts, strict=True):
                memory[offset : offset + len(part)] = part
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def load_shared(descriptor: int) -> Any:
    """The object; its arrays are views of the shared pages, and a page is copied only if it is written to."""
    memory = memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY))
    (count,) = LENGTH.unpack_from(memory)
    lengths = [LENGTH.unpack_from(memory, LENGTH.size * (place + 1))[0] for place in range(count)]
    offsets, _ = _places(lengths)
    content, *buffers = (memory[offset : offset + length] for offset, length in zip(offsets, lengths, strict=True))
    return pickle.loads(content, buffers=buffers)


def _places(lengths: list[int]) -> tuple[list[int], int]:
    """Where the parts begin, and where all ends."""
    offsets, end = [], LENGTH.size * (1 + len(lengths))
    for length in lengths:
        begin = -(-end // ALIGNMENT) * ALIGNMENT
        offsets.append(begin)
        end = begin + length
    return offsets, end
