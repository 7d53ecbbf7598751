"""Servers whose supervisor died: they serve on, and wait at a name until the next supervisor takes them.

The name is in the kernel's own namespace (an abstract UNIX socket): it is gone with the process that has it, so nothing
is ever stale. It is made from what the server serves, a data directory or an address, and from the user: others may
have the same. Who connects must be the same user, or root.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import sys

BACKLOG = 8
CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def name_of(key: str) -> bytes:
    """The abstract name of whoever serves this."""
    return b"\0belfry-" + hashlib.sha256(f"{os.getuid()} {key}".encode()).hexdigest()[:32].encode()


def wait_at(key: str) -> socket.socket | None:
    """A socket at which the next supervisor finds us; None where there are no such names, or another has this one."""
    if sys.platform != "linux":
        return None
    waiting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        waiting.bind(name_of(key))
        waiting.listen(BACKLOG)
    except OSError:
        waiting.close()
        return None
    waiting.setblocking(False)
    return waiting


def find(key: str) -> socket.socket | None:
    """A connection to the orphan that serves this, None if there is none of ours."""
    if sys.platform != "linux":
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(2.0)
    try:
        sock.connect(name_of(key))
    except OSError:
        sock.close()
        return None
    if not is_ours(sock):
        sock.close()
        return None
    return sock


def is_ours(sock: socket.socket) -> bool:
    """Whether the same user, or root, is at the other end."""
    packed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    _, uid, _ = CREDENTIALS.unpack(packed)
    return uid in (0, os.getuid())
