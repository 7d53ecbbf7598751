"""The checker: a pure fold over what clients saw, which ends in a verdict. No clock, no I/O.

It keeps, per room and epoch, which message each number is (`Ledger`), per connection and room the last number it got
and what it has to get still (`Reader`), and the sends that wait for their ack. So its memory grows by 17 bytes a
message, not by deliveries. Each claim about a number - an ack, a delivery, a row of the store - is held against the
first one made, and the first one against what was sent; that finds most faults at the moment they happen, and the
look into the store at the end finds the rest.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

from belfry.audit.flaps import Flaps
from belfry.audit.ledger import ACKED, SEEN, STORED
from belfry.audit.observation import (
    Acked,
    Closed,
    Garbled,
    Joined,
    Observation,
    Position,
    Refused,
    Saw,
    Sent,
    Stored,
    Told,
)
from belfry.audit.standing import Own, Reader, Room, Send
from belfry.audit.verdict import Counts, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from belfry.audit.ledger import Ledger

EXAMPLES = 5  # of each kind; the first ones tell the cause, the rest follow from it
RECENT_ACKS = 10_000  # a room; a second ack comes while a client moves, seconds after the first: 3 MB
HOLES = 1_000  # open ones a connection and room; more are counted at once
SCANS = 1_000  # searches through a whole ledger, 10 ms each for a million messages, to name a fault well


def digest_of(user: str, what: str) -> int:
    """Which message (or nonce) of a user; equal within one process only."""
    return hash((user, what)) or 1


class Checker:
    """`observe` everything, then ask for the `verdict`. `count` of faults so far is there at any time."""

    def __init__(self) -> None:
        self._rooms: dict[str, Room] = {}
        self._users: set[str] = set()
        self._own: dict[tuple[str, str], Own] = {}  # (client, room)
        self._links: dict[tuple[str, int], dict[str, Reader]] = {}  # (client, link) -> room -> reader
        self._faults: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}
        self._tally: Counter[str] = Counter()
        self._closes: Counter[int] = Counter()
        self._clients: set[str] = set()
        self._scans = 0
        self._flaps = Flaps()
        self._fold: dict[type, Callable[..., None]] = {
            Sent: self._sent,
            Acked: self._acked,
            Refused: self._refused,
            Joined: self._joined,
            Saw: self._saw,
            Told: self._flaps.told,
            Closed: self._closed,
            Garbled: self._garbled,
            Stored: self._stored,
        }

    def observe(self, observation: Observation) -> None:
        """Fold one observation in. 2 us for a delivery."""
        self._fold[type(observation)](observation)

    def observe_all(self, observations: Iterable[Observation]) -> Checker:
        """Fold many; returns itself."""
        for observation in observations:
            self.observe(observation)
        return self

    @property
    def count(self) -> int:
        """How many faults were found so far; holes that may still fill are not among them."""
        return self._faults.total() + (0 if self._flaps.unplanned else self._flaps.count)

    # --- what clients did --------------------------------------------------------------------------------------

    def _sent(self, sent: Sent) -> None:
        room = self._room(sent.room)
        digest = digest_of(sent.user, sent.text)
        key = (sent.client, sent.nonce)
        if key in room.sends or key in room.recent or digest in room.by_text:
            raise ValueError(f"{sent.client} sends a nonce or a text again as something new: {sent}")
        self._users.add(sent.user)
        self._clients.add(sent.client)
        room.sends[key] = room.by_text[digest] = Send(sent, digest)
        self._tally["sent"] += 1

    def _acked(self, acked: Acked) -> None:
        self._tally["acked"] += 1
        room = self._room(acked.room)
        key = (acked.client, acked.nonce)
        who = f"{acked.client}'s send {acked.nonce}"
        reader = self._links.get((acked.client, acked.link), {}).get(acked.room)
        epoch = reader.epoch if reader is not None else ""
        if (send := room.sends.get(key)) is None:
            before = room.recent.get(key)
            if before is None:
                self._fault("ack_without_commit", f"{who} was acknowledged but never sent")
            elif before[0] == epoch and before[1] != acked.seq:
                at = f"{before[1]} and {acked.seq} of {acked.room}"
                self._fault("one_at_two_seqs", f"{who} was acknowledged as {at}")
            return
        ledger = room.ledger(epoch)
        self._claim(room, epoch, acked.seq, send.user, send.digest, ACKED, who)
        ledger.settle_nonce(acked.seq, digest_of(send.user, send.nonce))
        del room.sends[key], room.by_text[send.digest]
        room.recent[key] = (epoch, acked.seq)
        if len(room.recent) > RECENT_ACKS:
            del room.recent[next(iter(room.recent))]

    def _refused(self, refused: Refused) -> None:
        self._tally["refused"] += 1
        send = self._room(refused.room).sends.get((refused.client, refused.nonce))
        if send is not None:
            send.refused = True

    # --- what clients got --------------------------------------------------------------------------------------

    def _joined(self, joined: Joined) -> None:
        self._clients.add(joined.client)
        self._flaps.joined(joined)
        room = self._room(joined.room)
        room.ledger(joined.epoch)
        link = self._links.get((joined.client, joined.link))
        if link is None:
            link = self._links[(joined.client, joined.link)] = {}
            self._tally["links"] += 1
        elif (before := link.get(joined.room)) is not None:
            self._holes(joined.client, joined.room, before)
        own = self._own.setdefault((joined.client, joined.room), Own())
        if joined.after is not None:
            self._resumed(joined, joined.after, own)
        if joined.epoch in own.left:
            was = f"{joined.client} was told epoch {own.epoch} of {joined.room}"
            self._fault("wrong_epoch", f"{was}, and then again the older {joined.epoch}")
        reader = link[joined.room] = Reader(joined, own)
        if own.epoch != joined.epoch:
            if own.epoch:
                own.left += (own.epoch,)
            own.epoch, own.seq = joined.epoch, reader.seq
        elif not reader.resumed:
            own.seq = max(own.seq, reader.seq)

    def _resumed(self, joined: Joined, after: Position, own: Own) -> None:
        self._tally["resumes"] += 1
        here = f"{joined.client} came back to {joined.room} after {after[1]}"
        if after[0] == own.epoch and after[1] > own.seq:
            self._fault("skipped", f"{here}, but it had got everything only up to {own.seq}")
        if joined.gap:
            self._tally["gaps"] += 1
        elif after[0] != joined.epoch:
            self._fault("wrong_epoch", f"{here} of {after[0]} and got epoch {joined.epoch} without a gap")
        elif joined.head < after[1]:
            self._fault("missed_resume", f"{here}; the head there is {joined.head}, and no gap was told")

    def _saw(self, saw: Saw) -> None:
        self._tally["delivered"] += 1
        room = self._room(saw.room)
        reader = self._links.get((saw.client, saw.link), {}).get(saw.room)
        if reader is None:
            self._fault("reordered", f"{saw.client} got {saw.seq} of {saw.room} before it had joined")
            return
        if saw.epoch != reader.epoch:
            at = f"{saw.seq} of {saw.room} in epoch {saw.epoch}"
            self._fault("wrong_epoch", f"{saw.client} got {at}, having joined {reader.epoch}")
            return
        digest = digest_of(saw.user, saw.text)
        self._claim(room, saw.epoch, saw.seq, saw.user, digest, SEEN, saw.client)
        if saw.seq == reader.seq + 1:
            reader.anchored = True
            reader.seq = saw.seq
        else:
            self._out_of_turn(saw, reader)
        own = reader.own
        if reader.seq > own.seq and reader.epoch == own.epoch:
            own.seq = reader.seq

    def _out_of_turn(self, saw: Saw, reader: Reader) -> None:
        """Not the number that was due: more history than asked for, a hole, a late one, or a repeat."""
        if not reader.anchored and saw.seq <= reader.seq:
            reader.anchored = True
            reader.seq = saw.seq
            return
        reader.anchored = True
        if saw.seq > reader.seq:
            reader.holes.append((reader.seq + 1, saw.seq - 1))
            if len(reader.holes) > HOLES:
                self._hole(saw.client, saw.room, reader, *reader.holes.pop(0))
            reader.seq = saw.seq
            return
        for at, (first, last) in enumerate(reader.holes):
            if first <= saw.seq <= last:
                rest = [(first, saw.seq - 1), (saw.seq + 1, last)]
                reader.holes[at : at + 1] = [(a, b) for a, b in rest if a <= b]
                behind = f"{saw.seq} of {saw.room} behind a higher number"
                self._fault("reordered", f"{saw.client} got {behind} (connection {saw.link})")
                return
        self._fault("doubled", f"{saw.client} got {saw.seq} of {saw.room} again (connection {saw.link})")

    def _closed(self, closed: Closed) -> None:
        self._closes[closed.code] += 1
        self._flaps.closed(closed)
        for room, reader in self._links.pop((closed.client, closed.link), {}).items():
            self._holes(closed.client, room, reader)

    def _garbled(self, garbled: Garbled) -> None:
        self._fault("garbled", f"{garbled.client} (connection {garbled.link}): {garbled.what}")

    def _holes(self, client: str, room: str, reader: Reader) -> None:
        """Nothing more will come to this reader in this room: what is open now stays open."""
        for first, last in reader.holes:
            self._hole(client, room, reader, first, last)

    def _hole(self, client: str, room: str, reader: Reader, first: int, last: int) -> None:
        what = f"{client} never got {_span(first, last)} of {room}"
        if reader.resumed and first <= reader.head:
            self._fault("missed_resume", f"{what}, which it had missed while it was away")
        else:
            self._fault("skipped", what)

    # --- what a number is --------------------------------------------------------------------------------------

    def _claim(self, room: Room, epoch: str, seq: int, user: str, digest: int, mark: int, who: str) -> None:
        """Somebody says that this number is this message: hold it against what is known."""
        ledger = room.ledgers[epoch] if epoch in room.ledgers else room.ledger(epoch)
        held = ledger.mark(seq, mark)
        if held == digest:
            return
        send = room.by_text.get(digest)
        what = f"{seq} of {room.name} ({epoch}), as {_WITNESS[mark]} {who},"
        if held:
            if user in self._users and send is None and not self._where(ledger, digest):
                self._fault("changed_text", f"{what} is no text that {user} sent")
            elif mark == STORED and ledger.marks(seq) & ACKED:
                self._fault("ack_without_commit", f"{what} is not the message acknowledged so")
            else:
                self._fault("two_at_one_seq", f"{what} is another message than before")
            return
        if user in self._users:  # others may say the same thing twice; ours never do
            if send is None:
                elsewhere = self._where(ledger, digest)
            else:
                elsewhere = send.seq if send.epoch == epoch else 0
                send.epoch, send.seq = epoch, seq
            if elsewhere:
                self._fault("one_at_two_seqs", f"{what} is the message that is {elsewhere} too")
            elif send is None:
                self._fault("changed_text", f"{what} is no text that {user} sent")
                return  # the number stays open for the true one
        ledger.settle(seq, digest)

    def _where(self, ledger: Ledger, digest: int) -> int:
        self._scans += 1
        return ledger.where(digest) if self._scans <= SCANS else 0

    # --- the store, and the end --------------------------------------------------------------------------------

    def _stored(self, stored: Stored) -> None:
        room = self._room(stored.room)
        if room.stored is not None and room.stored[0] != stored.epoch:
            at = f"the epoch of {stored.room} was {room.stored[0]} on one page and {stored.epoch} on the next"
            self._fault("wrong_epoch", at)
        room.stored = (stored.epoch, stored.head)
        room.read_whole = stored.last
        ledger = room.ledger(stored.epoch)
        for row in stored.rows:
            if row.seq <= room.read_to:
                behind = f"{row.seq} of {stored.room} behind {room.read_to}"
                self._fault("reordered", f"the store gave {behind}")
            room.read_to = max(room.read_to, row.seq)
            digest = digest_of(row.user, row.text)
            send = room.by_text.get(digest)
            self._claim(room, stored.epoch, row.seq, row.user, digest, STORED, "history")
            if row.nonce is None:
                continue
            acked = ledger.nonce(row.seq)
            if acked and acked != digest_of(row.user, row.nonce):
                under = f"{row.seq} of {stored.room} is stored under the nonce {row.nonce}"
                self._fault("ack_without_commit", f"{under}, which is not the one acknowledged")
            if send is not None and send.nonce != row.nonce:
                under = f"{row.seq} of {stored.room} is stored under the nonce {row.nonce}"
                self._fault("changed_text", f"{under}, but was sent under {send.nonce}")

    def verdict(self) -> Verdict:
        """What all this proves. Clients whose connections are open still must have everything; ask once, at the end."""
        unread = sorted(name for name, room in self._rooms.items() if not room.read_whole)
        for name, room in self._rooms.items():
            if room.stored is not None and name not in unread:
                self._whole(name, room, *room.stored)
        for (client, _), readers in self._links.items():
            for name, reader in readers.items():
                self._holes(client, name, reader)
                if name not in unread:
                    self._at_head(client, name, reader)
        unanswered = [
            (name, send) for name, room in self._rooms.items() for send in room.sends.values() if not send.refused
        ]
        live = {(client, name) for (client, _), readers in self._links.items() for name in readers}
        for name, send in unanswered:
            if (send.client, name) in live:
                self._fault("unacknowledged", f"{send.client} got no answer to its send {send.nonce} in {name}")
        flaps = self._flaps
        if flaps.count and not flaps.unplanned:  # else somebody died, and was missed before they knew it themselves
            self._faults["flickered"] = flaps.count
            self._examples["flickered"] = flaps.examples
        counts = Counts(
            clients=len(self._clients),
            rooms=len(self._rooms),
            unacknowledged=len(unanswered),
            messages=sum(room.stored[1] for room in self._rooms.values() if room.stored is not None),
            flaps=flaps.count,
            departures=flaps.departures,
            unplanned=flaps.unplanned,
            closes=dict(sorted(self._closes.items())),
            **self._tally,
        )
        return Verdict(counts, dict(self._faults), self._examples, unread)

    def _whole(self, name: str, room: Room, epoch: str, head: int) -> None:
        """Everything that anybody vouches for is in the store, and the store is 1..head."""
        missing = room.ledger(epoch).unstored(head)
        for marks, group in groupby(enumerate(missing), key=lambda item: (item[1][1], item[1][0] - item[0])):
            numbers = [seq for _, (seq, _) in group]
            span = f"{_span(numbers[0], numbers[-1])} of {name}"
            if marks[0] & ACKED:
                said = f"{span} was acknowledged, but the store does not hold it (head {head})"
                self._fault("ack_without_commit", said, len(numbers))
            else:
                seen = "was seen, but" if marks[0] & SEEN else "is missing:"
                self._fault("lost", f"{span} {seen} the store does not hold it (head {head})", len(numbers))

    def _at_head(self, client: str, name: str, reader: Reader) -> None:
        """A connection that is open at the end has got everything."""
        stored = self._rooms[name].stored
        if stored is None:
            return
        epoch, head = stored
        if reader.epoch != epoch:
            self._fault("wrong_epoch", f"{client} is in epoch {reader.epoch} of {name}, the store in {epoch}")
        elif reader.seq < head:
            self._hole(client, name, reader, reader.seq + 1, head)

    # --- bookkeeping -------------------------------------------------------------------------------------------

    def _room(self, name: str) -> Room:
        if (room := self._rooms.get(name)) is None:
            room = self._rooms[name] = Room(name)
        return room

    def _fault(self, kind: str, example: str, count: int = 1) -> None:
        self._faults[kind] += count
        examples = self._examples.setdefault(kind, [])
        if len(examples) < EXAMPLES:
            examples.append(example)


_WITNESS = {ACKED: "acknowledged for", SEEN: "seen by", STORED: "stored in the"}


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"
