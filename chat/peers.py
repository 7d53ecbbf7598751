"""The other servers' boots, as far as presence needs them: who was heard of, and whose lease is over. Pure.

A boot is one start of one server; its members leave together when it has been silent for the lease. Silence counts only
while the bus works: when it does not, everybody is silent, and nobody has left.
"""

from __future__ import annotations

LEASE = 7.0  # seconds: three beats of 2 s missed, and one on its way


class Peers:
    """When each boot was last heard of; moments are seconds of any one clock."""

    __slots__ = ("_bus_since", "_heard")

    def __init__(self) -> None:
        self._heard: dict[str, float] = {}
        self._bus_since: float | None = None  # since when the bus works without a break

    def heard(self, origin: str, now: float) -> None:
        """Something came from this boot."""
        self._heard[origin] = now

    def bus(self, works: bool, now: float) -> None:
        """Whether the bus works at this moment; told again and again."""
        if not works:
            self._bus_since = None
        elif self._bus_since is None:
            self._bus_since = now

    def ended(self, origin: str) -> None:
        """This boot said goodbye."""
        self._heard.pop(origin, None)

    def expired(self, now: float) -> list[str]:
        """The boots whose lease is over; each is told once."""
        if self._bus_since is None or now - self._bus_since < LEASE:
            return []
        over = [origin for origin, heard in self._heard.items() if now - heard >= LEASE]
        for origin in over:
            del self._heard[origin]
        return over
