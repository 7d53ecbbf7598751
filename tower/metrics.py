"""What a tower counts; Prometheus reads it when it asks."""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client.core import Metric

COUNTS = (
    ("tower_assigned", "Clients that were told where to go"),
    ("tower_unplaced", "Clients that were told to come back later: nobody ready, or the budget was used up"),
    ("tower_paces", "Drains that were given their pace"),
    ("tower_orders", "Verbs passed on to servers"),
    ("tower_requests_refused", "Requests without a token that may do that"),
    ("tower_connections_accepted", "Connections accepted"),
    ("tower_connections_refused", "Connections answered 503: over the limit"),
)
GAUGES = (
    ("tower_connections", "Open connections"),
    ("tower_watching", "Streams of events that are open"),
    ("tower_sessions", "Sessions of all living servers, as they told last"),
    ("tower_wrong", "Things that are wrong with the fleet now"),
)


class Metrics:
    """One tower's counts and its Prometheus registry; every count above is an attribute."""

    def __init__(self) -> None:
        self.tower_assigned: int = 0
        self.tower_unplaced: int = 0
        self.tower_paces: int = 0
        self.tower_orders: int = 0
        self.tower_requests_refused: int = 0
        self.tower_connections_accepted: int = 0
        self.tower_connections_refused: int = 0
        self.gauges: dict[str, Callable[[], float]] = {}
        self.states: Callable[[], list[str]] = list
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """What Prometheus reads."""
        for name, text in COUNTS:
            yield CounterMetricFamily(f"belfry_{name}", text, getattr(self, name))
        for name, text in GAUGES:
            if (value := self.gauges.get(name)) is not None:
                yield GaugeMetricFamily(f"belfry_{name}", text, value())
        servers = GaugeMetricFamily("belfry_tower_servers", "Servers by state", labels=["state"])
        for state, count in sorted(Tally(self.states()).items()):
            servers.add_metric([state], count)
        yield servers
