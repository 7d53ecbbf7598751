"""`belfry kick` against a real server: sockets close, bans hold, and mistakes are one line."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
import trio
from chat_world import SECRET, house, token
from tower_world import house as tower_house

from belfry.errors import Failed, Wrong
from belfry.kick import run_kick
from belfry.sources import read_settings

if TYPE_CHECKING:
    from pathlib import Path

ENVIRON = {"BELFRY_SECRET": SECRET.decode()}


def kick(flags: dict[str, str], environ: dict[str, str] = ENVIRON) -> int:
    return run_kick(read_settings("kick", flags, environ), flags, environ)


@pytest.mark.parametrize("user", ["a/b", "..", ".", "a?b#c%2F", "x/kick", "/a", "//", "a/"])
async def test_ids_that_an_address_would_take_apart(
    tmp_path: Path, user: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with house(tmp_path) as running:
        url = f"http://127.0.0.1:{running.port}"
        client = await running.client(user, "lobby")
        assert await trio.to_thread.run_sync(kick, {"user": user, "url": url}) == 0
        assert (await client.hear_close()).code == 4501
        assert await trio.to_thread.run_sync(kick, {"user": user, "url": url, "unban": "yes"}) == 0
    assert f"{user} was sent away; 1 socket closed" in capsys.readouterr().err


async def test_kick_ban_and_unban(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with house(tmp_path) as running:
        url = f"http://127.0.0.1:{running.port}"
        flags = {"user": "ada", "url": url}
        bob = await running.client("bob", "lobby")
        ada = await running.client("ada", "lobby")
        assert await trio.to_thread.run_sync(kick, flags) == 0
        assert (await ada.hear_close()).code == 4501
        ada = await running.client("ada", "lobby")  # a kick is not a ban
        assert await trio.to_thread.run_sync(kick, flags | {"ban": "yes"}) == 0
        assert (await ada.hear_close()).code == 4501
        ada = await (await running.connect()).upgrade()
        await ada.say({"t": "hello", "token": token("ada")})
        assert (await ada.hear_close()).code == 4501
        assert await trio.to_thread.run_sync(kick, flags | {"unban": "yes"}) == 0
        ada = await running.client("ada", "lobby")
        assert await bob.tell("still here", "n1") == 1
        with pytest.raises(Failed, match="another secret"):
            await trio.to_thread.run_sync(kick, flags, {"BELFRY_SECRET": SECRET.decode()[::-1]})
    assert capsys.readouterr().err.splitlines() == [
        f"ada was sent away; 1 socket closed at {url}, the other servers close theirs within 3 s",
        f"ada is banned; 1 socket closed at {url}, the other servers close theirs within 3 s",
        "ada may come back",
    ]


@pytest.mark.parametrize(("more", "begins"), [({}, ""), ({"ban": "yes"}, "Ada is banned; ")])
async def test_an_id_that_nobody_has_is_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: dict[str, str], begins: str
) -> None:
    async with house(tmp_path) as running:
        url = f"http://127.0.0.1:{running.port}"
        await running.client("u_ada", "lobby")
        assert await trio.to_thread.run_sync(kick, {"user": "Ada", "url": url} | more) == 0
    told = capsys.readouterr().err
    assert told.startswith(f"{begins}nobody with the id Ada has a socket at {url}; the other servers close theirs")
    assert "An id is not the name people see" in told


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({}, "needs a user id"),
        ({"user": "a b"}, "is no user id"),
        ({"user": "u_a", "ban": "yes", "unban": "yes"}, "contradict each other"),
        ({"user": "u_a", "url": "ftp://x"}, "does not fit"),
        ({"user": "u_a", "url": "http://x:99999"}, "does not fit; give an address .* with a port from 1 to 65,535"),
    ],
)
def test_mistakes(flags: dict[str, str], line: str) -> None:
    with pytest.raises(Wrong, match=line):
        kick(flags)


def test_no_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Failed, match=f"no server answers at http://127.0.0.1:{port}: nothing listens there; name"):
        kick({"user": "u_a", "url": f"http://127.0.0.1:{port}"})


async def test_a_tower_in_a_servers_place() -> None:
    async with tower_house() as tower:
        with pytest.raises(Wrong) as caught:
            await trio.to_thread.run_sync(kick, {"user": "u_a", "url": tower.url})
    assert str(caught.value) == (f"--url (flag): {tower.url} is a tower, not a server; name a belfry server with --url")
