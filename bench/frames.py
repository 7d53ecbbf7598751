"""Bytes a client sends, the upgrade request and masked frames, and the frames in what it receives."""

from __future__ import annotations

import itertools
import os

_masks = itertools.cycle([os.urandom(4) for _ in range(64)])  # a peer cannot tell 64 from as many as there are frames


def upgrade_request(path: str, port: int, subprotocol: str | None) -> bytes:
    """An RFC 6455 opening request, without compression; the same key for all, since nobody checks it for freshness."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    if subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def client_frame(payload: bytes, opcode: int = 1, *, fin: bool = True) -> bytes:
    """One masked frame."""
    n = len(payload)
    mask = next(_masks)
    if n < 126:
        head = bytes((fin << 7 | opcode, 0x80 | n))
    elif n < 65536:
        head = bytes((fin << 7 | opcode, 0x80 | 126)) + n.to_bytes(2, "big")
    else:
        head = bytes((fin << 7 | opcode, 0x80 | 127)) + n.to_bytes(8, "big")
    key = int.from_bytes((mask * (n // 4 + 1))[:n], "big")
    return head + mask + (int.from_bytes(payload, "big") ^ key).to_bytes(n, "big")


def whole_frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """A server's frames as (opcode, payload), and the bytes of one that is not whole yet."""
    frames, at = [], 0
    while len(data) - at >= 2:
        size, begin = data[at + 1], at + 2
        if size > 125:
            begin += 2 if size == 126 else 8
            if len(data) < begin:
                break
            size = int.from_bytes(data[at + 2 : begin], "big")
        if len(data) < begin + size:
            break
        frames.append((data[at] & 15, data[begin : begin + size]))
        at = begin + size
    return frames, data[at:]
