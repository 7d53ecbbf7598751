-- The first schema. STRICT makes SQLite refuse a value of the wrong type, as a server database would.
--
-- Moments are TEXT in one fixed width, RFC 3339 in UTC with microseconds ("2026-11-23T10:00:00.123456Z", 27
-- characters): SQLite has no datetime type, and this form sorts as it is, is read by people and by SQLite's own date
-- functions, and goes to clients unchanged. INTEGER microseconds would save 19 bytes a message and be readable by none.

PRAGMA application_id = 1113943142;  -- "Belf": tells our file from any other SQLite database

CREATE TABLE schema_version (
    version    INTEGER PRIMARY KEY,  -- the migration's number
    name       TEXT NOT NULL,        -- its file's name, for people
    applied_at TEXT NOT NULL         -- moment
) STRICT;

CREATE TABLE room (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused, also not the highest one after its deletion
    -- a-z 0-9 . _ -, so binary order is right. NULL: deleted, and kept only until its messages are: many at once would
    -- hold up every other room's sends.
    name         TEXT UNIQUE CHECK (length(name) BETWEEN 1 AND 64),
    title        TEXT NOT NULL,       -- free text, as written
    title_folded TEXT NOT NULL,       -- the title as the search compares it: SQLite folds only ASCII, so Python does it
    epoch        TEXT NOT NULL CHECK (length(epoch) = 8),  -- random, new for each created room: half of a position
    last_seq     INTEGER NOT NULL DEFAULT 0 CHECK (last_seq >= 0),  -- highest number given out; 64 bits never run out
    created_by   TEXT NOT NULL,       -- a user's id: opaque text from the token, users are not kept here
    created_at   TEXT NOT NULL,       -- moment
    updated_at   TEXT NOT NULL,       -- moment of the title's last change
    active_at    TEXT NOT NULL        -- moment of the last message or of the creation; kept here so that lists sort by it
) STRICT;

-- The listing's keysets. The name's is its UNIQUE.
CREATE INDEX room_by_created_at ON room (created_at, id);
CREATE INDEX room_by_active_at ON room (active_at, id);

-- WITHOUT ROWID: the table is its primary key's tree, so that a room's history lies together in reading order.
CREATE TABLE message (
    room_id    INTEGER NOT NULL REFERENCES room (id) ON DELETE CASCADE,
    seq        INTEGER NOT NULL CHECK (seq >= 1),  -- 1, 2, 3, ... in each room, without holes
    user_id    TEXT NOT NULL,         -- who wrote it, from the token
    user_name  TEXT NOT NULL,         -- what they were called then: history does not change when people do
    nonce      TEXT NOT NULL,         -- the client's own name for this send, 1-64 printable ASCII
    body       TEXT NOT NULL,         -- the text
    created_at TEXT NOT NULL,         -- moment of the commit
    PRIMARY KEY (room_id, seq)
) STRICT, WITHOUT ROWID;

-- Sending twice is one message. The nonce stands before the user: nonces that begin with the time then all go to the
-- end of their room's part, one page a commit and 70,000 messages/s at 64 a commit; behind the user id they touch a
-- page a user (40,000), and random ones a page a message (35,000).
CREATE UNIQUE INDEX message_by_nonce ON message (room_id, nonce, user_id);

CREATE TABLE read_mark (
    room_id  INTEGER NOT NULL REFERENCES room (id) ON DELETE CASCADE,
    user_id  TEXT NOT NULL,
    seq      INTEGER NOT NULL CHECK (seq >= 0),  -- read up to here; only ever grows
    moved_at TEXT NOT NULL,           -- moment; the most recently moved marks are the ones a room shows
    PRIMARY KEY (room_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX read_mark_by_moved_at ON read_mark (room_id, moved_at);

-- The fleet as the tower last saw it; a mirror for people and for a tower that starts, never asked on a message's way.
CREATE TABLE server (
    id          TEXT PRIMARY KEY NOT NULL,  -- as given by --server-id
    boot        TEXT NOT NULL,        -- random, new at each start: tells a restart from a beat
    url         TEXT NOT NULL,        -- where clients reach it
    version     TEXT NOT NULL,        -- of the code it runs
    state       TEXT NOT NULL CHECK (state IN ('starting', 'ready', 'cordoned', 'draining', 'stopped', 'down')),
    connections INTEGER NOT NULL DEFAULT 0 CHECK (connections >= 0),
    started_at  TEXT NOT NULL,        -- moment
    seen_at     TEXT NOT NULL         -- moment of the last beat
) STRICT, WITHOUT ROWID;

-- A log, so that each server finds by one number what it has not heard of; the newest ban or unban of a user counts.
CREATE TABLE revocation (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,  -- in the order they were decided
    user_id    TEXT NOT NULL,
    action     TEXT NOT NULL CHECK (action IN ('kick', 'ban', 'unban')),
    created_by TEXT NOT NULL,         -- the admin's user id
    created_at TEXT NOT NULL          -- moment
) STRICT;

CREATE INDEX revocation_by_user ON revocation (user_id, id);
