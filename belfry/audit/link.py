"""One websocket connection of one client, from the first byte to the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import trio

from belfry.audit import frames
from belfry.audit.observation import Closed, Garbled
from belfry.audit.pipe import dial
from belfry.audit.websocket import GONE, Websocket
from chat import wire

if TYPE_CHECKING:
    from belfry.audit.address import Address
    from belfry.audit.client import Client
    from belfry.audit.pipe import Pipe

CONNECT_TIMEOUT = 5.0  # seconds for TCP and TLS
HANDSHAKE_TIMEOUT = 5.0  # seconds for the upgrade; a wave of 5,000 at 1,000 a second
LEAVE_TIMEOUT = 1.0  # seconds for a polite close
SILENCE_BEATS = 2.5  # heartbeats without a word before the server counts as gone; it pings once a beat


@dataclass(frozen=True, slots=True)
class Ending:
    """How a link ended."""

    code: int
    why: str
    welcomed: bool
    lasted: float  # seconds since welcome
    retry_after: float = 0.0  # seconds the server asked for, at least


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
        self.left = False  # the client said goodbye
        self._pipe: Pipe | None = None
        self._websocket = Websocket()
        self._opened = False  # the handshake was accepted
        self._outcome: tuple[int, str] | None = None
        self._carrying = trio.CancelScope()
        self._welcomed_at: float | None = None
        self._heard_at = 0.0
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
            if self._opened:
                planned = self.left or self.moving is not None
                self.client.observe(Closed(self.client.name, self.number, code, trio.current_time(), planned))
            self.ended.set()
            self.changed.set()
            self.client.lost(self)
        self._tell_ready(False)

    @property
    def lasted(self) -> float:
        """Seconds since the server's welcome."""
        return 0.0 if self._welcomed_at is None else trio.current_time() - self._welcomed_at

    def _tell_ready(self, ready: bool) -> None:
        if self._ready is not None:
            self._ready.started(ready)
            self._ready = None

    # --- bytes -------------------------------------------------------------------------------------------------

    async def _live(self) -> tuple[int, str]:
        readers = self.client.readers
        try:
            with trio.fail_after(CONNECT_TIMEOUT):
                pipe = self._pipe = await dial(self.address, readers)
        except (OSError, trio.BrokenResourceError, trio.TooSlowError) as error:
            return GONE, f"cannot connect: {error or type(error).__name__}"
        pipe.post(self._websocket.request(self.address.netloc))
        self._heard_at = trio.current_time()
        readers.look_after(self._look)
        try:
            with self._carrying:
                await pipe.carry(self._feed)
        finally:
            readers.leave_alone(self._look)
        return self._outcome or (GONE, "the connection broke")

    def _look(self, now: float) -> None:
        """Called once a second: end a connection on which nothing comes."""
        if not self._opened:
            if now - self._heard_at > HANDSHAKE_TIMEOUT:
                self._end(GONE, "no websocket handshake")
        elif self._silence is not None and now - self._heard_at > self._silence:
            self._end(GONE, "the server fell silent")

    def _feed(self, data: bytes) -> None:
        if not data:
            self._end(GONE, "the connection broke")
            return
        websocket = self._websocket
        self._heard_at = trio.current_time()
        texts = websocket.feed(data)
        if not self._opened:
            self._read_handshake(websocket)
        for text in texts:
            try:
                frame = frames.decode.decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                what = f"{error}: {text[:200]!r}"
                self.client.observe(Garbled(self.client.name, self.number, what))
                continue
            self.client.handle(self, frame)
        if answers := websocket.take_answers():
            self._write(answers)
        if websocket.closed is not None:
            self._end(*websocket.closed)

    def _read_handshake(self, websocket: Websocket) -> None:
        if websocket.opened:
            self._opened = True
            if websocket.subprotocol != wire.SUBPROTOCOL:
                self.client.observe(Garbled(self.client.name, self.number, f"subprotocol {websocket.subprotocol}"))
            self.client.link_open(self)
        elif websocket.rejected is not None:
            status, self._retry_after = websocket.rejected
            self._end(GONE, f"HTTP {status}")

    def _end(self, code: int, why: str) -> None:
        if self._outcome is None:
            self._outcome = code, why
            self._carrying.cancel()

    def _write(self, data: bytes) -> None:
        if self._pipe is not None and self._outcome is None:
            self._pipe.post(data)

    # --- what its client says and hears ------------------------------------------------------------------------

    def post(self, frame: wire.ClientFrame) -> None:
        """Put a frame on its way."""
        if not self.left:
            self._write(self._websocket.text(wire.encode(frame)))

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
        """Close politely, within LEAVE_TIMEOUT."""
        self.left = True
        self._write(self._websocket.goodbye())
        with trio.move_on_after(LEAVE_TIMEOUT):
            await self.ended.wait()
        self._end(GONE, "the server did not answer a close")
