-- The first schema, for MySQL 8.0 and MariaDB 10.6 and newer.
--
-- MySQL commits at every CREATE, so a migration is no transaction: each statement here may be run again, and the row in
-- schema_version comes last. A statement ends with a semicolon at the end of a line; none stands elsewhere at one.
--
-- Moments are DATETIME(6) in UTC: TIMESTAMP ends in 2038. What must compare to the byte is VARBINARY or ascii_bin:
-- utf8mb4_bin takes "a" and "a " for the same, and MySQL has no binary collation without that padding before 8.0.17.
-- A person reads such a column by  SELECT CONVERT(user_id USING utf8mb4), ...
--
-- No foreign keys: each message would look its room up a second time, under a lock that its transaction has already.

CREATE TABLE IF NOT EXISTS schema_version (
    version    INT UNSIGNED NOT NULL PRIMARY KEY,    -- the migration's number
    name       VARCHAR(100) NOT NULL,                -- its file's name, for people
    applied_at DATETIME(6) NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COMMENT = 'Belfry';

CREATE TABLE IF NOT EXISTS room (
    id           BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,  -- never reused: InnoDB keeps the counter
    -- a-z 0-9 . _ -. NULL: deleted, and kept only until its messages are: many at once would hold everybody up.
    name         VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL,
    title        TEXT NOT NULL,                      -- free text, as written
    title_folded TEXT NOT NULL,                      -- the title as the search compares it
    epoch        VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,  -- random: half of a position
    last_seq     BIGINT UNSIGNED NOT NULL DEFAULT 0, -- the highest number given out
    created_by   VARBINARY(256) NOT NULL,            -- a user's id: up to 64 characters, from the token
    created_at   DATETIME(6) NOT NULL,
    updated_at   DATETIME(6) NOT NULL,               -- the title's last change
    active_at    DATETIME(6) NOT NULL,               -- the last message, or the creation; lists sort by it
    UNIQUE KEY room_by_name (name),
    KEY room_by_created_at (created_at, id),
    KEY room_by_active_at (active_at, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS message (
    room_id    BIGINT UNSIGNED NOT NULL,
    seq        BIGINT UNSIGNED NOT NULL,             -- 1, 2, 3, ... in each room, without holes
    user_id    VARBINARY(256) NOT NULL,              -- who wrote it, from the token
    user_name  VARCHAR(1000) NOT NULL,               -- what they were called then: history does not change
    nonce      VARBINARY(256) NOT NULL,              -- the client's own name for this send
    body       MEDIUMTEXT NOT NULL,                  -- the text; TEXT would end at 16,000 characters of four bytes
    created_at DATETIME(6) NOT NULL,                 -- moment of the commit
    PRIMARY KEY (room_id, seq),                      -- a room's history lies together on disk, in reading order
    UNIQUE KEY message_by_nonce (room_id, user_id, nonce)  -- sending twice is one message
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS read_mark (
    room_id  BIGINT UNSIGNED NOT NULL,
    user_id  VARBINARY(256) NOT NULL,
    seq      BIGINT UNSIGNED NOT NULL,               -- read up to here; only ever grows
    moved_at DATETIME(6) NOT NULL,                   -- the most recently moved marks are the ones a room shows
    PRIMARY KEY (room_id, user_id),
    KEY read_mark_by_moved_at (room_id, moved_at)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS server (
    id          VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,  -- as given by --server-id
    boot        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,  -- random: tells a restart from a beat
    url         VARCHAR(1000) NOT NULL,              -- where clients reach it
    version     VARCHAR(64) NOT NULL,                -- of the code it runs
    state       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    connections INT UNSIGNED NOT NULL DEFAULT 0,
    started_at  DATETIME(6) NOT NULL,
    seen_at     DATETIME(6) NOT NULL                 -- the last beat
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;

-- A log, so that each server finds by one number what it has not heard of; the newest ban or unban of a user counts.
CREATE TABLE IF NOT EXISTS revocation (
    id         BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,  -- in the order they were committed
    user_id    VARBINARY(256) NOT NULL,
    action     VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,  -- kick, ban or unban
    created_by VARBINARY(256) NOT NULL,              -- the admin's user id
    created_at DATETIME(6) NOT NULL,
    KEY revocation_by_user (user_id, id)
) ENGINE = InnoDB;
