"""What the Kafka bus's reader decides by itself: where to begin, and how long to rest between two polls."""

from __future__ import annotations

import pytest

from bus.events import Asked, Committed
from bus.kafka_reader import ALONE_MOST, GATHER, GATHER_MOST, is_hot, rest, start
from bus.topics import MESSAGES, SERVERS


def test_where_a_reader_begins() -> None:
    assert start(MESSAGES, None, 10, 90) == 90
    assert start(SERVERS, None, 10, 90) == 10
    assert start(MESSAGES, 50, 10, 90) == 50
    assert start(SERVERS, 50, 10, 90) == 50
    assert start(MESSAGES, 5, 10, 90) == 90  # what we had not read yet is gone
    assert start(MESSAGES, 91, 10, 90) == 90  # another topic of the same name
    assert start(SERVERS, 91, 10, 90) == 10


@pytest.mark.parametrize(
    ("alone", "cost", "took", "gathers", "expected"),
    [
        (0, 0.0, 0.0, False, GATHER),
        (0, 0.0025, 0.0, False, 0.0075),  # polls take SHARE of a core
        (0, 0.0025, 0.003, False, 0.0045),  # the time in which the batch was taken in counts
        (0, 0.0025, 3.0, False, GATHER),  # who is late does not rest on top of it
        (0, 0.0025, 0.012, True, 0.012),  # but where what comes meanwhile costs next to nothing
        (0, 0.0025, 3.0, True, GATHER_MOST),
        (0, 3.0, 0.0, False, GATHER_MOST),
        (1, 3.0, 3.0, False, 2 * GATHER),  # who hears nothing but itself listens less often
        (1_000_000, 0.0, 0.0, False, ALONE_MOST),
    ],
)
def test_the_rest_between_two_polls(alone: int, cost: float, took: float, gathers: bool, expected: float) -> None:
    assert rest(alone, cost, took, gathers=gathers) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rooms", "expected"),
    [("", False), ("a", False), ("ab", False), ("aa", True), ("aab", False), ("aabb", True), ("aaab", True)],
)
def test_whether_what_comes_is_of_one_room(rooms: str, expected: bool) -> None:
    runs = [("s1", [Committed(room, 1, "k3f9", 1, [b"{}"]), Asked(room)]) for room in rooms]
    assert is_hot(runs) == expected
