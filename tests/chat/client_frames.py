"""Frames as a client makes them: masked, and wrong in any way one asks for."""

from __future__ import annotations

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
MASK = b"\x9a\x00\x7f\xc5"  # with a zero byte, under which payloads show through


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    """XOR byte by byte: slow, and sure."""
    return bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = MASK,
    width: int | None = None,
    claim: int | None = None,
) -> bytes:
    """One frame. `width`: bytes of the extended length (0, 2, 8), else the shortest; `claim`: a false length."""
    size = len(payload) if claim is None else claim
    if width is None:
        width = 0 if size < 126 else 2 if size < 65_536 else 8
    short = {0: size, 2: 126, 8: 127}[width]
    head = bytes([fin << 7 | rsv << 4 | opcode, (mask is not None) << 7 | short]) + size.to_bytes(8, "big")[8 - width :]
    return head + (payload if mask is None else mask + masked(payload, mask))


def text(payload: bytes | str) -> bytes:
    """A whole, masked text frame."""
    return frame(TEXT, payload.encode() if isinstance(payload, str) else payload)


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """A masked close frame."""
    return frame(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def split(stream: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """A server's frames as (opcode, payload), and the bytes of a frame that is not whole yet.

    Refuses what no server may send: masks, reserved bits, fragments.
    """
    frames, at = [], 0
    while len(stream) - at >= 2:
        assert stream[at] & 0xF0 == 0x80, f"a frame begins with {stream[at]:#x}"
        assert not stream[at + 1] & 0x80, "a server's frame is masked"
        size, start = stream[at + 1], at + 2
        if size > 125:
            start += 2 if size == 126 else 8
            size = int.from_bytes(stream[at + 2 : start], "big")
        if len(stream) < start + size:
            break
        frames.append((stream[at] & 0x0F, stream[start : start + size]))
        at = start + size
    return frames, stream[at:]
