"""`belfry tower`: the composition root of one tower: binds its port, opens bus and database, and obeys signals."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from belfry import __version__, logs
from belfry.bus import bus_of, label
from belfry.database import Remote, place_of
from belfry.errors import FAILED, Wrong
from belfry.late_store import LateStore
from belfry.listen import CannotListen, is_public, listening, url
from belfry.notify import VARIABLE, Notifier
from belfry.secret import needed_secret
from belfry.terminal import BOLD, DIM, YELLOW, has_colours, painted
from bus.url import KafkaUrl, MemoryUrl
from db.errors import StoreUnusable
from db.url import SqliteUrl

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Mapping

    import structlog

    from belfry.secret import Secret
    from belfry.sources import Settings
    from bus.url import BusUrl
    from db.url import DatabaseUrl
    from tower.server import TowerServer

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LONGEST = 5.0  # seconds from SIGTERM after which it is cut off; one takes 2 at most, on a machine that is not idle


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that was checked before the event loop starts."""

    secret: Secret
    database: DatabaseUrl | None
    bus: KafkaUrl | None
    listeners: list[socket.socket]
    open_dashboard: bool
    human: bool
    knows: tuple[tuple[str, str], ...]  # (name, words) of the start's table
    unsafe: tuple[str, ...]
    manager: str = ""  # the socket of whoever wants to know when it serves; "" is nobody


def run_tower(settings: Settings, environ: Mapping[str, str]) -> int:
    """`belfry tower`: one tower of a fleet. Returns the exit code; raises Wrong."""
    bus, database, knows = _sources(settings)
    secret = needed_secret(environ)
    try:
        with listening(settings["host"], settings["port"]) as listeners:
            logger = logs.set_up(settings["log_level"], settings["log_format"], secrets=(secret.key,))
            unsafe = []
            if any(map(is_public, listeners)):
                unsafe.append(
                    "other machines reach it without TLS, and administrators' tokens with it; put a proxy before it"
                )
            human = logs.is_human(settings["log_format"], sys.stderr)
            plan = Plan(
                secret, database, bus, listeners, settings["open_dashboard"], human, knows, tuple(unsafe),
                environ.get(VARIABLE, ""),
            )  # fmt: skip
            return _run(plan, logger)
    except CannotListen as cannot:
        raise Wrong(settings.lead(cannot.setting) + str(cannot)) from None


def _sources(settings: Settings) -> tuple[KafkaUrl | None, DatabaseUrl | None, tuple[tuple[str, str], ...]]:
    """Where it learns of the fleet from, and that in words. Raises Wrong."""
    bus: BusUrl | None = bus_of(settings)
    if bus is None and settings["db"] is None:
        raise Wrong(
            "`belfry tower` needs --bus (flag) or BELFRY_BUS (variable), as the servers have it, e.g. kafka://h:9092; "
            "and --db, to keep the story of redeploys and to see the fleet while the bus is away"
        )
    if isinstance(bus, MemoryUrl) and settings["db"] is None:
        raise Wrong(
            f"{settings.origins['bus'].words}: a tower in a process of its own hears nothing on a bus inside it; "
            "give kafka://host:port, or --db to read the servers' table (`belfry up` has a tower of its own)"
        )
    kafka = bus if isinstance(bus, KafkaUrl) else None
    heard = label(kafka) if kafka else "none: it reads the servers' table each 2 s, and can pass no verbs on"
    if settings["db"] is None:
        return kafka, None, (("bus", heard), ("database", "none: the story of redeploys is lost when it stops"))
    place = place_of(settings)
    # Not by the directory's lock, which is the server's: a tower only reads, and writes redeploys' stories.
    address = place.url if isinstance(place, Remote) else SqliteUrl(place.path)
    return kafka, address, (("bus", heard), ("database", place.label))


def _run(plan: Plan, logger: structlog.stdlib.BoundLogger) -> int:
    unusable: StoreUnusable | None = None
    code = 0
    try:
        code = trio.run(house, plan, logger)
    except* StoreUnusable as group:
        one: BaseException = group
        while isinstance(one, BaseExceptionGroup):
            one = one.exceptions[0]
        assert isinstance(one, StoreUnusable)
        unusable = one
    if unusable is not None:
        raise Wrong(str(unusable))
    return code


async def house(plan: Plan, logger: structlog.stdlib.BoundLogger) -> int:
    """Run one tower until a signal has stopped it; returns the exit code."""
    from belfry.up import verify_by
    from bus.open import open_bus
    from chat.tokens import Tokens
    from tower.config import Config
    from tower.server import serve_tower

    bus = open_bus(plan.bus, f"tower/{secrets.token_hex(4)}") if plan.bus is not None else None
    config = Config(version=__version__, open_dashboard=plan.open_dashboard)
    notifier = Notifier(plan.manager, logger)
    with trio.open_signal_receiver(*SIGNALS) as signals:
        async with trio.open_nursery() as watch:
            stop = Stop(watch, logger, notifier)
            watch.start_soon(stop.obey, signals)
            async with trio.open_nursery() as nursery:
                store = None
                if plan.database is not None:
                    store = LateStore(plan.database)
                    await nursery.start(store.run)
                verify = verify_by(Tokens(plan.secret.key))
                run = partial(serve_tower, config, store, bus, verify, listeners=plan.listeners)
                stop.server = await nursery.start(_until_stopped, run, nursery)
                _announce(plan, logger)
                notifier.ready(f"tower on {url(plan.listeners[0])}")
            watch.cancel_scope.cancel()
    return stop.code


async def _until_stopped(
    run: partial[object], nursery: trio.Nursery, *, task_status: trio.TaskStatus[TowerServer]
) -> None:
    """The tower's life ends the store's."""
    await run(task_status=task_status)  # type: ignore[misc]  # a partial of a coroutine function
    nursery.cancel_scope.cancel()


class Stop:
    """What a signal does: the first ends the tower, the second at once.

    SIGHUP is never the second: the end of a terminal sends more than one.
    """

    def __init__(self, nursery: trio.Nursery, logger: structlog.stdlib.BoundLogger, notifier: Notifier) -> None:
        self.server: TowerServer | None = None
        self.code = 0
        self._nursery = nursery
        self._logger = logger
        self._notifier = notifier

    async def obey(self, signals: AsyncIterator[int]) -> None:
        stopping = False
        async for number in signals:
            if stopping:
                if number == signal.SIGHUP:
                    continue
                os._exit(128 + number)
            stopping = True
            if self.server is None:
                self.code = 128 + number
                self._nursery.cancel_scope.cancel()
                return
            self._logger.info(f"{signal.Signals(number).name}: stopping")
            self._notifier.stopping("ending streams of events")
            self.server.stop()
            # A thread, since what may be stuck are a library's own: they outlive the event loop.
            abort = threading.Timer(LONGEST, self._abort)
            abort.daemon = True
            abort.start()

    def _abort(self) -> None:
        """End a stop that is stuck: nothing is lost by it, since a tower keeps nothing."""
        self._logger.error("the stop took too long and is cut off", after_s=LONGEST)
        sys.stderr.flush()
        os._exit(FAILED)


def _announce(plan: Plan, logger: structlog.stdlib.BoundLogger) -> None:
    addresses = list(dict.fromkeys(map(url, plan.listeners)))
    if not plan.human:
        logger.info("tower open", version=__version__, addresses=addresses, **dict(plan.knows), pid=os.getpid())
        return
    terminal, colours = sys.stderr.isatty(), has_colours(sys.stderr)
    read = (
        "without a token on this machine" if plan.open_dashboard else "with a token: belfry token --user NAME --admin"
    )
    rows = [
        *(("dashboard", address, BOLD) for address in addresses),
        ("reading", read, ""),
        *((name, words, "") for name, words in plan.knows),
        *(("unsafe", words, YELLOW) for words in plan.unsafe),
        ("stop", f"Ctrl-C, or kill {os.getpid()}: at once; servers and clients go on without it", ""),
    ]
    if not terminal:
        lines = [f"belfry: {name}: {words}" for name, words, _ in rows]
    else:
        head = f"  {painted('Belfry tower', BOLD, colours)} {__version__}"
        table = [
            f"  {painted(f'{name:<10}', DIM, colours)}{painted(words, colour, colours and colour != '')}"
            for name, words, colour in rows
        ]
        lines = ["", head, "", *table, ""]
    print("\n".join(lines), file=sys.stderr, flush=True)
