"""SIGTERM with clients connected: everybody is told, the exit code is 0 inside the deadline; a second one ends it."""

from __future__ import annotations

import math
import signal
from functools import partial
from typing import TYPE_CHECKING

import trio

from belfry.audit.address import read_address
from belfry.audit.api import Api
from belfry.audit.run import Load, Run
from chat import wire

if TYPE_CHECKING:
    from tests.faults.conftest import StartServer
    from tests.faults.process import ServerProcess

TEST_TIMEOUT = 180.0  # seconds

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"Sec-WebSocket-Protocol: belfry.v1\r\n\r\n"
)
HALF_A_REQUEST = b"POST /v1/rooms HTTP/1.1\r\nContent-Le"


async def stubborn(port: int, token: str, task_status: trio.TaskStatus[None]) -> None:
    """Say hello, and then never read a word again, nor answer a close."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(UPGRADE)
        assert b" 101 " in await stream.receive_some(4096)
        hello = wire.encode(wire.Hello(token))
        # One masked text frame (RFC 6455, 5.2), its mask all zero.
        await stream.send_all(b"\x81\xfe" + len(hello).to_bytes(2, "big") + bytes(4) + hello)
        assert b"welcome" in await stream.receive_some(4096)
        task_status.started()
        await trio.sleep_forever()


async def mute(port: int, begin: bytes, task_status: trio.TaskStatus[None]) -> None:
    """Open a connection, and fall silent before anything is asked."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        if begin:
            await stream.send_all(begin)
        task_status.started()
        await trio.sleep_forever()


async def stop_and_start(run: Run, server: ServerProcess) -> None:
    await run.talking.wait()
    await trio.sleep(0.5)
    server.signal(signal.SIGTERM)
    # A stop that misses its deadline is cut off by the server's own watchdog, with another exit code.
    assert await server.wait() == 0, server.told()
    await server.start()
    await trio.sleep(0.5)
    run.stop.set()


async def test_a_stop_with_clients_of_every_kind_exits_0_inside_its_deadline(start_server: StartServer) -> None:
    server = await start_server("--drain-deadline", "4", "--reconnect-window", "0.2")
    address = read_address(server.url)
    load = Load(clients=40, rooms=4, rate=100, seconds=math.inf, seed=1, settle=120.0, backoff_cap=0.5)
    run = Run(load, address, store=server.history)
    with trio.fail_after(TEST_TIMEOUT):
        async with Api(address) as api, trio.open_nursery() as nursery:
            for number in range(3):
                token = (await api.guest(f"stubborn {number}")).token
                await nursery.start(partial(stubborn, server.port, token))
                await nursery.start(partial(mute, server.port, b""))
                await nursery.start(partial(mute, server.port, HALF_A_REQUEST))
            nursery.start_soon(stop_and_start, run, server)
            verdict = await run.run()
            nursery.cancel_scope.cancel()
    assert verdict.ok, verdict.lines()
    assert verdict.counts.unacknowledged == 0
    assert 1012 in verdict.counts.closes  # they were told, not dropped
    assert 1006 not in verdict.counts.closes
    assert verdict.counts.acked > 50


async def test_a_second_signal_ends_it_at_once(start_server: StartServer) -> None:
    # Two clients a second may be moved, so that this drain would take five seconds.
    server = await start_server("--drain-deadline", "20", "--handshakes-per-second", "2")
    with trio.fail_after(TEST_TIMEOUT):
        async with Api(read_address(server.url)) as api, trio.open_nursery() as nursery:
            for number in range(10):
                token = (await api.guest(f"here {number}")).token
                await nursery.start(partial(stubborn, server.port, token))
                await trio.sleep(0.6)  # nearly as fast as this server takes them
            server.signal(signal.SIGTERM)
            await trio.sleep(0.5)
            assert server.process is not None
            assert server.process.poll() is None, server.told()  # it drains
            server.signal(signal.SIGTERM)
            assert await server.wait() == 128 + signal.SIGTERM, server.told()
            nursery.cancel_scope.cancel()
