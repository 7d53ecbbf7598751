"""The client's side of a websocket: whatever way the bytes are cut, the same texts and the same end come out."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Pong, RejectConnection, Request, TextMessage

from belfry.audit import websocket
from belfry.audit.websocket import Websocket
from chat.closing import MOVED, NORMAL
from chat.frames import close_frame, text_frame
from chat.wire import SUBPROTOCOL


def answered(*, status: int = 0, protocol: str | None = SUBPROTOCOL) -> tuple[Websocket, WSConnection, bytes]:
    """A client that asked, its server by wsproto, and the server's answer."""
    client, server = Websocket(), WSConnection(ConnectionType.SERVER)
    server.receive_data(client.request("h:1"))
    (request,) = server.events()
    assert isinstance(request, Request)
    assert (request.target, request.host, request.subprotocols) == ("/ws", "h:1", [SUBPROTOCOL])
    if status:
        return client, server, server.send(RejectConnection(status_code=status, headers=[(b"Retry-After", b"7")]))
    return client, server, server.send(AcceptConnection(subprotocol=protocol))


def opened() -> tuple[Websocket, WSConnection]:
    client, server, answer = answered()
    assert client.feed(answer) == []
    assert client.opened
    return client, server


def fed(client: Websocket, data: bytes, cuts: list[int]) -> tuple[list[bytes], bytes]:
    texts, answers = [], b""
    edges = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for begin, end in pairwise(edges):
        texts += client.feed(data[begin:end])
        answers += client.take_answers()
    return texts, answers


PIECES = st.one_of(
    st.text(max_size=300).map(lambda text: (text, text_frame(text.encode()))),
    st.just(("x" * 70_000, text_frame(b"x" * 70_000))),
    st.text(max_size=40).map(lambda text: (text, b"\x01\x00" + b"\x80" + bytes([len(text.encode())]) + text.encode())),
    st.just((None, b"\x89\x01p")),  # a ping between messages
)
CUTS = st.lists(st.integers(0, 1_000), max_size=12)


@given(st.lists(PIECES, max_size=8), CUTS)
def test_texts_come_out_in_order_however_they_are_cut(pieces: list[tuple[str | None, bytes]], cuts: list[int]) -> None:
    client, server, answer = answered()
    data = answer + b"".join(frame for _, frame in pieces) + close_frame(MOVED)
    texts, answers = fed(client, data, cuts)
    assert texts == [text.encode() for text, _ in pieces if text is not None]
    assert client.closed == (MOVED.code, MOVED.reason)
    server.receive_data(answers)
    pongs = [event.payload for event in server.events() if isinstance(event, Pong)]
    assert pongs == [b"p" for text, _ in pieces if text is None]
    assert client.feed(b"more") == []


def test_a_refusal_says_how_long_to_wait() -> None:
    client, _, answer = answered(status=503)
    assert client.feed(answer) == []
    assert client.rejected == (503, 7.0)
    assert not client.opened


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: AAAA\r\n\r\n",
        b"x" * (websocket.MAX_HEAD + 1),
    ],
)
def test_what_is_no_websocket_is_an_end(answer: bytes) -> None:
    client = Websocket()
    client.request("h")
    client.feed(answer)
    assert not client.opened
    assert client.rejected is not None or (client.closed is not None and client.closed[0] == 1006)


@given(st.text(max_size=70_000))
def test_what_the_client_sends_arrives(text: str) -> None:
    client, server = opened()
    server.receive_data(client.text(text.encode()))
    got = [event for event in server.events() if isinstance(event, TextMessage)]
    assert "".join(event.data for event in got) == text


def test_the_size_of_a_length_is_right_on_its_edges() -> None:
    for size in (0, 125, 126, 65_535, 65_536):
        client, server = opened()
        server.receive_data(client.text(b"a" * size))
        assert sum(len(event.data) for event in server.events() if isinstance(event, TextMessage)) == size
        assert [len(text) for text in client.feed(text_frame(b"b" * size))] == [size]
        assert client.closed is None


def test_a_goodbye_waits_for_what_is_under_way() -> None:
    client, server = opened()
    begun = text_frame(b"under way")
    client.feed(begun[:4])
    server.receive_data(client.goodbye())
    (close,) = server.events()
    assert isinstance(close, CloseConnection)
    assert client.goodbye() == b""
    assert client.feed(begun[4:] + text_frame(b"behind it")) == [b"under way", b"behind it"]
    assert client.feed(close_frame(NORMAL)) == []
    assert client.closed == (1000, "bye")
    assert client.take_answers() == b""


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x81\0\0\0\0a", 1002),  # masked, as no server may
        (b"\xc1\x01a", 1002),  # a reserved bit
        (b"\x82\x01a", 1003),  # binary
        (b"\x81\x7e\x00\x05hello", 1002),  # not the shortest length
        (b"\x01\x02\xff\xff\x80\x00", 1007),  # not UTF-8, in the library's hands
        (b"\x81\x7f" + (2**40).to_bytes(8, "big"), 1009),
        (b"\x88\x00", 1005),
    ],
)
def test_what_a_server_must_not_do_is_an_end(frame: bytes, code: int) -> None:
    client, _ = opened()
    client.feed(frame)
    assert client.closed is not None
    assert client.closed[0] == code
