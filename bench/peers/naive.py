"""A chat server as one writes it on the first evening with trio-websocket: a set of sockets a room, and a loop."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import sys
from functools import partial
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

rooms: dict[str, set[WebSocketConnection]] = {}
last: dict[str, int] = {}
numbers = itertools.count()
dumps = partial(json.dumps, separators=(",", ":"))  # without blanks, to be as long as the others' messages
ACKS = "--acks" in sys.argv


async def chat(request: WebSocketRequest) -> None:
    ws = await request.accept()
    n = next(numbers)
    user = {"id": f"u_{n}", "name": f"Bench {n}"}
    try:
        while True:
            frame = json.loads(await ws.get_message())
            if frame["t"] == "join":
                rooms.setdefault(frame["room"], set()).add(ws)
                await ws.send_message(dumps({"t": "joined", "room": frame["room"], "messages": []}))
            elif frame["t"] == "send":
                await broadcast(ws, user, frame)
    except ConnectionClosed:
        pass
    finally:
        for members in rooms.values():
            members.discard(ws)


async def broadcast(sender: WebSocketConnection, user: dict[str, str], frame: dict[str, Any]) -> None:
    room = frame["room"]
    last[room] = seq = last.get(room, 0) + 1
    at = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
    if ACKS:
        await sender.send_message(dumps({"t": "ack", "room": room, "nonce": frame["nonce"], "seq": seq, "at": at}))
    text = dumps({"t": "message", "room": room, "seq": seq, "from": user, "text": frame["text"], "at": at})
    for ws in list(rooms[room]):
        try:
            await ws.send_message(text)
        except ConnectionClosed:
            rooms[room].discard(ws)


trio.run(partial(serve_websocket, chat, "127.0.0.1", int(sys.argv[1]), ssl_context=None))
