"""The verbs: what is refused and why, and what is said before it is done."""

from __future__ import annotations

from typing import Any

import pytest
from tower_world import START, fleet_of, server

from tower.budget import Budget
from tower.errors import CODES, Refused
from tower.verbs import Wish, decide

NOW = START + 1


def said(verb: str, *servers: Any, id: str = "s1", limit: float = 500.0, **wish: Any) -> str:
    """What a verb to `id` says in this fleet."""
    fleet = fleet_of(*servers)
    ready = [one for one in fleet.values() if one.state == "ready"]
    budget = Budget()
    budget.limits({one.id: limit for one in ready})
    return decide(id, Wish(verb, **wish), fleet, ready, budget, NOW)


def refused(verb: str, *servers: Any, **wish: Any) -> tuple[str, str]:
    with pytest.raises(Refused) as caught:
        said(verb, *servers, **wish)
    assert caught.value.code in CODES
    assert "\n" not in caught.value.message
    return caught.value.code, caught.value.message


def test_what_a_drain_will_do() -> None:
    servers = [server("s1", sessions=1_204), server("s2"), server("s3")]
    assert (
        said("drain", *servers)
        == "1,204 people will be moved over about 3 s to s2 and s3; it is cordoned then, to be stopped or uncordoned"
    )
    assert said("drain", *servers, per_second=100.0) == (
        "1,204 people will be moved over about 13 s to s2 and s3; it is cordoned then, to be stopped or uncordoned"
    )
    assert said("drain", server("s1", sessions=1), server("s2")).startswith(
        "1 person will be moved over about 1 s to s2"
    )
    assert (
        said("drain", server("s1"), server("s2")) == "nobody is on s1; it is cordoned then, to be stopped or uncordoned"
    )
    many = [server("s1", sessions=5), *(server(f"t{i}") for i in range(9))]
    assert "over about 1 s to t0, t1, t2 and 6 others; " in said("drain", *many)


def test_the_last_ready_server_is_drained_only_by_force() -> None:
    servers = [server("s1", sessions=9), server("s2", "cordoned"), server("s3", "down")]
    code, message = refused("drain", *servers)
    assert code == "last_server"
    assert "--force" in message
    assert "told to come back to the same address" in said("drain", *servers, force=True)
    assert refused("cordon", *servers)[0] == "last_server"
    assert said("cordon", *servers, force=True) == "s1 keeps its 9 people; newcomers go to nobody"
    assert said("drain", server("s1", "cordoned", sessions=9), server("s2"))


@pytest.mark.parametrize("verb", ["cordon", "uncordon", "drain", "abort"])
def test_who_is_unknown_or_gone(verb: str) -> None:
    assert refused(verb, server("s2"), id="s9") == ("server_missing", 'no server "s9" was heard of; there are: s2')
    code, message = refused(verb, server("s1", "stopped", START - 600), server("s2"))
    assert (code, message) == ("server_gone", "s1 has stopped 10 min ago")
    assert refused(verb, server("s1", "down", START - 30), server("s2"))[1] == "s1 fell silent 31 s ago"


@pytest.mark.parametrize(
    ("verb", "state"),
    [
        ("cordon", "cordoned"), ("cordon", "draining"), ("uncordon", "ready"), ("uncordon", "draining"),
        ("abort", "ready"), ("abort", "cordoned"), ("drain", "draining"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_servers_state(verb: str, state: str) -> None:
    code, message = refused(verb, server("s1", state), server("s2"))
    assert code == "wrong_state"
    assert state in message


def test_cordon_uncordon_and_abort_say_what_they_do() -> None:
    assert said("cordon", server("s1", sessions=3), server("s2")) == "s1 keeps its 3 people; newcomers go to s2"
    assert said("uncordon", server("s1", "cordoned")) == "s1 takes newcomers again"
    draining = server("s1", "draining", to_move=100, moved=40, sessions=60)
    assert said("abort", draining) == "s1's drain ends: the 60 people still there stay"


def test_a_rate_that_the_others_cannot_take_says_what_they_can() -> None:
    code, message = refused("drain", server("s1", sessions=100), server("s2"), per_second=1_000.0)
    assert (code, message) == ("too_fast", "1,000 a second is more than s2 can take now; give at most 450")


def test_a_deadline_that_cannot_be_met_says_what_is_needed() -> None:
    servers = [server("s1", sessions=1_204), server("s2")]
    code, message = refused("drain", *servers, deadline=1.0)
    assert code == "too_fast"
    assert message.endswith("need longer than 1 s: give a deadline of at least 3 s")
    code, message = refused("drain", *servers, deadline=10.0, per_second=50.0)
    assert message == (
        "at 50 a second 1,204 people need longer than 10 s: give a deadline of at least 25 s, or a rate of at least 121"
    )
    assert said("drain", *servers, deadline=25.0, per_second=50.0)
    assert said("drain", *servers, deadline=10.0, per_second=121.0)


@pytest.mark.parametrize(
    "wish",
    [{"per_second": value} for value in (-1.0, float("nan"), float("inf"), 1e9)]
    + [{"deadline": value} for value in (-1.0, float("nan"), float("inf"), 3_601.0)],
)
def test_numbers_that_are_none(wish: dict[str, float]) -> None:
    assert refused("drain", server("s1"), server("s2"), **wish)[0] == "bad_request"
