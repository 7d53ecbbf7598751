"""A tower over a simulated fleet, for `bench/tower.py`: `python -m bench.tower_fleet PORT SERVERS`.

The servers are real beats over the in-process bus, one each 2 s; whoever is named on stdin falls silent.
"""

from __future__ import annotations

import socket
import sys
import time
from functools import partial

import trio

from bus.events import Beat
from bus.memory import Exchange, MemoryBus
from tower.config import Config
from tower.server import serve_tower

BEAT = 2.0  # seconds, as servers have it
TAKES = 500.0  # handshakes a second each says it takes


def verify(token: str) -> tuple[str, bool]:
    """Everybody is an administrator here."""
    return token, True


async def main(port: int, servers: int) -> None:
    """Serve until stdin ends."""
    exchange = Exchange()
    silent: set[str] = set()
    with socket.create_server(("127.0.0.1", port), backlog=1_024) as listener:
        listener.setblocking(False)
        async with trio.open_nursery() as nursery:
            bus = exchange.listener("tower")
            await nursery.start(partial(serve_tower, Config(), None, bus, verify, listeners=[listener]))
            for number in range(servers):
                nursery.start_soon(_server, exchange.bus(f"s{number}"), f"s{number}", number * BEAT / servers, silent)
            print("ready", flush=True)
            async for line in trio.wrap_file(sys.stdin):
                silent.add(line.strip())
            nursery.cancel_scope.cancel()


async def _server(bus: MemoryBus, id: str, first: float, silent: set[str]) -> None:
    await trio.sleep(first)
    while id not in silent:
        bus.publish(Beat(id, f"{id}-a", f"http://127.0.0.1/{id}", "1", "ready", 100, TAKES, made_at=time.time()))
        await trio.sleep(BEAT)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]), int(sys.argv[2]))
