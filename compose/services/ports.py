"""Ports for services and servers to listen on, each given once among all processes of this machine that ask here."""

from __future__ import annotations

import atexit
import contextlib
import random
import socket
from pathlib import Path

HOST = "127.0.0.1"
LOWEST = 10_000  # below are the ports of well-known services
# From here on the kernel gives ports to outgoing connections: one of those could sit on ours while its server restarts.
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES = 1_000  # a port that is taken is met once in hundreds

_given = contextlib.ExitStack()
atexit.register(_given.close)


def free_port() -> int:
    """A port that nobody listens on, and that nobody else is given while this process lives."""
    above = int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else 32_768
    # Where connections may have all ports, one of them must do.
    candidates = range(LOWEST, above) if above > LOWEST + TRIES else range(LOWEST, 65_536)
    for _ in range(TRIES):
        port = random.SystemRandom().choice(candidates)
        if is_free(port) and (mark := _marked(port)) is not None:
            _given.enter_context(mark)
            return port
    raise OSError(f"no free port among {candidates.start} to {candidates.stop - 1}")


def is_free(port: int) -> bool:
    """Whether nobody listens there now."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before that linger do not count
        try:
            tried.bind((HOST, port))
        except OSError:
            return False
    return True


def _marked(port: int) -> socket.socket | None:
    """Take the port's name among Linux's abstract sockets, which belongs to one process and goes with it."""
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mark.bind(f"\0belfry-port-{port}")
    except OSError:
        mark.close()
        return None
    return mark
