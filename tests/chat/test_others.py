"""What a server knows of the others by their beats: who lives, how fast they take clients, and where they are."""

from __future__ import annotations

from typing import Any

import pytest

from bus.events import Beat
from chat.config import Config, Limits
from chat.others import HEAD_ROOM, KEPT, OWN_PACE, Others, can_go_to, origin_of, own_url
from chat.peers import LEASE

WALL = 1_800_000_000.0


def beat(id: str, state: str = "ready", **more: Any) -> Beat:
    told = {"boot": "b", "url": f"http://{id}:80", "version": "1", "sessions": 0, "handshakes_per_second": 100.0}
    return Beat(id=id, state=state, **({"made_at": WALL} | told | more))


def others(*beats: Beat, now: float = 0.0) -> Others:
    found = Others("s1", "http://s1:80")
    for one in beats:
        found.heard(one, now, WALL)
    return found


def ids(found: Others, now: float) -> list[str]:
    return [one.id for one in found.ready(now)]


def test_ready_are_those_that_live_and_take_clients() -> None:
    found = others(beat("s1"), beat("s3"), beat("s2"), beat("s4", "cordoned"), beat("s5", "draining"))
    assert ids(found, LEASE - 0.1) == ["s2", "s3"]
    assert ids(found, LEASE) == []
    found.heard(beat("s2", "stopped", made_at=WALL + 1), 1.0, WALL + 1)
    assert ids(found, 1.0) == ["s3"]


def test_the_last_words_of_long_ago_are_no_life() -> None:
    found = others(beat("s2", made_at=WALL - 86_400))
    assert ids(found, 0.0) == []
    found.heard(beat("s2", made_at=WALL - 86_398), 2.0, WALL + 2)  # but a second word of it is: its clock is a day off
    assert ids(found, 2.0) == ["s2"]


def test_a_late_beat_changes_nothing() -> None:
    found = others(beat("s2", "cordoned", made_at=WALL + 2), beat("s2", made_at=WALL))
    assert ids(found, 0.0) == []
    found.heard(beat("s2", boot="c", made_at=WALL - 1), 0.0, WALL)  # another boot, whose clock was set back
    assert ids(found, 0.0) == ["s2"]


def test_the_pace_leaves_head_room() -> None:
    assert others().pace(0.0) == 0.0
    assert others(beat("s2"), beat("s3", handshakes_per_second=0)).pace(0.0) == HEAD_ROOM * (100 + OWN_PACE)


def test_addresses_are_those_that_differ_and_can_be_gone_to() -> None:
    assert others(beat("s2"), beat("s3", url="http://s2:80")).urls(0.0) == ["http://s2:80"]
    assert others(beat("s2", url="http://s1:80")).urls(0.0) == []  # one balancer in front of all
    assert others(beat("s2", url="http://0.0.0.0:80"), beat("s3", url="nowhere")).urls(0.0) == []


def test_origins_are_those_of_pages_that_any_of_them_served() -> None:
    found = others(beat("s2", url="wss://Chat.example.org/ws"), beat("s3", "stopped"), beat("s4", url="nowhere"))
    assert found.origins == {"https://chat.example.org", "http://s3:80"}


def test_a_fleet_without_end_is_forgotten_from_its_beginning() -> None:
    found = others(*(beat(f"n{number}") for number in range(KEPT + 5)))
    assert len(found.ready(0.0)) == KEPT
    assert "n4" not in ids(found, 0.0)


@pytest.mark.parametrize("url", ["", "ftp://a", "http://", "http://[", "http://a:b", "http://a:99999", "javascript:1"])
def test_what_is_no_address(url: str) -> None:
    assert origin_of(url) is None
    assert not can_go_to(url)


def test_our_own_address() -> None:
    assert own_url(Config(host="h", port=1, limits=Limits())) == "http://h:1"
    assert own_url(Config(public_url="https://chat.example.org")) == "https://chat.example.org"
