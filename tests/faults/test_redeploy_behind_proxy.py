"""TLS ends in a proxy that is reloaded while the server behind it is redeployed: its clients notice neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from compose.services.ports import free_port
from tests.docs.proxies import Proxy, haproxy, make_certificate, nginx
from tests.faults.redeploying import Redeployed, talking

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[[Path, dict[str, str], int, Path], Proxy]

ROUNDS = 3


@pytest.mark.parametrize("make", [nginx, haproxy], ids=["nginx", "haproxy"])
async def test_the_proxy_reloads_while_the_server_is_redeployed(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))  # whom the clients trust
    server = Redeployed(tmp_path / "data")
    proxy = make(tmp_path, {"127.0.0.1:8000": f"127.0.0.1:{server.port}"}, free_port(), certificate)
    try:
        await server.start()
        await proxy.wait_open()
        async with talking(server, through=f"https://127.0.0.1:{proxy.port}") as talk:
            for number in range(ROUNDS):
                talk.story.note(f"reload and redeploy {number + 1}")
                await proxy.reload()
                told = await server.redeploy()
                talk.story.note(told)
                assert told.startswith("redeployed"), told
                assert "told to reconnect" not in told
                await proxy.reload()
                await talk.until_acked()
            assert max(talk.reconnects()) == 0, talk.about()
        assert talk.verdict is not None
        assert talk.verdict.counts.flaps == 0, talk.verdict.lines()
    finally:
        proxy.end()
        await server.end()
