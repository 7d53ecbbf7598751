"""Events as records: several in one, cut below the broker's bound, read one by one. Pure.

A record costs 25 us at each end whatever it holds, in the library's Python; an event within it 1 us.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bus.events import Committed, Event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BYTES = 700_000  # of one record: with its envelope below the broker's common bound of 1 MiB
EVENTS = 500  # in one record: what a reader hands over between two looks at the clock is bounded by this

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Event).decode
_decode_list = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


def encoded(event: Event) -> list[bytes]:
    """An event as bytes; a commit larger than a record may be is cut into several."""
    if isinstance(event, Committed):
        return [_encode(part) for part in _parts(event)]
    return [_encode(event)]


def joined(events: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
    """Records of these events in their order, and how many each holds."""
    begin = size = 0
    for at, event in enumerate(events):
        if at > begin and (size + len(event) > BYTES or at - begin == EVENTS):
            yield _record(events[begin:at]), at - begin
            begin, size = at, 0
        size += len(event)
    if events:
        yield _record(events[begin:]), len(events) - begin


def decoded(record: bytes) -> tuple[list[Event], str]:
    """The events of a record, and why others in it could not be read: a newer server's, or not ours; else ""."""
    events: list[Event] = []
    why = ""
    try:
        for raw in _decode_list(record):
            try:
                events.append(_decode(raw))
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                why = str(error)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        why = str(error)
    return events, why


def _record(events: Sequence[bytes]) -> bytes:
    return _encode([msgspec.Raw(event) for event in events])


def _parts(event: Committed) -> Iterator[Committed]:
    begin = size = 0
    for at, body in enumerate(event.bodies):
        if at > begin and size + len(body) > BYTES:
            yield _slice(event, begin, at)
            begin, size = at, 0
        size += len(body)
    yield _slice(event, begin, len(event.bodies))


def _slice(event: Committed, begin: int, end: int) -> Committed:
    if begin == 0 and end == len(event.bodies):
        return event
    return msgspec.structs.replace(event, first_seq=event.first_seq + begin, bodies=event.bodies[begin:end])
