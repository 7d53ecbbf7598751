"""Logs: one stream, to stderr, for people on a terminal (colours) and as JSON lines otherwise; no secret gets into it.

What our own code says through structlog and what libraries say through logging (Hypercorn, warnings) takes the same
way out. Writing to stderr can block while its reader does not read: a log that is lost silently is worse.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
import structlog

from belfry.terminal import has_colours

if TYPE_CHECKING:
    from collections.abc import MutableMapping

HIDDEN = "[hidden]"
HIDDEN_KEYS = re.compile(r"(?i)(secret|token|ticket|password|authorization|cookie)s?$")
# A JWT; what stands behind Bearer; the password of a URL.
HIDDEN_TEXTS = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*|(?<=Bearer )[^\s\"',}]+|(?<=://)([^\s/:@]*):[^\s/@]+(?=@)")
FIRST = ("timestamp", "level", "event", "logger")  # of a JSON line, as eyes look for them
NOISY = ("hypercorn.access",)  # a line a request; our metrics count them


def is_human(log_format: str, stream: TextIO) -> bool:
    """Whether a person reads the stream."""
    return log_format == "human" or (log_format == "auto" and stream.isatty())


def set_up(
    level: str, log_format: str, *, stream: TextIO | None = None, secrets: tuple[bytes, ...] = ()
) -> structlog.stdlib.BoundLogger:
    """Route every log of the process to one stream. `secrets` never appear in it, whatever text they stand in."""
    stream = stream or sys.stderr
    hide = Hiding(tuple(secret.decode(errors="replace") for secret in secrets))
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.StackInfoRenderer(),
    ]
    if is_human(log_format, stream):
        colours = has_colours(stream)
        last: list[structlog.typing.Processor] = [
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.processors.format_exc_info,
            hide,
            structlog.dev.ConsoleRenderer(
                colors=colours, pad_event_to=32, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    else:
        last = [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            hide,
            structlog.processors.JSONRenderer(serializer=_json),
        ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # a module-level logger made before this call must see it
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    logger: structlog.stdlib.BoundLogger = structlog.get_logger("belfry")
    return logger


class Hiding:
    """The processor that replaces secrets: by the key's name, by the look of the text, and the very ones we hold."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for key, value in event.items():
            event[key] = HIDDEN if HIDDEN_KEYS.search(key) else self._hidden(value)
        return event

    def _hidden(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, dict):
            return {key: HIDDEN if HIDDEN_KEYS.search(str(key)) else self._hidden(one) for key, one in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._hidden(one) for one in value]
        text = value if isinstance(value, str) else repr(value)
        text = text.encode(errors="backslashreplace").decode()  # half a surrogate pair is no JSON
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return HIDDEN_TEXTS.sub(lambda found: f"{found[1]}:{HIDDEN}" if found[1] is not None else HIDDEN, text)


def _json(event: Any, **_: Any) -> str:
    first = {key: event.pop(key) for key in FIRST if key in event}
    return msgspec.json.encode(first | event, enc_hook=repr).decode()
