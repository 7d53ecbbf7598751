"""A port is given once, to one process, and never one that the kernel may give to a connection."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from compose.services import ports

ROOT = Path(__file__).resolve().parents[2]
GIVES = "from compose.services.ports import free_port; print(*[free_port() for _ in range(50)], flush=True); input()"


def test_no_port_is_given_twice_nor_to_two_processes() -> None:
    command = [sys.executable, "-c", GIVES]
    given = [ports.free_port() for _ in range(50)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        given += map(int, other.stdout.readline().split())
        assert len(set(given)) == 100
        other.communicate("\n")
    assert max(given) < int(ports.EPHEMERAL.read_text().split()[0])


def test_a_port_that_is_taken_or_given_is_not_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    start = ports.free_port()
    monkeypatch.setattr(ports, "LOWEST", start)
    monkeypatch.setattr(ports, "TRIES", 1)
    monkeypatch.setattr(ports, "EPHEMERAL", tmp_path / "range")
    (tmp_path / "range").write_text(f"{start + 2} 60999")  # this one, and the next
    monkeypatch.setattr(ports, "TRIES", 0)
    with pytest.raises(OSError, match=f"no free port among {start} to"):
        ports.free_port()
    with socket.create_server(("127.0.0.1", start)):
        assert not ports.is_free(start)
    assert ports.is_free(start)
    assert ports._marked(start) is None
