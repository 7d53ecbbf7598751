"""A room's presence, told on by another process: whatever happened before, nobody is told anything twice, or never."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from chat.presence import GRACE, Presence, PresenceState

USERS = st.sampled_from(["ada", "bob", "eve"])
ORIGINS = st.sampled_from(["b/1", "c/1"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["enter", "leave"]), USERS, st.just("")),
        st.tuples(st.sampled_from(["enter_elsewhere", "leave_elsewhere"]), USERS, ORIGINS),
        st.tuples(st.just("drop"), st.just(""), ORIGINS),
        st.tuples(st.sampled_from(["wait", "long", "tell"]), st.just(""), st.just("")),
    ),
    max_size=30,
)


class Told:
    """A presence, its clock, and what its room was told; it may go from process to process at any moment."""

    def __init__(self) -> None:
        self.presence = Presence()
        self.now = 100.0
        self.here: dict[str, int] = {}
        self.told: list[tuple[float, str, str]] = []

    def step(self, what: str, user: str, origin: str) -> None:
        presence = self.presence
        if what == "enter":
            self.here[user] = self.here.get(user, 0) + 1
            presence.enter(user, user.title())
        elif what == "leave":
            if self.here.get(user):
                self.here[user] -= 1
                presence.leave(user, self.now)
        elif what == "enter_elsewhere":
            presence.enter_elsewhere(origin, user, user.title())
        elif what == "leave_elsewhere":
            presence.leave_elsewhere(origin, user, self.now)
        elif what == "drop":
            presence.drop_origin(origin, self.now)
        elif what == "tell":
            joined, left = presence.changes(self.now)
            self.told += sorted((self.now, "+", user) for user, _ in joined)
            self.told += sorted((self.now, "-", user) for user in left)
        else:
            self.now += {"wait": 1.0, "long": GRACE + 1.0}[what]

    def hand_over(self, sockets_first: bool) -> None:
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(self.presence.state(self.now)), type=PresenceState)
        version, self.presence = self.presence.version, Presence()
        if not sockets_first:
            self.presence.restore(state, self.now)
        for user, count in self.here.items():
            self.presence.adopt(user, count)
            self.presence.adopt(user)
            self.presence.adopt(user, -1)
        if sockets_first:
            self.presence.restore(state, self.now)
        self.presence.doubt(self.now)
        assert version >= 0

    def end(self) -> tuple[object, ...]:
        for step in ("tell", "long", "tell"):
            self.step(step, "", "")
        return self.told, self.presence.count, self.presence.members(), sorted(self.presence.here())


@given(STEPS, STEPS, STEPS, st.booleans())
def test_a_handover_changes_nothing_that_is_told(
    before: list[tuple[str, str, str]],
    between: list[tuple[str, str, str]],
    after: list[tuple[str, str, str]],
    sockets_first: bool,
) -> None:
    stays, goes = Told(), Told()
    for number, steps in enumerate((before, between, after)):
        for step in steps:
            stays.step(*step)
            goes.step(*step)
        if number < 2:
            goes.hand_over(sockets_first)
    assert stays.end() == goes.end()


@given(STEPS)
def test_the_version_grows_with_whatever_is_told_differently(steps: list[tuple[str, str, str]]) -> None:
    told = Told()
    for step in steps:
        version, state = told.presence.version, told.presence.state(0.0)
        told.step(*step)
        changed = _told(told.presence.state(0.0)) != _told(state)
        assert not changed or told.presence.version > version


def _told(state: PresenceState) -> tuple[object, ...]:
    return (
        state.names,
        sorted(state.told),
        state.leaving,
        {origin: sorted(users) for origin, users in state.elsewhere.items()},
    )


def test_who_stayed_behind_leaves_after_the_usual_grace() -> None:
    told = Told()
    told.step("enter", "ada", "")
    told.step("enter", "bob", "")
    told.step("tell", "", "")
    told.here["bob"] = 0
    told.hand_over(sockets_first=True)
    told.step("tell", "", "")
    assert [user for _, _, user in told.told] == ["ada", "bob"]
    told.step("long", "", "")
    told.step("tell", "", "")
    assert told.told[-1][1:] == ("-", "bob")
