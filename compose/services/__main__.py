"""`python -m compose.services run|fetch`: the services for development, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from compose.services import SERVICES, Service, ServiceError
from compose.services.cache import say
from compose.services.ports import free_port, is_free

if TYPE_CHECKING:
    from collections.abc import Sequence

WATCH = 1.0  # seconds between looks whether all still run
AWAY = 10.0  # seconds that one which ended stays away: long enough to see how a server does without it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; 0 done, 1 a service failed, 2 the call is wrong."""
    parser = argparse.ArgumentParser(prog="python -m compose.services", description=__doc__, allow_abbrev=False)
    verbs = parser.add_subparsers(required=True, dest="verb")
    run = verbs.add_parser("run", help="start them, tell their addresses, stop them on Ctrl-C")
    run.add_argument("--data", type=Path, help="keep their data in this directory (default: a temporary one)")
    fetch = verbs.add_parser("fetch", help="only download and install what they need")
    for verb in (run, fetch):
        verb.add_argument("--only", nargs="+", choices=SERVICES, default=list(SERVICES), help="these only")
    args = parser.parse_args(argv)
    chosen = [SERVICES[name] for name in dict.fromkeys(args.only)]
    try:
        if args.verb == "fetch":
            for kind in chosen:
                kind.fetch()
            return 0
        return _run(chosen, args.data)
    except ServiceError as error:
        print(f"services: {error}", file=sys.stderr)
        return 1


def _run(chosen: Sequence[type[Service]], data: Path | None) -> int:
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with ExitStack() as stack:
        if data is None:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="belfry-services-")))
        running: list[Service] = []
        for kind in chosen:
            if stopped.is_set():
                return 0
            began = time.monotonic()
            service = kind(data / kind.name, _port(kind, data))
            stack.enter_context(service)
            stack.callback(say, f"stopping {kind.name}")
            running.append(service)
            say(f"{kind.name} {kind.version}: ready in {time.monotonic() - began:.1f} s at {service.url}")
        print(_how(running), flush=True)
        while not stopped.wait(WATCH):
            for service in running:
                if not service.is_running and not stopped.is_set():
                    _again(service, stopped)
    return 0


def _again(service: Service, stopped: threading.Event) -> None:
    """Start one that ended once more, and leave the others be: what they are here for is also to be killed."""
    say(f"{service.name} has ended, and is started again in {AWAY:g} s; its log is {service.log}")
    if not stopped.wait(AWAY):
        try:
            service.start()
        except ServiceError as error:
            say(str(error))
        else:
            say(f"{service.name} is ready again at {service.url}")


def _port(kind: type[Service], data: Path) -> int:
    """The port of old if the data was made with one, else the wanted one, else any: addresses stay what they were."""
    kept = data / f"{kind.name}.port"
    if kept.exists():
        return int(kept.read_text())
    port = kind.port_wanted if is_free(kind.port_wanted) else free_port()
    data.mkdir(parents=True, exist_ok=True)
    kept.write_text(str(port))
    return port


def _how(running: Sequence[Service]) -> str:
    urls = {service.name: service.url for service in running}
    lines = ["", "Ready. Their addresses:", *(f"  {name:<8} {url}" for name, url in urls.items())]
    database = urls.get("mysql") or urls.get("mariadb")
    if database:
        bus = urls.get("kafka", "memory:")
        lines += [
            "",
            "A server on them, in another terminal:",
            f"  belfry db migrate --db {database}",
            "  export BELFRY_SECRET=$(openssl rand -base64 48)",
            f"  belfry serve --port 8001 --guests --first-rooms lobby --db {database} --bus {bus}",
        ]
    return "\n".join([*lines, "", "Ctrl-C stops them."])


if __name__ == "__main__":
    sys.exit(main())
