"""The fleet in columns and sentences."""

from __future__ import annotations

from typing import Any

from belfry.fleet_text import drain_line, rollouts_list, servers_table, story, verdict
from tower.views import DrainView, FleetView, RolloutView, ServerView, StepView

AT = 1_795_000_000.0


def server(id: str, **fields: Any) -> ServerView:
    known = {
        "boot": "b", "url": f"http://{id}", "version": "1.0", "state": "ready", "sessions": 0, "sends_per_second": 0.0,
        "deliveries_per_second": 0.0, "commit_p99_ms": 0.0, "handshakes_per_second": 500.0, "handshakes_peak": 0,
        "started_at": AT, "seen_at": AT, "age_s": 1.2, "history": [], "drain": None,
    }  # fmt: skip
    return ServerView(id=id, **(known | fields))


def rollout(**fields: Any) -> RolloutView:
    steps = [
        StepView("", 0, "began", 0, 0, 0.0, "", AT),
        StepView("s1", 1, "handing", 0, 0, 0.0, "", AT + 2),
        StepView("s1", 1, "handed", 5_000, 0, 81.4, "", AT + 3.25),
        StepView("", 0, "done", 0, 0, 0.0, "", AT + 4),
    ]
    known = {
        "id": "r1", "fleet": "h:8001", "began_at": AT, "ended_at": AT + 4, "state": "done", "version_from": "1.0",
        "version_to": "1.1", "servers": 1, "moved": 5_000, "drained": 0, "longest_stall_ms": 81.4, "why": "",
        "steps": steps,
    }  # fmt: skip
    return RolloutView(**(known | fields))


def test_a_table_with_its_columns_in_line() -> None:
    drain = DrainView(200, 50, 10.0, 15.0)
    view = FleetView(AT, [
        server("s1", sessions=12_345, sends_per_second=1_234.5, commit_p99_ms=3.14),
        server("long-name", state="draining", drain=drain, age_s=7_300.0),
    ], None, [])  # fmt: skip
    assert servers_table(view, colours=False) == [
        "ID         STATE         VERSION  SESSIONS  MSGS/S  COMMIT P99  AGE  URL",
        "s1         ready         1.0        12,345   1,234      3.1 ms  1 s  http://s1",
        "long-name  draining 25%  1.0             0       0           -  2 h  http://long-name",
    ]
    assert servers_table(FleetView(AT, [], None, []), colours=False) == ["no server has beaten yet"]
    assert "\x1b[32mready" in servers_table(view, colours=True)[1]


def test_a_drains_line() -> None:
    one = server("s1", state="draining", drain=DrainView(1_204, 746, 100.0, 4.6))
    assert drain_line(one, bar=False) == "s1: 746 of 1,204 moved (62%), 100 a second, 5 s left"
    assert drain_line(one, bar=True) == f"s1  {'█' * 15}{'░' * 9}  62%  746 of 1,204 moved, 100 a second, 5 s left"
    assert drain_line(server("s1", sessions=3), bar=True) == "s1 is ready, 3 sessions"


def test_a_story() -> None:
    assert story(rollout(), colours=False) == [
        "2026-11-18T11:06:40Z"[:10] + " " + "2026-11-18T11:06:40Z"[11:] + "  redeploy r1 of h:8001, 1.0 to 1.1",
        "  +   2.0 s  s1 (1 of 1) hands its clients over",
        "  +   3.2 s  s1 (1 of 1) runs the new code: 5,000 moved alive, longest stall 81 ms",
        "  done in 4.0 s: 5,000 moved alive, 0 told to reconnect, longest stall 81 ms",
    ]


def test_verdicts() -> None:
    assert verdict(rollout(state="running", ended_at=None), colours=False) == (
        "running: 5,000 moved alive and 0 told to reconnect so far"
    )
    failed = rollout(state="failed", why="it hung", moved=0, drained=7)
    assert verdict(failed, colours=False) == "failed: it hung; 0 moved alive, 7 told to reconnect"
    (line,) = rollouts_list([failed], colours=False)
    assert line.endswith("Z  r1  h:8001  failed: it hung; 0 moved alive, 7 told to reconnect")
