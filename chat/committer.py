"""The Committer: many senders, one transaction at a time, and no ack before it is durable.

While one transaction is in flight the next batch grows, so the batch is as large as the load needs: one message when it
is quiet, hundreds when it is not. Durability pays for the fan-out: what gathers is sent in one write.

Once more than one message waits for each transaction, transactions begin GATHER apart. On a server whose transactions
are short that saves most of them, and everything that follows each of them: a write to each member, a record on the
bus, a fetch and a write on every other server. Where there are other servers, and so the most to save, a transaction of
less than FEW messages waits until LONGER after the one before; who is the first to speak for so long waits for nothing.
Where others write our rooms too, at the same time, transactions wait for each other in the database: the more messages
one brings, the longer until the next, counted from its end. Then a server that had to wait for another's transaction
begins its next one so much later, and soon they take turns without waiting.

Who has nobody to wait for waits no longer: when everybody who was in the last transaction waited for its ack, and has
sent again (see `chat/lockstep.py`). Where others write our rooms too, what the transaction does not wait for, the other
servers do: no ack depends on when they hear of it, and what comes meanwhile goes with it.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

import trio

from chat.errors import Refused
from chat.frames import text_frame
from chat.lockstep import Lockstep
from chat.wire import encode
from db.errors import OutcomeUnknown, StoreUnavailable
from db.records import Appended, Draft, RoomMissing

if TYPE_CHECKING:
    from chat.hub import Hub
    from chat.live_room import LiveRoom
    from chat.metrics import Metrics
    from chat.session import Session
    from db.store import Store

log = logging.getLogger("belfry.chat.commit")

BATCH = 1_000  # messages a transaction: 60 ms on a slow disk; beyond, more in one brings nothing
GATHER = 0.004  # seconds; 1,000 messages/s over MySQL and Kafka: 480 transactions/s become 200, a third less processor
FEW = 6  # messages
LONGER = 0.020  # seconds; 200 messages/s on three servers: 170 transactions/s become 50, a fifth less processor
EACH = 0.0004  # seconds a message; two servers, one room, 12,000 messages/s: a fifth fewer transactions
REST = 0.015  # seconds at most of that; two servers, one room, 21,000 messages/s: ack p99 60-78 ms, with 10 ms 66-138
TELL_EACH = 0.001  # seconds a message, from one telling of the others to the next: two servers, one room, 50 who wait
TELL = 0.025  # seconds at most of that; a tenth more of them acknowledged a second, with a fifth less processor
SPOKE = 0.1  # seconds for which others are taken to write still
QUEUE = 20_000  # messages that wait: 20 MB at 1 KB, and about 1 s of work; beyond, senders are told to wait
UNKNOWN_RETRY = 0.05  # seconds before asking again what became of a commit
RETRY_MS = 1_000  # what refused senders are told


class Sender(Protocol):
    """Whoever waits for an ack."""

    from_json: bytes  # {"id":..,"name":..}

    def settled(self, draft: Draft, outcome: Appended | Refused) -> Session | None:
        """The draft's fate; a session that wants an ack frame returns itself."""


class _Run:
    """What one commit brought one room: its numbers follow each other, since a room is locked while they are given."""

    __slots__ = ("ack", "acks", "bodies", "last_seq")

    def __init__(self, room: str) -> None:
        self.ack = b'{"t":"ack","room":"%b","nonce":' % room.encode()  # how each ack begins
        self.acks: dict[Session, bytes] = {}
        self.bodies: list[bytes] = []
        self.last_seq = 0  # of the newest fresh one


class Committer:
    """Group commit for one server."""

    def __init__(self, store: Store, hub: Hub, metrics: Metrics) -> None:
        self._store = store
        self._hub = hub
        self._metrics = metrics
        self._queue: deque[tuple[Draft, LiveRoom, Sender]] = deque()
        self._wake = trio.Event()
        self._closed = False
        self._busy = False  # whether a transaction is in flight
        self._idle = trio.Event()
        self._hurry = trio.Event()  # somebody waits for the line to be empty
        self._enough = BATCH  # in line, and nothing more is waited for
        self._full = trio.Event()  # so many are, or somebody hurries
        self._ended = float("-inf")  # when the last transaction was answered
        self._lockstep = Lockstep()
        metrics.gauges["commit_queue"] = lambda: len(self._queue)

    def submit(self, draft: Draft, live: LiveRoom, sender: Sender) -> None:
        """Put a draft in line; `sender.settled` is called exactly once for it. Raises Refused when the line is full."""
        if len(self._queue) >= QUEUE:
            raise Refused("overloaded", "too many messages wait", temporary=True, retry_ms=RETRY_MS)
        live.pins += 1
        self._metrics.sends += 1
        self._queue.append((draft, live, sender))
        self._wake.set()
        self._lockstep.sent(draft.user_id)
        if len(self._queue) >= self._enough or self._lockstep.is_complete:
            self._full.set()

    def close(self) -> None:
        """Take no more: `run` returns when the line is empty."""
        self._closed = True
        self._hurry.set()
        self._full.set()
        self._wake.set()

    async def wait_idle(self) -> None:
        """Wait until nothing is in line or in flight: every send has its fate, and its ack is posted."""
        await trio.lowlevel.checkpoint()
        self._hurry.set()
        self._full.set()
        try:
            while self._busy or self._queue:
                self._idle = trio.Event()
                await self._idle.wait()
        finally:
            if not self._closed:
                self._hurry = trio.Event()

    async def run(self) -> None:
        """Commit until closed."""
        began, count = float("-inf"), 0  # when the last transaction began, and how many messages were in it
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            self._busy = True
            while self._queue:
                await self._gather(began, count)
                began = trio.current_time()
                count = min(BATCH, len(self._queue))
                batch = [self._queue.popleft() for _ in range(count)]
                apart = self._apart(count)
                self._lockstep.began(draft.user_id for draft, _, _ in batch)
                await self._commit(batch, apart)
                self._lockstep.answered(silent=not self._queue)
            self._busy = False
            self._idle.set()
            if self._closed:
                return

    async def _gather(self, began: float, count: int) -> None:
        """Let more come, if the last transaction began a moment ago; it held `count` messages."""
        others = self._hub.quiet() is not None  # servers that hear of each transaction
        if others or count > 1:
            await self._until(max(began + GATHER, self._ended + self._rest(count)), BATCH)
        if others:
            await self._until(began + LONGER, FEW)

    def _rest(self, count: int) -> float:
        """Seconds from the end of a transaction of so many messages to the next one, for those who write there too."""
        return min(count * EACH, REST) if self._others_write() else 0.0

    def _apart(self, count: int) -> float:
        """Seconds from one telling of the other servers to the next, for a transaction that begins with so many."""
        return min(count * TELL_EACH, TELL) if self._lockstep.is_complete and self._others_write() else 0.0

    def _others_write(self) -> bool:
        return trio.current_time() - self._hub.others_spoke <= SPOKE

    async def _until(self, moment: float, enough: int) -> None:
        left = moment - trio.current_time()
        complete = len(self._queue) >= enough or self._lockstep.is_complete
        if left > 0 and not complete and not self._hurry.is_set():
            self._full, self._enough = trio.Event(), enough
            with trio.move_on_after(left):
                await self._full.wait()

    async def _commit(self, batch: list[tuple[Draft, LiveRoom, Sender]], apart: float) -> None:
        at = dt.datetime.now(dt.UTC)
        began = time.perf_counter()
        try:
            outcomes = await self._append([draft for draft, _, _ in batch], at)
        except StoreUnavailable as error:
            self._refuse(batch, error)
            return
        committed = time.perf_counter()
        self._ended = trio.current_time()
        self._settle(batch, outcomes, apart)
        self._metrics.fanout_seconds.observe(time.perf_counter() - committed)
        self._metrics.commit_batch_messages.observe(len(batch))
        self._metrics.commit_seconds.observe(committed - began)
        self._metrics.recent_commits.append(committed - began)

    async def _append(self, drafts: list[Draft], at: dt.datetime) -> list[Appended | RoomMissing]:
        while True:
            try:
                return await self._store.append(drafts, at)
            except OutcomeUnknown as error:
                log.warning("the outcome of a commit is unknown, asking again: %s", error)
                await trio.sleep(UNKNOWN_RETRY)

    def _refuse(self, batch: list[tuple[Draft, LiveRoom, Sender]], error: StoreUnavailable) -> None:
        log.error("commit refused, %d senders told to retry: %s", len(batch), error)
        self._metrics.store_failures += 1
        refused = Refused(
            "store_unavailable", "the database cannot take the message now", temporary=True, retry_ms=RETRY_MS
        )
        for draft, live, sender in batch:
            live.pins -= 1
            sender.settled(draft, refused)

    def _settle(
        self, batch: list[tuple[Draft, LiveRoom, Sender]], outcomes: list[Appended | RoomMissing], apart: float
    ) -> None:
        """Ack, then deliver: acks ride before the messages in the same write."""
        runs: dict[LiveRoom, _Run] = {}
        repeated: dict[LiveRoom, int] = {}  # the highest number sent again
        texts: dict[dt.datetime, bytes] = {}
        for (draft, live, sender), outcome in zip(batch, outcomes, strict=True):
            live.pins -= 1
            if isinstance(outcome, RoomMissing):
                sender.settled(draft, Refused("room_missing", f'the room "{live.order.name}" is gone'))
                self._hub.gone(live)
                continue
            seq = outcome.seq
            at = texts.get(outcome.at)
            if at is None:
                at = texts[outcome.at] = encode(outcome.at)
            run = runs.get(live)
            if run is None:
                run = runs[live] = _Run(live.order.name)
            if outcome.fresh:
                run.bodies.append(
                    b'{"seq":%d,"from":%b,"text":%b,"at":%b}' % (seq, sender.from_json, encode(draft.text), at)
                )
                run.last_seq = seq
            else:
                self._metrics.repeats += 1
                repeated[live] = max(seq, repeated.get(live, 0))
            session = sender.settled(draft, outcome)
            if session is not None:
                ack = text_frame(b'%b%b,"seq":%d,"at":%b}' % (run.ack, encode(draft.nonce), seq, at))
                run.acks[session] = run.acks[session] + ack if session in run.acks else ack
        self._metrics.acks += sum(isinstance(outcome, Appended) for outcome in outcomes)
        for live, run in runs.items():
            if run.bodies:
                self._hub.committed(live, run.last_seq - len(run.bodies) + 1, run.bodies, run.acks, apart=apart)
            else:
                for session, ack in run.acks.items():
                    session.outbox.post(ack)
        # Committed before, but perhaps never delivered: the answer to that commit may have been lost.
        for live, seq in repeated.items():
            self._hub.gaps.expect(live, seq)
