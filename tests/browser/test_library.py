"""belfry.js without a browser: in Node, against a real server that is killed, stopped and started again."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.browser.conftest import MakeServer, Server

TALK = Path(__file__).resolve().parent.parent / "web" / "talk.mjs"
PATIENCE = 60.0  # seconds for anything to happen; a client's longest backoff is 30


class Talker:
    """A Node process that runs belfry.js, what it is told to say and what it tells."""

    def __init__(self, server: Server, name: str) -> None:
        node = shutil.which("node")
        assert node, "Node 18 or newer is needed for this test; get it, e.g. apt-get install nodejs"
        environment = {**os.environ, "BELFRY_URL": server.url, "BELFRY_TOKEN": server.guest(name)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([node, str(TALK)], env=environment, stdin=pipe, stdout=pipe, text=True)
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.told: list[dict[str, Any]] = []

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))

    def say(self, text: str) -> None:
        """Send a message."""
        self._write({"say": text})

    def _write(self, line: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()

    def wait(self, event: str, **fields: Any) -> None:
        """Read on until it tells this."""
        deadline = time.monotonic() + PATIENCE
        while True:
            told = self._lines.get(timeout=max(0.1, deadline - time.monotonic()))
            self.told.append(told)
            if told["event"] == event and all(told[name] == value for name, value in fields.items()):
                return

    def heard(self) -> list[tuple[int, str]]:
        """Number and text of each message it was handed, in its order."""
        return [(told["seq"], told["text"]) for told in self.told if told["event"] == "message"]

    def end(self) -> None:
        """Let it go."""
        if self._process.poll() is None:
            self._write({"end": True})
            self._process.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._reader.join(10)


def test_over_kills_and_drains_each_message_once_and_in_order(make_server: MakeServer) -> None:
    server = make_server("--drain-deadline", "5s")
    server.start()
    ada, bo = Talker(server, "Ada"), Talker(server, "Bo")
    try:
        for talker in (ada, bo):
            talker.wait("state", name="live")
        for i in range(60):
            if i in (15, 45):
                server.kill()
            if i == 30:
                assert server.stop() == 0
            if i in (20, 35, 50):
                server.start()
                for talker in (ada, bo):
                    talker.wait("state", name="live")
            ada.say(f"ada {i}")
            bo.say(f"bo {i}")
        for talker, name in ((ada, "ada"), (bo, "bo")):
            talker.wait("ack", text=f"{name} 59")
            talker.say(f"{name} at last")
            talker.wait("ack", text=f"{name} at last")
        truth = [(message["seq"], message["text"]) for message in server.history("lobby")]
        for talker in (ada, bo):
            while talker.heard()[-1:] != truth[-1:]:
                talker.wait("message")
    finally:
        ada.end()
        bo.end()

    assert [seq for seq, _ in truth] == list(range(1, 123))
    for name in ("ada", "bo"):
        said = [text for _, text in truth if text.startswith(name)]
        assert said == [*(f"{name} {i}" for i in range(60)), f"{name} at last"]
    for talker in (ada, bo):
        assert talker.heard() == truth
        acknowledged = [(told["seq"], told["text"]) for told in talker.told if told["event"] == "ack"]
        assert set(acknowledged) <= set(truth)
        assert len(acknowledged) == 61
        assert not [told for told in talker.told if told["event"] in ("gap", "refused", "shut", "error")]
