"""Fleets for tests: beats and servers, made short."""

from __future__ import annotations

from typing import Any

from bus.events import Beat
from tower.fleet import Server

START = 1_795_000_000.0  # Unix seconds at which tests begin


def beat(id: str = "s1", made_at: float = START, state: str = "ready", boot: str = "", **fields: Any) -> Beat:
    """A beat of a server; its boot is `<id>-a` and its address http://<id> unless told otherwise."""
    told = {"url": f"http://{id}", "version": "1.0", "sessions": 0, "handshakes_per_second": 500.0}
    told |= {"started_at": START - 1_000.0}
    return Beat(id=id, boot=boot or f"{id}-a", state=state, made_at=made_at, **(told | fields))


def server(id: str = "s1", state: str = "ready", seen_at: float = START, **fields: Any) -> Server:
    """A server as it is now."""
    return Server(id, state, beat(id, seen_at, state, **fields), seen_at)  # type: ignore[arg-type]  # a literal each


def fleet_of(*servers: Server) -> dict[str, Server]:
    """Servers by id."""
    return {one.id: one for one in servers}
