"""One client's session: its frames in, answers out. The controller of the websocket side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import trio

from chat import wire
from chat.closing import BAD_TOKEN, BANNED, FLOOD, MOVED, NO_HELLO, POLICY, SLOW, Closing
from chat.errors import Refused
from chat.frames import text_frame
from chat.joining import join
from chat.rate import Bucket
from chat.text import check_nonce, check_text
from chat.websocket import Ended, Websocket
from db.records import Appended, Draft

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from chat.live_room import LiveRoom
    from chat.sessions import Sessions
    from chat.tokens import Identity

HELLO_TIMEOUT = 5.0  # seconds; a slow phone needs two
CLOSE_LINGER = 2.0  # seconds for the closing handshake: a round trip round the world is 0.3
ACK_PATIENCE = 3.0  # seconds a closing session waits for the acks of what it was sent; a commit takes 0.1 at worst
SLOW_LINGER = 5.0  # seconds for a slow reader to take what is under way, so that it learns why
IN_FLIGHT = 500  # sends of one session that wait for their ack; then nothing more is read from it
STRIKES = 100  # refused frames in a row, with no good one between, before the session is closed 1008
FRAMES_PER_SEND = 5  # frames of all kinds a session may send for each message it may send
SEND = b'{"t":"send",'  # how one begins that is handled without a task switch; any other order of keys is as good
NOT_A_FRAME = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # the last: brackets without end


class Session:
    """The state of one websocket from hello to close."""

    __slots__ = (
        "_closing", "_frames", "_room_below", "_scope", "_sends", "_strikes", "context", "expires_at", "from_json",
        "given", "greeted", "heard", "identity", "in_flight", "outbox", "over", "pinged", "rooms", "user", "waited",
        "websocket",
    )  # fmt: skip

    def __init__(self, websocket: Websocket, context: Sessions) -> None:
        self.websocket = websocket
        self.outbox = websocket.outbox
        self.rooms: dict[str, LiveRoom] = {}
        self.in_flight = 0
        self.heard = context.now()  # when the last bytes came, by the event loop's clock
        self.pinged = False
        self.greeted = False  # whether it said a good hello
        self.given = False  # whether another process has its socket now
        self.over = False  # whether it has begun to end, by either side
        self.waited = 0.0  # seconds of HELLO_TIMEOUT that it used up in another process
        self.context = context
        self._closing: Closing | None = None
        self._scope: trio.CancelScope | None = None
        self._strikes = 0
        self._room_below: trio.Event | None = None
        self._sends: Bucket | None = None
        self._frames: Bucket | None = None
        self.user: wire.User
        self.identity: Identity
        self.from_json: bytes
        self.expires_at: float

    # --- life --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve the client until it leaves or is told to."""
        failed, linger, code = False, CLOSE_LINGER, 1006
        self.outbox.when_slow(self.slow)
        try:
            with trio.CancelScope() as self._scope:
                try:
                    if not self.greeted:
                        await self._greet()
                    while True:
                        await self._handle_all(await self.websocket.receive(self._take))
                        while self.in_flight > IN_FLIGHT:
                            await self._fewer_in_flight()
                except Ended as ended:
                    self._closing = self._closing or ended.closing
                    failed, code = ended.failed, ended.code
        finally:
            self.over = True
            if self.given:
                self.websocket.close()  # our descriptor only: the connection lives on
            else:
                await self._end(linger, code, failed=failed)

    async def _end(self, linger: float, code: int, *, failed: bool) -> None:
        """Leave everything, wait for what is in flight, and say goodbye."""
        context, closing = self.context, self._closing
        context.leave(self)
        context.metrics.odd_frames += self.websocket.library_runs
        if closing is SLOW:
            linger = SLOW_LINGER
            self.outbox.cut()
        context.metrics.closes[closing.code if closing else code] += 1
        if closing is not None and self.in_flight:
            with trio.move_on_after(ACK_PATIENCE, shield=True):
                while self.in_flight:
                    await self._fewer_in_flight()
        await self.websocket.finish(closing, linger, failed=failed)

    @property
    def closing(self) -> bool:
        """Whether it has been told to end, or its client has left."""
        return self.over or self._closing is not None

    def give(self) -> None:
        """Another process has the socket: end without a word to it."""
        self.given = True
        self.outbox.give_up()
        if self._scope is not None:
            self._scope.cancel()

    def own(self) -> bool:
        """The socket is ours from here on; False if it was given back before that."""
        self.given = self.outbox.broken
        return not self.given

    def close(self, closing: Closing) -> None:
        """End the session from outside: nothing more is read, the close frame goes out behind what was posted."""
        if self._closing is None:
            self._closing = closing
            if self._scope is not None:
                self._scope.cancel()

    def slow(self) -> None:
        """Its client reads too slowly, or nothing."""
        self.context.metrics.slow_readers += 1
        self.close(SLOW)

    async def _fewer_in_flight(self) -> None:
        if self._room_below is None:
            self._room_below = trio.Event()
        await self._room_below.wait()

    # --- hello -------------------------------------------------------------------------------------------------

    async def _greet(self) -> None:
        """Wait for hello and answer it; frames behind it in the same packet are handled too."""
        with trio.move_on_after(HELLO_TIMEOUT - self.waited) as patience:
            payloads = await self.websocket.receive()
        if patience.cancelled_caught:
            raise Ended(NO_HELLO.code, NO_HELLO)
        joins: list[wire.Join] | None = None
        while joins is None or joins:  # one in a step: a client may have a hundred rooms
            async with self.context.coming:
                gathers = joins is None and self.outbox.gather()  # most are in one room: welcome and it are one send
                try:
                    if joins is None:
                        joins = self._answer_hello(payloads[0])
                    waiting = join(self, joins.pop()) if joins else None
                finally:
                    if gathers:
                        self.outbox.send_gathered()
            if waiting is not None:
                await waiting
        await self._handle_all(payloads[1:])

    def _answer_hello(self, payload: bytes) -> list[wire.Join]:
        """Welcome a client; what it wants to join, the first last. Raises Ended."""
        try:
            frame = wire.decode_client(payload)
        except NOT_A_FRAME as error:
            self.refuse(*_decode_problem(error))
            raise Ended(POLICY.code, POLICY) from None
        if not isinstance(frame, wire.Hello):
            self.refuse("bad_frame", "the first frame is hello")
            raise Ended(POLICY.code, POLICY)
        try:
            identity = self.context.identify(frame.token)
        except Refused as error:
            self.refuse(error.code, str(error))
            raise Ended(BAD_TOKEN.code, BAD_TOKEN) from None
        self._welcome(identity)
        if self.context.revocations.is_banned(identity.user_id):
            raise Ended(BANNED.code, BANNED)
        if self.context.draining:
            raise Ended(MOVED.code, MOVED)
        return [wire.Join(room, position) for room, position in (frame.resume or identity.rooms).items()][::-1]

    def _welcome(self, identity: Identity) -> None:
        self.be(identity)
        self.context.enter(self)
        self.outbox.post(self.context.welcome(self.user))

    def be(self, identity: Identity) -> None:
        """This is who says so from here on; a hello was good, here or in the process that had the socket before."""
        limits, now = self.context.config.limits, self.context.now()
        self.identity = identity
        self.user = wire.User(identity.user_id, identity.name)
        self.from_json = wire.encode(self.user)
        self.expires_at = identity.expires_at
        if limits.send_rate:
            self._sends = Bucket(limits.send_rate, limits.send_burst, now)
            self._frames = Bucket(limits.send_rate * FRAMES_PER_SEND, limits.send_burst * FRAMES_PER_SEND, now)
        self.greeted = True

    # --- frames ------------------------------------------------------------------------------------------------

    def _take(self, payloads: list[bytes]) -> bool:
        """Handle sends at once, which never wait; False: they are for our task. Called where they were received."""
        if self.in_flight + len(payloads) > IN_FLIGHT or self._closing is not None:
            return False
        for payload in payloads:
            if not payload.startswith(SEND):
                return False
        for payload in payloads:
            self._handle(payload)  # a send, or nothing: a second "t" is refused
            if self._closing is not None:
                break
        return True

    async def _handle_all(self, payloads: list[bytes]) -> None:
        for payload in payloads:
            waiting = self._handle(payload)
            if waiting is not None:
                await waiting
            if self._closing is not None:
                return

    def _handle(self, payload: bytes) -> Awaitable[None] | None:
        """Handle one frame; what has to wait for the store comes back as an awaitable, the next frame waits too."""
        context = self.context
        context.metrics.frames_received += 1
        self.heard = now = context.now()
        self.pinged = False
        if self._frames is not None and (wait := self._frames.take(now)):
            self.strike("rate_limited", "too many frames", None, retry_ms=int(wait * 1_000) + 1)
            return None
        try:
            frame = wire.decode_client(payload)
        except NOT_A_FRAME as error:
            self.strike(*_decode_problem(error), None)
            return None
        if type(frame) is wire.Send:
            self._send(frame, now)
        elif type(frame) is wire.Join:
            return join(self, frame)
        elif type(frame) is wire.Pong:
            pass
        elif type(frame) is wire.Hello:
            self.strike("bad_frame", "hello was said already", None)
        else:
            live = self.rooms.get(frame.room)
            if live is None:
                self.strike("not_joined", f'join "{frame.room[:64]}" first', frame.room)
            elif type(frame) is wire.ClientTyping:
                context.hub.typing(live, self.user)
            elif type(frame) is wire.ClientRead:
                context.hub.read(live, self.user.id, frame.seq)
            else:
                self.leave_room(frame.room)
        return None

    def refuse(
        self, code: str, message: str, ref: str | None = None, *, temporary: bool = False, retry_ms: int | None = None
    ) -> None:
        """Tell the client that something of what it asked for is not done; `ref` is its nonce, or the room."""
        self.context.metrics.refusals += 1
        self.outbox.post(text_frame(wire.encode(wire.Error(code, message, temporary, retry_ms, ref))))

    def strike(self, code: str, message: str, ref: str | None, *, retry_ms: int | None = None) -> None:
        """Refuse a frame that a good client would not have sent; too many in a row end the session."""
        self._strikes += 1
        if self._strikes > STRIKES:
            self.close(FLOOD if code == "rate_limited" else POLICY)
            return
        self.refuse(code, message, ref, temporary=code == "rate_limited", retry_ms=retry_ms)

    def _send(self, frame: wire.Send, now: float) -> None:
        live = self.rooms.get(frame.room)
        if live is None:
            self.strike("not_joined", f'join "{frame.room[:64]}" first', frame.nonce)
            return
        if self._sends is not None and (wait := self._sends.take(now)):
            self.strike("rate_limited", "too many messages", frame.nonce, retry_ms=int(wait * 1_000) + 1)
            return
        context = self.context
        try:
            check_nonce(frame.nonce)
            text = check_text(frame.text, context.config.limits.text_chars)
            context.committer.submit(Draft(live.order.id, self.user.id, self.user.name, frame.nonce, text), live, self)
        except Refused as error:
            self.refuse(error.code, str(error), frame.nonce, temporary=error.temporary, retry_ms=error.retry_ms)
            return
        self._strikes = 0
        self.in_flight += 1

    def settled(self, draft: Draft, outcome: Appended | Refused) -> Session | None:
        """A send of this session has its fate."""
        self.in_flight -= 1
        if self._room_below is not None and self.in_flight <= IN_FLIGHT // 2:
            self._room_below.set()
            self._room_below = None
        if isinstance(outcome, Refused):
            self.refuse(outcome.code, str(outcome), draft.nonce, temporary=outcome.temporary, retry_ms=outcome.retry_ms)
            return None
        return self

    # --- rooms -------------------------------------------------------------------------------------------------

    def leave_room(self, name: str) -> None:
        """End the membership in a room that it is in."""
        live = self.rooms.pop(name)
        self.context.hub.leave(live, self)

    def leave_all(self) -> None:
        """End every membership, at the session's end."""
        for name in list(self.rooms):
            self.leave_room(name)


def _decode_problem(error: Exception) -> tuple[str, str]:
    if isinstance(error, msgspec.ValidationError):
        text = str(error)
        if text.startswith("Invalid value") and text.endswith("`$.t`"):
            return "unknown_type", text
        return "bad_frame", text
    return "bad_json", "the text is not JSON"
