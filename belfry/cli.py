"""The command line: which command, its flags, and one line for everything a person can get wrong.

What a command needs is imported when it runs: `belfry --help` must not wait a second for a web framework.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from belfry import __version__
from belfry.errors import FAILED, OK, WRONG, Failed, Wrong, suggestion
from belfry.flags import Flag, help_text, parse
from belfry.sources import Settings, read_settings, warnings
from belfry.terminal import RED, YELLOW, has_colours, painted

Run = Callable[[Settings, Mapping[str, str], Mapping[str, str]], int]  # (settings, flags of the act, environment)

TOP = """\
usage: belfry COMMAND [flags]

A chat-room server that you can redeploy at noon.

What people do first:
  belfry up                  run it here and open the address it prints
  belfry token --user Ada    a token to connect with, for a program or curl
  belfry doctor              what this machine lacks, and what to do about it

Commands:
{commands}

belfry COMMAND --help tells its flags, each with default, unit and variable;
belfry --version the version. A setting is a flag, a variable BELFRY_<FLAG> or a
key of a TOML file (--config FILE), and counts in this order; then its default.
"""


@dataclass(frozen=True, slots=True)
class Command:
    """One command; a name of two words is a command and its verb."""

    name: str
    brief: str
    says: str
    run: Run
    own: tuple[Flag, ...] = ()
    subject: str = ""  # the flag that a word without one stands for: `belfry kick u_ada`


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 done and the answer is bad, 2 the call is wrong."""
    try:
        code = _run(list(sys.argv[1:] if argv is None else argv), os.environ)
        sys.stdout.flush()
    except Wrong as wrong:
        _say("belfry:", RED, str(wrong))
        return WRONG
    except Failed as failed:
        _say("belfry:", RED, str(failed))
        return FAILED
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as shells have it
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        # Whoever read our output has read enough, or it is a file on a full disk. The interpreter must not complain
        # once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.ENOSPC:
            _say("belfry:", RED, "the disk is full; nothing more can be written there")
        return FAILED
    return code


def _run(argv: list[str], environ: Mapping[str, str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(top_help(), end="")
        return OK if argv else WRONG
    if argv[0] in ("-V", "--version"):
        print(f"belfry {__version__}")
        return OK
    if argv[0] == "audit":
        return _audit(argv)
    if argv[1:] in (["--help"], ["-h"]) and (briefs := _briefs(f"{argv[0]} ")):
        print("\n".join([f"usage: belfry {argv[0]} VERB [flags]", "", *briefs]))
        return OK
    command, rest = _command(argv)
    flags = parse(command.name, command.own, rest, command.subject)
    if flags is None:
        print(help_text(command.name, command.says, command.own, command.subject), end="")
        return OK
    for warning in warnings(environ):
        _say("belfry: warning:", YELLOW, warning)
    settings = read_settings(command.name.split()[0], flags, environ)
    return command.run(settings, flags, environ)


def top_help() -> str:
    """What `belfry --help` prints."""
    return TOP.format(commands="\n".join(f"  {names:<15}{brief}" for names, brief in SHOWN))


def _briefs(prefix: str = "") -> list[str]:
    return [f"  {command.name:<16}{command.brief}" for command in COMMANDS if command.name.startswith(prefix)]


def _command(argv: list[str]) -> tuple[Command, list[str]]:
    names = {command.name: command for command in COMMANDS}
    verbs = [name.split()[1] for name in names if name.startswith(f"{argv[0]} ")]
    if verbs:
        verb = argv[1] if len(argv) > 1 else ""
        if verb in verbs:
            return names[f"{argv[0]} {verb}"], argv[2:]
        choice = " or ".join(f"`belfry {argv[0]} {one}`" for one in verbs)
        if not verb:
            raise Wrong(f"`belfry {argv[0]}` needs a verb: {choice}")
        raise Wrong(f'"{verb}" (argument) is no verb of `belfry {argv[0]}`; give {choice}{suggestion(verb, verbs)}')
    if argv[0] in names:
        return names[argv[0]], argv[1:]
    if argv[0].startswith("-"):
        raise Wrong(f"{argv[0]} (flag) stands before the command; write: belfry COMMAND {argv[0]}, e.g. belfry up")
    known = dict.fromkeys([name.split()[0] for name in names] + ["audit"])
    near = suggestion(argv[0].lower(), known) or f"; there are {', '.join(known)}"
    raise Wrong(f'"{argv[0]}" (argument) is no command{near}')


def _audit(argv: list[str]) -> int:
    import argparse

    from belfry.audit import cli as audit

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise Wrong(_of_argparse(message, commands.choices["audit"].format_usage()))

    parser = Parser(prog="belfry", allow_abbrev=False)
    commands = parser.add_subparsers(required=True)
    audit.add_parser(commands)
    return audit.run(parser.parse_args(argv))


def _of_argparse(message: str, usage: str) -> str:
    """A complaint of argparse in our words; its flags are those of the usage."""
    if message.startswith("unrecognized arguments: "):
        flag = message.removeprefix("unrecognized arguments: ").split()[0].partition("=")[0]
        near = suggestion(flag, re.findall(r"--[a-z-]+", usage), "--") or "; `belfry audit --help` lists them"
        return f"{flag} (flag) is not known{near}" if flag.startswith("-") else f'"{flag}" (argument) is one too many'
    return re.sub(r"^argument (\S+): ", r"\1 (flag): ", message) + "; belfry audit --help"


def _up(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    from belfry.up import run_up

    return run_up(settings, flags, os.environ)


def _serve(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    from belfry.up import run_serve

    return run_serve(settings, os.environ)


def _fleet(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    from belfry.supervisor.run import run_fleet

    return run_fleet(settings, flags, os.environ)


def _tower(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    from belfry.tower import run_tower

    return run_tower(settings, environ)


def _servers(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    from belfry.verbs import run_servers

    return run_servers(settings, flags, environ)


def _order(verb: str) -> Run:
    def run(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
        from belfry.verbs import run_order

        return run_order(verb, settings, flags, environ)

    return run


def _drain(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    from belfry.verbs import run_drain

    return run_drain(settings, flags, environ)


def _rollout_status(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    from belfry.verbs import run_rollout_status

    return run_rollout_status(settings, flags, environ)


def _token(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    from belfry.token import run_token

    return run_token(settings, flags, environ)


def _kick(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    from belfry.kick import run_kick

    return run_kick(settings, flags, environ)


def _migrate(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    from belfry.database import run_migrate

    return run_migrate(settings)


def _status(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    from belfry.database import run_status

    return run_status(settings, as_json="json" in flags)


def _bus_make(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    from belfry.bus import run_make

    return run_make(settings)


def _bus_status(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    from belfry.bus import run_status

    return run_status(settings, as_json="json" in flags)


def _doctor(settings: Settings, flags: Mapping[str, str], environ: Mapping[str, str]) -> int:
    from belfry.doctor import run_doctor

    return run_doctor(settings, environ, as_json="json" in flags)


JSON = Flag("json", "", "for programs")
SERVER = Flag("server", "ID", "which server (needed); may stand without the flag")
# What --help shows: what belongs together is one line, for all of it has to fit a screen.
SHOWN = (
    ("up", "all in one: SQLite, guests allowed, a room `lobby`, a dashboard"),
    ("serve, fleet", "one server; a server a port, kept alive, redeployed by SIGHUP"),
    ("tower", "the controller of a fleet, with its dashboard"),
    ("servers", "what a tower knows of them; rollout status: of redeploys"),
    ("drain, abort", "move a server's clients away; cordon, uncordon: its newcomers"),
    ("token, kick", "make a token for a user; send a user away, with --ban for good"),
    ("db, bus", "db migrate, db status; bus make, bus status"),
    ("doctor", "check open files, clock, disk, database, bus, secret and port"),
    ("audit", "clients that check that nothing is lost, doubled or reordered"),
)
COMMANDS = (
    Command("up", "all in one: SQLite, guests allowed, a room `lobby`",
            "Run one whole server here: its database and secret in one directory, guests allowed, a room `lobby`. "
            "A tower with its dashboard is beside it. SIGHUP redeploys it: new code, the same open connections. "
            "SIGTERM or Ctrl-C stops it whole; a second one stops it at once.", _up),
    Command("serve", "one server, on the database and bus that you name",
            "Run one server on a database and a bus that you name. It needs a secret in BELFRY_SECRET, or in the file "
            "that BELFRY_SECRET_FILE names; guests are off unless you allow them. SIGTERM, Ctrl-C and the end of its "
            "terminal drain it. It is not redeployed by SIGHUP: `belfry fleet` and `belfry up` are. For example: "
            "belfry serve --db mysql://user:password@db/belfry --bus kafka://broker:9092", _serve),
    Command("fleet", "a server a port, kept alive, redeployed by SIGHUP",
            "Run one `belfry serve` on each of --ports and keep them alive. SIGHUP redeploys them one after the other "
            "with the code that is on the disk then: the new process takes the open connections over. SIGTERM stops "
            "all. For example: belfry fleet --ports 8001,8002 --db mysql://user:password@db/belfry "
            "--bus kafka://broker:9092",
            _fleet),
    Command("tower", "the fleet's controller, with its dashboard",
            "Watch a fleet, tell clients and balancers where to go, pace drains, and pass the operator's verbs on. It "
            "needs the servers' bus, their secret in BELFRY_SECRET, and best their database. Two at once agree; with "
            "none the fleet goes on. For example: belfry tower --db mysql://user:password@db/belfry "
            "--bus kafka://broker:9092", _tower),
    Command("servers", "the fleet's servers: state, version, load",
            "Print the servers that a tower knows. What is wrong goes to stderr.", _servers,
            (JSON, Flag("watch", "", "print it anew each 2 s, until Ctrl-C"))),
    Command("cordon", "a server takes nobody new and keeps who it has",
            "belfry cordon ID: the tower and balancers send newcomers elsewhere; nobody is moved.", _order("cordon"),
            (SERVER, Flag("force", "", "also when no other server takes newcomers"), JSON), "server"),
    Command("uncordon", "a cordoned server takes newcomers again", "belfry uncordon ID ends a cordon.",
            _order("uncordon"), (SERVER, JSON), "server"),
    Command("drain", "move a server's clients to the others",
            "belfry drain ID moves everybody from a server to the others, at the pace that these can take, and leaves "
            "it cordoned, to be stopped. The command watches until it is over; Ctrl-C stops watching, not the drain. "
            "Exit code 1 when the drain was aborted.", _drain,
            (SERVER, Flag("rate", "N", "clients a second (default: what the others can well take)"),
             Flag("deadline", "TIME",
                  "everybody must have left by then: seconds, or 90s, 15m (default: the server's own)"),
             Flag("force", "", "also when no other server takes clients"),
             Flag("dry", "", "only say what would happen"), JSON), "server"),
    Command("abort", "end a drain; who is still there stays", "belfry abort ID ends a drain.", _order("abort"),
            (SERVER, JSON), "server"),
    Command("rollout status", "the redeploy that runs, or the last, and its verdict",
            "Tell the story of the redeploy that runs or was the last, and the verdicts of those before it.",
            _rollout_status, (JSON,)),
    Command("token", "make a token for a user",
            "Print a token for a user, signed with BELFRY_SECRET (or the file BELFRY_SECRET_FILE names), else with the "
            "secret that `belfry up` keeps in its data directory.", _token,
            (Flag("user", "NAME", "the name people see (needed)"),
             Flag("id", "ID", "who it is for ever, 1-64 visible ASCII characters (default: made from the name)"),
             Flag("ttl", "TIME", "how long it is good: seconds, or 15m, 24h, 7d (default 24h)"),
             Flag("admin", "", "the user may change and delete every room"))),
    Command("kick", "send a user away, with --ban for good",
            "belfry kick USER closes all sockets of a user, on every server of the fleet, through a server that runs. "
            "The admin token for it is made from BELFRY_SECRET, else from the secret in the data directory.", _kick,
            (Flag("user", "ID", "whom (needed); may stand without the flag: belfry kick u_ada"),
             Flag("ban", "", "also keep the user out until --unban"),
             Flag("unban", "", "let the user in again"),
             Flag("url", "URL", "a running server (default http://127.0.0.1:8000)")), "user"),
    Command("db migrate", "bring a database to this version's schema",
            "Apply the migrations that are missing. `belfry up` and `belfry serve` do so by themselves.", _migrate),
    Command("db status", "which schema a database has", "Tell a database's schema and what a migration would do; "
            "nothing is changed. Exit code 1 when it is not this version's.", _status, (JSON,)),
    Command("bus make", "make the topics on a Kafka cluster, mend what differs",
            "Make the topics that are missing and set what `belfry doctor` finds differing. `belfry serve` makes the "
            "missing ones by itself where it may.", _bus_make),
    Command("bus status", "what a Kafka cluster has of the topics", "Tell whether the brokers are reached and each "
            "topic is as it should be; nothing is changed. Exit code 1 when something is not.", _bus_status, (JSON,)),
    Command("doctor", "check open files, clock, disk, database, bus, secret and port",
            "Check what this machine, this database and this bus need to serve well: one line each, with what to do. "
            "Exit code 1 when a check fails.", _doctor, (JSON,)),
)  # fmt: skip


def _say(head: str, colour: str, text: str) -> None:
    line = " ".join(text.split("\n"))  # whatever a library's message holds, an error is one line
    print(painted(head, colour, has_colours(sys.stderr)), line, file=sys.stderr, flush=True)
