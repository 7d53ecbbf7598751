"""The operator's verbs against a real tower over servers that are only heard of; and mistakes, one line each."""

from __future__ import annotations

import contextlib
import functools
import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
import trio
from chat_world import house as chat_house
from tower_world import House, house, until

from belfry import verbs
from belfry.errors import Failed, Wrong
from belfry.sources import read_settings
from belfry.up import verify_by
from bus.events import Order, Rollout
from bus.memory import Exchange
from chat.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SECRET = "a secret of the tests, long enough for HS256"


@contextlib.asynccontextmanager
async def tower(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """A tower that knows the command line's secret."""
    monkeypatch.setattr("tower_world.verify", verify_by(Tokens(SECRET.encode())))
    monkeypatch.setattr(verbs, "PLAIN", 0.05)
    monkeypatch.setattr(verbs, "LIVE", 0.05)
    async with house() as home:
        yield home


async def run(home: House, command: str, /, **flags: str) -> int:
    """Run a verb as the command line does."""
    given = {"tower": home.url} | flags
    settings = read_settings(command, given, {})
    environ = {"BELFRY_SECRET": SECRET}
    call: Any = {
        "servers": verbs.run_servers, "drain": verbs.run_drain, "rollout": verbs.run_rollout_status,
    }.get(command) or functools.partial(verbs.run_order, command)  # fmt: skip
    code: int = await trio.to_thread.run_sync(call, settings, given, environ)
    return code


async def test_servers_as_a_table_and_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with tower(monkeypatch) as home:
        await home.beat("s1", sessions=12)
        await home.beat("s2", state="cordoned")
        assert await run(home, "servers") == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[:2] for line in lines] == [["ID", "STATE"], ["s1", "ready"], ["s2", "cordoned"]]
        assert await run(home, "servers", json="yes") == 0
        assert [server["id"] for server in json.loads(capsys.readouterr().out)["servers"]] == ["s1", "s2"]
        await home.beat("s1", state="cordoned")
        assert await run(home, "servers") == 0
        assert capsys.readouterr().err == "wrong: no server takes newcomers\n"


async def test_orders_are_passed_on_and_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with tower(monkeypatch) as home:
        await home.beat("s1", sessions=12)
        await home.beat("s2")
        assert await run(home, "cordon", server="s1") == 0
        assert capsys.readouterr().err == "s1 keeps its 12 people; newcomers go to s2\n"
        assert await run(home, "cordon", server="s2", json="yes") == 0
        await until(lambda: len([event for event in home.heard if isinstance(event, Order)]) == 2)
        assert json.loads(capsys.readouterr().out)["order"] == home.heard[-1].order  # type: ignore[union-attr]


async def test_a_drain_is_watched_to_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with tower(monkeypatch) as home:
        await home.beat("s1", sessions=100)
        await home.beat("s2")
        codes = []

        async def drain() -> None:
            codes.append(await run(home, "drain", server="s1", rate="50", deadline="20s"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            await until(lambda: any(isinstance(event, Order) for event in home.heard))
            for moved in (20, 60):
                await home.beat("s1", state="draining", sessions=100 - moved, to_move=100, moved=moved, eta=1.0)
                await trio.sleep(0.3)
            await home.beat("s1", state="cordoned")
        told = capsys.readouterr().err.splitlines()
        assert codes == [0]
        assert told[0].startswith("100 people will be moved over about 2 s to s2")
        assert "s1: 60 of 100 moved (60%), 40 a second, 1 s left" in told
        assert told[-1].startswith("s1 is drained: 100 were moved, ")
        order = next(event for event in home.heard if isinstance(event, Order))
        assert (order.verb, order.per_second, order.deadline) == ("drain", 50.0, 20.0)


@pytest.mark.parametrize(
    ("ends", "code", "says"),
    [
        ({"state": "ready", "sessions": 90}, 1, "s1's drain was aborted: 10 were moved, it serves on"),
        ({"state": "stopped"}, 0, "s1 has stopped: 10 were moved, "),
        ({"boot": "another", "started_at": 2e9}, 0, "s1 has stopped: 10 were moved, "),
    ],
)
async def test_how_else_a_drain_may_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ends: dict[str, Any], code: int, says: str
) -> None:
    async with tower(monkeypatch) as home:
        await home.beat("s1", sessions=100)
        await home.beat("s2")
        codes = []

        async def drain() -> None:
            codes.append(await run(home, "drain", server="s1", json="yes"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            await until(lambda: any(isinstance(event, Order) for event in home.heard))
            await home.beat("s1", state="draining", sessions=90, to_move=100, moved=10, eta=9.0)
            await trio.sleep(0.3)
            await home.beat("s1", **ends)
        assert codes == [code]
        told = json.loads(capsys.readouterr().out)
        assert told["moved"] == 10
        watching = verbs.Watching("s1", "", end=told["outcome"], moved=told["moved"])
        assert watching.words().startswith(says)


async def test_asked_only_a_drain_is_not_ordered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with tower(monkeypatch) as home:
        await home.beat("s1", sessions=100)
        await home.beat("s2")
        assert await run(home, "drain", server="s1", dry="yes") == 0
        assert "100 people will be moved" in capsys.readouterr().err
        assert not [event for event in home.heard if isinstance(event, Order)]


async def test_ctrl_c_stops_watching_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    async with tower(monkeypatch) as home:
        await home.beat("s1", sessions=100)
        await home.beat("s2")
        monkeypatch.setattr(verbs.time, "sleep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            await run(home, "drain", server="s1")
        assert capsys.readouterr().err.splitlines()[-1] == (
            "no longer watching; the drain goes on, `belfry abort s1` ends it"
        )


async def test_the_story_of_redeploys(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async with tower(monkeypatch) as home:
        assert await run(home, "rollout") == 0
        assert "no redeploy was told to this tower yet" in capsys.readouterr().out
        for number in range(3):
            home.say(Rollout(f"r{number}", "h:8001", "began", servers=1, made_at=1_795_000_000.0 + number))
            home.say(Rollout(f"r{number}", "h:8001", "done", made_at=1_795_000_010.0 + number))
        await until(lambda: len(home.tower.rollouts.newest(5)) == 3)
        assert await run(home, "rollout") == 0
        lines = capsys.readouterr().out.splitlines()
        assert "redeploy r2 of h:8001" in lines[0]
        assert [line.split()[2] for line in lines if line.endswith("stall 0 ms") and "h:8001" in line] == ["r1", "r0"]


@pytest.mark.parametrize(
    ("command", "flags", "error", "says"),
    [
        ("drain", {}, Wrong, "`belfry drain` needs a server's id"),
        ("drain", {"server": "s9"}, Wrong, 'no server "s9" was heard of; there are: s1'),
        ("drain", {"server": "s1"}, Wrong, "s1 is the last server that takes clients"),
        ("drain", {"server": "s1", "rate": "-1"}, Wrong, '--rate (flag): "-1" does not fit; give a number from 0 to'),
        ("drain", {"server": "s1", "deadline": "2d"}, Wrong, '--deadline (flag): "2d" does not fit'),
        ("abort", {"server": "s1"}, Wrong, "s1 is ready, not draining"),
        ("cordon", {"server": "../../x"}, Wrong, '"../../x" (argument) is no server\'s id; give 1-64 of'),
    ],
)
async def test_what_the_person_can_mend(
    monkeypatch: pytest.MonkeyPatch, command: str, flags: dict[str, str], error: type[Exception], says: str
) -> None:
    async with tower(monkeypatch) as home:
        await home.beat("s1")
        with pytest.raises(error) as caught:
            await run(home, command, **flags)
        assert says in str(caught.value)


async def test_no_tower_another_secret_or_something_else_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async with tower(monkeypatch) as home:
        settings = read_settings("servers", {"tower": home.url}, {})
        with pytest.raises(Failed, match="has another secret"):
            await trio.to_thread.run_sync(verbs.run_servers, settings, {}, {"BELFRY_SECRET": SECRET[::-1]})
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = read_settings("servers", {}, {"BELFRY_TOWER": f"http://127.0.0.1:{port}"})
    says = rf"^BELFRY_TOWER \(variable\): no tower answers at http://127.0.0.1:{port}: nothing listens there; name"
    with pytest.raises(Failed, match=says):
        await trio.to_thread.run_sync(verbs.run_servers, settings, {}, {"BELFRY_SECRET": SECRET})


@pytest.mark.parametrize(("command", "flags"), [("servers", {}), ("cordon", {"server": "s1"}), ("rollout", {})])
async def test_a_server_in_a_towers_place(tmp_path: Path, command: str, flags: dict[str, str]) -> None:
    async with chat_house(tmp_path) as running:
        url = f"http://127.0.0.1:{running.port}"
        with pytest.raises(Wrong) as caught:
            await run(House(Exchange(), running.port), command, **flags)
    assert str(caught.value) == f"--tower (flag): {url} is a belfry server, not a tower; name a tower with --tower"
