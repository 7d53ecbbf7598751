"""The composition root of one server: binds its port, opens store and bus, runs chat's server, and obeys signals.

The order is the order in which a person can be wrong: port, directory, secret, database; only then the server, whose
import takes most of the start.
"""

from __future__ import annotations

import gc
import os
import secrets
import signal
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from belfry import __version__, logs
from belfry.announce import Facts
from belfry.bus import bus_of, label
from belfry.database import Remote, make_directory, opened, place_of
from belfry.errors import FAILED, Failed, Wrong, first_of
from belfry.files import OWN_FILES, raise_file_limit
from belfry.listen import CannotListen, is_public, listening, url
from belfry.notify import VARIABLE, Notifier
from belfry.secret import Secret, given_secret, made_secret, needed_secret, open_to_others
from belfry.settings import PORT, config_fields
from belfry.supervisor.inside import inside
from belfry.supervisor.messages import Adopted, Serving
from belfry.taken import check_name
from belfry.terminal import has_colours
from bus.url import MemoryUrl
from chat.config import Config, Limits
from chat.handover.channel import ChannelBroken
from chat.handover.give import HandoverFailed
from db.errors import StoreUnavailable, StoreUnusable

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping

    import structlog

    from belfry.database import Place
    from belfry.sources import Settings
    from belfry.supervisor.inside import Inside
    from bus.memory import Exchange
    from bus.url import BusUrl
    from chat.server import ChatServer
    from chat.tokens import Tokens
    from db.store import Store

    Serve = Callable[..., Awaitable[None]]

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

SWITCH = 0.001  # seconds the event loop may keep the GIL from the database thread: at 5 ms commits starved
# Objects made before the youngest are collected, and how often the elder are: Python's own 700 is for programs of a few
# thousand. Here 5,000 sessions are 300,000, and while they moved a fifth of the time went into collections.
COLLECT = (10_000, 50, 2)
LATE = 2.0  # seconds past the drain's own deadline; with it 27 of Kubernetes' 30


class Server(Protocol):
    """What chat's server gives once it takes connections."""

    def drain(self) -> None:
        """Begin the planned stop; `serve` returns when it is done."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that was checked before the event loop starts."""

    config: Config
    secret: Secret
    place: Place | Remote
    listeners: list[socket.socket]
    unsafe: tuple[str, ...]
    human: bool
    bus: BusUrl = field(default_factory=MemoryUrl)
    manager: str = ""  # the socket of whoever wants to know when it serves; "" is nobody
    within: Inside | None = None  # the supervisor, if there is one
    open_dashboard: bool = False  # of the tower beside it


def run_up(settings: Settings, flags: Mapping[str, str], environ: MutableMapping[str, str]) -> int:
    """`belfry up`: everything in one directory, under a supervisor. Returns the exit code; raises Wrong."""
    _need_filled(settings)
    within = inside(environ)
    if within is None:
        from belfry.supervisor.run import run_up as supervise

        return supervise(settings, flags, environ)
    make_directory(settings)
    secret = given_secret(environ) or made_secret(settings["data"])
    return _run(settings, secret, within.chat, environ, within)


def run_serve(settings: Settings, environ: MutableMapping[str, str]) -> int:
    """`belfry serve`: one server on a named database and bus. Returns the exit code; raises Wrong."""
    for name, example in (("db", "sqlite:////var/lib/belfry/belfry.db"), ("bus", "memory: or kafka://h:9092")):
        if settings[name] is None:
            raise Wrong(f"`belfry serve` needs --{name} (flag) or BELFRY_{name.upper()} (variable), e.g. {example}")
    _need_filled(settings)
    secret = needed_secret(environ)
    within = inside(environ)
    if within is not None:
        return _run(settings, secret, within.chat, environ, within)
    with _listening(settings) as listeners:
        return _run(settings, secret, listeners, environ)


def _need_filled(settings: Settings) -> None:
    """A pattern is no address, and clients would be sent to it."""
    if PORT in (settings["public_url"] or ""):
        raise Wrong(f"{settings.lead('public_url')}only `belfry fleet` fills {PORT} in; give the port itself")


def config_of(settings: Settings, secret: bytes, port: int) -> Config:
    """Chat's Config from the settings; `port` is the one that was bound, in place of 0."""
    limits = {one.name for one in fields(Limits)}
    values = {name: settings[name] for name in config_fields() if name in settings.values}
    return replace(
        Config(
            secret=secret,
            boot=secrets.token_hex(4),
            version=__version__,
            limits=Limits(**{name: value for name, value in values.items() if name in limits}),
            **{name: value for name, value in values.items() if name not in limits},
        ),
        port=port,
    )


def unsafe_of(settings: Settings, secret: Secret, listeners: list[socket.socket], files: int | None) -> tuple[str, ...]:
    """What a person should know before others reach this server."""
    said = []
    if settings["guests"]:
        who = "everybody who reaches this machine" if any(map(is_public, listeners)) else "everybody on this machine"
        said.append(f"guests are on: {who} may come in; --no-guests turns them off")
    if any(map(is_public, listeners)) and not (settings["public_url"] or "").startswith(("https:", "wss:")):
        said.append("other machines reach it without TLS; put a proxy with TLS before it")
    if secret.made:
        said.append(f"the secret was made up now and is kept in {secret.path}, mode 0600; who has it can be anybody")
    elif open_to_others(secret):
        said.append(f"the secret in {secret.path} can be read by other users; chmod 600 {secret.path}")
    if "*" in settings["origins"]:
        said.append("pages of every site may connect; --origins names the ones that may")
    wanted = settings["connections"] + OWN_FILES
    if files is not None and files < wanted:
        said.append(f"{files:,} open files are allowed, {wanted:,} may be needed; ulimit -n {wanted}, or --connections")
    return tuple(said)


@contextmanager
def _listening(settings: Settings) -> Iterator[list[socket.socket]]:
    try:
        with listening(settings["host"], settings["port"]) as listeners:
            yield listeners
    except CannotListen as cannot:
        raise Wrong(settings.lead(cannot.setting) + str(cannot)) from None


def _run(
    settings: Settings,
    secret: Secret,
    listeners: list[socket.socket],
    environ: Mapping[str, str],
    within: Inside | None = None,
) -> int:
    logger = logs.set_up(settings["log_level"], settings["log_format"], secrets=(secret.key,))
    plan = Plan(
        config=config_of(settings, secret.key, listeners[0].getsockname()[1]),
        secret=secret,
        place=place_of(settings),
        bus=bus_of(settings) or MemoryUrl(),
        listeners=listeners,
        unsafe=unsafe_of(settings, secret, listeners, raise_file_limit()),
        human=logs.is_human(settings["log_format"], sys.stderr),
        manager=environ.get(VARIABLE, ""),
        within=within,
        open_dashboard=settings.values.get("open_dashboard", False),
    )
    from chat.server import serve  # most of the start's time: Quart and Hypercorn

    sys.setswitchinterval(SWITCH)
    gc.freeze()  # what was imported stays, and a full collection that looked through it all would stop everybody
    gc.set_threshold(*COLLECT)
    code, failure = 0, None
    try:
        code = trio.run(house, plan, serve, logger)
    except* (StoreUnusable, StoreUnavailable, HandoverFailed, ChannelBroken, Wrong) as group:
        failure = first_of(group)  # raised below: what an except* clause raises comes out as a group again
    if failure is not None:
        raise (Wrong if isinstance(failure, (StoreUnusable, Wrong)) else Failed)(str(failure))
    return code


async def house(plan: Plan, serve: Serve, logger: structlog.stdlib.BoundLogger) -> int:
    """Run one server until a signal has stopped it; returns the exit code."""
    from bus.memory import Exchange
    from bus.open import open_bus
    from chat.tokens import Tokens

    # Others know each start by a name of its own, so that the members of the one before can leave together.
    addresses = tuple(dict.fromkeys(map(url, plan.listeners)))  # now: a stop may close them at any moment
    dashboard = url(plan.within.tower[0]) if plan.within is not None and plan.within.tower else ""
    origin = f"{plan.config.server_id}/{plan.config.boot}"
    exchange = Exchange()
    bus = exchange.bus(origin) if isinstance(plan.bus, MemoryUrl) else open_bus(plan.bus, origin)
    tokens = Tokens(plan.config.secret)
    notifier = Notifier(plan.manager, logger)
    notifier.status("opening the database")
    # Signals are received before anything can be left half open, and until everything is closed.
    with trio.open_signal_receiver(*SIGNALS) as signals:
        async with trio.open_nursery() as watch:
            within = plan.within
            successor = within is not None and within.successor
            pid = within.supervisor if within is not None else None
            stop = Stop(watch, logger, notifier, plan.config.drain_deadline, pid)
            watch.start_soon(stop.obey, signals)
            opening = opened(plan.place, successor=successor, pid=pid)
            async with opening as (store, migrated, lock), trio.open_nursery() as nursery:
                if isinstance(plan.place, Remote):  # the embedded database has a lock for this
                    await check_name(store, plan.config)
                run = partial(serve, plan.config, store, bus, tokens, listeners=plan.listeners)
                if within is not None and within.successor:
                    run = partial(run, predecessor=(await within.predecessor(__version__), lock))
                server: ChatServer = await nursery.start(_until_done, run, nursery)
                stop.server = server
                if within is not None and within.tower:
                    await nursery.start(partial(beside, plan, store, exchange, tokens, within.tower))
                if not successor:
                    _announce(plan, addresses, dashboard, migrated, logger)
                notifier.ready(f"serving on {addresses[0]}")
                if within is not None:
                    await _report(plan, within, server)
                    who = Adopted(os.getpid(), __version__, plan.config.boot, len(within.chat))
                    nursery.start_soon(within.obey, server, lock, server.hub.publish, who, logger)
            watch.cancel_scope.cancel()
    return stop.code


async def _until_done(
    run: Callable[..., Awaitable[None]], nursery: trio.Nursery, *, task_status: trio.TaskStatus[ChatServer]
) -> None:
    """The server's life ends everything that lives beside it."""
    await run(task_status=task_status)
    nursery.cancel_scope.cancel()


async def beside(
    plan: Plan,
    store: Store,
    exchange: Exchange,
    tokens: Tokens,
    listeners: list[socket.socket],
    *,
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    """The tower of `belfry up`, in the same process as its one server, until cancelled."""
    from tower.config import Config as TowerConfig
    from tower.server import serve_tower

    config = TowerConfig(version=__version__, open_dashboard=plan.open_dashboard)
    bus = exchange.listener(f"tower/{plan.config.boot}")
    await serve_tower(config, store, bus, verify_by(tokens), listeners=listeners, task_status=task_status)


def verify_by(tokens: Tokens) -> Callable[[str], tuple[str, bool]]:
    """What a tower asks of a token: whose it is, and whether an administrator's."""
    from chat.errors import Refused
    from tower.errors import BadToken

    def verify(token: str) -> tuple[str, bool]:
        try:
            identity = tokens.verify(token)
        except Refused as refused:
            raise BadToken(str(refused)) from None
        return identity.user_id, identity.admin

    return verify


async def _report(plan: Plan, within: Inside, server: ChatServer) -> None:
    """Tell the supervisor that we serve, and how we came to. One that is gone is noticed by `Inside.obey`."""
    taken = server.taken
    moved, left, stall = (taken.moved, taken.left_behind, taken.stall_ms) if taken is not None else (0, 0, 0.0)
    with suppress(ChannelBroken):
        await within.tell(Serving(__version__, plan.config.boot, moved, left, stall))


class Stop:
    """What a signal does: before the server is up it ends the start; then the first drains, the second ends all.

    SIGHUP, which is also what the end of a terminal sends, and that more than once, is never the second. To a server
    that has a supervisor it does nothing: it is meant for that.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        logger: structlog.stdlib.BoundLogger,
        notifier: Notifier,
        deadline: float,
        supervisor: int | None,
    ) -> None:
        self.server: Server | None = None
        self.code = 0
        self._nursery = nursery
        self._logger = logger
        self._notifier = notifier
        self._deadline = deadline
        self._supervisor = supervisor

    async def obey(self, signals: AsyncIterator[int]) -> None:
        draining = False
        async for number in signals:
            name = signal.Signals(number).name
            if number == signal.SIGHUP and (draining or self._supervisor is not None):
                if self._supervisor is not None:
                    self._logger.warning(f"SIGHUP: send it to process {self._supervisor}, which redeploys this server")
                continue
            if draining:
                self._logger.warning(f"{name}: stopped at once")
                # Not a cancel: a commit in its thread cannot be cancelled, and nothing acknowledged is lost by this.
                sys.stderr.flush()
                os._exit(128 + number)
            if self.server is None:
                self.code = 128 + number
                self._nursery.cancel_scope.cancel()
                return
            draining = True
            self._logger.info(f"{name}: stopping, in {self._deadline:g} s at most; a second one stops at once")
            self._notifier.stopping(f"moving its clients, in {self._deadline:g} s at most")
            self.server.drain()
            self._nursery.start_soon(self._abort)

    async def _abort(self) -> None:
        """End a stop that is stuck: what was acknowledged is durable, the rest was not promised."""
        await trio.sleep(self._deadline + LATE)
        self._logger.error("the stop took too long and is cut off", after_s=self._deadline + LATE)
        self.code = FAILED
        self._nursery.cancel_scope.cancel()


def _announce(
    plan: Plan, addresses: tuple[str, ...], dashboard: str, migrated: str, logger: structlog.stdlib.BoundLogger
) -> None:
    facts = Facts(
        version=__version__,
        addresses=addresses,
        database=plan.place.label,
        bus=label(plan.bus),
        migrated=migrated,
        unsafe=plan.unsafe,
        pid=plan.within.supervisor if plan.within is not None else os.getpid(),
        server=os.getpid(),
        redeploys=plan.within is not None,
        dashboard=dashboard,
        deadline=plan.config.drain_deadline,
    )
    if not plan.human:
        logger.info("open", **facts.event())
        return
    lines = facts.lines(terminal=sys.stderr.isatty(), colours=has_colours(sys.stderr))
    print("\n".join(lines), file=sys.stderr, flush=True)
