"""What a redeploy tells: its steps in order, each with what the towers need, and one line at the end."""

from __future__ import annotations

import msgspec

from belfry.supervisor.story import Story
from bus.events import Rollout


def test_a_redeploy_of_two_servers() -> None:
    story = Story("r1", "host:1,2", 2)
    story.began("1.0", 10.0)
    for index, name in enumerate(("a", "b"), start=1):
        story.starting(name, index, "1.0", 11.0)
        story.handing(name, index, "1.0", "2.0", 12.0)
        story.handed(name, index, "2.0", 1_000 * index, index - 1, 20.0 * index, 13.0)
    done = story.done("2.0", 14.0)
    assert [step.step for step in story.steps] == ["began", *2 * ["starting", "handing", "handed"], "done"]
    assert {(step.id, step.fleet, step.servers) for step in story.steps} == {("r1", "host:1,2", 2)}
    assert [(step.server, step.index) for step in story.steps[1:4]] == [("a", 1)] * 3
    assert (done.moved, done.drained, done.stall_ms, done.version_to) == (3_000, 1, 40.0, "2.0")
    assert story.verdict() == (
        "redeployed 2 servers: 3,000 living sockets handed over, 1 told to reconnect, longest stall 40 ms"
    )


def test_a_redeploy_that_fails_says_where_and_why() -> None:
    story = Story("r1", "host:1", 1)
    story.began("1.0", 10.0)
    story.starting("a", 1, "1.0", 11.0)
    last = story.failed("a", 1, "it was not ready", 12.0)
    assert [step.step for step in story.steps] == ["began", "starting", "failed", "failed"]
    assert (story.steps[2].server, story.steps[2].why) == ("a", "it was not ready")
    assert (last.server, last.why, last.made_at) == ("", "a: it was not ready", 12.0)


def test_one_server_nobody_told_to_reconnect() -> None:
    story = Story("r1", "host:1", 1)
    story.handed("a", 1, "2.0", 3, 0, 9.6, 1.0)
    assert story.verdict() == "redeployed 1 server: 3 living sockets handed over, longest stall 10 ms"


def test_every_step_goes_over_the_bus() -> None:
    story = Story("r1", "host:1", 1)
    story.began("1.0", 1.0)
    story.handed("a", 1, "2.0", 3, 0, 9.6, 1.0)
    for step in story.steps:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(step), type=Rollout) == step
