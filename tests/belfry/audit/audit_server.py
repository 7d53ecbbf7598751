"""A chat server in a hundred lines that keeps every promise, until a test tells it to break one."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from belfry.audit.address import Address
from belfry.audit.observation import Row, Stored
from chat import wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

ROOM = "lobby"
HEARTBEAT_MS = 25_000
AT = "2026-11-23T10:00:00.000000Z"

Frame = dict[str, Any]


@dataclass
class TinyServer:
    """One room. What the hooks return is sent in place of what is right."""

    epoch: str = "e1"
    rows: list[Row] = field(default_factory=list)
    port: int = 0
    heartbeat_ms: int = HEARTBEAT_MS
    window_ms: int = 10
    reconnect: dict[str, str] = field(default_factory=dict)  # what `welcome` says besides the window
    sockets: dict[WebSocketConnection, str] = field(default_factory=dict)  # joined ones, with the user
    heard: list[Frame] = field(default_factory=list)  # everything that clients sent
    opened: int = 0  # websockets so far
    most: int = 0  # open at once
    answers: list[int] = field(default_factory=list)  # HTTP statuses for the next upgrades, instead of accepting
    retry_after: bytes = b"0"  # seconds, said with those
    commits: bool = True  # else a send is acknowledged and forgotten
    on_message: Callable[[str, Frame], list[Frame]] = lambda user, frame: [frame]
    on_joined: Callable[[Frame], list[Frame]] = lambda frame: [frame]
    on_send: Callable[[Frame], list[Frame] | None] = lambda frame: None  # the whole answer, nothing committed
    on_hello: Callable[[Frame], int | None] = lambda frame: None  # a close code
    arrived: trio.Event = field(default_factory=trio.Event)  # somebody joined; set anew by `next_arrival`

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port, False)

    def stored(self) -> Stored:
        """What the store holds."""
        return Stored(ROOM, self.epoch, len(self.rows), tuple(self.rows))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[TinyServer]:
        """Serve while the block runs."""
        async with trio.open_nursery() as nursery:
            serve = partial(serve_websocket, self._accept, "127.0.0.1", self.port, None)
            self.port = (await nursery.start(serve)).port
            yield self
            nursery.cancel_scope.cancel()

    async def _accept(self, request: WebSocketRequest) -> None:
        self.opened += 1
        if self.answers:
            status = self.answers.pop(0)
            with trio.move_on_after(1.0):
                await request.reject(status, extra_headers=[(b"Retry-After", self.retry_after)], body=b"no")
            return
        socket = await request.accept(subprotocol=wire.SUBPROTOCOL)
        try:
            await self._talk(socket)
        except ConnectionClosed:
            pass
        finally:
            self.sockets.pop(socket, None)

    async def _talk(self, socket: WebSocketConnection) -> None:
        hello = await self._next(socket)
        if (code := self.on_hello(hello)) is not None:
            await socket.aclose(code)
            return
        user = hello["token"].removeprefix("ticket of ")
        reconnect = {"window_ms": self.window_ms} | self.reconnect
        welcome = {"t": "welcome", "user": {"id": user, "name": user}, "server": "tiny", "reconnect": reconnect}
        limits = {"text_chars": 0, "frame_bytes": 0, "rooms_per_session": 0, "send_rate": 0, "send_burst": 0}
        await self.tell(socket, welcome | {"heartbeat_ms": self.heartbeat_ms, "limits": limits})
        for position in hello["resume"].values():
            await self._join(socket, user, tuple(position))
        while True:
            frame = await self._next(socket)
            if frame["t"] == "join":
                await self._join(socket, user, None)
            elif frame["t"] == "send":
                await self._send(socket, user, frame)

    async def _next(self, socket: WebSocketConnection) -> Frame:
        frame: Frame = json.loads(await socket.get_message())
        self.heard.append(frame)
        return frame

    async def tell(self, socket: WebSocketConnection, frame: Frame) -> None:
        """Send one frame to one client, gone or not."""
        try:
            await socket.send_message(json.dumps(frame, ensure_ascii=False))
        except ConnectionClosed:
            self.sockets.pop(socket, None)

    async def tell_all(self, frame: Frame) -> None:
        """Send one frame to every client."""
        for socket in list(self.sockets):
            await self.tell(socket, frame)

    async def move_all(self, not_before_ms: int) -> None:
        """Tell every client to move, with a ticket of its own."""
        for socket, user in list(self.sockets.items()):
            moving = {"t": "moving", "not_before_ms": not_before_ms, "window_ms": 0, "ticket": f"ticket of {user}"}
            await self.tell(socket, moving)

    async def close_all(self, code: int) -> None:
        """Close every connection."""
        for socket in list(self.sockets):
            await socket.aclose(code)

    async def _join(self, socket: WebSocketConnection, user: str, after: tuple[str, int] | None) -> None:
        head = len(self.rows)
        gap = after is not None and (after[0] != self.epoch or after[1] > head)
        start = max(0, head - 50) if after is None or gap else after[1]
        messages = [self._message(row) for row in self.rows[start:]]
        frame = {"t": "joined", "room": ROOM, "epoch": self.epoch, "head": head, "gap": gap, "count": 1}
        self.sockets[socket] = user
        self.most = max(self.most, len(self.sockets))
        for one in self.on_joined(frame | {"messages": messages}):
            await self.tell(socket, one)
        self.arrived.set()

    def _message(self, row: Row) -> Frame:
        return {"seq": row.seq, "from": {"id": row.user, "name": row.user}, "text": row.text, "at": AT}

    async def _send(self, socket: WebSocketConnection, user: str, frame: Frame) -> None:
        if (answers := self.on_send(frame)) is not None:
            for answer in answers:
                await self.tell(socket, answer)
            return
        known = [row for row in self.rows if (row.user, row.nonce) == (user, frame["nonce"])]
        seq = known[0].seq if known else len(self.rows) + 1
        ack = {"t": "ack", "room": ROOM, "nonce": frame["nonce"], "seq": seq, "at": AT}
        if not known and self.commits:
            self.rows.append(Row(seq, user, frame["text"], frame["nonce"]))
        await self.tell(socket, ack)
        if known or not self.commits:
            return
        message = {"t": "message", "room": ROOM} | self._message(self.rows[-1])
        for other, name in list(self.sockets.items()):
            for one in self.on_message(name, message):
                await self.tell(other, one)
