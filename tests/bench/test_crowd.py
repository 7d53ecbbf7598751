"""The crowd follows its servers: a drain, and a server that is stopped without one; nobody misses anything."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.crowd import Client, Crowd, busiest, share
from chat.tokens import Tokens
from compose.services.service import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "browser" / "two_servers.py"
TOKENS = Tokens(b"a secret of thirty-two bytes and more")  # the script's
PATIENCE = 60.0  # seconds
MANY = 20


class Pair:
    """Two servers, s1 and s2, in a process of their own."""

    def __init__(self, directory: Path) -> None:
        self.ports = [free_port(), free_port()]
        command = [sys.executable, str(SCRIPT), str(directory), *map(str, self.ports)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait(20)
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    running = Pair(tmp_path)
    yield running
    running.end()


@pytest.fixture
def crowd(pair: Pair) -> Iterator[Crowd]:
    """Everybody on the first server, but the publisher; they talk."""
    crowd = Crowd(pair.ports)

    def client(number: int, port: int) -> Client:
        return Client(number, "lobby", port, TOKENS.issue(f"u{number}", "U", 600.0), "moving")

    crowd.add(client(0, pair.ports[1]), publishes=True)
    for number in range(1, MANY + 1):
        crowd.add(client(number, pair.ports[0]))
    assert crowd.run(PATIENCE, lambda: crowd.live() == MANY + 1)
    crowd.publish(20.0)
    assert crowd.run(PATIENCE, lambda: all(client.last > 5 for client in crowd.clients))
    crowd.watch()
    yield crowd
    crowd.close()


def all_at(crowd: Crowd, port: int) -> bool:
    return all(client.link is not None and client.link.live and client.link.port == port for client in crowd.clients)


def spoken_and_heard(crowd: Crowd) -> bool:
    """Wait until everybody has the newest message."""
    crowd.publish(0)
    return crowd.run(PATIENCE, lambda: {client.last for client in crowd.clients} == {len(crowd.sent)})


@pytest.mark.parametrize("order", ["drain s1", "stop s1"])
def test_everybody_moves_by_one_attempt_and_misses_nothing(pair: Pair, crowd: Crowd, order: str) -> None:
    pair.tell(order)
    assert crowd.run(PATIENCE, lambda: all_at(crowd, pair.ports[1]))
    crowd.run(0.5)
    assert spoken_and_heard(crowd)
    assert sum(client.attempts for client in crowd.clients) == MANY
    assert {port for _, port in crowd.tally.handshakes} == {pair.ports[1]}
    assert [client.missed for client in crowd.clients] == [0] * (MANY + 1)


def test_a_connection_that_breaks_is_made_again(pair: Pair, crowd: Crowd) -> None:
    for client in crowd.clients[1:]:
        assert client.link is not None
        crowd._lost(client.link, 0.0)
    assert crowd.run(PATIENCE, lambda: crowd.live() == MANY + 1)
    assert spoken_and_heard(crowd)
    assert sum(client.missed for client in crowd.clients) == 0


def test_the_busiest_second_and_a_share() -> None:
    rng = random.Random(1)
    moments = [rng.uniform(0.0, 10.0) for _ in range(200)]
    assert busiest(moments) == max(sum(0.0 <= other - one < 1.0 for other in moments) for one in moments)
    assert busiest([]) == 0
    assert (share([], 0.5), share([3.0, 1.0, 2.0], 0.5), share(range(100), 0.99)) == (0.0, 2.0, 99)
