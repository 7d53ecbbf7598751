"""The listening sockets, bound before anything else is done, so that a taken port is the first thing one hears."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from belfry.errors import Wrong

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKLOG = 4_096  # connects that wait for accept; the kernel cuts it to net.core.somaxconn, 4,096 since Linux 5.4
NEAR = 20  # ports tried above the taken one for the suggestion
LISTENING = "0A"  # the state in /proc/net/tcp
TRIES = 5  # for one free port on two addresses: the kernel chooses it on the first, the second may have it in use
ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class CannotListen(Wrong):
    """No socket can be bound there; `setting` is the one to change: "host", or whichever the port was said by."""

    def __init__(self, setting: str, line: str) -> None:
        super().__init__(line)
        self.setting = setting


def bind(host: str, port: int, setting: str = "port") -> list[socket.socket]:
    """Sockets that listen on every address of host; port 0 is the same free port for all. Raises CannotListen.

    `setting` is what the port was said by: advice names its flag.
    """
    addresses = _addresses(host, port)
    for last in (*[False] * (TRIES - 1), True):
        try:
            return _bound(addresses, port)
        except OSError as error:
            if last or port != 0 or error.errno != errno.EADDRINUSE:
                raise _refusal(host, port, error, setting) from None
    raise AssertionError("unreachable")


@contextmanager
def listening(host: str, port: int) -> Iterator[list[socket.socket]]:
    """`bind`, and closed at the end, whoever closed them before. Raises CannotListen."""
    listeners = bind(host, port)
    try:
        yield listeners
    finally:
        for one in listeners:
            one.close()


def is_free(host: str, port: int) -> str | None:
    """None when the port could be bound now, else why not, in one line."""
    try:
        for one in bind(host, port):
            one.close()
    except CannotListen as wrong:
        return str(wrong)
    return None


def url(listener: socket.socket) -> str:
    """Where a browser on this machine opens it."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"


def is_public(listener: socket.socket) -> bool:
    """Whether other machines can reach it: it is bound to more than loopback."""
    host = listener.getsockname()[0]
    return not (host.startswith("127.") or host == "::1")


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError):
        line = f"there is no host {host}; give an address of this machine, such as 127.0.0.1"
        raise CannotListen("host", line) from None
    # A name such as localhost has two addresses; a scope of a link-local one (fe80::1%eth0) stays in the text.
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _bound(addresses: list[tuple[socket.AddressFamily, str]], port: int) -> list[socket.socket]:
    bound: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, address in addresses:
            try:
                bound.append(_listening(family, address, port or (bound[0].getsockname()[1] if bound else 0)))
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                absent = error  # localhost is often listed with ::1 where IPv6 is off: the other one will do
        if absent is not None and not bound:
            raise absent
    except BaseException:
        for one in bound:
            one.close()
        raise
    return bound


def _listening(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Connections of the last run in TIME_WAIT do not hold the port; a living listener still does.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # :: is everything, IPv4 too, as people who type it mean it; any other address is itself only.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address != "::"))
        listener.bind((address, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _refusal(host: str, port: int, error: OSError, setting: str) -> CannotListen:
    flag = "--" + setting.replace("_", "-")
    alone = setting != "ports"  # of a list, one port is not what its flag takes
    if error.errno == errno.EADDRINUSE:
        who, free = holder(port), _free_near(host, port) if alone else None
        by = f" by process {who.pid} ({who.name})" if who else ""
        other = f": {flag} {free}" if free else ""
        return CannotListen(setting, f"port {port} on {host} is taken{by}; stop it, or choose another port{other}")
    if error.errno == errno.EACCES:
        example = f": {flag} 8000" if alone else ""
        return CannotListen(setting, f"port {port} is for root only; choose one from 1024 up{example}")
    if error.errno == errno.EADDRNOTAVAIL:
        return CannotListen("host", f"{host} is no address of this machine; give one that is, or 0.0.0.0 for all")
    why = os.strerror(error.errno or 0)
    return CannotListen("host", f"cannot listen on {host} port {port}: {why}; choose another --host or {flag}")


def _free_near(host: str, port: int) -> int | None:
    for candidate in range(port + 1, min(port + NEAR, 65_536)):
        try:
            for family, address in _addresses(host, candidate):
                _listening(family, address, candidate).close()
        except OSError:
            continue
        return candidate
    return None


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that listens on a port."""

    pid: int
    name: str


def holder(port: int) -> Holder | None:
    """Who listens on the port; None where /proc does not tell, or not us."""
    try:
        inodes = _inodes(port)
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and _holds(process, inodes):
                return Holder(int(process.name), (process / "comm").read_text().strip())
    except OSError:
        pass
    return None


def _inodes(port: int) -> set[str]:
    found = set()
    for table in ("tcp", "tcp6"):
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def _holds(process: Path, inodes: set[str]) -> bool:
    try:
        for descriptor in (process / "fd").iterdir():
            try:
                if os.readlink(descriptor) in inodes:
                    return True
            except OSError:
                continue  # closed meanwhile
    except OSError:
        pass  # another user's process, or it ended
    return False
