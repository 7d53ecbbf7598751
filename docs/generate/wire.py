"""docs/reference/wire.md, from chat/wire.py, chat/closing.py and chat/errors.py; the words beside fields are here."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import inspect

from chat import drain, moving, session, sessions, wire
from chat.closing import ALL
from chat.errors import CODES
from docs.generate.table import table
from docs.generate.wire_words import CLIENT_EXAMPLES, FAMILIES, FIELDS, HEAD, MOMENT, RULES, SERVER_EXAMPLES

CLIENT = (wire.Hello, wire.Join, wire.Leave, wire.Send, wire.ClientTyping, wire.ClientRead, wire.Pong)
SERVER = (wire.Welcome, wire.Ack, wire.Presence, wire.Typing, wire.Read, wire.Ping, wire.Moving, wire.Error)
PARTS = (wire.User, wire.Message, wire.Reconnect, wire.Limits)
ASSEMBLED = ("joined", "message")  # made of parts encoded once, so they have no struct
TOPMOST = 2**63 - 1


def wire_page() -> str:
    """The page, as Markdown."""
    parts = [HEAD, "\n## What a client says\n"]
    parts += [_frame(frame, CLIENT_EXAMPLES) for frame in CLIENT]
    parts.append("\n## What the server says\n")
    parts.append(_frame(wire.Welcome, SERVER_EXAMPLES))
    parts += [_assembled(tag) for tag in ASSEMBLED]
    parts += [_frame(frame, SERVER_EXAMPLES) for frame in SERVER[1:]]
    parts.append("\n## Parts of frames\n")
    for part in PARTS:
        name = part.__name__.lower()
        parts.append(f"\n### The object `{name}`\n\n{_doc(part)}\n\n{_fields(part, name)}")
    parts.append(
        RULES.format(
            hello_s=f"{session.HELLO_TIMEOUT:g}",
            in_flight=session.IN_FLIGHT,
            strikes=session.STRIKES,
            per_send=session.FRAMES_PER_SEND,
            patience=f"{sessions.PONG_PATIENCE:g}",
            ticket_s=f"{moving.TICKET_TTL:g}",
            grace=f"{drain.GRACE:g}",
        )
    )
    parts.append("\n## Close codes\n\n")
    rows = [(str(one.code), one.reason, one.back.value) for one in ALL]
    parts.append(table(("Code", "Reason", "What the client does"), rows))
    parts.append(FAMILIES)
    parts.append("\n## Error codes\n\nThe same over websocket (`error`) and HTTP; the status is HTTP's.\n\n")
    parts.append(table(("Code", "HTTP", "Meaning"), [(f"`{c}`", str(CODES[c][0]), CODES[c][1]) for c in sorted(CODES)]))
    return "".join(parts)


def _frame(frame: type[msgspec.Struct], examples: dict[str, Any]) -> str:
    tag = str(frame.__struct_config__.tag)
    side = "Client" if frame in CLIENT else "Server"
    fields = _fields(frame, f"{side}.{tag}")
    return f"\n### `{tag}`\n\n{_doc(frame)}\n\n{fields}{_example(examples[tag])}"


def _assembled(tag: str) -> str:
    example = SERVER_EXAMPLES[tag]
    words = FIELDS[f"Server.{tag}"]
    fields = set(example) - {"t"}
    assert fields == set(words), f"{tag}: {fields ^ set(words)}"
    rows = [(f"`{name}`", *_split(words[name])) for name in words]
    return (
        f"\n### `{tag}`\n\n{FIELDS['Assembled'][tag]}\n\n{table(('Field', 'Type', 'Meaning'), rows)}{_example(example)}"
    )


def _split(words: str) -> tuple[str, str]:
    """`type: meaning` as two cells."""
    kind, _, meaning = words.partition(": ")
    return kind, meaning


def _fields(struct: type[msgspec.Struct], key: str) -> str:
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    words = FIELDS.get(key, {})
    names = [one.encode_name for one in info.fields]
    assert set(names) == set(words), f"{key}: say something of {set(names) ^ set(words)}"
    if not names:
        return "No fields.\n"
    rows = []
    for one in info.fields:
        kind = "moment" if words[one.encode_name].startswith(MOMENT) else _kind(one.type)
        meaning = words[one.encode_name].removeprefix(MOMENT)
        rows.append((f"`{one.encode_name}`{_needed(one, struct)}", kind, meaning))
    return table(("Field", "Type", "Meaning"), rows)


def _needed(one: inspect.Field, struct: type[msgspec.Struct]) -> str:
    """What a field's absence means: only clients may leave fields out, and the server those that are null."""
    if one.required or struct in PARTS[:2] or struct is wire.Read:
        return ""
    if one.default is not msgspec.NODEFAULT and one.default not in (None, ""):
        return f" ({one.default})"
    return " (may be left out)"


def _kind(info: inspect.Type) -> str:
    match info:
        case inspect.StrType():
            return "string" + _range(info.min_length, info.max_length, "characters")
        case inspect.IntType():
            return "integer" + _range(info.ge, info.le, "")
        case inspect.FloatType():
            return "number"
        case inspect.BoolType():
            return "boolean"
        case inspect.DictType():
            return f"object: {_kind(info.key_type)} to {_kind(info.value_type)}" + _range(
                None, info.max_length, "entries"
            )
        case inspect.ListType():
            return f"array of {_kind(info.item_type)}"
        case inspect.TupleType():
            return "position"
        case inspect.UnionType():
            return _kind(next(one for one in info.types if not isinstance(one, inspect.NoneType)))
        case inspect.StructType():
            return f"[{info.cls.__name__.lower()}](#the-object-{info.cls.__name__.lower()})"
    raise AssertionError(f"no words for {info}")


def _range(least: float | None, most: float | None, unit: str) -> str:
    if most is None:
        return ""
    top = "2^63 - 1" if most == TOPMOST else f"{most:,}"
    return f", {least or 0:,} to {top} {unit}".rstrip() if least is not None else f", at most {top} {unit}".rstrip()


def _doc(struct: type[msgspec.Struct]) -> str:
    return " ".join((struct.__doc__ or "").split())


def _example(frame: dict[str, Any]) -> str:
    return f"\n```json\n{json.dumps(frame, ensure_ascii=False, separators=(',', ':'))}\n```\n"
