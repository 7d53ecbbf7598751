"""The table of settings. Flags, BELFRY_ variables, keys of the TOML file, --help and the reference page come from it.

`belfry/sources.py` reads it: a flag wins over the environment, that over the file, that over the default.
Not in the table: the secret (BELFRY_SECRET, BELFRY_SECRET_FILE; never a flag), and the flags of one act, such as
whom a token is for.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from belfry.kinds import ROOM_NAME, Address, Choice, Directory, Duration, Kind, Names, Number, Ports, Switch, Text, Url
from chat.config import Config, Limits

PREFIX = "BELFRY_"
SECRET_VARIABLES = ("BELFRY_SECRET", "BELFRY_SECRET_FILE")
FILE_VARIABLE = "BELFRY_CONFIG"

SERVERS = ("up", "serve", "fleet")
VERBS = ("servers", "cordon", "uncordon", "drain", "abort", "rollout")  # commands that ask a tower
LOCAL = ("doctor", "db", "token", "kick")  # commands that work on what a server left behind

FROM_CONFIG = {
    one.name: one.default for kind in (Limits, Config) for one in dataclasses.fields(kind) if one.name != "limits"
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `name` is the key in the file; None as default is "not set"."""

    name: str
    kind: Kind
    unit: str
    help: str
    group: str
    commands: tuple[str, ...]
    default: Any
    up_default: Any = None  # what `belfry up` has instead, when it is not None
    own: tuple[tuple[str, Any], ...] = ()  # (command, what it has instead)

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()

    def default_for(self, command: str) -> Any:
        if command == "up" and self.up_default is not None:
            return self.up_default
        return dict(self.own).get(command, self.default)

    def show_default(self, command: str) -> str:
        return self.kind.show(self.default_for(command))


def _of_config(
    group: str,
    name: str,
    kind: Kind,
    unit: str,
    help: str,
    *,
    commands: tuple[str, ...] = SERVERS,
    up: Any = None,
    own: tuple[tuple[str, Any], ...] = (),
) -> Setting:
    """A setting that is a field of chat's Config or Limits: its default is the field's, said in one place."""
    return Setting(name, kind, unit, help, group, commands, FROM_CONFIG[name], up, own)


WHERE = "Where it listens"
KEEPS = "What it keeps, and where"
WHO = "Who may come"
TIME = "Time"
LIMIT = "Limits (0 is without limit)"
LOG = "Logs"
GROUPS = (WHERE, KEEPS, WHO, TIME, LIMIT, LOG)

PORT = "{port}"  # in a public URL: the port, which `belfry fleet` fills in
ORIGIN = r"\*|https?://[^/\s,*]+"
ID_CHARS = 64  # of a server's id
MOST = 1_000_000_000  # of anything countable: over it a slip of the hand, and still a C int
COUNT = Number(0, MOST)
BYTES = Number(0, MOST, metavar="BYTES")

TABLE: tuple[Setting, ...] = (
    _of_config(WHERE, "host", Text(r"[^\s/]+", "a host name or an address of this machine", "HOST"), "",
               "address to listen on; 0.0.0.0 or :: is all of this machine's", commands=(*SERVERS, "tower", "doctor")),
    _of_config(WHERE, "port", Number(0, 65_535, metavar="PORT"), "", "port to listen on; 0 is any free one",
               commands=("up", "serve", "tower", "doctor"), own=(("tower", 8900),)),
    Setting("ports", Ports(), "", "ports to listen on, one server each", WHERE, ("fleet",), None),
    Setting("tower_port", Number(0, 65_535, metavar="PORT"), "",
            "port of the tower and its dashboard; 0 is any free one, as is a taken one unless you name it", WHERE,
            ("up",), 8900),
    _of_config(WHERE, "server_id",
               Text(rf"[A-Za-z0-9._-]{{1,{ID_CHARS}}}", f"1-{ID_CHARS} of A-Z a-z 0-9 . _ -", "ID"), "",
               "this server's name among the others; `belfry fleet` appends the port"),
    _of_config(WHERE, "public_url",
               Url(("http", "https", "ws", "wss"), "a URL such as https://chat.example.org", PORT), "",
               "where clients reach this server, when that is not where it listens; `belfry fleet` fills {port} in"),
    _of_config(WHERE, "tower", Url(("http", "https"), "a URL such as https://tower.example.org"), "",
               "the tower's address; of a server, as clients reach it: it tells them where to go when that is gone",
               commands=("serve", "fleet", *VERBS), own=tuple((verb, "http://127.0.0.1:8900") for verb in VERBS)),
    Setting("data", Directory(), "", "directory of the database and the secret; made if missing", KEEPS,
            ("up", *LOCAL, *VERBS), Path("belfry-data")),
    Setting("db", Address(("sqlite", "mysql"), "sqlite:////absolute/file or mysql://user:password@host:port/name"), "",
            "address of the database; others can read flags, so give one with a password as a variable",
            KEEPS, ("serve", "fleet", "tower", *LOCAL), None),
    Setting("bus", Address(("memory", "kafka"), "memory: or kafka://host:port,host:port"), "",
            "events between servers; memory: is inside this process only", KEEPS,
            ("serve", "fleet", "tower", "doctor", "bus"), None),
    _of_config(KEEPS, "first_rooms",
               Names(ROOM_NAME.pattern, "rooms' names with commas between: 1-64 of a-z 0-9 . _ - each"), "",
               "rooms made at the start if they are missing", up=("lobby",)),
    _of_config(WHO, "guests", Switch(), "", "anybody may come in under a name of their choice", up=True),
    _of_config(WHO, "token_ttl", Duration(1), "", "how long a guest's token is good"),
    _of_config(WHO, "origins", Names(ORIGIN, "origins such as https://example.org with commas between, or *"), "",
               "pages of other sites that may connect; the server's own always may"),
    Setting("open_dashboard", Switch(), "",
            "the tower shows the fleet without a token to whoever sits at its machine; verbs always need one", WHO,
            ("up", "tower"), False, True),
    _of_config(TIME, "heartbeat", Duration(0.1, 3_600), "",
               "time between pings; who is silent for twice that is disconnected"),
    _of_config(TIME, "reconnect_window", Duration(0, 3_600), "",
               "time over which clients spread their first retry after a crash"),
    _of_config(TIME, "drain_deadline", Duration(0, 3_600), "", "longest time from SIGTERM to the end"),
    Setting("ready_deadline", Duration(0.1, 3_600), "", "longest time from a server's start until it is ready", TIME,
            ("up", "fleet"), 60.0),
    _of_config(LIMIT, "send_rate", Number(0, MOST, whole=False), "messages/s",
               "a session's messages in the long run"),
    _of_config(LIMIT, "send_burst", COUNT, "messages", "a session's messages at once"),
    _of_config(LIMIT, "text_chars", COUNT, "characters", "length of one message"),
    _of_config(LIMIT, "frame_bytes", BYTES, "bytes", "size of one frame from a client"),
    _of_config(LIMIT, "outbox_bytes", BYTES, "bytes", "unsent to one slow reader before it is disconnected"),
    _of_config(LIMIT, "rooms_per_session", COUNT, "rooms", "rooms one session may be in"),
    _of_config(LIMIT, "sessions_per_user", COUNT, "sessions", "sessions one user may have; the oldest goes first"),
    _of_config(LIMIT, "connections", COUNT, "connections", "open connections; over it 503",
               commands=(*SERVERS, "doctor")),
    _of_config(LIMIT, "handshakes_per_second", COUNT, "per second", "new websockets; over it 503 with Retry-After"),
    Setting("log_level", Choice(("debug", "info", "warning", "error")), "",
            "the least that is logged", LOG, (*SERVERS, "tower"), "info"),
    Setting("log_format", Choice(("auto", "human", "json")), "",
            "auto: human on a terminal, JSON lines otherwise", LOG, (*SERVERS, "tower"), "auto"),
)  # fmt: skip

BY_NAME: dict[str, Setting] = {setting.name: setting for setting in TABLE}


def settings_of(command: str) -> tuple[Setting, ...]:
    """The settings that a command reads, in the table's order."""
    return tuple(setting for setting in TABLE if command in setting.commands)


def config_fields() -> frozenset[str]:
    """The settings that go into chat's Config, its Limits included, under the same name."""
    return frozenset(FROM_CONFIG) & frozenset(BY_NAME)
