"""A small world to test chat servers in: real servers on real sockets and a real store, and clients in raw frames."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import socket
from typing import TYPE_CHECKING, Any, Self

import client_frames
import trio

from bus.memory import Exchange
from chat.config import Config, Limits
from chat.server import ChatServer
from chat.tokens import Tokens
from db.records import Draft
from db.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from bus.bus import Bus
    from db.store import Store

SECRET = b"a secret of thirty-two bytes and more"
TOKENS = Tokens(SECRET)
PATIENCE = 60.0  # seconds for anything to come; everything comes in milliseconds, on a machine that is not busy
ROOM = "lobby"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = {
    "Host": "belfry.test",
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Protocol": "belfry.v1",
}

Frame = dict[str, Any]


def token(user: str, ttl: float = 3_600.0) -> str:
    """A token for a user, named like the id."""
    return TOKENS.issue(user, user.title(), ttl)


def head(changes: dict[str, str | None] | None = None, line: str = "GET /ws HTTP/1.1") -> bytes:
    """An upgrade request, with headers changed or, by None, left out."""
    headers = {name: value for name, value in (UPGRADE | (changes or {})).items() if value is not None}
    return ("\r\n".join([line, *(f"{name}: {value}" for name, value in headers.items())]) + "\r\n\r\n").encode()


class Closed(Exception):
    """The server closed; `code` is 1006 when it did so without a close frame."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class Client:
    """One websocket client, byte by byte under the test's control."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.received = b""
        self.waiting: list[Frame] = []  # frames that came and that nobody asked for yet
        self.pongs: list[bytes] = []
        self.closed: Closed | None = None
        self.silent = False  # whether to leave the server's pings unanswered

    async def upgrade(self, request: bytes | None = None) -> Self:
        """Make the opening handshake."""
        await self.stream.send_all(request or head())
        answer = await self.response_head()
        assert answer.startswith(b"HTTP/1.1 101 "), answer
        return self

    async def response_head(self) -> bytes:
        """The head of an HTTP response, up to its empty line."""
        with trio.fail_after(PATIENCE):
            while b"\r\n\r\n" not in self.received:
                data = await self.stream.receive_some()
                assert data, f"the server hung up after {self.received!r}"
                self.received += data
        answer, _, self.received = self.received.partition(b"\r\n\r\n")
        return answer

    async def send(self, data: bytes) -> None:
        """Send raw bytes; a server that is gone takes nothing and says so by its close."""
        with trio.fail_after(PATIENCE), contextlib.suppress(trio.BrokenResourceError):
            await self.stream.send_all(data)

    async def say(self, *frames: Frame) -> None:
        """Send frames, all in one write, in a browser's JSON."""
        await self.send(b"".join(client_frames.text(json.dumps(frame, separators=(",", ":"))) for frame in frames))

    async def hear(self, *kinds: str, **fields: Any) -> Frame:
        """The next frame of one of these kinds and with these fields; what comes before it is kept. Raises Closed."""
        skipped = 0
        with trio.fail_after(PATIENCE):
            while True:
                for at in range(skipped, len(self.waiting)):
                    frame = self.waiting[at]
                    if (not kinds or frame["t"] in kinds) and fields.items() <= frame.items():
                        return self.waiting.pop(at)
                skipped = len(self.waiting)
                if self.closed is not None:
                    raise self.closed
                await self._read()

    async def hear_all(self, seconds: float) -> list[Frame]:
        """Everything that waits and that comes within some seconds of the test's clock."""
        with trio.move_on_after(seconds):
            while self.closed is None:
                await self._read()
        frames, self.waiting = self.waiting, []
        return frames

    async def messages(self, count: int, room: str = ROOM) -> list[int]:
        """The numbers of the next messages of a room, those within `joined` too."""
        found: list[int] = []
        while len(found) < count:
            frame = await self.hear("joined", "message", room=room)
            found += [message["seq"] for message in frame.get("messages", [frame])]
        return found

    async def hear_close(self) -> Closed:
        """The server's close, answered by ours; what came before it is kept."""
        with trio.fail_after(PATIENCE):
            while self.closed is None:
                await self._read()
        return self.closed

    async def _read(self) -> None:
        """Take what arrives next; afterwards `closed` says whether more can come."""
        frames, self.received = client_frames.split(self.received)
        ended = False
        if not frames:  # else they came with the answer to the handshake
            data = b""
            with contextlib.suppress(trio.BrokenResourceError):
                data = await self.stream.receive_some()
            ended = not data
            frames, self.received = client_frames.split(self.received + data)
        for opcode, payload in frames:
            if opcode == client_frames.TEXT:
                self._take(json.loads(payload))
            elif opcode == client_frames.PONG:
                self.pongs.append(payload)
            elif opcode == client_frames.CLOSE:
                self.closed = Closed(int.from_bytes(payload[:2], "big"), payload[2:].decode())
                # A server that waited long enough has gone meanwhile.
                with contextlib.suppress(trio.BrokenResourceError):
                    await self.send(client_frames.close())
                    await self.stream.send_eof()
                return
        if ended:
            self.closed = Closed(1006)
            return
        if not self.silent and any(opcode == client_frames.TEXT and p == b'{"t":"ping"}' for opcode, p in frames):
            await self.say({"t": "pong"})

    def _take(self, frame: Frame) -> None:
        if frame["t"] != "ping" or self.silent:
            self.waiting.append(frame)

    # --- what every test says ----------------------------------------------------------------------------------

    async def hello(self, user: str, **more: Any) -> Frame:
        """Say hello with a token of ours; the welcome."""
        await self.say({"t": "hello", "token": token(user)} | more)
        return await self.hear("welcome")

    async def join(self, room: str = ROOM, **more: Any) -> Frame:
        """Join a room; the first `joined`."""
        await self.say({"t": "join", "room": room} | more)
        return await self.hear("joined", room=room)

    async def tell(self, text: str, nonce: str, room: str = ROOM) -> int:
        """Send a message; its number, once it is acknowledged."""
        await self.say({"t": "send", "room": room, "nonce": nonce, "text": text})
        ack = await self.hear("ack", nonce=nonce)
        return int(ack["seq"])

    async def leave(self) -> Closed:
        """Close from our side; the server's answer."""
        await self.send(client_frames.close())
        return await self.hear_close()


class House:
    """One running server."""

    def __init__(self, server: ChatServer, store: Store, nursery: trio.Nursery) -> None:
        self.server = server
        self.store = store
        self._nursery = nursery
        self.stopped = trio.Event()

    @property
    def port(self) -> int:
        return self.server.addresses[0][1]

    async def connect(self, receive_buffer: int | None = None) -> Client:
        """A TCP connection that has said nothing yet; closed at the latest with the house.

        `receive_buffer`: bytes that the kernel may take for a client that does not read.
        """
        sock = trio.socket.socket()
        self._nursery.start_soon(_close_at_the_end, sock)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await sock.connect(("127.0.0.1", self.port))
        return Client(trio.SocketStream(sock))

    async def client(self, user: str, *rooms: str, **hello: Any) -> Client:
        """A client that has said hello and joined rooms."""
        client = await (await self.connect()).upgrade()
        await client.hello(user, **hello)
        for room in rooms:
            await client.join(room)
        return client

    async def room(self, name: str, messages: int = 0, text: Callable[[int], str] = "message {}".format) -> None:
        """Make a room through the store, with a history by "old"."""
        now = dt.datetime.now(dt.UTC)
        record = await self.store.create_room(name, name, "test", now)
        drafts = [Draft(record.id, "old", "Old", f"n{seq}", text(seq)) for seq in range(1, messages + 1)]
        for at in range(0, messages, 1_000):
            await self.store.append(drafts[at : at + 1_000], now)

    def metric(self, name: str) -> int:
        """One of the server's counts."""
        value = getattr(self.server.metrics, name)
        assert isinstance(value, int)
        return value


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so that nobody tells of."""
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event, and shall not get one for a test
            await trio.sleep(0.01)


async def _close_at_the_end(sock: trio.socket.SocketType) -> None:
    with sock:
        await trio.sleep_forever()


@contextlib.asynccontextmanager
async def serving(
    store: Store, *, bus: Bus | None = None, limits: Limits | None = None, **config: Any
) -> AsyncIterator[House]:
    """A chat server on a free port until the block ends; the store stays open."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1_000)
    settings = Config(
        secret=SECRET,
        **({"port": 0, "first_rooms": (ROOM,)} | config),
        limits=limits or Limits(handshakes_per_second=0),
    )
    with listener:
        async with trio.open_nursery() as nursery, trio.open_nursery() as clients:
            server = ChatServer(settings, store, bus or Exchange().bus(settings.server_id), TOKENS)
            house = House(server, store, clients)

            async def run(task_status: trio.TaskStatus[ChatServer] = trio.TASK_STATUS_IGNORED) -> None:
                await server.run([listener], task_status=task_status)
                house.stopped.set()

            await nursery.start(run)
            yield house
            clients.cancel_scope.cancel()
            nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def sqlite(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store in a file of its own."""
    store = await SqliteStore.open(tmp_path / "belfry.db")
    try:
        yield store
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(10):
            await store.aclose()


@contextlib.asynccontextmanager
async def house(tmp_path: Path, **settings: Any) -> AsyncIterator[House]:
    """A server with a store of its own."""
    async with sqlite(tmp_path) as store, serving(store, **settings) as running:
        yield running


logging.getLogger("hypercorn.error").setLevel(logging.WARNING)
