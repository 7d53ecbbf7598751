"""One websocket connection of one client, from the first byte to the last."""

from __future__ import annotations

import ssl
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, wrap_client_stream

from belfry.audit import frames
from belfry.audit.observation import Closed, Garbled
from chat import wire

if TYPE_CHECKING:
    from trio_websocket import WebSocketConnection

    from belfry.audit.address import Address
    from belfry.audit.client import Client

CONNECT_TIMEOUT = 5.0  # seconds for TCP and TLS
HANDSHAKE_TIMEOUT = 5.0  # seconds for the upgrade; a wave of 5,000 at 1,000 a second
LEAVE_TIMEOUT = 1.0  # seconds for a polite close
READ_BYTES = 65_536  # a read; trio-websocket asks for 4 KiB, which is 30 messages
MAX_FRAME = 16 * 2**20  # characters; a `joined` with 500 messages of 4,000 characters is 2 million
QUEUED = 64  # frames between the library's reader and ours: fewer task switches
SILENCE_BEATS = 2.5  # heartbeats without a word before the server counts as gone; it pings once a beat
GONE = 1006  # RFC 6455: no close frame came


@dataclass(frozen=True, slots=True)
class Ending:
    """How a link ended."""

    code: int
    why: str
    welcomed: bool
    lasted: float  # seconds since welcome
    retry_after: float = 0.0  # seconds the server asked for, at least


class _Noticing(trio.abc.Stream):
    """A stream that tells when it is over: before the handshake trio-websocket would wait on for ever."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.inner = inner
        self.opening: trio.CancelScope | None = None

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data: bytes | bytearray = b""
        try:
            data = await self.inner.receive_some(READ_BYTES)
        finally:
            if not data and self.opening is not None:
                self.opening.cancel()
        return data

    async def aclose(self) -> None:
        if self.opening is not None:
            self.opening.cancel()
        await self.inner.aclose()


class Link:
    """One connection. `run` it; it calls its client for everything that happens."""

    def __init__(self, client: Client, number: int, address: Address, token: str) -> None:
        self.client = client
        self.number = number
        self.address = address
        self.token = token
        self.epochs: dict[str, str] = {}  # rooms joined on this link
        self.asked: dict[str, tuple[str, int] | None] = {}  # rooms asked for, with the position named
        self.posted: set[str] = set()  # nonces on their way on this link
        self.ended = trio.Event()
        self.changed = trio.Event()  # ended, or told to move
        self.moving: wire.Moving | None = None
        self.ending: Ending | None = None
        self._out: deque[str] = deque()  # bounded by the client's unanswered sends and its rooms
        self._written = trio.Event()
        self._websocket: WebSocketConnection | None = None
        self._welcomed_at: float | None = None
        self._retry_after = 0.0
        self._silence: float | None = None
        self._ready: trio.TaskStatus[bool] | None = None

    async def run(self, *, task_status: trio.TaskStatus[bool]) -> None:
        """Connect and read until the end; started(True) when all rooms are joined, started(False) if that fails."""
        self._ready = task_status
        code, why = GONE, "cancelled"
        try:
            code, why = await self._live()
        finally:
            self.ending = Ending(code, why, self._welcomed_at is not None, self.lasted, self._retry_after)
            if self._websocket is not None:
                self.client.observe(Closed(self.client.name, self.number, code))
            self.ended.set()
            self.changed.set()
        self._tell_ready(False)

    @property
    def lasted(self) -> float:
        """Seconds since the server's welcome."""
        return 0.0 if self._welcomed_at is None else trio.current_time() - self._welcomed_at

    def _tell_ready(self, ready: bool) -> None:
        if self._ready is not None:
            self._ready.started(ready)
            self._ready = None

    async def _live(self) -> tuple[int, str]:
        try:
            with trio.fail_after(CONNECT_TIMEOUT):
                stream = _Noticing(await self._dial())
        except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
            return GONE, f"cannot connect: {error or type(error).__name__}"
        outcome = GONE, "the connection broke"
        try:
            async with trio.open_nursery() as nursery:
                outcome = await self._speak(nursery, stream)
                nursery.cancel_scope.cancel()
        except* ConnectionRejected as group:
            rejected = group.exceptions[0]
            while isinstance(rejected, BaseExceptionGroup):
                rejected = rejected.exceptions[0]
            assert isinstance(rejected, ConnectionRejected)
            outcome = GONE, f"HTTP {rejected.status_code}"
            for name, value in rejected.headers or ():
                if name.lower() == b"retry-after" and value.isdigit():
                    self._retry_after = float(value)
        except* (ConnectionClosed, HandshakeError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # what it means is in `outcome` already: the connection broke
        finally:
            await trio.aclose_forcefully(stream)
        return outcome

    async def _dial(self) -> trio.abc.Stream:
        where = self.address
        if not where.secure:
            return await trio.open_tcp_stream(where.host, where.port)
        secured = await trio.open_ssl_over_tcp_stream(
            where.host, where.port, ssl_context=ssl.create_default_context(), https_compatible=True
        )
        await secured.do_handshake()
        return secured

    async def _speak(self, nursery: trio.Nursery, stream: _Noticing) -> tuple[int, str]:
        with trio.move_on_after(HANDSHAKE_TIMEOUT) as opening:
            stream.opening = opening
            websocket = await wrap_client_stream(
                nursery,
                stream,  # type: ignore[arg-type]  # annotated with trio's own streams; it uses the abstract one
                self.address.netloc,
                "/ws",
                subprotocols=[wire.SUBPROTOCOL],
                message_queue_size=QUEUED,
                max_message_size=MAX_FRAME,
            )
        stream.opening = None
        if opening.cancelled_caught:
            return GONE, "no websocket handshake"
        if websocket.subprotocol != wire.SUBPROTOCOL:
            self.client.observe(Garbled(self.client.name, self.number, f"subprotocol {websocket.subprotocol}"))
        self._websocket = websocket
        nursery.start_soon(self._write, websocket)
        self.client.link_open(self)
        with trio.CancelScope() as listening:
            try:
                await self._read(websocket, listening)
            except ConnectionClosed as closed:
                code, why = (closed.reason.code, closed.reason.reason) if closed.reason else (GONE, None)
                return code, why or ""
        return GONE, "the server fell silent"

    async def _read(self, websocket: WebSocketConnection, listening: trio.CancelScope) -> None:
        while True:
            text = await websocket.get_message()
            if self._silence is not None:
                deadline = trio.current_time() + self._silence
                if deadline > listening.deadline + 1.0 or listening.deadline == float("inf"):
                    listening.deadline = deadline  # moved once a second, not at each message: each costs a heap entry
            try:
                frame = frames.decode.decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                what = f"{error}: {text[:200]!r}"
                self.client.observe(Garbled(self.client.name, self.number, what))
                continue
            self.client.handle(self, frame)

    async def _write(self, websocket: WebSocketConnection) -> None:
        try:
            while True:
                while self._out:
                    await websocket.send_message(self._out.popleft())
                self._written = trio.Event()
                await self._written.wait()
        except ConnectionClosed:
            return  # the reader hears of it too, and tells why

    def post(self, frame: wire.ClientFrame) -> None:
        """Put a frame on its way."""
        self._out.append(frames.encode(frame))
        self._written.set()

    def welcomed(self, welcome: wire.Welcome) -> None:
        """The server took the hello."""
        self._welcomed_at = trio.current_time()
        if welcome.heartbeat_ms:
            self._silence = welcome.heartbeat_ms / 1000 * SILENCE_BEATS

    def all_joined(self) -> None:
        """Every room asked for is joined or refused."""
        self._tell_ready(True)

    def move(self, moving: wire.Moving) -> None:
        """The server wants this client elsewhere."""
        self.moving = moving
        self.changed.set()

    def wait_at_least(self, seconds: float) -> None:
        """The server said when coming back makes sense."""
        self._retry_after = max(self._retry_after, seconds)

    async def leave(self) -> None:
        """Close politely, within LEAVE_TIMEOUT; the reader ends by it."""
        if self._websocket is not None:
            with trio.move_on_after(LEAVE_TIMEOUT):
                await self._websocket.aclose()
