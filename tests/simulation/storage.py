"""The simulated database: transactions that are whole or not at all, answers that are late or never come."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from belfry.audit.observation import Row, Stored
from chat import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.simulation.clockwork import Clockwork

AT = dt.datetime(2026, 11, 23, 10, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that waits for its number."""

    room: str
    user: str
    nonce: str
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The number that a draft got; `fresh` is False when it had one already."""

    seq: int
    fresh: bool


@dataclass(slots=True)
class Table:
    """One room's rows."""

    epoch: str = "e1"
    rows: list[Row] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    nonces: dict[tuple[str, str], int] = field(default_factory=dict)


class Storage:
    """All rooms. Calls come back with an answer, with None when the database cannot be asked, or not at all."""

    def __init__(self, clockwork: Clockwork, rooms: Sequence[str]) -> None:
        self._clockwork = clockwork
        self.tables = {room: Table() for room in rooms}
        self.up = True
        self.slow = 1.0  # how much slower than usual
        self.unknown = 0.0  # the share of transactions whose answer is lost
        self.by_nonce = True  # whether (room, user, nonce) is unique; planted faults take it away

    def _trip(self) -> float:
        return self._clockwork.rng.expovariate(1 / 0.004) * self.slow + 0.000_5

    def append(self, drafts: Sequence[Draft], done: Callable[[list[Outcome] | None, bool], None]) -> None:
        """Write all of them; `done(None, True)` is nothing written, `done(None, False)` nobody knows."""
        if not self.up:
            self._clockwork.after(self._trip(), done, None, True)
            return
        self._clockwork.after(self._trip(), self._apply, tuple(drafts), done)

    def _apply(self, drafts: Sequence[Draft], done: Callable[[list[Outcome] | None, bool], None]) -> None:
        lost = self._clockwork.chance(self.unknown)
        if not self.up or (lost and self._clockwork.chance(0.5)):
            self._clockwork.after(self._trip(), done, None, False)  # it never came to be, but who knows
            return
        outcomes = [self._write(draft) for draft in drafts]
        if lost:
            self._clockwork.after(self._trip(), done, None, False)
        else:
            self._clockwork.after(self._trip(), done, outcomes, True)

    def _write(self, draft: Draft) -> Outcome:
        table = self.tables[draft.room]
        key = (draft.user, draft.nonce)
        if self.by_nonce and (known := table.nonces.get(key)) is not None:
            return Outcome(known, False)
        seq = len(table.rows) + 1
        table.rows.append(Row(seq, draft.user, draft.text, draft.nonce))
        table.bodies.append(wire.encode(wire.Message(seq, wire.User(draft.user, draft.user), draft.text, AT)))
        table.nonces[key] = seq
        return Outcome(seq, True)

    def read(self, room: str, after: int, limit: int, done: Callable[[list[bytes] | None], None]) -> None:
        """Up to `limit` bodies after a number, as they are at some moment before the answer."""
        self._clockwork.after(self._trip(), self._read, room, after, limit, done)

    def _read(self, room: str, after: int, limit: int, done: Callable[[list[bytes] | None], None]) -> None:
        found = self.tables[room].bodies[after : after + limit] if self.up else None
        self._clockwork.after(self._trip(), done, found)

    def live(self, room: str, recent: int, done: Callable[[tuple[str, int, list[bytes]] | None], None]) -> None:
        """A room's epoch, head and newest bodies."""
        self._clockwork.after(self._trip(), self._live, room, recent, done)

    def _live(self, room: str, recent: int, done: Callable[[tuple[str, int, list[bytes]] | None], None]) -> None:
        table = self.tables[room]
        found = (table.epoch, len(table.rows), table.bodies[-recent:]) if self.up else None
        self._clockwork.after(self._trip(), done, found)

    def heads(self, done: Callable[[dict[str, int] | None], None]) -> None:
        """All rooms' heads."""
        self._clockwork.after(self._trip(), self._heads, done)

    def _heads(self, done: Callable[[dict[str, int] | None], None]) -> None:
        found = {room: len(table.rows) for room, table in self.tables.items()} if self.up else None
        self._clockwork.after(self._trip(), done, found)

    def stored(self) -> list[Stored]:
        """Everything, for the checker."""
        return [Stored(room, table.epoch, len(table.rows), tuple(table.rows)) for room, table in self.tables.items()]
