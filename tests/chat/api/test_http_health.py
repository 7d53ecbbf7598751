"""What load balancers, orchestrators and Prometheus see."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("state", ["starting", "ready", "draining", "stopped"])
async def test_ready_only_when_ready_but_alive_always(house, state):
    house.service.state = state
    ready = await house.ask("GET", "/readyz", "")
    assert (ready.status, ready.json) == (200 if state == "ready" else 503, {"state": state})
    alive = await house.ask("GET", "/healthz", "")
    assert (alive.status, alive.json) == (200, {"status": "ok"})


async def test_metrics_are_those_of_the_given_registry(house):
    answer = await house.ask("GET", "/metrics", "")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert b"\nbelfry_things_total 3.0\n" in answer.body
    assert b"python_info" not in answer.body
