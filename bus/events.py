"""The records on the bus: hints between servers, never the truth (the store is).

Each is one frozen struct; `made_at` (Unix seconds by the maker's clock) lets a reader see that a record is old.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class Committed(msgspec.Struct, frozen=True, tag="committed"):
    """Messages of one room that one commit wrote, ascending and without holes.

    `bodies` are the encoded message objects ({"seq":..,"from":..,"text":..,"at":..}), as they go into frames:
    encoded once in the whole fleet.
    """

    room: str
    room_id: int
    epoch: str
    first_seq: int
    bodies: list[bytes]
    made_at: float = 0.0


def joined(events: Sequence[Event]) -> list[Event]:
    """These events, with the commits of one room that follow each other made one: so each member gets one write.

    A later commit moves up to the one before it; nothing else depends on where it stands among other events.
    """
    found: list[Event] = []
    last: dict[tuple[str, str], int] = {}  # (room, epoch) -> where its newest commit stands in `found`
    for event in events:
        if isinstance(event, Committed):
            at = last.get((event.room, event.epoch))
            before = found[at] if at is not None else None
            if isinstance(before, Committed) and before.first_seq + len(before.bodies) == event.first_seq:
                found[at] = msgspec.structs.replace(before, bodies=before.bodies + event.bodies)  # type: ignore[index]
                continue
            last[event.room, event.epoch] = len(found)
        found.append(event)
    return found


class Members(msgspec.Struct, frozen=True, tag="members"):
    """Who joined and left a room on one boot of one server: [user id, name] pairs and user ids.

    `whole`: these are all who are there, and whoever else was has left.
    """

    room: str
    joined: list[tuple[str, str]]
    left: list[str]
    whole: bool = False
    made_at: float = 0.0


class Asked(msgspec.Struct, frozen=True, tag="asked"):
    """A server that has just begun with a room asks the others who is in it there.

    `doubt`: it knows of somebody elsewhere, and may have missed that they left: who has nobody there says that, too.
    """

    room: str
    doubt: bool = False


class Typing(msgspec.Struct, frozen=True, tag="typing"):
    """A user types in a room."""

    room: str
    user_id: str
    user_name: str
    made_at: float = 0.0


class Read(msgspec.Struct, frozen=True, tag="read"):
    """A user's read mark moved."""

    room: str
    user_id: str
    seq: int
    made_at: float = 0.0


class RoomDeleted(msgspec.Struct, frozen=True, tag="room_deleted"):
    """A room is gone, with its history."""

    room: str
    room_id: int
    made_at: float = 0.0


class Revoked(msgspec.Struct, frozen=True, tag="revoked"):
    """A user was kicked, banned or let in again: look at the store's revocations. `room` is empty."""

    id: int
    room: str = ""


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """A server lives; each 2 s, and at each change of state. `room` is empty.

    All but the first seven fields are for the tower; an older server leaves them out.
    """

    id: str
    boot: str
    url: str
    version: str
    state: str
    sessions: int
    handshakes_per_second: float  # what it says it can take; 0 is without limit
    room: str = ""
    made_at: float = 0.0
    started_at: float = 0.0  # Unix seconds
    follows: str = ""  # the boot of this server whose living sockets it took over; "" when it began alone
    sends_per_second: float = 0.0  # messages acknowledged, since the beat before
    deliveries_per_second: float = 0.0
    commit_p99_ms: float = 0.0  # of the commits since the beat before; 0 when there were none
    handshakes_peak: int = 0  # most websocket upgrades taken within one second since the beat before
    to_move: int = 0  # sessions there were when its drain began; 0 when it does not drain
    moved: int = 0  # of these, how many have left
    eta: float = 0.0  # seconds until the drain's plan is done


class Leaving(msgspec.Struct, frozen=True, tag="leaving"):
    """A server begins to drain, and asks the towers how fast and where to. It waits a second for a Pace."""

    id: str
    boot: str
    ask: str  # random; the answer names it
    sessions: int
    deadline: float  # seconds until everybody must have left
    per_second: float = 0.0  # what an operator asked for; 0 is whatever the tower finds right
    room: str = ""
    made_at: float = 0.0


class Target(msgspec.Struct, frozen=True):
    """A server that takes clients of a drain."""

    url: str  # where clients reach it
    share: float  # of these clients, 0 to 1; all targets of one answer add up to 1


class Pace(msgspec.Struct, frozen=True, tag="pace"):
    """A tower's answer to Leaving: how many clients a second the others take, and which of them."""

    id: str  # the server that leaves
    ask: str
    per_second: float
    targets: list[Target]  # none: clients come back to the address they have, where a balancer chooses
    room: str = ""
    made_at: float = 0.0


class Order(msgspec.Struct, frozen=True, tag="order"):
    """An operator's verb for one server: "cordon", "uncordon", "drain" or "abort"."""

    id: str  # the server
    order: str  # random: an order that comes twice is obeyed once
    verb: str
    per_second: float = 0.0  # of a drain; 0 is whatever is right
    deadline: float = 0.0  # seconds for a drain; 0 is the server's own
    room: str = ""
    made_at: float = 0.0


class Rollout(msgspec.Struct, frozen=True, tag="rollout"):
    """A step of a rolling redeploy, told by a supervisor through a server of its. Saying it again changes nothing.

    `step`: "began", then for each server "starting", "handing", "handed" (or "drained", or "failed"), at last "done"
    or "failed" with an empty `server`.
    """

    id: str  # random; one a redeploy
    fleet: str  # whose redeploy: the supervisor's host and ports
    step: str
    server: str = ""  # whose turn it is
    index: int = 0  # its place among the redeploy's servers, from 1
    servers: int = 0
    version_from: str = ""
    version_to: str = ""
    moved: int = 0  # sockets handed over alive
    drained: int = 0  # sockets that could not be handed over, and were told to reconnect
    stall_ms: float = 0.0  # the longest time in which nobody read or wrote
    why: str = ""  # of a failure, in plain words
    room: str = ""
    made_at: float = 0.0


Event = Committed | Members | Asked | Typing | Read | RoomDeleted | Revoked | Beat | Leaving | Pace | Order | Rollout
