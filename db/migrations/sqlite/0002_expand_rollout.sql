-- The fleet's rolling redeploys, as towers write them down. Only adds (its name says so): older code runs on it.

CREATE TABLE rollout (
    id           TEXT PRIMARY KEY NOT NULL,  -- random, from the supervisor: two towers write the same row
    fleet        TEXT NOT NULL,       -- whose redeploy: the supervisor's host and ports
    began_at     TEXT NOT NULL,       -- moment
    ended_at     TEXT,                -- moment; NULL while it runs
    state        TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed')),
    version_from TEXT NOT NULL,
    version_to   TEXT NOT NULL,
    servers      INTEGER NOT NULL CHECK (servers >= 0),
    moved        INTEGER NOT NULL CHECK (moved >= 0),    -- sockets handed over alive
    drained      INTEGER NOT NULL CHECK (drained >= 0),  -- sockets told to reconnect
    stall_ms     REAL NOT NULL CHECK (stall_ms >= 0),    -- the longest
    why          TEXT NOT NULL,       -- of a failure, in plain words
    steps        INTEGER NOT NULL CHECK (steps >= 0),    -- in the story: of two towers the one that heard more is right
    story        TEXT NOT NULL        -- JSON: the steps, for people; nothing is searched in it
) STRICT, WITHOUT ROWID;

CREATE INDEX rollout_by_began_at ON rollout (began_at, id);
