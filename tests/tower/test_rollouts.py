"""Rollouts as stories: what supervisors tell, in any order and any number of times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st
from tower_world import START, fleet_of, server

from bus.events import Rollout
from tower.rollouts import KEPT, SILENT, STEPS, Rollouts, going, view_of

if TYPE_CHECKING:
    from tower.views import RolloutView


def step(step: str, server: str = "", index: int = 0, at: float = START, id: str = "r1", **fields: Any) -> Rollout:
    told = {"version_from": "1.0", "version_to": "1.1", "servers": 2}
    return Rollout(id, "host:8001,8002", step, server, index, made_at=at, **(told | fields))


STORY = [
    step("began"),
    step("starting", "s1", 1, START + 1),
    step("handing", "s1", 1, START + 2),
    step("handed", "s1", 1, START + 3, moved=5_000, stall_ms=80.0),
    step("starting", "s2", 2, START + 4),
    step("drained", "s2", 2, START + 5, moved=10, drained=3, stall_ms=120.5),
    step("done", "", 0, START + 6),
]


def told(*steps: Rollout) -> RolloutView:
    rollouts = Rollouts()
    for one in steps:
        rollouts.heard(one, one.made_at)
    return rollouts.newest(1)[0]


def test_a_story_and_its_verdict() -> None:
    story = told(*STORY)
    assert (story.id, story.fleet, story.state, story.why) == ("r1", "host:8001,8002", "done", "")
    assert (story.began_at, story.ended_at) == (START, START + 6)
    assert (story.version_from, story.version_to, story.servers) == ("1.0", "1.1", 2)
    assert (story.moved, story.drained, story.longest_stall_ms) == (5_010, 3, 120.5)
    assert [one.step for one in story.steps] == [one.step for one in STORY]


def test_while_it_runs_and_when_it_fails() -> None:
    assert told(*STORY[:3]).state == "running"
    failed = told(
        *STORY[:3], step("failed", "s1", 1, START + 3, why="it did not import"), step("failed", "", 0, START + 4)
    )
    assert (failed.state, failed.why, failed.ended_at) == ("failed", "it did not import", START + 4)


def test_a_step_is_news_once() -> None:
    rollouts = Rollouts()
    assert rollouts.heard(STORY[0], START) is not None
    assert rollouts.heard(STORY[0], START + 1) is None


@given(st.data())
def test_repeated_and_in_any_order_it_is_the_same_story(data: st.DataObject) -> None:
    order = data.draw(st.permutations(STORY))
    again = data.draw(st.lists(st.sampled_from(STORY)))
    assert told(*order, *again) == told(*STORY)


def test_a_supervisor_that_falls_silent_has_failed_until_it_speaks_again() -> None:
    rollouts = Rollouts()
    for one in STORY[:3]:
        rollouts.heard(one, START)
    assert rollouts.silence(START + SILENT) == []
    (story,) = rollouts.silence(START + SILENT + 1)
    assert (story.state, story.why) == ("failed", "its supervisor fell silent in the middle")
    assert rollouts.silence(START + SILENT + 2) == []
    assert rollouts.running() is None
    rollouts.heard(STORY[3], START + SILENT + 10)
    running = rollouts.running()
    assert running is not None
    assert running.state == "running"


def test_the_newest_running_one_is_the_one_that_runs() -> None:
    rollouts = Rollouts()
    for number in range(3):
        rollouts.heard(step("began", id=f"r{number}", at=START + number), START)
    rollouts.heard(step("done", id="r2", at=START + 9), START)
    running = rollouts.running()
    assert running is not None
    assert running.id == "r1"
    assert [one.id for one in rollouts.newest(10)] == ["r2", "r1", "r0"]


def test_what_is_kept_is_bounded() -> None:
    rollouts = Rollouts()
    for number in range(KEPT + 10):
        rollouts.heard(step("began", id=f"r{number}", at=START + number), START)
    assert len(rollouts.newest(1_000)) == KEPT
    for number in range(STEPS + 10):
        rollouts.heard(step("starting", f"s{number}", id=f"r{KEPT}", at=START), START)
    assert max(len(one.steps) for one in rollouts.newest(KEPT)) == STEPS


def test_what_is_written_is_what_is_read() -> None:
    one, other = Rollouts(), Rollouts()
    for event in STORY:
        one.heard(event, event.made_at)
    ids = one.changed()
    assert ids == {"r1"}
    assert one.changed() == set()
    one.unwritten(ids)
    assert one.changed() == ids
    record = one.record("r1")
    assert record is not None
    assert (record.steps, view_of(record)) == (len(STORY), one.newest(1)[0])
    other.remember([record])
    assert other.newest(1) == one.newest(1)
    assert other.changed() == set()


def test_what_was_heard_and_what_was_written_make_one_story() -> None:
    one, other = Rollouts(), Rollouts()
    for event in STORY[:4]:
        one.heard(event, event.made_at)
    for event in STORY[4:]:
        other.heard(event, event.made_at)
    record = one.record("r1")
    assert record is not None
    other.remember([record])
    assert other.newest(1)[0] == told(*STORY)


# --- who is about to go ----------------------------------------------------------------------------------------


def test_nobody_is_going_without_a_rollout() -> None:
    assert going(fleet_of(server("s1"), server("s2")), None) == set()


def test_the_old_ones_are_going_until_their_turn_is_over() -> None:
    new = {"version": "1.1", "started_at": START + 2.5, "boot": "new"}
    servers = fleet_of(server("s1"), server("s2"), server("s9", version="0.9"))
    assert going(servers, told(*STORY[:1])) == {"s1", "s2"}
    servers = fleet_of(server("s1", **new), server("s2"), server("s9", version="0.9"))
    assert going(servers, told(*STORY[:4])) == {"s2"}
    assert going(servers, told(*STORY[:6])) == set()


def test_a_redeploy_of_the_same_version_goes_by_when_they_started() -> None:
    same = {"version_to": "1.0"}
    servers = fleet_of(server("s1", started_at=START + 1), server("s2"))
    assert going(servers, told(step("began", **same))) == {"s2"}
