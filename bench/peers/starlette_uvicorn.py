"""A hub on Starlette, served by uvicorn with uvloop and httptools, as `uvicorn[standard]` installs it."""

from __future__ import annotations

import itertools

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from bench.peers import dialect

rooms: dict[str, set[WebSocket]] = {}
last: dict[str, int] = {}
numbers = itertools.count()
PORT, ACKS = dialect.arguments()


async def chat(ws: WebSocket) -> None:
    await ws.accept()
    user = dialect.user(next(numbers))
    try:
        while True:
            frame = dialect.decode(await ws.receive_text())
            if frame.t == "join":
                rooms.setdefault(frame.room, set()).add(ws)
                await ws.send_text(dialect.joined(frame.room).decode())
            elif frame.t == "send":
                last[frame.room] = seq = last.get(frame.room, 0) + 1
                if ACKS:
                    await ws.send_text(dialect.ack(frame.room, frame.nonce, seq).decode())
                text = dialect.message(frame.room, seq, user, frame.text).decode()
                for member in list(rooms[frame.room]):
                    try:
                        await member.send_text(text)
                    except (WebSocketDisconnect, RuntimeError):  # RuntimeError: it closed while we looped
                        rooms[frame.room].discard(member)
    except WebSocketDisconnect:
        pass
    finally:
        for members in rooms.values():
            members.discard(ws)


app = Starlette(routes=[WebSocketRoute("/ws", chat)])
uvicorn.run(
    app,
    host="127.0.0.1",
    port=PORT,
    backlog=1024,
    loop="uvloop",
    http="httptools",
    ws_per_message_deflate=False,
    log_level="warning",
)
