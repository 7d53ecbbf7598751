"""One tower: everything it is stands in one nursery tree, and the tree is its shutdown plan.

Read `run` from the inside out: listeners stop first, streams of events end second, requests under way third, the bus
last. All of it is bounded by LAST_WORDS; a tower keeps nothing that another would miss.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from tower.api.app import make_app
from tower.door import Door
from tower.service import Tower
from tower.web_server import WebServer

if TYPE_CHECKING:
    import socket

    from bus.bus import Bus
    from tower.api.auth import Verify
    from tower.config import Config
    from tower.store import TowerStore

log = logging.getLogger("belfry.tower")

LAST_WORDS = 1.0  # seconds for requests under way when the tower stops


class TowerServer:
    """A tower behind its HTTP side, and its life. Without a bus it lives on the database, and the other way round."""

    def __init__(self, config: Config, store: TowerStore | None, bus: Bus | None, verify: Verify) -> None:
        if store is None and bus is None:
            raise ValueError("a tower needs a bus or a database")
        self.tower = Tower(store, bus)
        self.addresses: list[tuple[str, int]] = []
        self._web = WebServer(make_app(self.tower, config, verify))
        self._stop = trio.Event()

    def stop(self) -> None:
        """Begin the planned stop; returns at once, `run` returns when it is done."""
        self._stop.set()

    def drain(self) -> None:
        """The same, by the name that servers have for it: a tower has nobody to move."""
        self.stop()

    async def run(
        self, listeners: list[socket.socket], *, task_status: trio.TaskStatus[TowerServer] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve on these listening sockets until stopped (returns) or cancelled."""
        async with trio.open_nursery() as beneath:
            await beneath.start(self.tower.run)
            async with trio.open_nursery() as connections:
                await connections.start(self._web.run)
                door = Door(self.tower, self._web, connections)
                async with trio.open_nursery() as listening:
                    for listener in listeners:
                        listener.setblocking(False)
                        await listening.start(door.accept_from, listener)
                    self.addresses = [listener.getsockname()[:2] for listener in listeners]
                    task_status.started(self)
                    await self._stop.wait()
                    listening.cancel_scope.cancel()
                for listener in listeners:
                    listener.close()
                self.tower.feed.close()
                door.close_idle()
                with trio.move_on_after(LAST_WORDS):
                    await door.wait_empty()
                connections.cancel_scope.cancel()
            beneath.cancel_scope.cancel()


async def serve_tower(
    config: Config,
    store: TowerStore | None,
    bus: Bus | None,
    verify: Verify,
    *,
    listeners: list[socket.socket],
    task_status: trio.TaskStatus[TowerServer] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run one tower until it is stopped or cancelled.

    `verify` tells of a token whose it is and whether an administrator's, and raises tower.errors.BadToken. `bus` is a
    listener's end (bus/memory.py: Exchange.listener) where a server is in the same process.
    """
    await TowerServer(config, store, bus, verify).run(listeners, task_status=task_status)
