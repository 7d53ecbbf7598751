"""docs/reference/limits.md: every bound with its reason, from the source's own comments."""

from __future__ import annotations

from belfry.settings import BY_NAME
from chat.session import FRAMES_PER_SEND, STRIKES
from docs.generate.constants import class_constants, first_line, module_constants, modules
from docs.generate.table import table

PACKAGES = ("chat", "tower", "db", "bus")
NO_BOUNDS = ("APPLICATION_ID", "WIDTH")  # numbers with a comment that bound nothing

HEAD = """\
# Limits

<!-- Written by `python -m docs.generate` from the comments beside the numbers; a test fails when it differs. -->

Everything in Belfry is bounded, and every bound has a reason. What an operator may want to change is a
[setting](settings.md); the rest is a constant in the code, and is here so that you can check our arithmetic.

## Settings

0 is without limit.

"""

OVER = [
    ("`send_rate`, `send_burst`", "the send is refused with `rate_limited` and `retry_ms`"),
    ("`text_chars`", "the send is refused with `text_too_long`"),
    ("`frame_bytes`", "the socket is closed with 1009"),
    ("`outbox_bytes`", "the socket is closed with 4001; the client comes back and resumes"),
    ("`rooms_per_session`", "the join is refused with `too_many_rooms`"),
    ("`sessions_per_user`", "the user's oldest socket is closed with 4502"),
    ("`connections`, `handshakes_per_second`", "HTTP 503 with `Retry-After`"),
]

AFTER = f"""
A client may send at most {FRAMES_PER_SEND} frames of any kind for each message it may send, so that a flood of
`typing` meets the same wall. After {STRIKES} refused frames in a row its socket is closed with 1008.

## Constants
"""


def limits_page() -> str:
    """The page, as Markdown."""
    settings = []
    for one in class_constants("chat.config", "Limits"):
        setting = BY_NAME[one.name]
        settings.append((f"`{one.name}`", _number(one.written), setting.unit, one.why))
    parts = [HEAD, table(("Setting", "Default", "Unit", "Why"), settings), "\n", table(("Over", "Then"), OVER), AFTER]
    for package in PACKAGES:
        for name in modules(package):
            found = [one for one in module_constants(name) if one.name not in NO_BOUNDS]
            if found:
                parts.append(f"\n### {name.replace('.', '/')}.py\n\n{first_line(name)}.\n\n")
                rows = [(f"`{one.name}`", _number(one.written), one.why) for one in found]
                parts.append(table(("Constant", "Value", "Why"), rows))
    return "".join(parts)


def _number(written: str) -> str:
    """A literal as people write it: with commas between thousands."""
    if written.isdigit():
        return f"{int(written):,}"
    return written.replace("*", "x")
