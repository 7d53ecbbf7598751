"""The fleet as a fold over beats: which servers there are and how each is. Pure; moments are Unix seconds.

A beat carries its maker's clock, and clocks differ. A tower that starts hears a log of beats, old ones among them; one
that was cut off hears many at once. So when was a server alive? Its clock is believed until its beats arrive as fast as
they are made: then what is between its clock and ours is known, and every later beat is dated by it. Of a server
whose clock is minutes off, the second beat tells; of a log's dead server nothing ever does, and it is dead at once.

Under one id there may be several boots: the one that serves, its successor while it takes over, and, when somebody gave
an id twice, a stranger at another address.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from bus.events import Beat
from tower.views import DrainView, ServerView

if TYPE_CHECKING:
    from collections.abc import Iterable

    from db.records import ServerRecord
    from tower.views import State

LEASE = 6.5  # seconds: three beats of 2 s missed, and half a second for the last one's way
LIVE = 1.0  # seconds between two beats' making from which their pace of arrival says anything
SAME = 1e-5  # seconds between two tellings of one beat: the table keeps microseconds
KEEP_STOPPED = 600.0  # seconds a server that said goodbye is still shown
KEEP_DOWN = 86_400.0  # seconds one that fell silent is: somebody has to look at it
BOOTS = 4  # of one id that are remembered: the serving, its successor, a stranger, and one more
POINTS = 150  # of a server's history: five minutes at one each 2 s
POINT = 1.9  # seconds between two points: beats come each 2 s, and a little early now and then
ALL_POINTS = 6_000  # of all servers together in one answer: 200 KB; above 40 servers each shows fewer

STATES: tuple[State, ...] = ("starting", "ready", "cordoned", "draining", "stopped")
GONE = ("stopped", "down")


@dataclass(slots=True)
class Boot:
    """One start of one server, by its newest beat."""

    beat: Beat
    seen_at: float  # when it was last alive, by our clock
    heard_at: float  # when its newest beat came
    first_seen: float
    skew: float  # seconds our clock is ahead of its; 0 until known otherwise
    by_row: bool = False  # whether the newest was told by the table, which tells less than the bus

    @property
    def started_at(self) -> float:
        return self.beat.started_at

    @property
    def age(self) -> tuple[float, str]:
        """Orders the boots of an id; the text only makes it the same in every tower."""
        return self.beat.started_at, self.beat.boot


@dataclass(frozen=True, slots=True)
class Server:
    """A server as it is now; `refused` is another address at which somebody beats under its id."""

    id: str
    state: State
    beat: Beat
    seen_at: float
    refused: str = ""

    @property
    def boot(self) -> str:
        return self.beat.boot

    @property
    def url(self) -> str:
        return self.beat.url

    @property
    def version(self) -> str:
        return self.beat.version

    @property
    def sessions(self) -> int:
        return self.beat.sessions


@dataclass(slots=True)
class _Known:
    """Everything under one id."""

    boots: dict[str, Boot] = field(default_factory=dict)
    history: deque[tuple[int, int, float]] = field(default_factory=lambda: deque(maxlen=POINTS))
    point_at: float = -math.inf


class Fleet:
    """All servers that were heard of."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._deaf = False  # whether no beat can reach us: then silence says nothing
        self._since = -math.inf  # since when beats reach us without a break

    # --- what is heard -----------------------------------------------------------------------------------------

    def beat(self, beat: Beat, now: float) -> bool:
        """Take a beat; False when it is not newer than what is known of its boot, and so changes nothing."""
        known = self._known.setdefault(beat.id, _Known())
        boot = known.boots.get(beat.boot)
        if boot is None:
            if not beat.started_at:  # an older server does not tell
                beat = msgspec.structs.replace(beat, started_at=beat.made_at)
            skew = min(now - beat.made_at, 0.0)  # a clock that is ahead shows at once
            seen = beat.made_at + skew
            boot = known.boots[beat.boot] = Boot(beat, seen, now, seen, skew)
            self._bound(known)
        else:
            made = beat.made_at - boot.beat.made_at
            if made < -SAME or (made <= SAME and not boot.by_row):
                return False
            boot.by_row = False
            if not beat.started_at:
                beat = msgspec.structs.replace(beat, started_at=boot.beat.started_at)
            # Much sooner it comes out of a log, much later it has waited for the bus.
            if made >= LIVE and made / 2 <= now - boot.heard_at <= 2 * made + 1.0:
                boot.skew = now - beat.made_at
            boot.skew = min(boot.skew, now - beat.made_at)
            boot.seen_at = max(boot.seen_at, beat.made_at + boot.skew)
            boot.beat, boot.heard_at = beat, now
        self._point(known, boot)
        return True

    def row(self, row: ServerRecord, now: float) -> bool:
        """Take a server's row of the database for a beat; the load it does not tell stays as it was."""
        known = self._known.get(row.id)
        boot = known.boots.get(row.boot) if known else None
        if boot is not None:
            if row.seen_at.timestamp() - boot.beat.made_at <= SAME:
                return False
            told = msgspec.structs.replace(
                boot.beat, state=row.state, sessions=row.connections, made_at=row.seen_at.timestamp()
            )
        else:
            told = Beat(
                row.id, row.boot, row.url, row.version, row.state, row.connections, 0.0,
                made_at=row.seen_at.timestamp(), started_at=row.started_at.timestamp(),
            )  # fmt: skip
        taken = self.beat(told, now)
        if taken:
            self._known[row.id].boots[row.boot].by_row = True
        return taken

    def hears(self, something: bool, now: float) -> None:
        """Whether beats can reach us at this moment; told again and again."""
        if something and self._deaf:
            self._since = now
        self._deaf = not something

    def forget(self, now: float) -> None:
        """Let go of who is gone for long."""
        for id, server in self.servers(now).items():
            keep = {"stopped": KEEP_STOPPED, "down": KEEP_DOWN}.get(server.state, math.inf)
            if now - server.seen_at > keep:
                del self._known[id]

    # --- what follows ------------------------------------------------------------------------------------------

    def servers(self, now: float) -> dict[str, Server]:
        """Every server as it is now, by id."""
        return {id: self._face(id, known, now) for id, known in sorted(self._known.items())}

    def server(self, id: str, now: float) -> Server | None:
        """One server as it is now; None if nobody of this id was heard of."""
        known = self._known.get(id)
        return self._face(id, known, now) if known else None

    def views(self, servers: Iterable[Server], now: float, pace: dict[str, float]) -> list[ServerView]:
        """Servers for people; `pace` is clients a second of those drains that got one."""
        servers = list(servers)
        points = max(2, min(POINTS, ALL_POINTS // max(len(servers), 1)))
        return [self._view(server, now, pace.get(server.id, 0.0), points) for server in servers]

    # --- inside ------------------------------------------------------------------------------------------------

    def _alive(self, boot: Boot, now: float) -> bool:
        if boot.beat.state == "stopped":
            return False
        return self._deaf or now - max(boot.seen_at, self._since) < LEASE

    def _face(self, id: str, known: _Known, now: float) -> Server:
        boots = known.boots.values()
        alive = [boot for boot in boots if self._alive(boot, now)]
        if not alive:
            last = max(boots, key=lambda boot: (boot.seen_at, boot.age))
            state: State = "stopped" if last.beat.state == "stopped" else "down"
            return Server(id, state, last.beat, last.seen_at)
        # Until a successor serves, the one before it is the server.
        serving = [boot for boot in alive if boot.beat.state != "starting"] or alive
        face = max(serving, key=lambda boot: boot.age)
        refused = ""
        strangers = [boot for boot in alive if _strangers(boot, face)]
        if strangers:  # who was there first stays
            refused = face.beat.url
            face = min(strangers, key=lambda boot: boot.age)
        return Server(id, _state(face.beat.state), face.beat, face.seen_at, refused)

    def _bound(self, known: _Known) -> None:
        if len(known.boots) > BOOTS:
            oldest = min(known.boots.values(), key=lambda boot: (boot.seen_at, boot.age))
            del known.boots[oldest.beat.boot]

    def _point(self, known: _Known, boot: Boot) -> None:
        if boot.beat.state == "starting" and len(known.boots) > 1:
            return  # the one before it has the clients
        if boot.seen_at - known.point_at < POINT or boot.age < max(one.age for one in known.boots.values()):
            return
        known.point_at = boot.seen_at
        known.history.append((int(boot.seen_at), boot.beat.sessions, round(boot.beat.sends_per_second, 1)))

    def _view(self, server: Server, now: float, per_second: float, points: int) -> ServerView:
        beat = server.beat
        drain = None
        if server.state == "draining" and beat.to_move:
            left = max(beat.to_move - beat.moved, 0)
            per_second = per_second or (left / beat.eta if beat.eta else 0.0)
            drain = DrainView(beat.to_move, beat.moved, round(per_second, 1), round(beat.eta, 1))
        gone = server.state in GONE
        return ServerView(
            server.id, beat.boot, beat.url, beat.version, server.state,
            0 if gone else beat.sessions,
            0.0 if gone else beat.sends_per_second,
            0.0 if gone else beat.deliveries_per_second,
            0.0 if gone else beat.commit_p99_ms,
            beat.handshakes_per_second, 0 if gone else beat.handshakes_peak, beat.started_at, server.seen_at,
            round(max(now - server.seen_at, 0.0), 1), list(self._known[server.id].history)[-points:], drain,
        )  # fmt: skip


def _strangers(boot: Boot, face: Boot) -> bool:
    """Whether both live under one id at two addresses: heard in turns, and neither makes way for the other."""
    return (
        boot is not face
        and boot.beat.url != face.beat.url
        and boot.beat.state != "draining"
        and boot.age < face.age
        and boot.seen_at > face.first_seen
        and face.beat.follows != boot.beat.boot
    )


def _state(text: str) -> State:
    """A state as it was told; one that only a newer server knows takes no newcomers."""
    return next((state for state in STATES if state == text), "cordoned")
