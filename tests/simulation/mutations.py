"""Faults planted into the machines and into what is around them, each of which some history must bring to light.

A simulation that finds nothing proves nothing, until it has been seen to find something.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import msgspec

from bus.events import Beat, Target
from chat import peers
from chat.presence import Presence
from chat.room import Room
from tests.simulation import changes
from tests.simulation import machine as machine_module
from tests.simulation.changes import Drain, Redeploy
from tests.simulation.machine import Machine
from tests.simulation.storage import Outcome, Storage
from tower import fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from chat.handover.record import RoomChange
    from chat.live_room import LiveRoom


def room_jumps_over_holes() -> dict[Any, dict[str, Any]]:
    """What comes early is delivered at once."""

    def offer(self: Room, first_seq: int, bodies: Sequence[bytes]) -> Sequence[bytes]:
        last = first_seq + len(bodies) - 1
        fresh = bodies[max(0, self.head + 1 - first_seq) :]
        self.head = max(self.head, last)
        self.known = max(self.known, self.head)
        self._grow(fresh)
        return fresh

    return {Room: {"offer": offer}}


def room_drops_what_is_early() -> dict[Any, dict[str, Any]]:
    """What comes early is taken for delivered, and is not."""

    def offer(self: Room, first_seq: int, bodies: Sequence[bytes]) -> Sequence[bytes]:
        if first_seq > self.head + 1:
            self.jump(first_seq + len(bodies) - 1)
            return []
        return original(self, first_seq, bodies)

    original = Room.offer
    return {Room: {"offer": offer}}


def room_repeats() -> dict[Any, dict[str, Any]]:
    """What was delivered is delivered again when it comes again."""

    def offer(self: Room, first_seq: int, bodies: Sequence[bytes]) -> Sequence[bytes]:
        again = bodies if first_seq + len(bodies) - 1 <= self.head else []
        return [*again, *original(self, first_seq, bodies)]

    original = Room.offer
    return {Room: {"offer": offer}}


def resume_begins_one_too_late() -> dict[Any, dict[str, Any]]:
    """The window answers without the first message that was missed."""
    original = Room.since
    return {Room: {"since": lambda self, seq: (original(self, seq) or [])[1:] if seq else original(self, seq)}}


def join_forgets_what_came_meanwhile() -> dict[Any, dict[str, Any]]:
    """What was committed while history was read is in no page of it, and was told before the client was a member."""

    def catch_up(self: Machine, wire: Any, live: LiveRoom, position: int, gap: bool, first: bool) -> None:
        if first:
            original(self, wire, live, position, gap, first)
        else:
            self.joining -= 1
            self._enter(wire, live)

    original = Machine._catch_up
    return {Machine: {"_catch_up": catch_up}}


def a_position_ahead_is_a_gap() -> dict[Any, dict[str, Any]]:
    """A client that knows more than this server is told that its messages are lost."""
    return {machine_module: {"ahead": lambda frame, live: False}}


def sends_are_not_idempotent() -> dict[Any, dict[str, Any]]:
    """The store takes a nonce twice."""
    original = Storage._write

    def write(self: Storage, draft: Any) -> Outcome:
        self.by_nonce = False
        return original(self, draft)

    return {Storage: {"_write": write}}


def an_unknown_outcome_is_taken_for_success() -> dict[Any, dict[str, Any]]:
    """A commit whose answer was lost is acknowledged."""

    def appended(self: Machine, outcomes: list[Outcome] | None, known: bool) -> None:
        if outcomes is None and not known and self.alive:
            outcomes, known = [], True
            for draft, _ in self._committing:
                outcomes.append(Outcome(len(self.world.storage.tables[draft.room].rows) + 1, False))
        original(self, outcomes, known)

    original = Machine._appended
    return {Machine: {"_appended": appended}}


def presence_without_grace() -> dict[Any, dict[str, Any]]:
    """Who closes a socket has left at once."""
    original = Presence.leave
    return {Presence: {"leave": lambda self, user, now, grace=0.0: original(self, user, now, 0.0)}}


def a_lease_shorter_than_a_beat() -> dict[Any, dict[str, Any]]:
    """Servers that live are taken for dead."""
    return {peers: {"LEASE": 1.0}}


def handover_forgets_the_last_changes() -> dict[Any, dict[str, Any]]:
    """What happened between the telling and the freeze is not told."""

    def change(self: Redeploy, live: LiveRoom) -> RoomChange:
        told = self._told[live.order.name]
        return msgspec.structs.replace(original(self, live), head=told.head, known=told.head, bodies=[])

    original = Redeploy._change
    return {Redeploy: {"_change": change}}


def handover_takes_positions_from_the_store() -> dict[Any, dict[str, Any]]:
    """The successor begins at the head that the store has, not at what the clients were given."""

    def change(self: Redeploy, live: LiveRoom) -> RoomChange:
        head = len(self._world.storage.tables[live.order.name].rows)
        return msgspec.structs.replace(original(self, live), head=head, known=head, bodies=None)

    original = Redeploy._change
    return {Redeploy: {"_change": change}}


def handover_loses_what_was_unread() -> dict[Any, dict[str, Any]]:
    """What clients said while nobody served is thrown away."""

    def release(self: Redeploy, machine: Machine) -> None:
        for wire in (*machine.wires, *machine.newcomers):
            wire.held = None

    return {Redeploy: {"_release": release}}


def handover_does_not_wait_for_acks() -> dict[Any, dict[str, Any]]:
    """What was accepted and not yet committed dies with the old process."""
    return {Machine: {"idle": property(lambda self: True)}}


def a_handover_says_that_it_stopped() -> dict[Any, dict[str, Any]]:
    """The old process tells the others that its members are gone, before the new one says that they are not."""

    def goodbye(self: Redeploy, old: Machine) -> None:
        self._world.hints.publish(old, Beat(old.id, old.boot, old.id, "", "stopped", 0, 0.0))

    return {Redeploy: {"goodbye": goodbye}}


def a_drain_sends_to_whoever_leaves() -> dict[Any, dict[str, Any]]:
    """A server that leaves believes everybody, itself too."""
    return {changes: {"evenly": lambda urls: (Target("http://s0:80", 1.0),), "sound": lambda targets, own: ()}}


def a_tower_sends_to_whoever_leaves() -> dict[Any, dict[str, Any]]:
    """The fold takes who leaves for ready."""
    return {fleet: {"_state": lambda text: "ready" if text == "draining" else text}}


def a_drain_forgets_some() -> dict[Any, dict[str, Any]]:
    """Some clients are closed without having been told."""
    original = Drain.tell

    def tell(self: Drain, wire: Any, wait: float, url: str | None) -> None:
        if wire.number % 3:
            original(self, wire, wait, url)

    return {Drain: {"tell": tell}}


# What is planted -> the problems of which at least one must be named.
ALL: dict[Callable[[], dict[Any, dict[str, Any]]], set[str]] = {
    room_jumps_over_holes: {"skipped", "missed_resume"},
    room_drops_what_is_early: {"skipped", "missed_resume"},
    room_repeats: {"doubled"},
    resume_begins_one_too_late: {"missed_resume"},
    join_forgets_what_came_meanwhile: {"skipped", "missed_resume"},
    a_position_ahead_is_a_gap: {"gap"},
    sends_are_not_idempotent: {"one_at_two_seqs"},
    an_unknown_outcome_is_taken_for_success: {"ack_without_commit", "two_at_one_seq", "one_at_two_seqs"},
    presence_without_grace: {"flickered"},
    a_lease_shorter_than_a_beat: {"flickered"},
    handover_forgets_the_last_changes: {"doubled"},
    handover_takes_positions_from_the_store: {"skipped", "missed_resume"},
    handover_loses_what_was_unread: {"unacknowledged", "no", "broken"},
    handover_does_not_wait_for_acks: {"unacknowledged", "no", "broken"},
    a_handover_says_that_it_stopped: {"flickered"},
    a_drain_sends_to_whoever_leaves: {"misled"},
    a_tower_sends_to_whoever_leaves: {"misled"},
    a_drain_forgets_some: {"broken"},
}


@contextmanager
def planted(mutation: Callable[[], dict[Any, dict[str, Any]]]) -> Iterator[None]:
    """Plant it for the block."""
    with ExitStack() as stack:
        for where, what in mutation().items():
            stack.enter_context(mock.patch.multiple(where, **what))
        yield
