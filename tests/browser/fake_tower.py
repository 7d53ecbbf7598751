"""A tower whose fleet does what a test says: the dashboard's files, the API and the events, on a port of its own.

The real one serves the same; here a test can have a server fall silent, a rollout begin and a thousand servers at once.
"""

from __future__ import annotations

import json
import mimetypes
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

WEB = Path(__file__).resolve().parent.parent.parent / "tower" / "web"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
BEAT = 0.5  # seconds between fleet events; the real tower's 2 s would only make the tests slow
TOKEN, GUEST = "an-admin", "a-guest"


def server(id: str, sessions: int = 300, state: str = "ready", **others: Any) -> dict[str, Any]:
    """A server as the API tells it, with five minutes behind it."""
    now = time.time()
    history = [[round(now) - 300 + 2 * i, sessions + (i * 7) % 23, 40 + (i * 5) % 11] for i in range(150)]
    port = 8000 + int("".join(filter(str.isdigit, id)) or 0)
    return {
        "id": id, "boot": f"b-{id}", "url": f"http://10.0.0.7:{port}", "version": "0.2.0", "state": state,
        "sessions": sessions, "sends_per_second": 41.5, "deliveries_per_second": 12_310.0, "commit_p99_ms": 4.2,
        "handshakes_per_second": 200.0, "handshakes_peak": 12, "started_at": now - 7_300, "seen_at": now - 1,
        "age_s": 1.0, "history": history, "drain": None,
    } | others  # fmt: skip


def step(name: str, server: str = "", index: int = 0, **others: Any) -> dict[str, Any]:
    """A step of a rollout."""
    made = {"server": server, "index": index, "step": name, "moved": 0, "drained": 0, "stall_ms": 0.0, "why": ""}
    return made | {"at": time.time()} | others


def rollout(id: str = "r1", state: str = "running", **others: Any) -> dict[str, Any]:
    """A rollout of four servers."""
    now = time.time()
    return {
        "id": id, "fleet": "host-7:8001-8004", "began_at": now - 9, "ended_at": None if state == "running" else now,
        "state": state, "version_from": "0.1.0", "version_to": "0.2.0", "servers": 4, "moved": 0, "drained": 0,
        "longest_stall_ms": 0.0, "why": "", "steps": [],
    } | others  # fmt: skip


class FakeTower:
    """What it tells stands in its attributes; `tell()` sends it at once."""

    def __init__(self) -> None:
        self.servers = [server(f"s{i}") for i in range(1, 5)]
        self.rollout: dict[str, Any] | None = None
        self.wrong: list[str] = []
        self.past: list[dict[str, Any]] = []
        self.tokens: dict[str, int] = {}  # token -> status; empty: reading and verbs need none
        self.reading_is_open = True
        self.refusals: list[tuple[int, str, str]] = []  # what the next questions and orders are answered with
        self.orders: list[tuple[str, str, dict[str, Any]]] = []  # what was done: server, verb, options
        self.asked: list[tuple[str, str, dict[str, Any]]] = []  # what was only asked
        self.silent = False  # streams stay open, and nothing comes
        self._notes: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._generation = 0
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, the second time on the same port."""
        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Listen no more, and end every stream."""
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        with self._changed:
            self._generation += 1
            self._changed.notify_all()

    def tell(self) -> None:
        """Send the fleet as it is now."""
        with self._changed:
            self._changed.notify_all()

    def note(self, text: str, level: str = "info", at: float | None = None) -> None:
        """Something happened."""
        with self._changed:
            self._notes.append({"at": at or time.time(), "level": level, "text": text})
            self._changed.notify_all()

    def one(self, id: str) -> dict[str, Any]:
        """A server, to be changed."""
        return next(server for server in self.servers if server["id"] == id)

    def fleet(self) -> dict[str, Any]:
        """The body of GET /v1/servers and of each `fleet` event."""
        return {"now": time.time(), "servers": self.servers, "rollout": self.rollout, "wrong": self.wrong}

    def stream(self) -> Any:
        """Pieces of one stream of events."""
        generation, told = self._generation, 0
        yield "retry: 1000\n\n"
        while self._generation == generation:
            with self._changed:
                notes, told = self._notes[told:], len(self._notes)
            if not self.silent:
                for note in notes:
                    yield f"event: note\ndata: {json.dumps(note)}\n\n"
                yield f"event: fleet\ndata: {json.dumps(self.fleet())}\n\n"
            with self._changed:
                self._changed.wait(BEAT)


def _handler(tower: FakeTower) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"  # a connection each: one that is kept would outlive `stop`

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if not parts.path.startswith("/v1/"):
                self._file(parts.path)
            elif self._let_in(reading=True):
                if parts.path == "/v1/events":
                    self._events()
                elif parts.path == "/v1/rollouts":
                    limit = int(parse_qs(parts.query)["limit"][0])
                    self._json(200, {"rollouts": tower.past[:limit]})
                else:
                    self._json(200, tower.fleet())

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not self._let_in(reading=False):
                return
            parts = urlsplit(self.path)
            _, _, _, id, verb = parts.path.split("/")
            dry = parse_qs(parts.query).get("dry") == ["1"]
            (tower.asked if dry else tower.orders).append((id, verb, body))
            if tower.refusals and not body.get("force"):
                status, code, message = tower.refusals.pop(0)
                self._json(status, {"code": code, "message": message})
                return
            pace = body.get("per_second", 100)
            says = {"drain": f"{tower.one(id)['sessions']:,} people will be moved at {pace:g} a second"}.get(verb)
            self._json(200 if dry else 202, {"order": "" if dry else "o1", "says": says or f"{id} gets {verb}"})

        def _let_in(self, *, reading: bool) -> bool:
            anonymous = "Authorization" not in self.headers  # who shows a token is held to it, as by the real tower
            if not tower.tokens or (reading and tower.reading_is_open and anonymous):
                return True
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            status = tower.tokens.get(token, 401)
            if status != 200:
                self._json(status, {"code": "bad_token", "message": "no"})
            return status == 200

        def _file(self, path: str) -> None:
            file = WEB / (path.lstrip("/") or "index.html")
            if not file.is_file():
                self._json(404, {"code": "not_found", "message": "nothing is here"})
                return
            kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            self._answer(200, kind, file.read_bytes())

        def _json(self, status: int, body: object) -> None:
            self._answer(status, "application/json", json.dumps(body).encode())

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(HTTPStatus(status))
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def _events(self) -> None:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                for piece in tower.stream():
                    self.wfile.write(piece.encode())
            except OSError:
                pass  # nobody looks any more

    return Handler
