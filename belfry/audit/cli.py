"""`belfry audit`: clients of our own against a running server, and a verdict on what it promised."""

from __future__ import annotations

import argparse
import itertools
import math
import os
import random
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any

import trio

from belfry.audit.address import Address, read_address
from belfry.errors import FAILED, OK, Wrong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from belfry.audit.client import Account
    from belfry.audit.run import Run
    from belfry.audit.verdict import Verdict

MOST_CLIENTS = 20_000  # in one process: file descriptors, and 40,000 deliveries/s on one core
URL = "http://127.0.0.1:8000"
TOKEN_TTL = 7 * 86_400.0  # seconds; longer than any run

EPILOG = """\
The clients are guests; where the server takes none, set BELFRY_SECRET or BELFRY_SECRET_FILE to the server's secret.
They talk in rooms of their own, which are deleted at the end if every promise held. Ctrl-C ends the talking early.
Exit code 0: every promise held; 1: one broke, could not be proven, or a bound was passed; 2: the call is wrong or the
server unreachable.
"""


def add_parser(subparsers: Any) -> None:
    """Add the command `audit`."""
    parser = subparsers.add_parser(
        "audit",
        allow_abbrev=False,
        description="Connect clients, let them talk, and check that nothing is lost, repeated, reordered or changed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--url",
        metavar="URL",
        type=_addresses,
        action="append",
        help=f"the server, as people open it; a fleet's with commas, or one each time (default {URL})",
    )
    given: list[tuple[str, str, Any, Any, str]] = [
        ("--clients", "N", _whole(1, MOST_CLIENTS), 50, "clients that connect"),
        ("--rooms", "M", _whole(1, 1_000), 5, "rooms they talk in, two each"),
        ("--rate", "R", _number(0.0), 20.0, "messages a second, of all clients together"),
        ("--seconds", "S", _number(0.0), 30.0, "how long they talk; 0 is until Ctrl-C"),
        ("--settle", "S", _number(0.0), 30.0, "seconds at the end in which every client must have everything"),
        ("--seed", "N", _whole(0, 2**63), None, "repeats a run's choices (default: a new one, which is told)"),
    ]
    for flag, metavar, kind, default, says in given:
        shown = (
            ""
            if default is None
            else f" (default {default:g})"
            if isinstance(default, float)
            else f" (default {default})"
        )
        parser.add_argument(flag, metavar=metavar, type=kind, default=default, help=says + shown)
    bounds = parser.add_argument_group("bounds", "what else is exit code 1 (default: nothing)")
    bounds.add_argument("--max-reconnects", metavar="N", type=_whole(0, 10_000), help="more of any one client")
    bounds.add_argument("--max-wait-ms", metavar="MS", type=_number(0.0), help="a longer wait for a message or an ack")
    bounds.add_argument("--max-herd", metavar="F", type=_number(1.0), help="a higher herd factor")
    parser.add_argument("--json", action="store_true", help="the verdict on stdout for programs")


def run(args: argparse.Namespace) -> int:
    """Run the audit; the exit code. Raises Wrong."""
    try:
        import httpx  # noqa: F401  # asked for here so that its absence is one line and not a traceback
    except ModuleNotFoundError:
        raise Wrong("`belfry audit` needs httpx: pip install httpx") from None
    from belfry.audit import report
    from belfry.audit.run import Load, Run

    seed = random.SystemRandom().getrandbits(32) if args.seed is None else args.seed
    load = Load(args.clients, args.rooms, args.rate, args.seconds or math.inf, seed, args.settle)
    first, *others = itertools.chain.from_iterable(args.url or [(read_address(URL),)])
    running = Run(load, first, others=tuple(others), account=_signer())
    bounds = report.Bounds(args.max_reconnects, args.max_wait_ms, args.max_herd)
    _need_files(load.clients)
    urls = ", ".join(address.http for address in (first, *others))
    print(f"audit of {urls}: {load.clients:,} clients, {load.rooms:,} rooms, seed {seed}", file=sys.stderr)
    verdict = trio.run(_run, running)
    if args.json:
        print(report.as_json(running, verdict, bounds))
    else:
        print("\n".join(report.lines(running, verdict, bounds)))
    return OK if verdict.ok and not bounds.passed(report.figures_of(running)) else FAILED


async def _run(running: Run) -> Verdict:
    from belfry.audit.api import Unreachable
    from belfry.audit.view import watch

    problems: list[str] = []  # noqa: F841  # used below; ruff does not follow except*
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_obey_signals, running.stop)
            nursery.start_soon(lambda: watch(running, sys.stderr, live=_is_terminal()))
            verdict = await running.run()
            nursery.cancel_scope.cancel()
    except* Unreachable as group:
        problem: BaseException = group
        while isinstance(problem, BaseExceptionGroup):
            problem = problem.exceptions[0]
        hint = (
            "; set BELFRY_SECRET or BELFRY_SECRET_FILE to the server's secret" if "guests_off" in str(problem) else ""
        )
        raise Wrong(f"cannot audit {problem}{hint}") from None
    return verdict


async def _obey_signals(stop: trio.Event) -> None:
    """The first ends the talking, the second everything."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if stop.is_set():
                raise KeyboardInterrupt
            stop.set()


def _is_terminal() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and shutil.get_terminal_size().columns > 0


def _signer() -> Callable[[str], Awaitable[Account]] | None:
    """Accounts signed with the server's secret where the environment tells it; else None, for guests."""
    from belfry.audit.client import Account
    from belfry.secret import given_secret

    secret = given_secret(os.environ)
    if secret is None:
        return None
    from chat.tokens import Tokens

    tokens = Tokens(secret.key)

    async def sign(name: str) -> Account:
        await trio.lowlevel.checkpoint()
        user = f"audit_{random.SystemRandom().getrandbits(64):x}"
        return Account(user, tokens.issue(user, name, TOKEN_TTL))

    return sign


def _need_files(clients: int) -> None:
    """Two connections a client while it moves, and some for ourselves."""
    import resource

    needed = 2 * clients + 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise Wrong(f"{clients:,} clients need {needed:,} open files; this shell allows {hard:,}: ulimit -Hn {needed}")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _addresses(text: str) -> tuple[Address, ...]:
    try:
        return tuple(read_address(url.strip()) for url in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f'"{text}" does not fit; give a whole number from {least} to {most}')
        return int(text)

    return read


def _number(least: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            raise argparse.ArgumentTypeError(f'"{text}" does not fit; give a number from {least:g} up')
        return value

    return read
