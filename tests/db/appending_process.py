"""Appends batches to a SQLite store until it is killed, and prints each number when its commit has returned."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

import trio

from db.records import Appended, Draft
from db.sqlite import SqliteStore


async def main(path: Path) -> None:
    store = await SqliteStore.open(path)
    rooms = [await store.room(name) for name in ("a", "b")]
    for i in range(1_000_000):
        # Of different sizes, across both rooms, and every third batch repeats the one before in part.
        batch = [
            Draft(room.id, "u_1", "Ada", f"{room.last_seq}-{i - (i % 3 == 2)}-{n}", f"{room.name} {n}")
            for n in range(1 + i % 40)
            for room in rooms
            if room is not None
        ]
        for draft, outcome in zip(batch, await store.append(batch, dt.datetime.now(dt.UTC)), strict=True):
            assert isinstance(outcome, Appended)
            print(draft.room_id, outcome.seq, draft.nonce)
        sys.stdout.flush()


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1]))
