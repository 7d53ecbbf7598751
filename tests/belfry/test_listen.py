"""Listening sockets: bound at once, on every address of the host, and a taken port says whose it is."""

from __future__ import annotations

import os
import socket

import pytest

from belfry.errors import Wrong
from belfry.listen import BACKLOG, bind, holder, is_free, is_public, url


def close(listeners: list[socket.socket]) -> None:
    for listener in listeners:
        listener.close()


def test_any_free_port_takes_connections() -> None:
    (listener,) = bind("127.0.0.1", 0)
    with listener, socket.create_connection(listener.getsockname()) as client:
        assert client.getpeername() == listener.getsockname()
        assert not listener.getblocking()
        assert url(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert not is_public(listener)
    assert BACKLOG >= 1024


def test_localhost_is_one_port_on_all_its_addresses() -> None:
    listeners = bind("localhost", 0)
    try:
        assert len({listener.getsockname()[1] for listener in listeners}) == 1
        assert not any(map(is_public, listeners))
    finally:
        close(listeners)


def test_all_addresses_are_public_and_open_at_home() -> None:
    (listener,) = bind("0.0.0.0", 0)
    with listener:
        assert is_public(listener)
        assert url(listener).startswith("http://127.0.0.1:")


def test_a_taken_port_says_who_has_it_and_which_is_free() -> None:
    (first,) = bind("127.0.0.1", 0)
    port = first.getsockname()[1]
    with first:
        found = holder(port)
        assert found is not None
        assert found.pid == os.getpid()
        with pytest.raises(Wrong) as caught:
            bind("127.0.0.1", port)
        line = str(caught.value)
        assert line.startswith(f"port {port} on 127.0.0.1 is taken by process {os.getpid()} ({found.name});")
        free = int(line.rpartition("--port ")[2])
        close(bind("127.0.0.1", free))
        assert is_free("127.0.0.1", port) == line
    assert is_free("127.0.0.1", port) is None
    assert holder(port) is None


def test_the_last_runs_connections_do_not_hold_the_port() -> None:
    (first,) = bind("127.0.0.1", 0)
    with first:
        address = first.getsockname()
        client = socket.create_connection(address)
        first.setblocking(True)
        accepted, _ = first.accept()
        accepted.close()  # the server closes first: its side stays in TIME_WAIT
        assert client.recv(1) == b""
        client.close()
    close(bind(*address))


@pytest.mark.parametrize(
    ("host", "line"),
    [
        ("192.0.2.1", "is no address of this machine"),  # RFC 5737: nobody has it
        ("no-such-host.invalid", "there is no host"),
        ("a" * 300, "there is no host"),
    ],
)
def test_a_host_that_is_not_here(host: str, line: str) -> None:
    with pytest.raises(Wrong, match=line):
        bind(host, 0)
