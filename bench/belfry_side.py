"""How the benchmark starts Belfry and what its clients say: the true protocol, distinct users, real tokens."""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import TYPE_CHECKING

from bench.load import Script
from chat.tokens import Tokens
from chat.wire import SUBPROTOCOL

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SUBPROTOCOL", "command", "metric", "position", "script", "serve"]

TOKEN_TTL = 7200.0  # seconds; longer than any run


LIFTED: dict[str, object] = {  # one user here does the work of many
    "send-rate": 0,
    "connections": 20_000,
    "handshakes-per-second": 0,
    "log-level": "warning",
}


def command(port: int, data: Path, secret: str, rooms: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """`belfry up` with its limits lifted; and its environment."""
    flags = LIFTED | {"port": port, "data": data, "first-rooms": ",".join(rooms)}
    return _belfry("up", flags), {"BELFRY_SECRET": secret}


def serve(
    port: int, server_id: str, db: str, bus: str, secret: str, rooms: tuple[str, ...]
) -> tuple[list[str], dict[str, str]]:
    """`belfry serve` over a database and a broker, in the same way."""
    flags = LIFTED | {"port": port, "server-id": server_id, "bus": bus, "first-rooms": ",".join(rooms)}
    return _belfry("serve", flags), {"BELFRY_SECRET": secret, "BELFRY_DB": db}


def _belfry(verb: str, flags: dict[str, object]) -> list[str]:
    return [sys.executable, "-m", "belfry", verb, *(f"--{name}={value}" for name, value in flags.items())]


def script(secret: str, number: int, rooms: tuple[str, ...], resume: dict[str, tuple[str, int]]) -> Script:
    """hello as the n-th user, then a join for every room, or their positions in hello."""
    token = Tokens(secret.encode()).issue(f"u_{number}", f"Bench {number}", TOKEN_TTL)
    hello: dict[str, object] = {"t": "hello", "token": token}
    if resume:
        hello["resume"] = resume
    frames = [_json(hello)]
    frames += [_json({"t": "join", "room": room}) for room in rooms if room not in resume]
    behind = next(iter(resume.values()))[1] if len(resume) == 1 and not set(rooms) - set(resume) else -1
    return Script(tuple(frames), len(set(rooms) | set(resume)), behind)


def metric(port: int, name: str) -> float | None:
    """A counter's value, summed over its labels; None when the server does not have it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    values = [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith((name + " ", name + "{"))]
    return sum(values) if values else None


def position(port: int, secret: str, room: str) -> tuple[str, int]:
    """A room's epoch and head, by the HTTP API."""
    token = Tokens(secret.encode()).issue("u_0", "Bench 0", TOKEN_TTL)
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/rooms/{room}/messages?limit=1", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        page = json.load(response)
    return page["epoch"], page["head"]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
