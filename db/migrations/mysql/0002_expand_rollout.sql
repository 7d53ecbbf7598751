-- The fleet's rolling redeploys, as towers write them down. Only adds (its name says so): older code runs on it.

CREATE TABLE IF NOT EXISTS rollout (
    id           VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,  -- from the supervisor
    fleet        VARCHAR(1000) NOT NULL,             -- whose redeploy: the supervisor's host and ports
    began_at     DATETIME(6) NOT NULL,
    ended_at     DATETIME(6) NULL,                   -- NULL while it runs
    state        VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,  -- running, done or failed
    version_from VARCHAR(64) NOT NULL,
    version_to   VARCHAR(64) NOT NULL,
    servers      INT UNSIGNED NOT NULL,
    moved        INT UNSIGNED NOT NULL,              -- sockets handed over alive
    drained      INT UNSIGNED NOT NULL,              -- sockets told to reconnect
    stall_ms     DOUBLE NOT NULL,                    -- the longest
    why          TEXT NOT NULL,                      -- of a failure, in plain words
    steps        INT UNSIGNED NOT NULL,              -- in the story: of two towers the one that heard more is right
    story        MEDIUMTEXT NOT NULL,                -- JSON: the steps, for people; nothing is searched in it
    KEY rollout_by_began_at (began_at, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4 COLLATE = utf8mb4_bin;
