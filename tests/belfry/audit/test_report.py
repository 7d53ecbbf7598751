"""The figures of a run are what its clients met, in words and for programs, and bounds are held."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest
from audit_world import World

from belfry.audit.address import Address
from belfry.audit.backoff import Backoff
from belfry.audit.checker import Checker
from belfry.audit.client import Account, Client
from belfry.audit.report import Bounds, as_json, figures_of, lines
from belfry.audit.run import Load, Run

if TYPE_CHECKING:
    import random

    from belfry.audit.verdict import Verdict


def verdict() -> Verdict:
    world = World()
    for client in world.clients:
        world.connect(client)
        world.send(client)
    return Checker().observe_all(world.finish()).verdict()


def run_of(clients: int, rng: random.Random) -> Run:
    run = Run(Load(clients, 1, 1.0, math.inf, 7), Address("h", 80, False))
    run.settled = True
    for number in range(clients):
        run.clients.append(
            Client(
                f"c{number}", Account("u", "t"), [run.address], ["r"], observe=run.observe, backoff=Backoff(rng),
                meter=run.meter, readers=run.readers,
            )
        )  # fmt: skip
        run.clients[-1].attempts = 1
    return run


@pytest.fixture
def run() -> Run:
    import random

    return run_of(200, random.Random(1))


def reconnect(run: Run, clients: int, seconds: float) -> None:
    run.meter.arrived = True
    for number, client in enumerate(run.clients[:clients]):
        client.reconnects += 1
        client.attempts += 1
        run.meter.reconnects += 1
        run.meter.attempted(seconds * number / clients)


def test_nobody_reconnected_and_that_is_said(run: Run) -> None:
    assert figures_of(run).reconnects_max == 0
    assert "no client had to reconnect" in lines(run, verdict())
    assert Bounds(reconnects=0, wait_ms=0.0, herd=1.0).passed(figures_of(run)) == []


def test_who_reconnected_is_counted_by_client(run: Run) -> None:
    reconnect(run, 100, 10.0)
    run.clients[0].attempts += 4
    figures = figures_of(run)
    assert (figures.reconnects, figures.reconnected, figures.reconnects_max) == (100, 100, 1)
    assert figures.reconnects_mean == 0.5
    assert (figures.attempts, figures.attempts_max, figures.attempts_mean) == (104, 5, 0.52)
    assert figures.handshakes_peak == 10
    assert figures.herd == pytest.approx(1.0, abs=0.02)
    told = "\n".join(lines(run, verdict()))
    assert "100 reconnects of 100 clients (0.50 a client, at most 1); 104 connection attempts (0.52 a client" in told
    assert "herd factor 0.99" in told


def test_a_bound_that_is_passed_is_said_and_is_not_ok(run: Run) -> None:
    reconnect(run, 100, 0.5)
    run.clients[3].ear.stall = run.meter.waits.longest = 0.5
    bounds = Bounds(reconnects=0, wait_ms=300.0)
    told = lines(run, verdict(), bounds)
    assert told[-2:] == [
        "BEYOND YOUR BOUND: a client reconnected 1 times, accepted are 0 (100 clients reconnected at all)",
        "BEYOND YOUR BOUND: a client waited 500 ms, accepted are 300",
    ]
    found = json.loads(as_json(run, verdict(), bounds))
    assert found["ok"] is False
    assert len(found["beyond_bounds"]) == 2
    assert json.loads(as_json(run, verdict()))["ok"] is True


def test_the_clients_own_longest_are_shared_out(run: Run) -> None:
    for number, client in enumerate(run.clients):
        client.ear.silence = client.ear.stall = number / 1000
    figures = figures_of(run)
    assert figures.silence_p99 == figures.wait_p99 == pytest.approx(0.198)


def test_an_audit_that_was_too_busy_itself_says_so(run: Run) -> None:
    run.cpu, run.lag = 0.97, 0.25
    assert any("used 97% of a core, and came up to 250 ms late itself" in line for line in lines(run, verdict()))


def test_programs_get_every_figure(run: Run) -> None:
    reconnect(run, 60, 6.0)
    found = json.loads(as_json(run, verdict()))
    assert found["handshakes"] == {"peak_per_second": 10, "mean_per_second": 10.2, "herd_factor": 0.983}
    assert found["waves"] == [{"seconds": 5.9, "attempts": 60, "peak": 10}]
    assert found["reconnects_per_client"] == {"mean": 0.3, "max": 1}
    assert found["attempts_per_client"] == {"mean": 0.3, "max": 1}
    for name in ("longest_wait_s", "wait_p99_s", "longest_silence_s", "silence_p99_s", "stalls", "delivery_ms"):
        assert name in found
    assert found["counts"]["flaps"] == 0
