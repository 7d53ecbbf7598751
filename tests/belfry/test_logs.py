"""Logs: one way out for structlog and the stdlib, JSON or human, and nothing secret in them."""

from __future__ import annotations

import io
import json
import logging
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from belfry import logs
from belfry.terminal import has_colours

if TYPE_CHECKING:
    from collections.abc import Iterator

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1In0.c2lnbmF0dXJl"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers, root.level = before[0], before[1]
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_structlog_and_the_stdlib_take_one_way_out() -> None:
    stream = io.StringIO()
    logger = logs.set_up("info", "auto", stream=stream)
    logger.info("opened", port=8000)
    logging.getLogger("hypercorn.error").warning("it says %s", "so", extra={"client": "c1"})
    logger.debug("not this")
    first, second = lines(stream)
    assert first.items() >= {"event": "opened", "port": 8000, "level": "info", "logger": "belfry"}.items()
    assert second.items() >= {"event": "it says so", "client": "c1", "logger": "hypercorn.error"}.items()
    assert list(first)[:3] == ["timestamp", "level", "event"]
    assert first["timestamp"].endswith("Z")


def test_warnings_are_logs() -> None:
    stream = io.StringIO()
    logs.set_up("info", "json", stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
    assert "old thing" in lines(stream)[0]["event"]


def test_an_exception_is_one_json_line() -> None:
    stream = io.StringIO()
    logger = logs.set_up("info", "json", stream=stream)
    try:
        raise ValueError(f"with {JWT}")
    except ValueError:
        logger.exception("failed")
        logging.getLogger("x").exception("failed too")
    for line in lines(stream):
        assert "Traceback" in line["exception"]
        assert JWT not in line["exception"]


@pytest.mark.parametrize("log_format", ["json", "human"])
def test_no_secret_gets_out(log_format: str) -> None:
    stream = io.StringIO()
    secret = b"the-very-secret-of-this-server-32"
    logger = logs.set_up("debug", log_format, stream=stream, secrets=(secret,))
    logger.info("hello", token="t0ken", nested={"Authorization": "b4sic", "deep": [f"Bearer {JWT}"]}, ticket="t1cket")
    logger.info(f"got {JWT} and {secret.decode()}", url="mysql://belfry:hunter2@host/db", raw=secret, config=secret)
    logging.getLogger("x").warning("Authorization: Bearer %s", "opaque-thing-1")
    logging.getLogger("x").warning("secret %r", secret)
    text = stream.getvalue()
    for hidden in ("t0ken", "b4sic", "t1cket", JWT, secret.decode(), "hunter2", "opaque-thing-1"):
        assert hidden not in text
    assert text.count(logs.HIDDEN) >= 8
    assert "belfry:" in text


def test_what_is_no_secret_stays() -> None:
    stream = io.StringIO()
    logs.set_up("info", "json", stream=stream).info(
        "x", token_ttl=3, count=2, url="http://host:80/a@b", ok=True, none=None
    )
    assert lines(stream)[0].items() >= {
        "token_ttl": 3, "count": 2, "url": "http://host:80/a@b", "ok": True, "none": None,
    }.items()  # fmt: skip


def test_whatever_is_logged_is_a_line() -> None:
    stream = io.StringIO()
    logs.set_up("info", "json", stream=stream).info("x", odd=object(), text="a\nb", surrogate="\ud800", raw=b"\xff")
    assert lines(stream)[0]["text"] == "a\nb"


def test_human_on_a_terminal_json_otherwise_and_colours_only_where_wanted() -> None:
    terminal = Terminal()
    logs.set_up("info", "auto", stream=terminal).info("opened")
    assert "opened" in terminal.getvalue()
    assert not terminal.getvalue().startswith("{")
    assert logs.is_human("auto", terminal)
    assert not logs.is_human("json", terminal)
    assert logs.is_human("human", io.StringIO())
    assert has_colours(terminal, {"TERM": "xterm"})
    assert not has_colours(terminal, {"TERM": "xterm", "NO_COLOR": "1"})
    assert has_colours(terminal, {"TERM": "xterm", "NO_COLOR": ""})
    assert not has_colours(terminal, {"TERM": "dumb"})
    assert not has_colours(io.StringIO(), {})


def test_a_human_traceback_is_plain_and_warns_of_nothing() -> None:
    terminal = Terminal()
    logger = logs.set_up("info", "auto", stream=terminal)
    try:
        raise ValueError("boom")
    except ValueError:
        logger.exception("failed")
    assert "ValueError: boom" in terminal.getvalue()
