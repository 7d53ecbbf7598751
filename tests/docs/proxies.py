"""The proxies of docs/how-to/run-behind-a-proxy.md, run with the very text of the page."""

from __future__ import annotations

import signal
import ssl
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import trio
from trio_websocket import wrap_client_stream

from tests.docs.page import block, put

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_websocket import WebSocketConnection

PAGE = "how-to/run-behind-a-proxy.md"
NAME = "chat.example.org"
PATIENCE = 120.0  # seconds for anything here; all of it takes one or two

NGINX_AROUND = """
daemon off; master_process on; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    include {folder}/belfry.conf;
}}
"""


def make_certificate(folder: Path) -> Path:
    """A self-signed certificate and its key in one file, good for the name and for this machine."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}",
         "-addext", f"subjectAltName=DNS:{NAME},IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both


class Proxy:
    """A running proxy: where it listens, and how it is reloaded."""

    def __init__(self, command: list[str], reload: signal.Signals, log: Path, port: int, certificate: Path) -> None:
        self.port = port
        self._reload = reload
        self._log = log
        self._certificate = certificate
        with log.open("wb") as file:
            self._process = subprocess.Popen(command, stdout=file, stderr=file)

    async def wait_open(self) -> None:
        with trio.fail_after(PATIENCE):
            while True:
                assert self._process.poll() is None, self._log.read_text()
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", self.port)).aclose()
                    return
                except OSError:
                    await trio.sleep(0.02)

    def workers(self) -> set[str]:
        """The processes under the master, which a reload replaces."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return set(children.read_text().split())

    async def reload(self) -> None:
        """Reload, and wait until new workers are there."""
        before = self.workers()
        self._process.send_signal(self._reload)
        with trio.fail_after(PATIENCE):
            while not self.workers() - before:  # noqa: ASYNC110 - another process tells nobody
                await trio.sleep(0.02)
        await self.wait_open()

    def end(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=5)

    async def connect(self, *protocols: str) -> trio.SSLStream[trio.SocketStream]:
        """A TLS connection to the proxy, as to the name on the certificate."""
        context = ssl.create_default_context(cafile=self._certificate)
        if protocols:
            context.set_alpn_protocols(protocols)
        tcp = await trio.open_tcp_stream("127.0.0.1", self.port)
        return trio.SSLStream(tcp, context, server_hostname=NAME, https_compatible=True)

    async def ask(self, path: str, **headers: str) -> httpx.Response:
        """One plain request, as for the name on the certificate."""
        verify = ssl.create_default_context(cafile=self._certificate)
        async with httpx.AsyncClient(verify=verify, timeout=PATIENCE) as http:
            address = f"https://127.0.0.1:{self.port}{path}"
            return await http.get(address, headers={"Host": NAME, **headers}, extensions={"sni_hostname": NAME})

    @asynccontextmanager
    async def websocket(self, origin: str = f"https://{NAME}", **headers: str) -> AsyncIterator[WebSocketConnection]:
        """A websocket through the proxy, as a browser on a page of `origin` opens it."""
        tls = await self.connect()
        extra = [(name.encode(), value.encode()) for name, value in {"Origin": origin, **headers}.items()]
        try:
            async with trio.open_nursery() as nursery:
                yield await wrap_client_stream(
                    nursery, tls, NAME, "/ws", subprotocols=["belfry.v1"], extra_headers=extra
                )
                nursery.cancel_scope.cancel()
        finally:
            tls.transport_stream.socket.close()  # without goodbyes: the reader of the nursery is gone already


def nginx(folder: Path, changes: dict[str, str], port: int, certificate: Path) -> Proxy:
    changes |= {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        f"/etc/ssl/{NAME}/fullchain.pem": str(certificate),
        f"/etc/ssl/{NAME}/privkey.pem": str(certificate),
    }
    (folder / "belfry.conf").write_text(put(block(PAGE, "nginx"), changes))
    (folder / "nginx.conf").write_text(NGINX_AROUND.format(folder=folder))
    command = ["nginx", "-p", str(folder), "-e", str(folder / "nginx.log"), "-c", str(folder / "nginx.conf")]
    return Proxy(command, signal.SIGHUP, folder / "nginx.out", port, certificate)


def haproxy(folder: Path, changes: dict[str, str], port: int, certificate: Path) -> Proxy:
    changes |= {"bind :443 ssl": f"bind 127.0.0.1:{port} ssl", f"/etc/haproxy/{NAME}.pem": str(certificate)}
    (folder / "haproxy.cfg").write_text(put(block(PAGE, "haproxy"), changes))
    command = ["haproxy", "-W", "-f", str(folder / "haproxy.cfg")]
    return Proxy(command, signal.SIGUSR2, folder / "haproxy.out", port, certificate)
