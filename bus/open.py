"""The one place that knows which bus an address means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bus.memory import Exchange
from bus.url import KafkaUrl

if TYPE_CHECKING:
    from bus.bus import Bus
    from bus.url import BusUrl


def open_bus(url: BusUrl, origin: str) -> Bus:
    """One server's end of the bus; `origin` names this boot of it. Nothing is connected before `run`."""
    if isinstance(url, KafkaUrl):
        # Imported here: the library takes 0.3 s, which a server without Kafka need not wait for.
        from bus.kafka import KafkaBus

        return KafkaBus(url, origin)
    return Exchange().bus(origin)
