"""`belfry audit` against a real server, as people run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from tests.faults.conftest import StartServer

TEST_TIMEOUT = 60.0  # seconds
AUDIT = [sys.executable, "-m", "belfry", "audit", "--json", "--clients", "20", "--rooms", "3", "--rate", "50"]


async def audit(url: str, *flags: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run it to its end."""
    with trio.fail_after(TEST_TIMEOUT):
        return await trio.run_process(
            [*AUDIT, "--url", url, *flags],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=os.environ | environment,
        )


async def test_a_good_server_is_found_good(start_server: StartServer) -> None:
    server = await start_server()
    done = await audit(server.url, "--seconds", "2", "--seed", "5")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"]
    assert report["settled"]
    assert report["seed"] == 5
    assert report["counts"]["acked"] == report["counts"]["sent"] > 20


async def test_a_server_without_guests_wants_its_secret(start_server: StartServer) -> None:
    server = await start_server("--no-guests")
    done = await audit(server.url, "--seconds", "1")
    assert done.returncode == 2
    assert b"guests_off" in done.stderr
    assert b"set BELFRY_SECRET or BELFRY_SECRET_FILE" in done.stderr
    assert done.stderr.count(b"\n") == 2  # what is being audited, and what is wrong
    done = await audit(server.url, "--seconds", "1", BELFRY_SECRET_FILE=str(server.data / "secret"))
    assert done.returncode == 0, done.stderr


async def test_ctrl_c_ends_the_talking_and_gives_the_verdict(start_server: StartServer) -> None:
    server = await start_server()
    with trio.fail_after(TEST_TIMEOUT):
        process = await trio.lowlevel.open_process(
            [*AUDIT, "--url", server.url, "--seconds", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stderr is not None
        told = b""
        async with process.stdout, process.stderr:
            while b"talking" not in told:
                told += await process.stderr.receive_some()
            process.send_signal(signal.SIGINT)
            report = b"".join([part async for part in process.stdout])
            assert await process.wait() == 0
    assert json.loads(report)["ok"]
