"""The commands that supervise: whose sockets they take, what they start, and what they say of a port that is taken."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from belfry.errors import Failed, Wrong
from belfry.sources import read_settings
from belfry.supervisor.run import _command, _environ, given_listeners, run_fleet, run_up
from tests.faults.process import free_port

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "Zr8pQ1xLw93mTb5yVc7dKs2hNf6gJe4a"

# What systemd does: the sockets at 3 and up, and the pid of whom they are for.
ACTIVATED = """\
import os, sys
first, *command = sys.argv[1:]
for at, descriptor in enumerate(map(int, first.split(","))):
    os.dup2(descriptor, 100 + at)
count = len(first.split(","))
for at in range(count):
    os.dup2(100 + at, 3 + at)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(count)}
os.execv(command[0], command)
"""
SHOW = """\
import json, os
from belfry.supervisor.run import given_listeners
found = given_listeners(os.environ)
print(json.dumps([{port: len(socks) for port, socks in found.items()},
                  [os.get_inheritable(s.fileno()) for socks in found.values() for s in socks],
                  [name for name in os.environ if name.startswith("LISTEN")]]))
"""


def test_systemds_sockets_are_taken_and_the_others_left() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        descriptors = [one.fileno(), other.fileno(), datagrams.fileno()]
        command = [sys.executable, "-c", ACTIVATED, ",".join(map(str, descriptors)), sys.executable, "-c", SHOW]
        done = subprocess.run(command, pass_fds=descriptors, capture_output=True, check=True, timeout=60)
        found, inheritable, left = json.loads(done.stdout)
        assert found == {str(sock.getsockname()[1]): 1 for sock in (one, other)}
        assert inheritable == [False, False]
        assert left == []


def test_sockets_for_another_process_are_not_ours() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b", "HOME": "/"}
    assert given_listeners(environ) == {}
    assert environ == {"HOME": "/"}
    assert given_listeners({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"}) == {}


def test_a_database_that_no_server_reaches_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    flags = {"ports": f"{free_port()},{free_port()}", "db": f"mysql://u:p@127.0.0.1:{port}/x", "bus": "memory:"}
    with pytest.raises(Failed, match=f"127.0.0.1:{port}"):
        run_fleet(read_settings("fleet", flags, {}), flags, {"BELFRY_SECRET": SECRET})
    assert capfd.readouterr().err == ""  # no server was started that would say it, too


def test_the_servers_command_line() -> None:
    flags = {"port": "8000", "guests": "no", "server_id": "a"}
    assert _command("serve", flags)[1:] == ["-m", "belfry", "serve", "--port=8000", "--no-guests", "--server-id=a"]
    assert _command("up", {"guests": "yes"})[4:] == ["--guests"]


def test_the_servers_environment() -> None:
    assert _environ({"NOTIFY_SOCKET": "/run/n", "LISTEN_FDS": "1", "BELFRY_DB": "x"}) == {"BELFRY_DB": "x"}


def test_a_fleet_without_ports_or_with_one_file_for_two() -> None:
    settings = read_settings("fleet", {}, {})
    with pytest.raises(Wrong, match="needs --ports"):
        run_fleet(settings, {}, {})
    flags = {"ports": "8001,8002", "db": "sqlite:////tmp/x.db", "bus": "memory:"}
    with pytest.raises(Wrong, match=r"--db.*a SQLite file has one writer, and 2 ports are 2 servers"):
        run_fleet(read_settings("fleet", flags, {}), flags, {"BELFRY_SECRET": SECRET})


def test_one_port_for_a_server_and_its_tower(tmp_path: Path) -> None:
    for source in ({"port": "18110", "tower_port": "18110"}, {"tower_port": "8000"}):
        flags = source | {"data": str(tmp_path)}
        port = source["tower_port"]
        with pytest.raises(Wrong, match=rf"^--tower-port \(flag\): --port and --tower-port are both {port}; give two$"):
            run_up(read_settings("up", flags, {}), flags, {})


@pytest.mark.parametrize(("ports", "left"), [("18300", 58), ("8001,18300", 58), ("443", 60)])
def test_an_id_that_is_too_long_with_the_port_behind_it(ports: str, left: int) -> None:
    flags = {"ports": ports, "db": "mysql://u:p@127.0.0.1:1/x", "bus": "memory:", "server_id": "x" * (left + 1)}
    with pytest.raises(Wrong, match=rf"^--server-id \(flag\): `belfry fleet` appends -\d+ .* with at most {left}$"):
        run_fleet(read_settings("fleet", flags, {}), flags, {"BELFRY_SECRET": SECRET})
    # Of the length that is left the id is fine, and the port is what is looked at next.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags |= {"ports": str(taken.getsockname()[1])}
        flags |= {"server_id": "x" * (63 - len(flags["ports"]))}
        with pytest.raises(Wrong, match="is taken"):
            run_fleet(read_settings("fleet", flags, {}), flags, {"BELFRY_SECRET": SECRET})


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        flags = {"port": port, "data": str(tmp_path)}
        with pytest.raises(Wrong, match=rf"^--port \(flag\): port {port} .* choose another port: --port \d+$"):
            run_up(read_settings("up", flags, {}), flags, {})
        flags = {"port": "0", "tower_port": port, "data": str(tmp_path)}
        with pytest.raises(Wrong, match=rf"^--tower-port \(flag\): port {port} .*: --tower-port \d+$"):
            run_up(read_settings("up", flags, {}), flags, {})
        flags = {"ports": port, "db": "mysql://u:p@127.0.0.1:1/x", "bus": "memory:"}
        with pytest.raises(Wrong, match=rf"^--ports \(flag\): port {port} .* stop it, or choose another port$"):
            run_fleet(read_settings("fleet", flags, {}), flags, {"BELFRY_SECRET": SECRET})
