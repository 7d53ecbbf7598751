"""Fan-out: one frame for all, made once; and who sent something reads its ack first, in the same write."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import client_frames
import msgspec
import pytest

from chat.fanout import fan_out, fan_out_after_acks, message_frames

if TYPE_CHECKING:
    from collections.abc import Hashable

    from chat.outbox import Outbox


class Listed:
    """An outbox that only lists what is posted to it, or sent past it, as far as its socket takes it."""

    def __init__(self) -> None:
        self.posts: list[bytes] = []
        self.kept: list[bytes] | None = None
        self.broken = False
        self.takes: int | OSError = 1_000_000  # bytes of one send
        self.rests: list[bytes] = []

    def post(self, data: bytes) -> None:
        self.posts.append(data)

    def send(self, data: bytes) -> int:
        if isinstance(self.takes, OSError):
            raise self.takes
        if self.takes >= len(data):
            self.posts.append(data)
        return min(len(data), self.takes)

    def keep_rest(self, data: bytes) -> None:
        self.rests.append(data)


def listed(count: int) -> tuple[list[Listed], list[Outbox]]:
    boxes = [Listed() for _ in range(count)]
    return boxes, cast("list[Outbox]", boxes)


def test_all_messages_of_a_commit_are_one_write_of_whole_frames() -> None:
    bodies = [b'{"seq":%d,"text":"%b"}' % (seq, b"x" * seq) for seq in (1, 2, 300)]
    frames, rest = client_frames.split(message_frames("lobby", bodies))
    assert rest == b""
    assert [msgspec.json.decode(payload) for _, payload in frames] == [
        {"t": "message", "room": "lobby", "seq": seq, "text": "x" * seq} for seq in (1, 2, 300)
    ]
    assert {opcode for opcode, _ in frames} == {client_frames.TEXT}


def test_everybody_gets_the_very_same_bytes() -> None:
    boxes, outboxes = listed(5)
    frames = message_frames("lobby", [b'{"seq":1}'])
    fan_out(outboxes, frames)
    assert all(len(box.posts) == 1 and box.posts[0] is frames for box in boxes)


def test_who_is_behind_or_gone_is_left_to_their_outbox() -> None:
    boxes, outboxes = listed(6)
    boxes[0].kept = []
    boxes[1].broken = True
    boxes[2].takes = BlockingIOError()
    boxes[3].takes = ConnectionResetError()
    boxes[4].takes = 10
    for box in boxes[:2]:
        box.send = lambda _: pytest.fail("a frame went past what waits")  # type: ignore[method-assign]
    fan_out(outboxes, b"x" * 30)
    assert [box.posts for box in boxes] == [[b"x" * 30]] * 4 + [[], [b"x" * 30]]
    assert [box.rests for box in boxes] == [[]] * 4 + [[b"x" * 20], []]


def test_an_ack_comes_before_the_messages_in_the_same_write() -> None:
    boxes, outboxes = listed(3)
    frames = message_frames("lobby", [b'{"seq":1}'])
    members: dict[Hashable, Outbox] = dict(zip(("ada", "bob", "eve"), outboxes, strict=True))
    fan_out_after_acks(members, frames, {"bob": b"bob's ack", "gone": b"for nobody"})
    assert [box.posts for box in boxes] == [[frames], [b"bob's ack" + frames], [frames]]
    assert boxes[0].posts[0] is frames
