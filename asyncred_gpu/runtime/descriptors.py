"""File descriptors sent through a pipe between two processes (SCM_RIGHTS), between its messages."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from multiprocessing.connection import Connection

# A descriptor can't travel without a byte.
BYTE = b"d"


def send_descriptors(pipe: Connection, descriptors: Sequence[int]) -> None:
    """Send copies; the receiver must be about to ask for as many.

    Raises:
        BrokenPipeError, ConnectionResetError: nobody is there any more.
    """
    with _socket_of(pipe) as sender:
        socket.send_fds(sender, [BYTE], descriptors)


def receive_descriptors(pipe: Connection, count: int) -> list[int]:
    """The descriptors sent next, this process's own.

    Raises:
        EOFError: the other end is closed.
    """
    with _socket_of(pipe) as receiver:
        content, found, _, _ = socket.recv_fds(receiver, len(BYTE), count)
    if not content:
        raise EOFError
    assert len(found) == count, found
    return found


def _socket_of(pipe: Connection) -> socket.socket:
    found = socket.socket(fileno=os.dup(pipe.fileno()))
    found.setblocking(True)  # whatever socket.setdefaulttimeout() the user's program set
    return found
