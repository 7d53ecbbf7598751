"""The statements of one commit, written out: what locks, what checks, what is inserted, in as few packets as can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from db.mysql_connection import moment_literal, quoted, quoted_all

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Sequence

    from db.numbering import Numbered, Row
    from db.records import Draft

INSERT = "INSERT INTO message (room_id, seq, user_id, user_name, nonce, body, created_at) VALUES\n"
LARGEST = 4_194_304  # bytes of one packet; a batch of 1,000 short messages has 150,000, and over this size does not pay
COUNTED_ROOMS = 8  # of a batch, two statements each: 0.1 ms a room
SLACK = 1_024  # bytes for what stands around the rows


def commit_packets(numbered: Numbered, at: dt.datetime, allowed: int, begin: str = "BEGIN;") -> list[bytes]:
    """A numbered batch as one transaction; nearly always one packet, and COMMIT is only in the last.

    The server stops at the first statement that fails, so COMMIT is reached only if every room was where `before`
    says: else the first row's room is NULL, which strict mode refuses. Raises ValueError for what cannot be kept.
    """
    moment = moment_literal(at)
    head = f"{begin}{_move(numbered, moment)};{INSERT}"
    rows = _values(numbered.rows, "", [row[1] for row in numbered.rows], moment, len(numbered.before))
    most = min(allowed, LARGEST) - SLACK
    packet = head.encode() + ",\n".join(rows).encode() + b";COMMIT"
    if len(packet) <= most:
        return [packet]
    packets = []
    for chunk in _chunks([row.encode() for row in rows], most):
        packets.append(head.encode() + b",\n".join(chunk))
        head = INSERT
    packets[-1] += b";COMMIT"
    return packets


def counting_packet(numbered: Numbered, at: dt.datetime, allowed: int) -> bytes | None:
    """A batch numbered from 0 on, as one transaction in which the database puts it behind its rooms' heads.

    Nothing has to be known of the rooms, and their rows are locked only while the server itself works. Each room is one
    UPDATE, whose insert id tells the room's new head, and one INSERT. None where that does not pay: many rooms (two
    statements a room took ten times as long as two for 200), or more than a packet.
    """
    if len(numbered.after) > COUNTED_ROOMS:
        return None
    moment = moment_literal(at)
    of_room: dict[int, list[Row]] = {room_id: [] for room_id in sorted(numbered.after)}  # locked so by all servers
    for row in numbered.rows:
        of_room[row[0]].append(row)
    parts = ["BEGIN;"]
    for room_id, rows in of_room.items():
        count = numbered.after[room_id]
        values = _values(rows, "LAST_INSERT_ID()-", [count - row[1] for row in rows], moment, 1)
        parts.append(
            f"UPDATE room SET last_seq = LAST_INSERT_ID(last_seq + {count}), active_at = {moment} "
            f"WHERE id = {room_id} AND name IS NOT NULL;{INSERT}"
        )
        parts += [",\n".join(values), ";"]
    packet = "".join([*parts, "COMMIT"]).encode()
    return packet if len(packet) <= min(allowed, LARGEST) - SLACK else None


def _values(rows: Sequence[Row], behind: str, seqs: Sequence[int], moment: str, moved: int) -> list[str]:
    """Each row as a value of INSERT, its number an expression that begins so.

    The first one is refused, and with it the whole batch, unless the UPDATE before it moved so many rooms: its own is
    NULL then, which strict mode does not take.
    """
    texts = iter(quoted_all([text for row in rows for text in row[2:]]))
    values = [
        f"({row[0]},{behind}{seq},{user},{name},{nonce},{text},{moment})"
        for row, seq, user, name, nonce, text in zip(rows, seqs, texts, texts, texts, texts, strict=True)
    ]
    room = f"({rows[0][0]},"
    values[0] = f"(IF(ROW_COUNT() = {moved}, {rows[0][0]}, NULL)," + values[0].removeprefix(room)
    return values


def _move(numbered: Numbered, moment: str) -> str:
    """Lock the rooms in the order of their ids, all servers alike, and move each to its new number.

    INTERVAL searches a sorted list in log time: with CASE 200 rooms took half as long again, and one UPDATE a room
    ten times as long.
    """
    ids = sorted(numbered.before)
    if len(ids) == 1:
        (room_id,) = ids
        before, after, where = str(numbered.before[room_id]), str(numbered.after[room_id]), f"id = {room_id}"
    else:
        listed = ",".join(map(str, ids))
        before, after = (
            f"ELT(INTERVAL(id,{listed}),{','.join(str(numbers[room_id]) for room_id in ids)})"
            for numbers in (numbered.before, numbered.after)
        )
        where = f"id IN ({listed})"
    return (
        f"UPDATE room FORCE INDEX (PRIMARY) SET last_seq = {after}, active_at = {moment} "
        f"WHERE {where} AND name IS NOT NULL AND last_seq = {before}"
    )


def _chunks(rows: Sequence[bytes], most: int) -> Iterator[list[bytes]]:
    chunk: list[bytes] = []
    size = 0
    for row in rows:
        if chunk and size + len(row) > most - len(chunk[0]):
            yield chunk
            chunk, size = [], 0
        chunk.append(row)
        size += len(row) + 2
    yield chunk


def lock_rooms(drafts: Sequence[Draft]) -> str:
    """Lock the rooms of a batch in the order of their ids, and read their numbers."""
    ids = ",".join(str(room_id) for room_id in sorted({draft.room_id for draft in drafts}))
    return f"SELECT id, last_seq FROM room WHERE id IN ({ids}) AND name IS NOT NULL ORDER BY id FOR UPDATE"


def known_nonces(drafts: Sequence[Draft]) -> str:
    """Which drafts are messages already. A UNION of point reads: MySQL 8.0 scans the room for a long list of tuples."""
    asked = {(draft.room_id, draft.user_id, draft.nonce) for draft in drafts}
    return " UNION ALL ".join(
        "(SELECT room_id, user_id, nonce, seq, created_at FROM message "
        f"WHERE room_id = {room_id} AND user_id = {quoted(user)} AND nonce = {quoted(nonce)})"
        for room_id, user, nonce in asked
    )
