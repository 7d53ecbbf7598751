"""The statements of the embedded twin, as SQLite 3.38 and newer reads them; lists travel as JSON (see db/sqlite.py).

What is named twice, or elsewhere than in its order, has a name. Not ?1: Python 3.12 warns of it up to 3.12.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from db.records import RolloutRecord

if TYPE_CHECKING:
    from db.records import Order, RoomSort

# --- room ------------------------------------------------------------------------------------------------------

ROOM = "id, name, title, epoch, last_seq, created_by, created_at, updated_at, active_at"
ROOM_BY_NAME = f"SELECT {ROOM} FROM room WHERE name = ?"
ROOM_CREATE = f"""
    INSERT INTO room (name, title, title_folded, epoch, created_by, created_at, updated_at, active_at)
    VALUES (:name, :title, :folded, :epoch, :by, :at, :at, :at)
    ON CONFLICT (name) DO NOTHING
    RETURNING {ROOM}"""
ROOM_RENAME = f"UPDATE room SET title = ?, title_folded = ?, updated_at = ? WHERE name = ? RETURNING {ROOM}"
ROOM_DOOM = "UPDATE room SET name = NULL WHERE id = ?"
ROOM_DOOMED = "SELECT min(id) FROM room WHERE name IS NULL"
ROOM_DELETE = "DELETE FROM room WHERE id = ?"  # its marks go with it
ROOM_HEADS = """
    SELECT json_group_array(json_array(id, last_seq)) FROM room
    WHERE id IN (SELECT value FROM json_each(?)) AND name IS NOT NULL"""

# --- message ---------------------------------------------------------------------------------------------------

# Inserting one row into this view is one whole commit, so that SQLite's own transaction around a statement is enough
# and COMMIT needs no step of its own. `rooms`: [id, number before, number after]; `messages`: [room, seq, user id,
# user name, nonce, text]. The numbers come from what we remember; a room that is at another one (or gone) stops it.
BATCH = """
    CREATE TEMP VIEW batch (rooms, messages, at) AS SELECT '', '', '';
    CREATE TEMP TRIGGER batch_insert INSTEAD OF INSERT ON batch BEGIN
        SELECT RAISE(ABORT, 'a room is not where it was')
        FROM json_each(NEW.rooms) AS moved LEFT JOIN room ON room.id = moved.value ->> 0
        WHERE room.last_seq IS NOT moved.value ->> 1 OR room.name IS NULL;
        INSERT INTO message (room_id, seq, user_id, user_name, nonce, body, created_at)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, NEW.at
        FROM json_each(NEW.messages);
        UPDATE room SET last_seq = moved.value ->> 2, active_at = NEW.at
        FROM json_each(NEW.rooms) AS moved WHERE room.id = moved.value ->> 0;
    END;"""
APPEND = "INSERT INTO batch (rooms, messages, at) VALUES (?, ?, ?)"
KNOWN = """
    SELECT json_group_array(json_array(room_id, message.user_id, nonce, seq, created_at))
    FROM json_each(?) AS asked JOIN message
    ON room_id = asked.value ->> 0 AND message.user_id = asked.value ->> 1 AND nonce = asked.value ->> 2"""
MESSAGES = "json_group_array(json_array(seq, user_id, user_name, body, created_at))"
MESSAGES_AFTER = f"""
    SELECT {MESSAGES} FROM (SELECT * FROM message WHERE room_id = ? AND seq > ? ORDER BY seq LIMIT ?)"""
MESSAGES_BEFORE = f"""
    SELECT {MESSAGES} FROM (SELECT * FROM message WHERE room_id = ? AND seq < ? ORDER BY seq DESC LIMIT ?)"""

MESSAGES_SWEEP = """
    DELETE FROM message
    WHERE room_id = :room AND seq < :most + (SELECT min(seq) FROM message WHERE room_id = :room)"""

# --- read_mark -------------------------------------------------------------------------------------------------

MARKS_SAVE = """
    INSERT INTO read_mark (room_id, user_id, seq, moved_at)
    SELECT mark.value ->> 0, mark.value ->> 1, mark.value ->> 2, :at
    FROM json_each(:marks) AS mark JOIN room ON room.id = mark.value ->> 0
    WHERE room.name IS NOT NULL
    ON CONFLICT (room_id, user_id) DO UPDATE SET seq = excluded.seq, moved_at = excluded.moved_at
    WHERE excluded.seq > read_mark.seq"""

# --- revocation ------------------------------------------------------------------------------------------------

REVOKE = "INSERT INTO revocation (user_id, action, created_by, created_at) VALUES (?, ?, ?, ?) RETURNING id"
REVOCATIONS_AFTER = "SELECT id, user_id, action FROM revocation WHERE id > ? ORDER BY id LIMIT ?"
BANS = """
    SELECT (SELECT coalesce(max(id), 0) FROM revocation), json_group_array(user_id) FROM revocation AS newest
    WHERE action = 'ban' AND NOT EXISTS (
        SELECT 1 FROM revocation AS newer
        WHERE newer.user_id = newest.user_id AND newer.id > newest.id AND newer.action != 'kick')"""

# --- server ----------------------------------------------------------------------------------------------------

SERVER = "id, boot, url, version, state, connections, started_at, seen_at"
SERVER_PUT = f"""
    INSERT INTO server ({SERVER}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET {", ".join(f"{column} = excluded.{column}" for column in SERVER.split(", ")[1:])}
    WHERE server.boot <> excluded.boot OR server.state <> 'stopped'"""
SERVERS = f"SELECT {SERVER} FROM server ORDER BY id"

# --- rollout ---------------------------------------------------------------------------------------------------

ROLLOUT = msgspec.structs.fields(RolloutRecord)
ROLLOUT_COLUMNS = ", ".join(field.name for field in ROLLOUT)
ROLLOUT_PUT = f"""
    INSERT INTO rollout ({ROLLOUT_COLUMNS}) VALUES ({", ".join("?" * len(ROLLOUT))})
    ON CONFLICT (id) DO UPDATE SET {", ".join(f"{field.name} = excluded.{field.name}" for field in ROLLOUT[1:])}
    WHERE excluded.steps >= rollout.steps"""
ROLLOUTS = f"SELECT {ROLLOUT_COLUMNS} FROM rollout ORDER BY began_at DESC, id DESC LIMIT ?"

# One statement sees one moment, so this needs no transaction.
LIVE_ROOM = f"""
    SELECT {ROOM},
        (SELECT {MESSAGES} FROM (SELECT * FROM message WHERE room_id = room.id ORDER BY seq DESC LIMIT :recent)),
        (SELECT json_group_object(user_id, seq) FROM
            (SELECT * FROM read_mark WHERE room_id = room.id ORDER BY moved_at DESC, user_id LIMIT :marks))
    FROM room WHERE name = :name"""


def rooms_sql(sort: RoomSort, order: Order, after: bool) -> str:
    """The listing's statement: :q the folded search, :limit, and if `after` the cursor's :key and :id."""
    # Nothing that is put into the text is a caller's. Names are unique, so a second column would only cost.
    columns = ["name"] if sort == "name" else [sort, "id"]
    compare, direction = ("<", " DESC") if order == "desc" else (">", "")
    beyond = f"AND ({', '.join(columns)}) {compare} ({', '.join([':key', ':id'][: len(columns)])})" if after else ""
    return f"""
        SELECT json_group_array(json_array({ROOM})) FROM (
            SELECT * FROM room
            WHERE name IS NOT NULL AND (:q = '' OR instr(name, :q) > 0 OR instr(title_folded, :q) > 0) {beyond}
            ORDER BY {", ".join(column + direction for column in columns)} LIMIT :limit)"""
