"""The name at which a server without a supervisor waits: one a user and place, gone with the process, for its user."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys

import pytest

from belfry.supervisor import orphans

AS_NOBODY = """\
import os, socket, sys
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
sock.connect(bytes.fromhex(sys.argv[1]))
print(sock.recv(1))
"""


@pytest.fixture
def key() -> str:
    return f"test {secrets.token_hex(8)}"


def test_nobody_waits(key: str) -> None:
    assert orphans.find(key) is None


def test_who_waits_is_found_and_gone_when_it_is_closed(key: str) -> None:
    waiting = orphans.wait_at(key)
    assert waiting is not None
    with waiting:
        found = orphans.find(key)
        assert found is not None
        with found:
            accepted, _ = waiting.accept()
            with accepted:
                assert orphans.is_ours(accepted)
                assert orphans.is_ours(found)
        assert orphans.find(key + " another") is None
    assert orphans.find(key) is None


def test_a_second_does_not_get_the_name(key: str) -> None:
    waiting = orphans.wait_at(key)
    assert waiting is not None
    with waiting:
        assert orphans.wait_at(key) is None
    again = orphans.wait_at(key)
    assert again is not None
    again.close()


def test_another_users_name_is_another(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = orphans.name_of(key)
    monkeypatch.setattr(os, "getuid", lambda: 12_345)
    assert orphans.name_of(key) != ours


def test_another_user_is_not_ours(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid() != 0:  # then it cannot become somebody else, and we shall
        monkeypatch.setattr(os, "getuid", lambda: 12_345)
    waiting = orphans.wait_at(key)
    assert waiting is not None
    with waiting:
        waiting.settimeout(20.0)
        command = [sys.executable, "-c", AS_NOBODY, orphans.name_of(key).hex()]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as stranger:
            accepted, _ = waiting.accept()
            with accepted:
                assert not orphans.is_ours(accepted)
            assert stranger.communicate(timeout=20)[0] == b"b''\n"


def test_both_ends_of_a_pair_are_ours() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert orphans.is_ours(one)
