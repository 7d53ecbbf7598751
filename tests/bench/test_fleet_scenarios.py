"""The scenarios over real services: who sits where, what meets a target and what does not, and what cannot be run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from bench import behind, cross, deep, mysql, pair, servers, spread
from bench.__main__ import _scenario
from bench.errors import Unmeasured
from bench.fleet import FleetStage, Seat
from bench.ground import DURABLE, Ground, Missing, Plot, sql
from bench.load import BUCKETS, Buckets, Generator, Load, Refusal, Seen
from bench.pace import FULL
from bench.quota import Unheld
from bench.report import Report, Table, Target
from bench.stage import Step
from compose.services import SERVICES, ServiceError

if TYPE_CHECKING:
    from pathlib import Path

    from compose.services import Kafka, Mysql


def times(seconds: float, count: int = 100) -> Buckets:
    """That many measurements of one length."""
    ns = int(seconds * 1e9)
    octave = ns.bit_length() - 1
    counts = [0] * BUCKETS
    counts[octave * 32 + ((ns >> (octave - 5)) & 31)] = count
    return Buckets(counts)


NOTHING = Buckets([0] * BUCKETS)
CALM = Seen(
    wall=3.0, cpu=0.3, sent=100, delivered=100, counted_seconds=1.0, counted=100, counted_acks=100, acks=100,
    disorder=0, missing=0, errors=0, closed=0, others=0, reads=10, aborted=False, bytes_a_delivery=180.0,
    first_error="", latency=times(0.010), acks_latency=times(0.010), entry=NOTHING, caught=0, gaps=0, late=0,
    late_until=0.0, longest=0.012,
)  # fmt: skip


def seen(**changes: Any) -> Seen:
    return dataclasses.replace(CALM, **changes)


def step(acks: float, **changes: Any) -> Step:
    return Step(Load(((0, "hot"),), 1), seen(counted_acks=acks, **changes), 0.5)


def met(targets: list[Target]) -> list[bool]:
    return [target.met for target in targets]


def test_each_case_has_the_seats_its_title_says() -> None:
    hot = mysql.Case(servers.FLEET, "mysql", 1).seats
    many = mysql.Case(servers.FLEET, "mysql", 200).seats
    assert (len(hot), {seat.room for seat in hot}) == (50, {"hot"})
    assert (len(many), len({seat.room for seat in many})) == (200, 200)
    assert sum(seat.group == 0 for seat in spread.ELSEWHERE) == spread.MEMBERS
    assert {seat.server for seat in spread.ELSEWHERE if seat.group == 0} == {1}
    for group in (0, 1):
        assert len({(seat.server, seat.room) for seat in behind.SEATS if seat.group == group}) == 1
    assert behind.WRITERS * (behind.RECORDS // behind.WRITERS) == behind.RECORDS


def test_mysql_asks_for_a_rate_and_for_five_times_the_team() -> None:
    ours, theirs = (mysql.Case(kind, "mysql", 1) for kind in (servers.FLEET, servers.TEAM))
    assert met(mysql._targets({ours: step(4_000), theirs: step(800)})) == [True, True]
    assert met(mysql._targets({ours: step(3_999), theirs: step(800)})) == [False, False]
    assert met(mysql._targets({ours: None, theirs: step(800)})) == [False, False]
    assert met(mysql._targets({ours: step(4_000), theirs: None})) == [True, False]


def test_a_cross_delivery_that_is_quick_but_not_whole_is_not_met() -> None:
    assert met(cross._targets("one room", step(1))) == [False, True]  # a bucket's upper edge is over 10 ms
    assert met(cross._targets("one room", step(1, latency=times(0.009)))) == [True, True]
    assert met(cross._targets("one room", step(1, latency=times(0.060)))) == [False, False]
    assert met(cross._targets("one room", step(1, latency=times(0.009), missing=1))) == [False, False]


def test_who_was_behind_has_to_be_abreast_in_time_and_nobody_on_it_may_wait() -> None:
    calm = seen(beside=(CALM, CALM))
    counts = {behind.SKIPPED: 80_000.0, behind.FILLED: 20.0}

    def outcome(near: dict[str, Any], far: dict[str, Any]) -> list[bool]:
        return met(behind._outcome(calm, seen(**near, beside=(seen(**far), CALM)), counts, 2.0)[1])

    assert outcome({}, {"late": 5, "late_until": 4.9}) == [True, True]
    assert outcome({}, {"late": 5, "late_until": 5.1}) == [False, True]
    assert outcome({"longest": 0.2}, {}) == [True, False]
    assert outcome({"missing": 1}, {}) == [False, False]
    assert outcome({}, {"disorder": 1}) == [False, False]
    assert outcome({}, {"counted": 0}) == [False, False]


def test_resumes_have_to_be_whole_and_in_time_and_others_undisturbed() -> None:
    def outcome(back: dict[str, Any], live: float = 0.015) -> list[bool]:
        came = seen(**({"entry": times(2.0, deep.COMING)} | back))
        return met(deep._outcome(CALM, seen(latency=times(live), beside=(came, CALM)), 40.0, 0.9)[1])

    assert outcome({}) == [True, True]
    assert outcome({}, 0.030) == [True, False]
    assert outcome({"entry": times(6.0, deep.COMING)}) == [False, True]
    assert outcome({"entry": times(2.0, deep.COMING - 1)}) == [False, True]
    assert outcome({"gaps": 1}) == [False, False]
    assert outcome({"disorder": 1}) == [False, False]


def test_a_scenario_that_cannot_be_run_is_a_line_and_no_figure_met(capsys: pytest.CaptureFixture[str]) -> None:
    found = Report("quick")
    generator = Generator()

    def lacks(generator: Generator) -> Any:
        raise Missing("kafka cannot be started: Java 17 or newer is needed")

    def refuses(generator: Generator) -> Any:
        raise Refusal("0 of 50 clients got in")

    def works(generator: Generator) -> Any:
        return Table("Fine", "", ("server",), [("Belfry",)]), [Target("figure", "1", "1", True)]

    for name, run in (("cross", lacks), ("pair", refuses), ("deep", works)):
        _scenario(name, run, generator, found, 60.0)
    assert [(target.what, target.met) for target in found.targets] == [
        ("cross", False), ("pair", False), ("figure", True),
    ]  # fmt: skip
    assert "Java 17 or newer is needed" in found.targets[0].got
    assert "cross: not run: kafka cannot be started: Java 17 or newer is needed" in capsys.readouterr().out


def test_a_scenario_without_an_end_is_ended() -> None:
    import signal
    import time

    from bench.__main__ import _too_long

    before = signal.signal(signal.SIGALRM, _too_long)
    found = Report("quick")
    try:
        _scenario("endless", lambda generator: time.sleep(60.0), Generator(), found, 0.05)  # type: ignore[arg-type]
    finally:
        signal.signal(signal.SIGALRM, before)
    assert "did not come to an end" in found.targets[0].got


def test_a_service_that_does_not_start_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = 0

    class Broken(SERVICES["mysql"]):  # type: ignore[misc]
        def start(self) -> None:
            nonlocal starts
            starts += 1
            raise ServiceError("MySQL needs libaio.so.1: install it\n  | a log")

    monkeypatch.setitem(SERVICES, "mysql", Broken)
    ground = Ground(servers.LOAD_CORE)
    try:
        for _ in range(2):
            with pytest.raises(Missing, match=r"^mysql cannot be started: MySQL needs libaio\.so\.1: install it$"):
                ground.plot("mysql")
    finally:
        ground.close()
    assert starts == 1


def test_a_service_that_is_not_as_durable_as_is_said_ends_the_run(
    mysql_server: Mysql, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground = Ground(servers.LOAD_CORE)
    assert "flush at commit 1, sync_binlog 1, binlog on" in ground._words(mysql_server)
    monkeypatch.setitem(DURABLE, "sync_binlog", 2)
    with pytest.raises(SystemExit, match=r"not durable .*sync_binlog=1"):
        ground._words(mysql_server)


class Given:
    """The tests' own services in place of a Ground."""

    def __init__(self, mysql_server: Mysql, kafka_server: Kafka) -> None:
        self._services = mysql_server, kafka_server

    def plot(self, database: str) -> Plot:
        server, kafka = self._services
        sql(server.admin_url(), "CREATE DATABASE benched")
        return Plot(server.admin_url("benched"), f"{kafka.url}?prefix=benched.", server, kafka)


def test_two_servers_carry_a_load_and_are_started_anew(
    mysql_server: Mysql, kafka_server: Kafka, tmp_path: Path
) -> None:
    seats = [Seat(0, "one", group=1), Seat(0, "two", group=1), *[Seat(1, "one")] * 3, *[Seat(1, "two")] * 3]
    load = Load(((0, "one"), (1, "two")), 3, rate=50.0, seconds=1.0, warm=0.0, drain=30.0, give_up=30.0)
    with FleetStage(Generator(), Given(mysql_server, kafka_server), "mysql", seats) as stage:  # type: ignore[arg-type]
        first = stage.run(load)
        assert first.seen.clean, first.seen
        assert (first.seen.sent, first.seen.delivered) == (50, 150)
        assert first.seen.beside[0].acks == 50
        assert first.ack_times.total == 50
        assert first.server_cpu > 0
        stage.clear()
        assert stage.run(load).seen.clean
        one, two = stage.servers()
        assert one.position("one") == two.position("one")
        assert one.position("one")[1] == 50


def test_pair_says_how_two_compare_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    # One, two, and both again: the better ones count. Then once with servers that are held.
    planned = iter([step(10_000), None, step(9_000), step(9_800), step(5_000), step(8_000)])
    waiting = iter([step(7_000), step(6_000), step(8_000), None, step(4_000), step(3_000)])
    shares = []

    def best(stage: FleetStage, *_: object) -> Step | None:
        shares.append(stage._share)
        return next(planned)

    monkeypatch.setattr(mysql, "best", best)
    monkeypatch.setattr(pair, "attempt", lambda *_: next(waiting))
    table, targets = pair.table(Generator(), Ground(servers.LOAD_CORE), FULL)
    assert met(targets) == [True, False, True, False]
    assert [target.got for target in targets] == ["0.98x", "0.75x", "1.60x", "0.75x"]
    assert [row[3] for row in table.rows] == ["10,000", "8,000", "9,800", "6,000", "5,000", "4,000", "8,000", "3,000"]
    assert shares == [None] * 4 + [pair.SHARE] * 2


def test_where_nothing_can_be_held_pair_has_its_other_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def best(stage: FleetStage, *_: object) -> Step:
        if stage._share is not None:
            raise Unheld("control groups cannot be had: no right")
        return step(10_000)

    monkeypatch.setattr(mysql, "best", best)
    monkeypatch.setattr(pair, "attempt", lambda *_: step(7_000))
    table, targets = pair.table(Generator(), Ground(servers.LOAD_CORE), FULL)
    assert met(targets) == [True, True, False]
    assert targets[-1].got == "not run: control groups cannot be had: no right"
    assert len(table.rows) == 4


def test_errors_that_are_not_the_machine_s_are_raised() -> None:
    def wrong(generator: Generator) -> Any:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        _scenario("cross", wrong, Generator(), Report("quick"), 60.0)
    assert issubclass(Missing, Unmeasured)
