"""A hub on websockets' asyncio server with its `broadcast`, as its documentation shows it."""

from __future__ import annotations

import asyncio
import itertools

from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from bench.peers import dialect

rooms: dict[str, set[ServerConnection]] = {}
last: dict[str, int] = {}
numbers = itertools.count()
PORT, ACKS = dialect.arguments()


async def chat(ws: ServerConnection) -> None:
    user = dialect.user(next(numbers))
    try:
        async for text in ws:
            frame = dialect.decode(text)
            if frame.t == "join":
                rooms.setdefault(frame.room, set()).add(ws)
                await ws.send(dialect.joined(frame.room), text=True)
            elif frame.t == "send":
                last[frame.room] = seq = last.get(frame.room, 0) + 1
                if ACKS:
                    await ws.send(dialect.ack(frame.room, frame.nonce, seq), text=True)
                broadcast(rooms[frame.room], dialect.message(frame.room, seq, user, frame.text), text=True)
    except ConnectionClosed:
        pass
    finally:
        for members in rooms.values():
            members.discard(ws)


async def main() -> None:
    async with serve(chat, "127.0.0.1", PORT, compression=None, backlog=1024):
        await asyncio.get_running_loop().create_future()


dialect.run(main)
