"""Who is asked for a drain's pace, what of an answer is followed, and what happens without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from bus.events import Beat, Leaving, Pace, Target
from chat.config import Config, Limits
from chat.others import HEAD_ROOM, Others, own_url
from chat.pace import ANSWER_PATIENCE, Pacing

if TYPE_CHECKING:
    from trio.testing import MockClock

    from bus.events import Event
    from chat.drain import DrainPlan

A, B = "http://a:1", "http://b:1"
DEADLINE = 20.0  # seconds


class World:
    """A server that leaves, the others it knows of, and a tower that answers with `answer`, if it does."""

    def __init__(self, *urls: str, works: bool = True, **config: Any) -> None:
        self.config = Config(**({"server_id": "s0", "port": 9} | config))
        self.others = Others("s0", own_url(self.config))
        for number, url in enumerate(urls):
            beat = Beat(f"o{number}", "b", url, "1", "ready", 0, 100.0, made_at=1.0)
            self.others.heard(beat, trio.current_time(), 1.0)
        self.asked: list[Leaving] = []
        self.answers: list[tuple[float, list[Target]]] = []
        self.pacing = Pacing(self.config, self.others, self._publish, lambda: works)

    def _publish(self, event: Event) -> None:
        assert isinstance(event, Leaving)
        self.asked.append(event)
        for per_second, targets in self.answers:
            self.pacing.heard(Pace("somebody else", event.ask, 1.0, []))
            self.pacing.heard(Pace("s0", "another question", 1.0, []))
            self.pacing.heard(Pace("s0", event.ask, per_second, targets))

    async def plan(self, sessions: int = 100, per_second: float = 0.0, *, direct: bool = True) -> DrainPlan:
        return await self.pacing.plan(sessions, DEADLINE, per_second, direct=direct)


def urls(plan: DrainPlan) -> list[str]:
    return [target.url for target in plan.targets]


async def test_alone_nobody_is_asked(autojump_clock: MockClock) -> None:
    world = World()
    plan = await world.plan(1_000)
    assert (plan.window, plan.grace, plan.targets) == (2.0, 0.0, ())
    assert not world.asked
    assert trio.current_time() == 0.0


async def test_without_a_bus_nobody_is_asked_but_the_others_are_known(autojump_clock: MockClock) -> None:
    world = World(A, B, works=False)
    plan = await world.plan()
    assert not world.asked
    assert urls(plan) == [A, B]
    assert plan.window == pytest.approx(100 / (HEAD_ROOM * 200))
    assert plan.grace > 0.0


async def test_silence_is_waited_for_a_second_and_taken_off_the_deadline(autojump_clock: MockClock) -> None:
    world = World(A)
    plan = await world.plan(10_000)
    assert trio.current_time() == pytest.approx(ANSWER_PATIENCE)
    (leaving,) = world.asked
    assert (leaving.id, leaving.sessions, leaving.deadline, leaving.per_second) == ("s0", 10_000, DEADLINE, 0.0)
    assert plan.window + plan.grace < DEADLINE - ANSWER_PATIENCE


async def test_the_first_answer_to_our_question_counts(autojump_clock: MockClock) -> None:
    world = World(A, B)
    world.answers = [(25.0, [Target(B, 1.0)]), (99.0, [Target(A, 1.0)])]
    plan = await world.plan()
    assert trio.current_time() == 0.0
    assert (plan.window, urls(plan)) == (4.0, [B])
    world.pacing.heard(Pace("s0", world.asked[0].ask, 1.0, []))  # too late


async def test_an_operators_pace_is_asked_for_and_else_taken(autojump_clock: MockClock) -> None:
    world = World(A)
    plan = await world.plan(per_second=10.0)
    assert world.asked[0].per_second == 10.0
    assert plan.window == 10.0


@pytest.mark.parametrize("per_second", [0.0, -5.0, float("nan"), float("inf")])
async def test_a_pace_that_is_none_is_not_taken(autojump_clock: MockClock, per_second: float) -> None:
    world = World(A)
    world.answers = [(per_second, [Target(A, 1.0)])]
    assert (await world.plan()).window == pytest.approx(100 / (HEAD_ROOM * 100))


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([], []),  # the balancer chooses
        ([Target("http://127.0.0.1:9", 1.0)], [A, B]),  # ourselves
        ([Target("nonsense", 1.0)], [A, B]),
        ([Target(A, 0.5), Target("http://127.0.0.1:9", 0.5)], [A]),
    ],
)
async def test_places_that_are_none_are_not_taken(
    autojump_clock: MockClock, told: list[Target], expected: list[str]
) -> None:
    world = World(A, B)
    world.answers = [(50.0, told)]
    assert urls(await world.plan()) == expected


async def test_behind_one_balancer_no_place_is_named(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    everywhere = "https://chat.example.org"
    world = World(everywhere, everywhere, public_url=everywhere)
    world.answers = [(50.0, [Target(everywhere, 1.0)])]
    plan = await world.plan()
    assert plan.targets == ()
    assert plan.grace > 0.0  # there is somebody to go to, behind it
    assert "a tower sent" not in caplog.text


async def test_behind_a_proxy_that_nobody_told_of_no_place_is_named(autojump_clock: MockClock) -> None:
    assert (await World(A).plan(direct=False)).targets == ()
    assert urls(await World(A, public_url="http://s0:1").plan(direct=False)) == [A]


async def test_a_deadline_that_asks_for_more_is_said(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await World(limits=Limits(handshakes_per_second=10)).plan(1_000)
    assert "more than the 10 the others are meant to get" in caplog.text
