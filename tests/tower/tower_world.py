"""Fleets for tests: beats and servers, made short, and a whole tower on a port."""

from __future__ import annotations

import contextlib
import functools
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import trio

from bus.events import Beat, Event
from bus.memory import Exchange, MemoryBus
from tower.config import Config
from tower.errors import BadToken
from tower.fleet import Server
from tower.server import TowerServer, serve_tower

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tower.service import Tower

PATIENCE = 20.0  # seconds; everything here takes a hundredth
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


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    with trio.fail_after(PATIENCE):
        while True:
            if condition():
                return
            await trio.sleep(0.01)


ADMIN, USER = "admin-token", "user-token"


def verify(token: str) -> tuple[str, bool]:
    """Two tokens are good: an administrator's and somebody else's."""
    if token in (ADMIN, USER):
        return f"u_{token}", token == ADMIN
    raise BadToken("this is not one of our tokens")


@dataclass
class House:
    """A tower on a port of its own, beside servers that are only heard of."""

    exchange: Exchange
    port: int = 0
    server: TowerServer = None  # type: ignore[assignment]  # there before the test begins
    heard: list[Event] = field(default_factory=list)  # what the servers hear
    ends: dict[str, MemoryBus] = field(default_factory=dict)
    made_at: float = 0.0

    @property
    def tower(self) -> Tower:
        return self.server.tower

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def say(self, event: Event, origin: str = "s1") -> None:
        """Let a server publish."""
        if origin not in self.ends:
            self.ends[origin] = self.exchange.bus(origin)
        self.ends[origin].publish(event)

    async def beat(self, id: str = "s1", **fields: Any) -> None:
        """Let a server beat now, and wait until the tower has looked."""
        self.made_at = max(time.time(), self.made_at + 0.001)
        self.say(beat(id, made_at=self.made_at, **fields), id)
        await until(lambda: id in self.tower.servers and self.tower.servers[id].beat.made_at >= self.made_at)

    async def ask(self, method: str, path: str, token: str = ADMIN, **more: Any) -> httpx.Response:
        """One request."""
        headers = ({"Authorization": f"Bearer {token}"} if token else {}) | more.pop("headers", {})
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            return await client.request(method, self.url + path, headers=headers, **more)


@contextlib.asynccontextmanager
async def house(store: Any = None, *, open_dashboard: bool = False, bus: bool = True) -> AsyncIterator[House]:
    """A tower that runs while the block does, and stops as it is meant to."""
    exchange = Exchange()
    made = House(exchange)
    ear = exchange.bus("somebody")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        made.port = listener.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(ear.run, lambda origin, events: made.heard.extend(events), lambda: None)
            end = exchange.listener("tower") if bus else None
            config = Config(version="1.0", open_dashboard=open_dashboard)
            run = functools.partial(serve_tower, config, store, end, verify, listeners=[listener])
            async with trio.open_nursery() as inner:
                made.server = await inner.start(run)
                yield made
                made.server.stop()
                await until(lambda: not inner.child_tasks)
            nursery.cancel_scope.cancel()
