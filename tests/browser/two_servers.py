"""Two chat servers over one store and one bus, in one process: `two_servers.py DIRECTORY PORT PORT`.

Lines on stdin are orders, "drain s1" or "stop s1"; it says "ready" once, and "drained s1" or "stopped s1" when that is
so.
"""

from __future__ import annotations

import itertools
import socket
import sys
from functools import partial
from pathlib import Path

import trio

from bus.events import Order
from bus.memory import Exchange
from chat.config import Config
from chat.server import ChatServer
from chat.tokens import Tokens
from db.sqlite import SqliteStore

SECRET = b"a secret of thirty-two bytes and more"

_orders = itertools.count()


def say(line: str) -> None:
    print(line, flush=True)


async def live(server: ChatServer, listener: socket.socket, *, task_status: trio.TaskStatus[ChatServer]) -> None:
    await server.run([listener], task_status=task_status)
    say(f"stopped {server.config.server_id}")


async def obey(line: str, servers: dict[str, ChatServer]) -> None:
    verb, id = line.split()
    server = servers[id]
    if verb == "stop":
        server.drain()
        return
    server.orders.heard(Order(id, f"o{next(_orders)}", verb, per_second=20.0))
    while server.state != "cordoned":  # noqa: ASYNC110  # this is what an operator sees: there is no event
        await trio.sleep(0.05)
    say(f"drained {id}")


async def main(directory: Path, ports: list[int]) -> None:
    exchange = Exchange()
    store = await SqliteStore.open(directory / "belfry.db")
    servers: dict[str, ChatServer] = {}
    async with trio.open_nursery() as nursery:
        for number, port in enumerate(ports, start=1):
            listener = socket.create_server(("127.0.0.1", port), backlog=100)
            id = f"s{number}"
            config = Config(
                server_id=id, boot="b", port=port, secret=SECRET, guests=True, first_rooms=("lobby",),
                drain_deadline=10.0, reconnect_window=0.5,
            )  # fmt: skip
            server = ChatServer(config, store, exchange.bus(f"{id}/b"), Tokens(SECRET))
            servers[id] = await nursery.start(partial(live, server, listener))
        say("ready")
        async for chunk in trio.lowlevel.FdStream(sys.stdin.fileno()):
            for line in chunk.decode().splitlines():
                nursery.start_soon(obey, line, servers)
        nursery.cancel_scope.cancel()
    await store.aclose()


trio.run(main, Path(sys.argv[1]), [int(port) for port in sys.argv[2:]])
