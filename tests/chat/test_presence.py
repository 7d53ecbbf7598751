"""Presence: what the room is told, folded, is who is here; and nobody flickers who comes back within the grace."""

from __future__ import annotations

import copy

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from chat.presence import GRACE, Presence

users = st.sampled_from(["ada", "bob", "eve"])
origins = st.sampled_from(["s2", "s3"])


class Telling(RuleBasedStateMachine):
    """A presence beside the plain truth: who has a socket where, and until when the absent are excused."""

    def __init__(self) -> None:
        super().__init__()
        self.presence = Presence()
        self.now = 100.0
        self.sockets = dict.fromkeys(["ada", "bob", "eve"], 0)
        self.elsewhere: dict[str, set[str]] = {"s2": set(), "s3": set()}
        self.excused: dict[str, float] = {}
        self.told: set[str] = set()

    def is_connected(self, user: str) -> bool:
        return bool(self.sockets[user]) or any(user in there for there in self.elsewhere.values())

    def gone(self, user: str, until: float) -> None:
        self.excused[user] = max(until, self.excused.get(user, until))

    @rule(user=users)
    def enter(self, user: str) -> None:
        self.sockets[user] += 1
        self.excused.pop(user, None)
        assert self.presence.enter(user, user.title()) == (self.sockets[user] == 1)

    @rule(user=users)
    def leave(self, user: str) -> None:
        if self.sockets[user]:
            self.sockets[user] -= 1
            assert self.presence.leave(user, self.now) == (self.sockets[user] == 0)
            self.gone(user, self.now + GRACE)

    @rule(user=users, origin=origins)
    def enter_elsewhere(self, user: str, origin: str) -> None:
        self.elsewhere[origin].add(user)
        self.excused.pop(user, None)
        self.presence.enter_elsewhere(origin, user, user.title())

    @rule(user=users, origin=origins)
    def leave_elsewhere(self, user: str, origin: str) -> None:
        self.presence.leave_elsewhere(origin, user, self.now)
        if user in self.elsewhere[origin]:
            self.elsewhere[origin].discard(user)
            self.gone(user, self.now + GRACE)

    @rule(there=st.sets(users), origin=origins)
    def hear_all_of(self, there: set[str], origin: str) -> None:
        self.presence.set_elsewhere(origin, [(user, user.title()) for user in sorted(there)], self.now)
        left, self.elsewhere[origin] = self.elsewhere[origin] - there, self.elsewhere[origin] & there
        for user in left:
            self.gone(user, self.now + GRACE)

    @rule(origin=origins)
    def drop_origin(self, origin: str) -> None:
        assert self.presence.drop_origin(origin, self.now) == bool(self.elsewhere[origin])
        left, self.elsewhere[origin] = self.elsewhere[origin], set()
        for user in left:
            self.gone(user, self.now)

    @rule(seconds=st.sampled_from([0.1, 1.0, GRACE - 0.1, GRACE]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def tell(self) -> None:
        joined, left = self.presence.changes(self.now)
        came = {user for user, _ in joined}
        assert len(came) == len(joined)
        assert len(set(left)) == len(left)
        assert not came & self.told
        assert set(left) <= self.told
        self.told = self.told - set(left) | came
        here = {user for user in self.sockets if self.is_connected(user) or self.excused.get(user, 0.0) > self.now}
        assert self.told == here
        assert self.presence.members() == sorted((user, user.title()) for user in here)
        assert self.presence.count == len(here)
        assert sorted(self.presence.here()) == sorted((user, user.title()) for user in here if self.sockets[user])

    @precondition(lambda self: self.presence.due() is None)
    @rule()
    def nothing_is_due(self) -> None:
        assert copy.deepcopy(self.presence).changes(self.now + 10 * GRACE) == ([], [])

    @precondition(lambda self: (self.presence.due() or 0.0) > self.now)
    @rule()
    def nothing_is_due_yet(self) -> None:
        due = self.presence.due()
        assert due is not None
        assert copy.deepcopy(self.presence).changes(due - 0.01) == ([], [])
        assert copy.deepcopy(self.presence).changes(due) != ([], [])


TestTelling = Telling.TestCase
TestTelling.settings = settings(max_examples=200, stateful_step_count=40)


def told(presence: Presence, now: float) -> tuple[list[str], list[str]]:
    joined, left = presence.changes(now)
    return sorted(user for user, _ in joined), sorted(left)


@pytest.mark.parametrize("away", [0.0, GRACE / 2, GRACE - 0.001])
def test_who_comes_back_within_the_grace_is_no_news(away: float) -> None:
    presence = Presence()
    presence.enter("ada", "Ada")
    assert told(presence, 0.0) == (["ada"], [])
    presence.leave("ada", 10.0)
    assert told(presence, 10.0 + away) == ([], [])
    assert presence.count == 1
    presence.enter("ada", "Ada")
    assert presence.due() is None
    assert told(presence, 100.0) == ([], [])


def test_who_moves_to_another_server_is_no_news() -> None:
    presence = Presence()
    presence.enter("ada", "Ada")
    told(presence, 0.0)
    presence.leave("ada", 1.0)
    presence.enter_elsewhere("s2", "ada", "Ada")
    presence.leave_elsewhere("s2", "ada", 3.0)
    presence.enter_elsewhere("s3", "ada", "Ada")
    assert told(presence, 100.0) == ([], [])


def test_many_who_come_and_go_are_told_in_one_telling() -> None:
    presence = Presence()
    for number in range(300):
        presence.enter(f"u{number}", f"U{number}")
    joined, left = told(presence, 0.0)
    assert (len(joined), left) == (300, [])
    for number in range(300):
        presence.leave(f"u{number}", 1.0)
    assert told(presence, 1.0 + GRACE) == ([], joined)
    assert (presence.count, presence.members(), presence.due()) == (0, [], None)


def test_a_lost_server_takes_its_people_along_at_once_and_once() -> None:
    presence = Presence()
    for user in ("ada", "bob", "eve"):
        presence.enter_elsewhere("s2", user, user)
    presence.enter("eve", "eve")
    told(presence, 0.0)
    presence.drop_origin("s2", 7.0)
    assert presence.due() == 7.0
    assert told(presence, 7.0) == ([], ["ada", "bob"])
    presence.drop_origin("s2", 8.0)
    presence.leave_elsewhere("s2", "ada", 8.0)
    assert told(presence, 100.0) == ([], [])
    assert presence.members() == [("eve", "eve")]


def test_the_end_of_an_old_boot_takes_nobodys_grace_away() -> None:
    presence = Presence()
    presence.enter_elsewhere("s2-before-its-redeploy", "ada", "Ada")
    presence.enter("ada", "Ada")
    presence.changes(0.0)
    presence.leave("ada", 1.0)
    presence.drop_origin("s2-before-its-redeploy", 1.5)
    assert presence.changes(2.0) == ([], [])
    presence.enter("ada", "Ada")
    assert presence.changes(2.0 + GRACE) == ([], [])


def test_members_are_named_in_order_up_to_the_limit() -> None:
    presence = Presence()
    for user, name in (("3", "bob"), ("1", "Ada"), ("2", "ada"), ("4", "Zoe")):
        presence.enter(user, name)
    assert presence.members(3) == [("1", "Ada"), ("2", "ada"), ("3", "bob")]
    assert presence.count == 4
