"""Frames: however a stream is cut, the same messages come out, and what is not plain is left to the library."""

from __future__ import annotations

import itertools

import client_frames as client
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode

from chat.closing import ALL, NOT_UTF8, TOO_LARGE, Closing
from chat.frames import (
    FrameError,
    FrameReader,
    MessageEnd,
    close_code,
    close_frame,
    goodbye,
    pong_frame,
    text_frame,
    unmask,
    whole_texts,
)

LENGTHS = (0, 1, 125, 126, 127, 65_535, 65_536)  # where RFC 6455 changes the shape of a frame's head
Seen = tuple[str, bytes]

payloads = st.text(max_size=40).map(str.encode) | st.sampled_from([125, 126, 127]).map(lambda size: b"x" * size)
masks = st.binary(min_size=4, max_size=4)


@st.composite
def fragmented(draw: st.DrawFn) -> bytes:
    """A message in fragments, with control frames between them."""
    parts = draw(st.lists(st.binary(max_size=20), min_size=2, max_size=4))
    frames = []
    for at, part in enumerate(parts):
        opcode = client.CONTINUATION if at else draw(st.sampled_from([client.TEXT, client.BINARY]))
        frames.append(client.frame(opcode, part, fin=at == len(parts) - 1, mask=draw(masks)))
        if at < len(parts) - 1:
            frames += [client.frame(client.PING, ping) for ping in draw(st.lists(st.binary(max_size=9), max_size=2))]
    return b"".join(frames)


plain_items = (
    st.tuples(st.just("text"), payloads)
    | st.tuples(st.just("ping"), st.binary(max_size=125))
    | st.tuples(st.just("pong"), st.binary(max_size=125))
)
odd_items = st.tuples(
    st.just("odd"),
    fragmented()
    | st.binary(max_size=130).map(lambda payload: client.frame(client.BINARY, payload))
    | st.binary(max_size=20).map(lambda reason: client.close(1000, reason)),
)


def encoded(kind: str, payload: bytes, mask: bytes) -> bytes:
    if kind == "odd":
        return payload
    opcode = {"text": client.TEXT, "ping": client.PING, "pong": client.PONG}[kind]
    return client.frame(opcode, payload, mask=mask)


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[begin:end] for begin, end in itertools.pairwise(edges)]


def read(parts: list[bytes]) -> list[Seen]:
    """What a reader makes of a stream in parts; odd messages are walked over, as the websocket does beside the library.

    Pings come before the texts that arrived with them: a ping is answered at once, a text waits for its session.
    """
    reader, waiting = FrameReader(0), list(parts)
    seen: list[Seen] = []

    def pinged(payload: bytes) -> None:
        seen.append(("ping", payload))

    while waiting:
        data = waiting.pop(0)
        while True:
            seen += [("text", message) for message in reader.feed(data, pinged)]
            if not reader.odd:
                break
            end, message, data = MessageEnd(), b"", reader.rest
            while True:
                taken = end.feed(data)
                message, data = message + data[:taken], data[taken:]
                if end.ended:
                    break
                assert not data
                if not waiting:
                    return [*seen, ("half", message)]
                data = waiting.pop(0)
            seen.append(("odd", message))
            reader.rest, reader.odd = b"", False
    if reader.rest:
        seen.append(("half", reader.rest))
    return seen


def no_ping(payload: bytes) -> None:
    pytest.fail(f"nobody pinged, yet {payload!r} was answered")


def of_kind(seen: list[Seen], *kinds: str) -> list[Seen]:
    return [item for item in seen if item[0] in kinds]


@given(st.lists(plain_items | odd_items, max_size=12), masks, st.lists(st.integers(0, 10_000), max_size=30))
def test_any_cut_gives_the_same_messages(items: list[Seen], mask: bytes, cuts: list[int]) -> None:
    stream = b"".join(encoded(kind, payload, mask) for kind, payload in items)
    seen = read(pieces(stream, cuts))
    assert of_kind(seen, "text", "odd", "half") == of_kind(items, "text", "odd")
    assert of_kind(seen, "ping", "odd") == of_kind(items, "ping", "odd")


@given(st.lists(plain_items | odd_items, min_size=1, max_size=4), st.data())
def test_a_stream_that_breaks_off_gives_whole_messages_only(items: list[Seen], data: st.DataObject) -> None:
    frames = [encoded(kind, payload, client.MASK) for kind, payload in items]
    cut = data.draw(st.integers(0, sum(map(len, frames)) - 1))
    seen = read([b"".join(frames)[:cut]])
    whole, length = 0, 0
    while length + len(frames[whole]) <= cut:
        length += len(frames[whole])
        whole += 1
    assert of_kind(seen, "text", "odd") == of_kind(items[:whole], "text", "odd")
    assert of_kind(seen, "half") == ([("half", b"".join(frames)[length:cut])] if cut > length else [])


@pytest.mark.parametrize("length", LENGTHS)
def test_every_length_is_read_cut_at_each_byte_of_its_head(length: int) -> None:
    payload = bytes(97 + at % 26 for at in range(length))
    stream = client.text(payload) + client.text(b"behind")
    for cut in range(min(len(stream), 20)):
        assert read([stream[:cut], stream[cut:]]) == [("text", payload), ("text", b"behind")]


@pytest.mark.parametrize("length", LENGTHS)
def test_another_implementation_reads_what_we_write(length: int) -> None:
    peer = FrameProtocol(client=True, extensions=[])
    peer.receive_bytes(text_frame(b"y" * length) + pong_frame(b"z" * min(length, 125)))
    message, pong = peer.received_frames()
    assert (message.opcode, message.payload, message.message_finished) == (Opcode.TEXT, "y" * length, True)
    assert (pong.opcode, pong.payload) == (Opcode.PONG, b"z" * min(length, 125))


@pytest.mark.parametrize("length", LENGTHS)
def test_what_another_implementation_writes_is_read(length: int) -> None:
    peer = FrameProtocol(client=True, extensions=[])
    assert read([bytes(peer.send_data("ä" * length, fin=True))]) == [("text", ("ä" * length).encode())]


@given(st.binary(max_size=300), masks)
@example(b"\x00" * 9, b"\xff\x00\xff\x00")
def test_unmasking_is_xor(payload: bytes, mask: bytes) -> None:
    assert unmask(payload, mask) == client.masked(payload, mask)
    assert unmask(unmask(payload, mask), mask) == payload


@pytest.mark.parametrize(
    "first",
    [
        client.frame(client.TEXT, b"x", fin=False),
        client.frame(client.CONTINUATION, b"x"),
        client.frame(client.BINARY, b"x"),
        client.frame(client.CLOSE, b""),
        client.frame(client.TEXT, b"x", rsv=4),
        client.frame(client.TEXT, b"x", rsv=1),
        client.frame(client.PING, b"x", rsv=2),
        client.frame(3, b"x"),
        client.frame(15, b"x"),
        client.frame(client.PING, b"x", fin=False),
        client.frame(client.PING, b"x" * 126),
        client.frame(client.TEXT, b"x", mask=None),
        client.frame(client.PING, b"x", mask=None),
        client.frame(client.TEXT, b"x", width=2),
        client.frame(client.TEXT, b"x" * 300, width=8),
    ],
)
def test_whatever_is_not_plain_is_left_whole_to_the_library(first: bytes) -> None:
    for cut in range(len(first)):
        reader = FrameReader(0)
        stream = client.text(b"before") + first + client.text(b"behind")
        cut_at = len(client.text(b"before")) + cut
        messages = reader.feed(stream[:cut_at], no_ping) + reader.feed(stream[cut_at:], no_ping)
        assert messages == [b"before"]
        assert reader.odd
        assert reader.rest == first + client.text(b"behind")


def closing_of(reader: FrameReader, data: bytes) -> Closing | None:
    try:
        reader.feed(data, no_ping)
    except FrameError as error:
        return error.closing
    return None


@pytest.mark.parametrize("bound", [1, 125, 126, 200, 65_535, 65_536, 70_000])
def test_the_bound_holds_to_the_byte_and_before_the_payload_comes(bound: int) -> None:
    assert closing_of(FrameReader(bound), client.text(b"x" * bound)) is None
    over = client.text(b"x" * (bound + 1))
    head = over[: len(over) - bound - 1]
    assert closing_of(FrameReader(bound), head) is TOO_LARGE
    assert closing_of(FrameReader(bound), client.frame(client.TEXT, claim=2**63)) is TOO_LARGE


@pytest.mark.parametrize(
    "payload", [b"\xff", b"abc\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", "ä".encode() + b"\x80"]
)
def test_text_that_is_not_utf8_is_an_error(payload: bytes) -> None:
    assert closing_of(FrameReader(0), client.text("ä") + client.text(payload)) is NOT_UTF8


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
@settings(max_examples=300)
def test_garbage_never_breaks_the_reader(garbage: bytes, cuts: list[int]) -> None:
    reader, fed = FrameReader(1_000), b""
    for piece in pieces(garbage, cuts):
        try:
            reader.feed(piece, lambda _: None)
        except FrameError:
            return
        fed += piece
        assert fed.endswith(reader.rest)
        if reader.odd:
            return


# --- one text frame alone ----------------------------------------------------------------------------------------

BOUNDS = (0, 1, 10, 125, 126, 127, 300, 65_535, 65_536)  # bytes of a payload
LONGEST = 65_535  # bytes of a payload whose length is not left to FrameReader


@st.composite
def single(draw: st.DrawFn) -> bytes:
    """One frame, often a plain text, and often almost one."""
    kind = draw(st.sampled_from(["text", "text", "text", "text", "ping", "pong", "binary", "odd", "bytes", "long"]))
    payload, mask = draw(payloads), draw(masks)
    match kind:
        case "text":
            return client.frame(client.TEXT, payload, mask=mask)
        case "ping" | "pong" | "binary":
            opcode = {"ping": client.PING, "pong": client.PONG, "binary": client.BINARY}[kind]
            return client.frame(opcode, payload[:125], mask=mask)
        case "odd":
            return client.frame(
                client.TEXT,
                payload,
                fin=draw(st.booleans()),
                rsv=draw(st.sampled_from([0, 0, 1, 4])),
                mask=draw(st.sampled_from([mask, None])),
                width=draw(st.sampled_from([2, 8] if len(payload) > 125 else [0, 2, 8])),
                claim=draw(st.none() | st.integers(0, min(len(payload) + 3, 125))),
            )
        case "bytes":
            return client.frame(client.TEXT, draw(st.binary(max_size=130)), mask=mask)
        case _:
            size = draw(st.sampled_from([65_534, 65_535, 65_536, 65_537]))
            return client.frame(client.TEXT, b"\xc3\xa4" * (size // 2) + b"x" * (size % 2), mask=b"\0\0\0\0")


@st.composite
def arrived(draw: st.DrawFn) -> bytes:
    """What one read may bring: a frame, several, a part of one, or with a byte changed."""
    data = b"".join(draw(st.lists(single(), min_size=1, max_size=draw(st.sampled_from([1, 1, 1, 3])))))
    match draw(st.sampled_from(["whole", "whole", "whole", "cut", "changed", "more", "late"])):
        case "cut":
            return data[: draw(st.integers(0, len(data)))]
        case "changed":
            at = draw(st.integers(0, min(len(data) - 1, 20)))
            return data[:at] + bytes([data[at] ^ draw(st.integers(1, 255))]) + data[at + 1 :]
        case "more":
            return data + draw(st.binary(min_size=1, max_size=8))
        case "late":
            return data[draw(st.integers(0, min(len(data), 10))) :]
    return data


def whole(data: bytes, frame_bytes: int) -> list[bytes] | None:
    """What whole_texts should say, by FrameReader."""
    reader, pongs = FrameReader(frame_bytes), list[bytes]()
    try:
        messages = reader.feed(data, pongs.append)
    except FrameError:
        return None
    if reader.rest or reader.odd or pongs:
        return None
    nothing_else = len(data) == sum(len(client.text(payload)) for payload in messages)  # no pong: read without a word
    return messages if nothing_else and all(len(payload) <= LONGEST for payload in messages) else None


@given(arrived(), st.just(0) | st.sampled_from(BOUNDS))
@settings(max_examples=500)
@example(b"", 0)
@example(client.frame(client.PONG, b"x") + client.text("x"), 0)
@example(client.text("x") + client.frame(client.PONG, b"x"), 0)
@example(client.text("x" * 126)[:-1], 0)
@example(client.frame(client.TEXT, b"x" * 125, width=2), 0)
@example(client.frame(client.TEXT, b"x", mask=None), 0)
@example(client.frame(client.TEXT, b"x" * 5, mask=None), 0)
@example(client.frame(client.TEXT, b"x" * 5, mask=None) + b"more", 0)  # as long as if it were masked
@example(b"\x81\xfe\x00\x00" + bytes(4), 0)
@example(b"\x81\xff" + (1).to_bytes(8, "big") + bytes(5), 0)
@example(client.text(b"\xff"), 0)
@example(client.text(b"\xed\xa0\x80"), 0)
@example(client.text("x") + client.text("y" * 126), 0)
@example(client.text("x") + client.text("y" * 3), 2)
@example(client.text("x") + client.text(b"\xff"), 0)
@example(client.text("x") + client.frame(client.TEXT, b"x", mask=None), 0)
def test_whole_texts_are_what_the_reader_makes_of_them_or_left_to_it(data: bytes, frame_bytes: int) -> None:
    assert whole_texts(data, frame_bytes) == whole(data, frame_bytes)


@given(st.text(max_size=200).map(str.encode), masks)
def test_any_texts_are_whole_and_less_is_not(payload: bytes, mask: bytes) -> None:
    data = client.frame(client.TEXT, payload, mask=mask)
    assert whole_texts(data, 0) == [payload]
    assert whole_texts(data + data, 0) == [payload, payload]
    for cut in range(1, len(data)):
        assert whole_texts(data[:cut], 0) is None
        assert whole_texts(data + data[:cut], 0) is None


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, LONGEST])
def test_a_whole_text_of_every_length_up_to_its_bound(length: int) -> None:
    payload = bytes(97 + at % 26 for at in range(length))
    data = client.text(payload)
    for bound in (0, max(length, 1), length + 1):
        assert whole_texts(data, bound) == [payload] == whole(data, bound)
    if length > 1:
        assert whole_texts(data, length - 1) is None
    assert whole_texts(data[:-1], 0) is None
    assert whole_texts(data + b"\x81", 0) is None


@pytest.mark.parametrize("size", [65_536, 70_000, 0x7B22_7422])
def test_the_beginning_of_a_longer_text_is_left_to_the_reader(size: int) -> None:
    data = client.frame(client.TEXT, claim=size, mask=b':"se') + b"x" * 300
    assert [arrived for arrived in range(1, len(data)) if whole_texts(data[:arrived], 0) is not None] == []


def test_a_longer_text_is_left_to_the_reader() -> None:
    assert whole_texts(client.text(b"x" * (LONGEST + 1)), 0) is None


@pytest.mark.parametrize("closing", ALL, ids=lambda closing: f"{closing.code} {closing.reason}")
def test_close_frames_say_their_code_and_reason(closing: Closing) -> None:
    frame = close_frame(closing)
    assert len(frame) <= 127
    peer = FrameProtocol(client=True, extensions=[])
    peer.receive_bytes(frame)
    (received,) = peer.received_frames()
    assert received.opcode is Opcode.CLOSE
    assert received.payload == (closing.code, closing.reason)
    assert close_code(frame) == closing.code


@given(st.sampled_from([999, 1000, 1001, 1002, 1005, 1006, 2999, 3000, 4999, 5000]), st.binary(max_size=130), masks)
@example(1000, b"", b"\0\0\0\0")
@example(1001, b"x" * 123, b"mask")
def test_a_goodbye_is_answered_as_another_implementation_does_or_left_to_it(
    code: int, reason: bytes, mask: bytes
) -> None:
    frame = client.frame(client.CLOSE, code.to_bytes(2, "big") + reason, mask=mask)
    said = goodbye(frame)
    common = code in (1000, 1001, 3000, 4999) and len(reason) <= 123 and reason.isascii()
    assert (said is not None) == common
    if said is not None:
        peer = FrameProtocol(client=False, extensions=[])
        peer.receive_bytes(frame)
        (received,) = peer.received_frames()
        assert said == (received.payload[0], peer.close(*received.payload))
    assert all(goodbye(frame[:cut]) is None for cut in range(len(frame)))


@given(st.binary(max_size=20))
def test_nothing_else_is_a_goodbye(data: bytes) -> None:
    if data[:1] != b"\x88":
        assert goodbye(data) is None
    assert goodbye(b"\x88" + bytes([len(data) & 0x7F]) + data) is None  # not masked


def test_only_close_frames_have_a_close_code() -> None:
    assert close_code(text_frame(b"\x03\xe8")) is None
    assert close_code(b"\x88") is None
    assert close_code(b"\x88\x00") == 1005


@given(fragmented() | st.binary(max_size=300).map(lambda p: client.frame(client.TEXT, p)), st.binary(max_size=30))
def test_the_end_of_a_message_is_found_byte_by_byte(message: bytes, behind: bytes) -> None:
    end = MessageEnd()
    for at in range(len(message)):
        assert not end.ended
        assert end.feed(message[at : at + 1]) == 1
    assert end.ended
    assert end.feed(behind) == 0
    assert MessageEnd().feed(message + behind) == len(message)


@given(fragmented().filter(lambda m: not m[0] & 0x80), st.binary(max_size=30), st.data())
def test_a_close_ends_a_message_wherever_it_stands(message: bytes, behind: bytes, data: st.DataObject) -> None:
    first = 6 + (message[1] & 0x7F)
    stream = message[:first] + client.close(1001, b"bye")
    end = MessageEnd()
    cut = data.draw(st.integers(0, len(stream)))
    assert end.feed(stream[:cut]) + end.feed(stream[cut:] + behind) == len(stream)
    assert end.ended
    assert end.closing
    whole = MessageEnd()
    whole.feed(message)
    assert not whole.closing
