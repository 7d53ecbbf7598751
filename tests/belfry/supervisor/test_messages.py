"""What supervisor and server say to each other is read as it was written, by neighbours of another version too."""

from __future__ import annotations

import msgspec
import pytest

from belfry.supervisor import messages
from bus.events import Rollout


@pytest.mark.parametrize(
    "message",
    [
        messages.TakeOver(),
        messages.GiveAway(),
        messages.Say([Rollout("r1", "host:1", "began", servers=1, version_from="1", made_at=1.0)]),
        messages.Adopt(7),
    ],
    ids=lambda message: type(message).__name__,
)
def test_the_supervisor_is_understood(message: messages.FromSupervisor) -> None:
    assert messages.decode_from_supervisor(messages.encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        messages.Prepared("1"),
        messages.Serving("1", "boot", 3, 1, 2.5),
        messages.Gave(3, 1, True),
        messages.Kept("why"),
        messages.Adopted(7, "1", "boot", 2),
    ],
    ids=lambda message: type(message).__name__,
)
def test_the_server_is_understood(message: messages.FromServer) -> None:
    assert messages.decode_from_server(messages.encode(message)) == message


def test_fields_of_another_version() -> None:
    newer = msgspec.msgpack.encode({"type": "serving", "version": "9", "boot": "b", "of_tomorrow": 1})
    assert messages.decode_from_server(newer) == messages.Serving("9", "b")
    with pytest.raises(msgspec.ValidationError):
        messages.decode_from_server(msgspec.msgpack.encode({"type": "of_tomorrow"}))
