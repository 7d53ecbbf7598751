"""What a server counts. The hot path adds to plain integers; Prometheus reads them when it asks."""

from __future__ import annotations

from collections import Counter as Tally
from collections import deque
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client.core import Metric

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)

# name (without prefix and _total), help. The reference page is generated from these.
COUNTS = (
    ("connections_accepted", "Connections accepted at the front door"),
    ("connections_refused", "Connections answered 503: over a limit"),
    ("handshakes", "Websocket upgrades that were accepted"),
    ("frames_received", "Frames that clients sent, pings and closes left out"),
    ("odd_frames", "Messages that went through the websocket library: fragments, odd closes, mistakes"),
    ("sends", "Messages that clients asked to send, over websocket and HTTP"),
    ("acks", "Sends that were acknowledged: durable"),
    ("repeats", "Sends acknowledged with the number of an earlier one (same nonce)"),
    ("refusals", "Frames and sends refused with an error"),
    ("deliveries", "Messages posted to members, one for each member"),
    ("joins", "Rooms joined"),
    ("resumes", "Joins that began at a position"),
    ("gaps", "Joins that could not be exact and said so"),
    ("store_reads", "Reads of the database for rooms and history"),
    ("store_failures", "Commits the database refused"),
    ("gap_fills", "Holes in a room's order filled from the database"),
    ("gap_filled_messages", "Messages that filled holes from the database"),
    ("head_checks", "Looks at the heads of all live rooms in the database"),
    ("bus_published", "Events published on the bus"),
    ("bus_received", "Events received from the bus"),
    ("slow_readers", "Clients closed because they read too slowly"),
)
GAUGES = (
    ("connections", "Open connections, HTTP too"),
    ("sessions", "Websocket sessions that said hello"),
    ("handshakes_busiest_second", "Most websocket upgrades taken within one second, since the start"),
    ("rooms_live", "Rooms held in memory"),
    ("outbox_bytes", "Bytes that wait in outboxes for readers that are behind"),
    ("commit_queue", "Sends that wait for a commit"),
    ("bus_lost", "Events that never left for the bus, since the start"),
    ("bus_skipped", "Records passed over because this server was too far behind, since the start"),
    ("bus_reconnects", "Times the bus was reached again, since the start"),
    ("bus_quiet_seconds", "Seconds for which nothing proved that the bus carries events"),
    ("draining", "1 while the server drains, else 0"),
)
HISTOGRAMS = (
    ("commit_batch_messages", "Messages in one commit", BATCH),
    ("commit_seconds", "Time of one commit, until it is durable", SECONDS),
    ("fanout_seconds", "Time to post one commit's messages to all members", SECONDS),
)


class Metrics:
    """One server's counts and its Prometheus registry; every name above is an attribute."""

    def __init__(self) -> None:
        for name, _ in COUNTS:
            setattr(self, name, 0)
        self.connections_accepted: int = 0
        self.connections_refused: int = 0
        self.handshakes: int = 0
        self.frames_received: int = 0
        self.odd_frames: int = 0
        self.sends: int = 0
        self.acks: int = 0
        self.repeats: int = 0
        self.refusals: int = 0
        self.deliveries: int = 0
        self.joins: int = 0
        self.resumes: int = 0
        self.gaps: int = 0
        self.store_reads: int = 0
        self.store_failures: int = 0
        self.gap_fills: int = 0
        self.gap_filled_messages: int = 0
        self.head_checks: int = 0
        self.bus_published: int = 0
        self.bus_received: int = 0
        self.slow_readers: int = 0
        # Seconds of each commit since the last beat: 500 a second at most, so nothing is lost between two.
        self.recent_commits: deque[float] = deque(maxlen=10_000)
        self.closes: Tally[int] = Tally()  # by close code
        self.gauges: dict[str, Callable[[], float]] = {}
        self.registry = CollectorRegistry()
        self.commit_batch_messages, self.commit_seconds, self.fanout_seconds = (
            Histogram(f"belfry_{name}", text, buckets=buckets, registry=self.registry)
            for name, text, buckets in HISTOGRAMS
        )
        self.registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """What Prometheus reads."""
        for name, text in COUNTS:
            yield CounterMetricFamily(f"belfry_{name}", text, getattr(self, name))
        closes = CounterMetricFamily("belfry_closes", "Websockets closed, by close code", labels=["code"])
        for code, count in sorted(self.closes.items()):
            closes.add_metric([str(code)], count)
        yield closes
        for name, text in GAUGES:
            value = self.gauges.get(name)
            if value is not None:
                yield GaugeMetricFamily(f"belfry_{name}", text, value())
