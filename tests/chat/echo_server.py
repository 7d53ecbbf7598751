"""An echo server on chat's websocket layer, without rooms or limits: what Autobahn's fuzzing client is let loose on.

`python -m tests.chat.echo_server --port 9001`
"""

from __future__ import annotations

import argparse
import functools
import socket
from typing import TYPE_CHECKING

import trio

from chat.frames import text_frame
from chat.head import Refusal, check_upgrade, parse_head
from chat.outbox import Backlog, Outbox
from chat.readers import Readers
from chat.websocket import Ended, Websocket

if TYPE_CHECKING:
    from chat.closing import Closing

FRAME_BYTES = 16 * 1_048_576  # of a message: the largest that Autobahn sends
LINGER = 2.0  # seconds for the closing handshake, as in a session
HEAD_TIMEOUT = 5.0  # seconds


class EchoWebsocket(Websocket):
    """A websocket that sends binary messages back by itself; the text ones go to `echo`."""

    __slots__ = ()

    def binary(self, payload: bytes) -> None:
        self.outbox.post(b"\x82" + text_frame(payload)[1:])


async def echo(websocket: Websocket) -> tuple[int, Closing | None]:
    """Send every message back until the websocket ends; the code it ended with, and what we closed it with."""
    try:
        while True:
            for payload in await websocket.receive():
                websocket.outbox.post(text_frame(payload))
    except Ended as ended:
        await websocket.finish(ended.closing, LINGER, failed=ended.failed)
        return ended.code, ended.closing
    finally:
        websocket.close()


async def serve_one(sock: socket.socket, readers: Readers, nursery: trio.Nursery) -> None:
    """Serve one accepted socket: its handshake, then its echo."""
    head = b""
    with sock, trio.move_on_after(HEAD_TIMEOUT) as patience:
        while b"\r\n\r\n" not in head:
            await trio.lowlevel.wait_readable(sock)
            data = sock.recv(65_536)
            if not data:
                return
            head += data
        head, _, rest = head.partition(b"\r\n\r\n")
        try:
            upgrade = check_upgrade(parse_head(head), ())
        except Refusal as refusal:
            sock.send(refusal.response)
            return
        outbox = Outbox(sock, 0, nursery.start_soon, Backlog())
        websocket = EchoWebsocket(sock, outbox, readers, FRAME_BYTES, rest)
        websocket.accept(upgrade.key, upgrade.subprotocol)
        patience.deadline = float("inf")
        await echo(websocket)


async def contained(sock: socket.socket, readers: Readers, nursery: trio.Nursery) -> None:
    """The barrier around one connection: a peer that resets it ends nobody else's."""
    try:
        await serve_one(sock, readers, nursery)
    except OSError:
        readers.remove(sock)
        sock.close()


async def serve(port: int) -> None:
    """Serve on 127.0.0.1 until cancelled."""
    with trio.socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await listener.bind(("127.0.0.1", port))
        listener.listen()
        async with trio.open_nursery() as nursery:
            readers = Readers()
            await nursery.start(readers.run)
            while True:
                accepted, _address = await listener.accept()
                sock = socket.socket(fileno=accepted.detach())
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                nursery.start_soon(contained, sock, readers, nursery)


def main() -> None:
    """Read the port and serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=9_001, help="to listen on, at 127.0.0.1 (default: 9001)")
    trio.run(functools.partial(serve, parser.parse_args().port))


if __name__ == "__main__":
    main()
