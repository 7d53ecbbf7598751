"""When the bus counts as away and back, by pings and a clock of the test's own."""

from __future__ import annotations

import pytest

from bus.bus import Counts
from bus.kafka_link import AWAY, HOLD, PING, Link
from tests.bus.conftest import told


class TestLink:
    """When the bus counts as away and back."""

    def setup_method(self) -> None:
        self.now = 1_000.0
        self.counts = Counts()
        self.link = Link("k:9092", self.counts, lambda: self.now)

    def test_it_is_quiet_until_a_ping_came_back(self) -> None:
        assert self.link.quiet() > AWAY / 2
        self.link.ping_heard(self.now)
        assert self.link.quiet() == 0.0
        self.now += PING
        assert self.link.quiet() == 0.0
        self.now += 1.0
        assert self.link.quiet() == pytest.approx(1.0)

    def test_a_ping_that_took_long_proves_little(self) -> None:
        self.link.ping_heard(self.now)
        self.link.ping_heard(self.now - 5.0)
        assert self.link.quiet() == 0.0
        self.now += 5.0
        self.link.ping_heard(self.now - 3.0)
        assert self.link.quiet() == pytest.approx(3.0 - PING)

    def test_each_change_is_told_once(self, caplog: pytest.LogCaptureFixture) -> None:
        changes = []
        for second in range(40):
            self.now += 0.5
            if second in (0, 1, 2, 20, 21, 22, 23):
                self.link.ping_heard(self.now)
            changes.append(self.link.look())
        assert [at for at, changed in enumerate(changes) if changed] == [0, 20]
        assert [line.split()[5] for line in told(caplog)] == ["reached", "away", "back,", "away"]
        assert "back, after 9.0 s" in told(caplog)[2]
        assert self.counts.reconnects == 1

    def test_another_reason_is_told_too(self, caplog: pytest.LogCaptureFixture) -> None:
        for why in ("", "no broker answers", "no broker answers", "not allowed", "not allowed"):
            self.now += 2.0
            self.link.why = why
            self.link.look()
        assert [line.partition("(")[2].partition(")")[0] for line in told(caplog)] == [
            "no answer", "no broker answers", "not allowed",
        ]  # fmt: skip

    def test_nothing_is_handed_over_while_no_ping_is_taken(self) -> None:
        assert self.link.is_taking
        self.now += HOLD
        assert not self.link.is_taking
        self.link.ping_acked()
        assert self.link.is_taking
