"""The composition root: what it hands to the server, what signals do, what is unsafe; with a server that is a fake."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING, Any

import pytest
import structlog
import trio

from belfry import __version__
from belfry.announce import Facts
from belfry.database import place_of
from belfry.listen import bind, listening
from belfry.secret import Secret, made_secret
from belfry.sources import read_settings
from belfry.up import LATE, Plan, config_of, house, unsafe_of
from chat.config import Config, Limits
from db.errors import StoreUnusable
from db.lock import DirectoryLock

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

    from belfry.sources import Settings

KEY = b"Zr8pQ1xLw93mTb5yVc7dKs2hNf6gJe4a"
PATIENCE = 120.0  # seconds; all of it together takes a tenth


class FakeServer:
    """Serves until drained; remembers what it was given."""

    def __init__(self, *, stuck: bool = False) -> None:
        self.given: dict[str, Any] = {}
        self.up = trio.Event()
        self.drained = trio.Event()
        self.stuck = stuck

    def drain(self) -> None:
        self.drained.set()

    async def serve(
        self, config: Config, store: Any, bus: Any, tokens: Any, *, listeners: Any, task_status: Any
    ) -> None:
        self.given = {"config": config, "store": store, "bus": bus, "tokens": tokens, "listeners": listeners}
        task_status.started(self)
        self.up.set()
        await self.drained.wait()
        if self.stuck:
            await trio.sleep_forever()
        assert await store.room("lobby") is None  # the store outlives the server


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listening("127.0.0.1", 0) as (one,):
        yield one


def plan(tmp_path: Path, listener: socket.socket, **flags: str) -> Plan:
    settings = read_settings("up", {"data": str(tmp_path)} | flags, {})
    port = listener.getsockname()[1]
    return Plan(config_of(settings, KEY, port), Secret(KEY, "test"), place_of(settings), [listener], ("careful",), True)


def logger() -> Any:
    return structlog.wrap_logger(logging.getLogger("test"), wrapper_class=structlog.stdlib.BoundLogger)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_signal_drains_and_the_end_is_whole(
    tmp_path: Path, listener: socket.socket, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    server = FakeServer()
    codes = []
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                codes.append(await house(plan(tmp_path, listener), server.serve, logger()))

            nursery.start_soon(run)
            await server.up.wait()
            signal.raise_signal(number)
    assert codes == [0]
    assert server.drained.is_set()
    assert server.given["config"].port == listener.getsockname()[1]
    assert server.given["tokens"].verify(server.given["tokens"].issue("u", "Ada", 60)).name == "Ada"
    told = capsys.readouterr().err
    assert f"http://127.0.0.1:{listener.getsockname()[1]}" in told
    assert "careful" in told
    assert "made now, with schema" in told
    DirectoryLock.take(tmp_path).release()


async def test_a_signal_before_the_server_is_up_ends_the_start(tmp_path: Path, listener: socket.socket) -> None:
    async def never_up(*_: Any, task_status: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        await trio.sleep_forever()

    with trio.fail_after(PATIENCE):
        assert await house(plan(tmp_path, listener), never_up, logger()) == 128 + signal.SIGTERM
    DirectoryLock.take(tmp_path).release()


async def test_a_stop_that_is_stuck_is_cut_off(tmp_path: Path, listener: socket.socket) -> None:
    server = FakeServer(stuck=True)
    codes = []
    with trio.fail_after(PATIENCE + LATE):
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                codes.append(await house(plan(tmp_path, listener, drain_deadline="0"), server.serve, logger()))

            nursery.start_soon(run)
            await server.up.wait()
            signal.raise_signal(signal.SIGTERM)
    assert codes == [1]


async def test_a_directory_in_use_is_unusable(tmp_path: Path, listener: socket.socket) -> None:
    with (
        DirectoryLock.take(tmp_path),
        pytest.RaisesGroup(pytest.RaisesExc(StoreUnusable, match="is in use by process")),
        trio.fail_after(PATIENCE),
    ):
        await house(plan(tmp_path, listener), FakeServer().serve, logger())


def test_the_config_is_what_was_told() -> None:
    flags = {"send_rate": "7", "text_chars": "0", "public_url": "https://chat.example.org", "origins": "*"}
    config = config_of(read_settings("up", flags, {}), KEY, 1234)
    assert config.boot != config_of(read_settings("up", flags, {}), KEY, 1234).boot
    assert config == Config(
        boot=config.boot,
        port=1234,
        version=__version__,
        secret=KEY,
        guests=True,
        first_rooms=("lobby",),
        public_url="https://chat.example.org",
        origins=("*",),
        limits=Limits(send_rate=7, text_chars=0),
    )


class TestUnsafe:
    def said(self, listener: socket.socket, secret: Secret, files: int | None = None, **flags: str) -> str:
        settings: Settings = read_settings("up", flags, {})
        return "\n".join(unsafe_of(settings, secret, [listener], files))

    def test_nothing(self, listener: socket.socket) -> None:
        assert self.said(listener, Secret(KEY, "test"), guests="no") == ""

    def test_guests_and_a_secret_made_up(self, listener: socket.socket, tmp_path: Path) -> None:
        said = self.said(listener, made_secret(tmp_path))
        assert "everybody on this machine may come in" in said
        assert "the secret was made up now" in said
        (tmp_path / "secret").chmod(0o644)
        assert "chmod 600" in self.said(listener, made_secret(tmp_path))

    def test_other_machines_without_tls(self) -> None:
        (public,) = bind("0.0.0.0", 0)
        with public:
            said = self.said(public, Secret(KEY, "test"))
            assert "everybody who reaches this machine" in said
            assert "without TLS" in said
            assert "TLS" not in self.said(public, Secret(KEY, "test"), public_url="https://chat.example.org")

    def test_every_origin(self, listener: socket.socket) -> None:
        assert "pages of every site" in self.said(listener, Secret(KEY, "test"), origins="*")

    def test_too_few_files(self, listener: socket.socket) -> None:
        assert "ulimit -n 10064" in self.said(listener, Secret(KEY, "test"), files=1024)


def test_facts_of_the_plan_have_no_secret(tmp_path: Path, listener: socket.socket) -> None:
    assert KEY.decode() not in repr(plan(tmp_path, listener))
    assert "secret" not in Facts.__dataclass_fields__
