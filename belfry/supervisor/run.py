"""The commands that supervise: `belfry up`, one server and its tower in a directory, and `belfry fleet`, one a port."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import trio

from belfry import logs
from belfry.database import make_directory, need_database, place_of
from belfry.errors import Wrong, first_of
from belfry.kinds import Switch
from belfry.listen import CannotListen, bind
from belfry.notify import VARIABLE as NOTIFY
from belfry.notify import Notifier
from belfry.secret import needed_secret
from belfry.settings import BY_NAME, ID_CHARS, PORT, settings_of
from belfry.supervisor import again, orphans
from belfry.supervisor.child import Place
from belfry.supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

    from belfry.sources import Settings

LISTEN_FDS = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")  # of systemd's socket activation, sd_listen_fds(3)
FIRST_FD = 3  # SD_LISTEN_FDS_START


def run_up(settings: Settings, flags: Mapping[str, str], environ: MutableMapping[str, str]) -> int:
    """`belfry up`. Returns the exit code; raises Wrong."""
    make_directory(settings)
    directory = settings["data"].absolute()
    given = given_listeners(environ)
    port, tower = settings["port"], settings["tower_port"]
    if port == tower and port and settings.given("tower_port") and not given:
        raise Wrong(f"{settings.lead('tower_port')}--port and --tower-port are both {port}; give two")
    place = Place(
        settings["server_id"], _command("up", flags), _environ(environ), f"up {directory}", port,
        lambda: given.get(port) or _first(given) or _bind(settings, port, "port"),
        lambda: given.get(tower) or _bind_tower(settings),
    )  # fmt: skip
    return _supervise([place], f"{socket.gethostname()}:{port}", settings, environ)


def run_fleet(settings: Settings, flags: Mapping[str, str], environ: MutableMapping[str, str]) -> int:
    """`belfry fleet`. Returns the exit code; raises Wrong."""
    ports: tuple[int, ...] = settings["ports"] or ()
    if not ports:
        raise Wrong("`belfry fleet` needs --ports (flag) or BELFRY_PORTS (variable), e.g. --ports 8001,8002")
    for name, example in (("db", "mysql://user:password@host:3306/belfry"), ("bus", "kafka://host:9092")):
        if settings[name] is None:
            raise Wrong(f"`belfry fleet` needs --{name} (flag) or BELFRY_{name.upper()} (variable), e.g. {example}")
    needed_secret(environ)  # each server asks for it, too; here it is one line, not one a server
    if len(ports) > 1 and str(settings["db"] or "").startswith("sqlite:"):
        raise Wrong(
            f"{settings.origins['db'].words}: a SQLite file has one writer, and {len(ports)} ports are {len(ports)} "
            "servers; give a mysql:// address, or one port"
        )
    given = given_listeners(environ)
    served = {setting.name for setting in settings_of("serve")}
    places = []
    _check_id(settings, ports)
    for port in ports:
        more = {"port": str(port), "server_id": f"{settings['server_id']}-{port}"}
        if PORT in (settings["public_url"] or ""):
            more["public_url"] = settings["public_url"].replace(PORT, str(port))
        own = {key: text for key, text in flags.items() if key in served} | more
        places.append(
            Place(
                more["server_id"], _command("serve", own), _environ(environ), f"fleet {settings['host']} {port}", port,
                partial(_bound, settings, given, port),
            )
        )  # fmt: skip
    database = place_of(settings)
    name = f"{socket.gethostname()}:{','.join(map(str, ports))}"
    return _supervise(places, name, settings, environ, partial(need_database, database))


def _check_id(settings: Settings, ports: tuple[int, ...]) -> None:
    """An id fits by itself, but each server's has the port behind it, and would be refused as one nobody gave."""
    longest = max(ports)
    left = ID_CHARS - len(f"-{longest}")
    if len(settings["server_id"]) > left:
        raise Wrong(
            f"{settings.lead('server_id')}`belfry fleet` appends -{longest} to the id, and {ID_CHARS} characters are "
            f"the most with it; give --server-id with at most {left}"
        )


def _bound(settings: Settings, given: Mapping[int, list[socket.socket]], port: int) -> list[socket.socket]:
    return given.get(port) or _bind(settings, port, "ports")


def _supervise(
    places: list[Place],
    fleet: str,
    settings: Settings,
    environ: MutableMapping[str, str],
    check: Callable[[], None] = lambda: None,
) -> int:
    """Open the sockets and supervise. `check` is of what several servers would complain of each; raises Failed."""
    before = again.before(environ)
    begun = before is not None  # servers of ours run: whatever is wrong now, they are not left alone
    with ExitStack() as opened:
        for number, place in enumerate(places):
            opened.callback(place.close)
            if before is not None:
                place.chat, place.tower = before.sockets(number)
            elif orphan := orphans.find(place.key):
                orphan.close()  # it has the sockets; it is adopted when the loop runs
                begun = True
            else:
                place.bind()
        if len(places) > 1 and not begun:
            check()
        logger = logs.set_up(settings["log_level"], settings["log_format"])
        notifier = Notifier(environ.get(NOTIFY, ""), logger)
        supervisor = Supervisor(places, fleet, settings["drain_deadline"], settings["ready_deadline"], logger, notifier)
        code, wrong = 0, None
        try:
            code = trio.run(supervisor.run, before)
        except* Wrong as group:
            wrong = first_of(group)
        if wrong is not None:
            raise Wrong(str(wrong))
        if supervisor.again is not None:
            again.begin(supervisor.again, sys.argv[1:])
    return code


def given_listeners(environ: MutableMapping[str, str]) -> dict[int, list[socket.socket]]:
    """The listening sockets that systemd opened for us, by port; none when it did not."""
    told = {name: environ.pop(name, "") for name in LISTEN_FDS}
    found: dict[int, list[socket.socket]] = {}
    if told["LISTEN_PID"] != str(os.getpid()) or not told["LISTEN_FDS"].isdecimal():
        return found
    for descriptor in range(FIRST_FD, FIRST_FD + int(told["LISTEN_FDS"])):
        sock = socket.socket(fileno=descriptor)
        os.set_inheritable(descriptor, False)
        if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
            found.setdefault(sock.getsockname()[1], []).append(sock)
    return found


def _first(given: Mapping[int, list[socket.socket]]) -> list[socket.socket]:
    """One socket that systemd opened is the chat's, whatever --port says."""
    return next(iter(given.values())) if len(given) == 1 else []


def _bind(settings: Settings, port: int, setting: str) -> list[socket.socket]:
    try:
        return bind(settings["host"], port, setting)
    except CannotListen as cannot:
        raise Wrong(settings.lead(cannot.setting) + str(cannot)) from None


def _bind_tower(settings: Settings) -> list[socket.socket]:
    """The tower's sockets; where nobody asked for a port and the usual one is taken, any other will do."""
    try:
        return _bind(settings, settings["tower_port"], "tower_port")
    except Wrong:
        if settings.given("tower_port"):
            raise
        return _bind(settings, 0, "tower_port")


def _command(command: str, flags: Mapping[str, str]) -> list[str]:
    """The command line of a server that is told what we were told."""
    words = [sys.executable, "-m", "belfry", command]
    for name, text in flags.items():
        flag = "--" + name.replace("_", "-")
        if name in BY_NAME and isinstance(BY_NAME[name].kind, Switch):
            words.append(flag if text == "yes" else f"--no-{flag[2:]}")
        else:
            words.append(f"{flag}={text}")
    return words


def _environ(environ: Mapping[str, str]) -> dict[str, str]:
    """The servers' environment: ours, without what is between us and the service manager."""
    return {name: text for name, text in environ.items() if name != NOTIFY and name not in LISTEN_FDS}
