"""What the checker found: which promises broke, how often, with the first few cases in plain words."""

from __future__ import annotations

import msgspec
from msgspec import Struct

# kind -> the promise that broke
FAULTS: dict[str, str] = {
    "lost": "a number up to a room's head, or a message that somebody saw, is not in the store",
    "doubled": "a client got a message again on one connection",
    "reordered": "a client got a message behind one with a higher number",
    "skipped": "a client never got a message that stands between those it got",
    "unacknowledged": "a client stayed connected to the end and its send was never acknowledged",
    "wrong_epoch": "a room's epoch changed, or came back, without an explicit gap",
    "ack_without_commit": "an acknowledged message is not in the store as it was sent",
    "two_at_one_seq": "one number of a room named two messages",
    "one_at_two_seqs": "one message stands under two numbers of a room",
    "changed_text": "a message differs from what its author sent",
    "missed_resume": "a client came back and did not get what it had missed, nor was told of a gap",
    "flickered": "a member was told to have left a room though it was there, and all stops were planned",
    "garbled": "a frame was none of the protocol",
}


class Counts(Struct, frozen=True):
    """How much was looked at."""

    clients: int = 0
    rooms: int = 0
    links: int = 0  # websocket connections that joined at least one room
    sent: int = 0
    acked: int = 0
    refused: int = 0
    unacknowledged: int = 0  # at the end; no fault where the client was gone by then
    delivered: int = 0
    messages: int = 0  # in the store, of all rooms
    resumes: int = 0  # joins with a position
    gaps: int = 0  # of these, answered by an explicit gap
    flaps: int = 0  # members said to have left though they were there; broken only where every stop was planned
    departures: int = 0  # tellings of members who had truly been away
    unplanned: int = 0  # connections that ended without `moving` or goodbye before
    closes: dict[int, int] = {}  # code -> how many


class Verdict(Struct, frozen=True):
    """The outcome of one audit."""

    counts: Counts
    faults: dict[str, int]  # kind -> how many; only those that happened
    examples: dict[str, list[str]]  # kind -> the first few
    unread: list[str]  # rooms whose history could not be read to its head: their promises are not proven

    @property
    def ok(self) -> bool:
        """Whether everything promised was seen to hold."""
        return not self.faults and not self.unread

    def to_json(self) -> bytes:
        """The verdict for programs."""
        return msgspec.json.encode({"ok": self.ok} | msgspec.to_builtins(self, str_keys=True))

    def lines(self) -> list[str]:
        """The verdict for people."""
        c = self.counts
        said = [
            f"{c.clients:,} clients in {c.rooms:,} rooms over {c.links:,} connections:"
            f" {c.sent:,} messages sent, {c.acked:,} acknowledged, {c.delivered:,} deliveries,"
            f" {c.resumes:,} resumes, {c.gaps:,} gaps, {c.messages:,} messages in the store"
        ]
        if c.unacknowledged or c.refused:
            said.append(f"{c.unacknowledged:,} sends still unanswered, {c.refused:,} refused")
        if c.flaps and "flickered" not in self.faults:
            said.append(
                f"{c.flaps:,} presence flaps; {c.unplanned:,} connections had broken off unplanned, so no promise broke"
            )
        if self.unread:
            said.append(f"NOT PROVEN: could not read the history of {', '.join(self.unread)}")
        for kind, count in self.faults.items():
            said.append(f"BROKEN: {kind} ({count:,}): {FAULTS[kind]}")
            said += [f"  - {example}" for example in self.examples[kind]]
        if self.ok:
            said.append("Every promise held: nothing lost, doubled, reordered, skipped or changed.")
        return said
