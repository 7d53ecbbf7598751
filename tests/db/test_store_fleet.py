"""What the store keeps for a fleet: who was sent away, and which servers beat. One file for all twins."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import msgspec

from db.records import RolloutRecord, ServerRecord

if TYPE_CHECKING:
    from db.store import Store

AT = dt.datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=dt.UTC)


async def test_revocations_are_numbered_and_found_by_number(store: Store) -> None:
    assert await store.revocations_after(0, 10) == []
    first = await store.revoke("u_1", "kick", "u_admin", AT)
    second = await store.revoke("u_2", "ban", "u_admin", AT)
    assert second.id > first.id
    assert await store.revocations_after(0, 10) == [first, second]
    assert await store.revocations_after(0, 1) == [first]
    assert await store.revocations_after(first.id, 10) == [second]
    assert await store.revocations_after(second.id, 10) == []


async def test_the_newest_ban_or_unban_counts_and_kicks_do_not(store: Store) -> None:
    none = await store.bans()
    assert (none.user_ids, none.last_id) == ([], 0)
    for user, action in (("a", "ban"), ("b", "ban"), ("b", "unban"), ("c", "kick"), ("a", "kick"), ("d", "ban")):
        last = await store.revoke(user, action, "u_admin", AT)  # type: ignore[arg-type]  # a literal each
    again = await store.revoke("d", "ban", "u_admin", AT)
    assert again.id > last.id
    bans = await store.bans()
    assert sorted(bans.user_ids) == ["a", "d"]
    assert bans.last_id == again.id


async def test_a_server_beats_over_its_own_record(store: Store) -> None:
    assert await store.servers() == []
    one = ServerRecord("s1", "boot-a", "http://127.0.0.1:1", "0.1.0", "starting", 0, AT, AT)
    later = AT + dt.timedelta(seconds=2)
    two = ServerRecord("s2", "boot-b", "http://127.0.0.1:2", "0.1.0", "ready", 7, AT, later)
    await store.put_server(two)
    await store.put_server(one)
    assert await store.servers() == [one, two]
    newer = ServerRecord("s1", "boot-c", "http://127.0.0.1:1", "0.2.0", "draining", 3, later, later)
    await store.put_server(newer)
    assert await store.servers() == [newer, two]


async def test_a_late_beat_wakes_no_boot_that_has_stopped(store: Store) -> None:
    ready = ServerRecord("s1", "boot-a", "http://127.0.0.1:1", "0.1.0", "ready", 7, AT, AT)
    later = AT + dt.timedelta(seconds=2)
    stopped = msgspec.structs.replace(ready, state="stopped", connections=0, seen_at=later)
    await store.put_server(ready)
    await store.put_server(stopped)
    await store.put_server(ready)  # on its way for longer
    assert await store.servers() == [stopped]
    next_boot = msgspec.structs.replace(ready, boot="boot-b", seen_at=later)
    await store.put_server(next_boot)
    assert await store.servers() == [next_boot]


def rollout(id: str, minute: int, **fields: object) -> RolloutRecord:
    """A rollout that runs since a minute of the hour."""
    began = dt.datetime(2026, 11, 23, 10, minute, 0, 123456, tzinfo=dt.UTC)
    known = RolloutRecord(id, "host:8001,8002", began, None, "running", "1.0", "1.1", 2, 0, 0, 0.0, "", 1, "[]")
    return msgspec.structs.replace(known, **fields)


async def test_rollouts_are_kept_and_the_newest_come_first(store: Store) -> None:
    assert await store.rollouts(10) == []
    old = rollout(
        "r1", 1, state="failed", why="it's \\ 'late' 👋", ended_at=dt.datetime(2026, 11, 23, 11, tzinfo=dt.UTC)
    )
    new = rollout("r2", 2, moved=5_000, drained=3, stall_ms=87.25, story='[{"step":"began"}]')
    same = rollout("r3", 2)
    for one in (new, old, same):
        await store.put_rollout(one)
    assert await store.rollouts(10) == [same, new, old]
    assert await store.rollouts(1) == [same]
    assert await store.rollouts(0) == []


async def test_of_two_towers_the_one_that_heard_more_is_right(store: Store) -> None:
    more = rollout("r1", 1, steps=5, state="done", moved=9, ended_at=dt.datetime(2026, 11, 23, 11, tzinfo=dt.UTC))
    for one in (rollout("r1", 1), more, rollout("r1", 1, steps=4, moved=7), more):
        await store.put_rollout(one)
    assert await store.rollouts(10) == [more]
    same_steps = msgspec.structs.replace(more, why="silent", state="failed")
    await store.put_rollout(same_steps)
    assert await store.rollouts(10) == [same_steps]
