"""No chat server: writes prebuilt messages to every client as fast as the kernel takes them.

It shows what the load generator can take in; a server's figure close to this one would be the generator's, not its own.
"""

from __future__ import annotations

import select
import socket
import sys
import time

from bench.peers import dialect

PORT, _ = dialect.arguments()
JOINED = int(sys.argv[2])  # messages in one write
ACCEPT = b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"  # noqa: E501  # one head, verbatim


def server_frame(payload: bytes) -> bytes:
    return b"\x81" + bytes((126,)) + len(payload).to_bytes(2, "big") + payload


def burst(seq: int) -> bytes:
    text = f"@{time.monotonic_ns():016x} abcdefghijklmnopqrstuvwxyz".ljust(60, "x")
    return b"".join(server_frame(dialect.message("bench", n, dialect.user(7), text)) for n in range(seq, seq + JOINED))


def main() -> None:
    """Accept until nobody came for 0.2 s, then write until the first client leaves."""
    listener = socket.create_server(("127.0.0.1", PORT), backlog=1024)
    clients: list[socket.socket] = []
    while True:
        ready = select.select([listener], [], [], 0.2 if clients else None)[0]
        if not ready:
            break
        client, _ = listener.accept()
        if not client.recv(4096):
            continue  # only looked whether anybody answers
        client.sendall(ACCEPT)
        client.setblocking(False)
        clients.append(client)
    seq = 1
    while True:
        data = burst(seq)
        seq += JOINED
        left = {client: memoryview(data) for client in clients}
        while left:  # every client gets every burst whole, so that numbers stay in order
            for client, rest in list(left.items()):
                try:
                    rest = rest[client.send(rest) :]
                except BlockingIOError:
                    continue
                except OSError:
                    return
                if rest:
                    left[client] = rest
                else:
                    del left[client]


main()
