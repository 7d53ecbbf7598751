"""Where clients go: to the emptier, evenly, again to the same, never to who is going."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tower_world import START, server

from tower.budget import Budget
from tower.placement import GRACE, Placement

if TYPE_CHECKING:
    from tower.fleet import Server


def world(*servers: Server, going: frozenset[str] = frozenset(), limit: float = 1e9) -> tuple[Placement, Budget]:
    """A placement that was offered these servers, and a budget that is not in the way unless told to be."""
    placement, budget = Placement(random.Random(7)), Budget()
    placement.offer(list(servers), set(going))
    budget.limits({one.id: limit for one in servers if one.state == "ready"})
    return placement, budget


def sent(placement: Placement, budget: Budget, user: str = "", now: float = START) -> str | None:
    """The id of the server that a user is sent to."""
    found, wait = placement.assign(user, budget, now)
    assert (found is None) == (wait > 0)
    return found.id if found else None


@pytest.mark.parametrize("state", ["starting", "cordoned", "draining", "stopped", "down"])
def test_only_the_ready_take_clients(state: str) -> None:
    placement, budget = world(server("s1", state), server("s2"))
    assert {sent(placement, budget) for _ in range(50)} == {"s2"}
    placement, budget = world(server("s1", state))
    assert sent(placement, budget) is None


def test_who_is_about_to_go_takes_clients_only_when_nobody_else_does() -> None:
    placement, budget = world(server("old"), server("new"), going=frozenset({"old"}))
    assert {sent(placement, budget) for _ in range(50)} == {"new"}
    placement.offer([server("old"), server("new", "draining")], {"old"})
    assert {sent(placement, budget) for _ in range(50)} == {"old"}


def test_the_emptier_one_is_filled_first_also_between_two_beats() -> None:
    placement, budget = world(server("s1", sessions=100), server("s2", sessions=0))
    told = Counter(sent(placement, budget) for _ in range(300))
    assert abs(told["s2"] - told["s1"] - 100) <= 1


def test_many_servers_are_filled_evenly() -> None:
    """The fullest of n by two choices has about log2 log2 n more than the mean, not log n / log log n."""
    servers = [server(f"s{i}") for i in range(100)]
    placement, budget = world(*servers)
    told = Counter(sent(placement, budget) for _ in range(10_000))
    assert len(told) == 100
    assert max(told.values()) <= 100 + 6


def test_a_user_who_asks_again_soon_gets_the_same_server() -> None:
    placement, budget = world(*(server(f"s{i}") for i in range(20)))
    first = {f"u{i}": sent(placement, budget, f"u{i}") for i in range(50)}
    again = {user: sent(placement, budget, user, START + GRACE - 1) for user in first}
    assert again == first
    later = [sent(placement, budget, "u1", START + 3 * GRACE) for _ in range(1)]
    assert later[0] is not None


def test_but_not_when_that_one_restarted_or_is_going() -> None:
    placement, budget = world(server("s1", sessions=0), server("s2", sessions=1_000))
    assert sent(placement, budget, "u") == "s1"
    placement.offer([server("s1", sessions=5_000, boot="another"), server("s2", sessions=0)], set())
    assert sent(placement, budget, "u") == "s2"
    placement.offer([server("s1"), server("s2", sessions=9_999)], {"s2"})
    assert sent(placement, budget, "u") == "s1"


def test_over_its_budget_a_server_is_passed_over_and_then_people_are_told_when() -> None:
    placement, budget = world(*(server(f"s{i}") for i in range(5)), limit=50.0)
    told = Counter(sent(placement, budget) for _ in range(100))
    assert told.pop(None) == 50
    assert set(told.values()) == {10}, "a fifth of a second's worth each, at once"
    found, wait = placement.assign("", budget, START)
    assert found is None
    assert wait >= 1.0


def test_what_is_remembered_of_users_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tower.placement.USERS", 100)
    placement, budget = world(server())
    for i in range(150):
        placement.assign(f"u{i}", budget, START)
    assert list(placement._sent) == [f"u{i}" for i in range(50, 150)]


states = st.sampled_from(["starting", "ready", "ready", "ready", "cordoned", "draining", "stopped", "down"])


@given(
    st.dictionaries(st.sampled_from([f"s{i}" for i in range(8)]), st.tuples(states, st.integers(0, 99), st.booleans())),
    st.lists(st.sampled_from(["", "a", "b"]), max_size=30),
)
def test_whatever_the_fleet_is_a_client_goes_where_it_may_stay(
    fleet: dict[str, tuple[str, int, bool]], users: list[str]
) -> None:
    going = frozenset(id for id, (_, _, goes) in fleet.items() if goes)
    servers = [server(id, state, sessions=sessions) for id, (state, sessions, _) in fleet.items()]
    placement, budget = world(*servers, going=going)
    ready = {one.id for one in servers if one.state == "ready"}
    for user in users:
        found = sent(placement, budget, user)
        if not ready:
            assert found is None
        else:
            assert found in (ready - going or ready)
