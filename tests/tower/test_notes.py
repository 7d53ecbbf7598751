"""What happened and what is wrong, in words."""

from __future__ import annotations

from typing import Any

import pytest
from tower_world import START, fleet_of, server

from tower.notes import NAMED, changes, of_step, people, verdict, wrong
from tower.views import RolloutView, StepView

NOW = START + 1


def told(before: list[Any], after: list[Any]) -> list[tuple[str, str]]:
    return [(note.level, note.text) for note in changes(fleet_of(*before), fleet_of(*after), NOW)]


@pytest.mark.parametrize(
    ("before", "after", "level", "text"),
    [
        (None, server(), "info", "s1 takes clients at http://s1"),
        (None, server(state="starting"), "info", "s1 is starting at http://s1"),
        (server(), server(state="cordoned", sessions=3), "info",
         "s1 is cordoned: it keeps its 3 people and takes nobody new"),
        (server(), server(state="draining", sessions=1), "info", "s1 is draining: 1 person to move"),
        (server(state="draining"), server(state="stopped"), "info", "s1 has stopped"),
        (server(state="draining"), server(), "info", "s1's drain was aborted; it takes clients again"),
        (server(state="draining"), server(state="cordoned"), "info",
         "s1 is drained, 0 people left; stop it, or uncordon it"),
        (server(), server(state="down", sessions=5_000), "error", "s1 at http://s1 fell silent with 5,000 people"),
        (server(), server(boot="b", follows="s1-a"), "info", "s1 has taken over from the one before it at http://s1"),
        (server(), server(boot="b"), "warning", "s1 was restarted at http://s1"),
    ],
)  # fmt: skip
def test_what_happened(before: Any, after: Any, level: str, text: str) -> None:
    assert told([before] if before else [], [after]) == [(level, text)]


def test_what_is_as_it_was_or_was_over_before_we_looked_is_no_news() -> None:
    assert told([server(sessions=1)], [server(sessions=2)]) == []
    assert told([], [server(state="stopped"), server("s2", "down")]) == []


def words(*servers: Any, quiet: float | None = 0.0, store: bool | None = True) -> list[str]:
    return wrong(fleet_of(*servers), None, NOW, quiet, store)


def test_nothing_wrong() -> None:
    assert words() == words(server()) == words(server(), quiet=None) == words(server(), store=None) == []


def test_what_is_wrong_with_what_the_tower_stands_on() -> None:
    assert words(quiet=9.0) == [
        "the bus has been away for 9 s: the fleet is read from the database, and verbs are not heard"
    ]
    assert words(quiet=9.0, store=False) == words(quiet=None, store=False)
    assert "what is shown here is old" in words(quiet=9.0, store=None)[0]
    assert words(store=False) == ["the database cannot be reached: redeploys are not written down"]


def test_what_is_wrong_with_servers() -> None:
    gone = server("s1", "down", START - 7_200, sessions=3)
    assert words(gone, server("s2")) == ["s1 at http://s1 has been silent for 2 h; it had 3 people"]
    many = [server(f"d{number:02}", "down") for number in range(NAMED + 5)]
    assert words(*many, server())[-1] == "5 other servers are silent, too"
    assert words(server(state="cordoned")) == ["no server takes newcomers"]
    assert words(server(state="starting", started_at=START)) == []
    assert words(server(state="starting", started_at=START - 60)) == ["no server takes newcomers"]
    assert words(server("s2"), server(state="draining", eta=90.0)) == ["s1 needs another 90 s to drain"]
    assert words(server(commit_p99_ms=2_500.0)) == ["s1's commits take 2,500 ms"]
    assert words(server(), server("s2", version="1.1")) == ["the fleet runs 2 versions: 1.0, 1.1"]
    taken = type(server())("s1", "ready", server().beat, START, "http://elsewhere")
    assert words(taken) == [
        'two servers call themselves "s1": http://s1, which counts, and http://elsewhere, which does not; '
        "give one of them another --server-id"
    ]


STORY = RolloutView("r", "f", START, None, "running", "1.0", "1.1", 2, 0, 0, 0.0, "", [])


def step(step: str, server: str = "s1", **fields: Any) -> str:
    known = {"index": 1, "moved": 0, "drained": 0, "stall_ms": 0.0, "why": "", "at": START}
    return of_step(StepView(server=server, step=step, **(known | fields)), STORY, NOW).text


def test_a_redeploys_steps() -> None:
    assert step("began", "") == "a redeploy of 2 servers began, from 1.0 to 1.1"
    assert step("starting") == "redeploy: the successor of s1 is starting"
    assert step("handed", moved=5_000, stall_ms=80.4) == (
        "redeploy: s1 runs the new code; 5,000 sockets moved alive, longest stall 80 ms"
    )
    assert step("failed", why="it did not import") == "redeploy: s1 failed, the old one goes on: it did not import"
    assert step("some new step") == "redeploy: s1 some new step"


def test_a_redeploys_verdict() -> None:
    done = RolloutView("r", "f", START, START + 6, "done", "1", "2", 2, 5_000, 0, 80.0, "", [])
    assert verdict(done, NOW).text == (
        "the redeploy is done in 6.0 s: 5,000 sockets moved alive, nobody had to reconnect, longest stall 80 ms"
    )
    failed = RolloutView("r", "f", START, START + 6, "failed", "1", "2", 2, 0, 0, 0.0, "it hung", [])
    assert (verdict(failed, NOW).level, verdict(failed, NOW).text) == ("error", "the redeploy failed: it hung")
    assert people(1) == "1 person"
