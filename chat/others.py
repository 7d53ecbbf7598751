"""The other servers of the fleet, as their beats tell: who is there to take our clients, and at what pace. Pure.

Moments are seconds of any one clock, not that of the beats: another machine's clock may be minutes off. A beat is news
when it says something later than the one before it, or was made just now; a reader that begins is told the last words
of servers that ended a week ago.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from chat.peers import LEASE

if TYPE_CHECKING:
    from bus.events import Beat
    from chat.config import Config

OWN_PACE = 500.0  # clients a second, where nobody set a limit: what one core takes beside its other work
# Of what the others say they take: the rest is for whoever comes anyhow, or dies meanwhile. 5,000 clients to two
# servers of 500 a second take 12.5 s; each costs about 2 ms of processors, half where it leaves, half where it comes.
HEAD_ROOM = 0.4
KEPT = 1_000  # servers remembered; a fleet has fewer, and whoever is silent is forgotten first
ANYWHERE = ("0.0.0.0", "::")  # where one can listen, but not go to


@dataclass(slots=True)
class _Known:
    beat: Beat
    heard: float | None  # None: a word from the past, perhaps


class Others:
    """What the beats of the others said last."""

    def __init__(self, own_id: str, own_url: str) -> None:
        self._own_id = own_id
        self._own_url = own_url
        self._known: dict[str, _Known] = {}
        self._origins: frozenset[str] | None = None

    def heard(self, beat: Beat, now: float, wall: float) -> None:
        """A beat came; `wall` is Unix time."""
        if beat.id == self._own_id:
            return
        before = self._known.pop(beat.id, None)
        if before is not None and beat.made_at < before.beat.made_at and beat.boot == before.beat.boot:
            self._known[beat.id] = before  # late on its way
            return
        fresh = abs(wall - beat.made_at) < LEASE or (before is not None and before.beat.boot == beat.boot)
        self._known[beat.id] = _Known(beat, now if fresh else None)
        if len(self._known) > KEPT:
            del self._known[next(iter(self._known))]
        self._origins = None

    def ready(self, now: float) -> list[Beat]:
        """Those that live and take clients, by id."""
        living = [one.beat for one in self._known.values() if one.heard is not None and now - one.heard < LEASE]
        return sorted((beat for beat in living if beat.state == "ready"), key=lambda beat: beat.id)

    def pace(self, now: float) -> float:
        """Clients a second that they can take besides what they do anyhow; 0 when nobody is there."""
        return HEAD_ROOM * sum(beat.handshakes_per_second or OWN_PACE for beat in self.ready(now))

    def urls(self, now: float) -> list[str]:
        """Where our clients could go by an address other than ours; none behind one balancer."""
        urls = dict.fromkeys(beat.url for beat in self.ready(now))
        return [url for url in urls if url != self._own_url and can_go_to(url)]

    @property
    def origins(self) -> frozenset[str]:
        """The origins that pages of the fleet's servers have, dead ones too: a page outlives its server."""
        if self._origins is None:
            found = (origin_of(one.beat.url) for one in self._known.values())
            self._origins = frozenset(origin for origin in found if origin is not None)
        return self._origins


def own_url(config: Config) -> str:
    """Where this server says that it is."""
    return config.public_url or f"http://{config.host}:{config.port}"


def origin_of(url: str) -> str | None:
    """The origin of pages that a server at this URL serves; None if it is no URL."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises where there is none to be had
    except ValueError:
        return None
    if not parts.hostname or parts.scheme not in ("http", "https", "ws", "wss"):
        return None
    return f"{parts.scheme.replace('ws', 'http')}://{parts.netloc.rpartition('@')[2].lower()}"


def can_go_to(url: str) -> bool:
    """Whether a client could make anything of this address."""
    return origin_of(url) is not None and urlsplit(url).hostname not in ANYWHERE
