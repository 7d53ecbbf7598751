"""What one chat server can be told, already checked: no environment, no files, no defaults from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds a server sets to its clients. 0 is without limit."""

    send_rate: float = 20.0  # messages a second a session: a fast typist with a bot's help
    send_burst: int = 60  # messages at once; a phone that comes back sends what waited
    text_chars: int = 4_000  # code points of one message: two printed pages
    frame_bytes: int = 65_536  # of one client frame: 4,000 characters of 4 bytes, escaped, with room to spare
    outbox_bytes: int = 1_048_576  # unsent to one reader before it is closed 4001: 5 s at 1,000 messages/s of 200 B
    rooms_per_session: int = 100  # rooms one socket may be in
    sessions_per_user: int = 20  # sockets one user may have; the oldest is closed 4502
    connections: int = 10_000  # sockets, over which connects get 503: 25 KB each, 250 MB
    handshakes_per_second: int = 500  # websocket upgrades taken a second; the rest get 503 with Retry-After


@dataclass(frozen=True, slots=True)
class Config:
    """One chat server."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0: any free one
    server_id: str = "s1"
    boot: str = ""  # this start of this server: random, new at each; with server_id it is our name on the bus
    version: str = "0"
    secret: bytes = field(default=b"", repr=False)  # HS256 key, at least 32 bytes
    guests: bool = False  # POST /v1/guests gives tokens to anybody
    token_ttl: float = 86_400.0  # seconds a guest's token is good
    origins: tuple[str, ...] = ()  # allowed Origin values besides the server's own host; "*" is any
    public_url: str | None = None  # where clients reach this server, when it is not where it listens
    tower: str | None = None  # where clients may ask for a server when this one is gone
    heartbeat: float = 25.0  # seconds between pings; a silent client is closed 4002 after twice that
    reconnect_window: float = 2.0  # seconds over which clients spread their first retry after a crash
    drain_deadline: float = 25.0  # seconds from SIGTERM to exit, inside Kubernetes' 30
    first_rooms: tuple[str, ...] = ()  # made at start if they are missing
    limits: Limits = Limits()
