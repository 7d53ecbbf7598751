"""A server's beats into the database: the last one says that its name is free."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import trio
from chat_world import PATIENCE, serving, sqlite
from shims import ShimStore

from chat.beats import BEAT_PATIENCE
from chat.server import LAST_WRITES

if TYPE_CHECKING:
    from pathlib import Path

    from db.records import ServerRecord
    from db.store import Store


@pytest.mark.parametrize(("takes", "is_heard"), [(0.0, True), (BEAT_PATIENCE + 0.4, True), (LAST_WRITES + 1.0, False)])
async def test_the_last_beat_is_waited_for_as_long_as_a_stop_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, takes: float, is_heard: bool
) -> None:
    written: list[str] = []

    async def slowly(record: ServerRecord) -> None:
        await trio.sleep(takes if record.state == "stopped" else 0.0)

    async def done(record: ServerRecord) -> None:
        written.append(record.state)

    async with sqlite(tmp_path) as store:
        shim = ShimStore(store)
        shim.before["put_server"], shim.after["put_server"] = slowly, done
        async with serving(cast("Store", shim)) as belfry:
            server = belfry.server
            monkeypatch.setattr(server.hub, "quiet", lambda: 0.0)  # others live, so the database is told
            monkeypatch.setattr(server.beats, "_quiet", lambda: 0.0)
            await server.beats.beat()
            with trio.fail_after(PATIENCE):
                server.drain()
                await belfry.stopped.wait()
    assert written[0] == "ready"
    assert ("stopped" in written) == is_heard
