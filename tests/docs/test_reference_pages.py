"""The generated reference pages are what the code says now, and what they show really is what is spoken."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio
from prometheus_client import generate_latest
from trio_websocket import open_websocket_url

from chat import wire
from chat.metrics import Metrics
from docs.generate.__main__ import FOLDER, PAGES
from docs.generate.wire import SERVER
from docs.generate.wire_words import CLIENT_EXAMPLES, SERVER_EXAMPLES

if TYPE_CHECKING:
    from trio_websocket import WebSocketConnection

    from tests.docs.conftest import Server


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_what_the_code_says(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), "python -m docs.generate writes it anew"


@pytest.mark.parametrize("tag", CLIENT_EXAMPLES)
def test_a_client_frames_example_is_taken_by_the_server(tag: str) -> None:
    frame = wire.decode_client(json.dumps(CLIENT_EXAMPLES[tag]).encode())
    assert frame.__struct_config__.tag == tag
    assert json.loads(wire.encode(frame)).items() >= CLIENT_EXAMPLES[tag].items()


@pytest.mark.parametrize("struct", SERVER, ids=lambda struct: struct.__name__)
def test_a_server_frames_example_is_what_the_server_writes(struct: type[msgspec.Struct]) -> None:
    example = SERVER_EXAMPLES[str(struct.__struct_config__.tag)]
    assert json.loads(wire.encode(msgspec.convert(example, struct))) == example


def test_the_assembled_frames_examples_are_what_the_server_writes() -> None:
    joined, message = SERVER_EXAMPLES["joined"], SERVER_EXAMPLES["message"]
    body = {name: message[name] for name in ("seq", "from", "text", "at")}
    assert json.loads(wire.message_frame("lobby", wire.encode(body))) == message
    frame = wire.joined_frame(
        "lobby", joined["epoch"], 42, [wire.encode(body)], gap=False, count=1, members=wire.encode(joined["members"]),
        read=41,
    )  # fmt: skip
    assert json.loads(frame) == joined


def test_every_metric_on_the_page_is_exposed() -> None:
    metrics = Metrics()
    for name in re.findall(r"^\| `belfry_(\w+)`", (FOLDER / "metrics.md").read_text(), re.MULTILINE):
        metrics.gauges.setdefault(name, lambda: 0.0)
    exposed = set(re.findall(r"^# TYPE (\w+)", generate_latest(metrics.registry).decode(), re.MULTILINE))
    named = set(re.findall(r"\b(belfry_\w+)", (FOLDER / "metrics.md").read_text()))
    assert named <= exposed
    assert {name for name in exposed if not name.endswith("_created")} <= named


async def test_the_conversation_at_the_top_happens(server: Server) -> None:
    """Say the page's `>` lines to a real server; it answers with frames of the shape of the `<` lines, in order."""
    page = (FOLDER / "wire.md").read_text()
    lines = re.findall(r"^    ([<>]) (\{.*\})$", page, re.MULTILINE)
    assert [mark for mark, _ in lines] == [">", "<", ">", "<", ">", "<", "<"]
    token = await server.guest("Ada")
    with trio.fail_after(10):
        async with open_websocket_url(f"ws://127.0.0.1:{server.port}/ws", subprotocols=["belfry.v1"]) as websocket:
            for mark, text in lines:
                if mark == ">":
                    said = json.loads(text)
                    await websocket.send_message(json.dumps(said | ({"token": token} if "token" in said else {})))
                else:
                    kind = re.match(r'\{"t":"(\w+)"', text)
                    assert kind is not None
                    heard = await _not_presence(websocket)
                    assert heard["t"] == kind[1]
                    # The page's line may be cut by dots; what stands before them is there.
                    assert set(re.findall(r'[{,]"(\w+)":', text)) <= _names(heard)


async def _not_presence(websocket: WebSocketConnection) -> dict[str, Any]:
    """The next frame; `presence` comes when its moment has come, between any others."""
    while True:
        frame: dict[str, Any] = json.loads(await websocket.get_message())
        if frame["t"] != "presence":
            return frame


def _names(value: Any) -> set[str]:
    """Every field's name, inside too."""
    if isinstance(value, dict):
        return set(value).union(*map(_names, value.values()))
    return set[str]().union(*map(_names, value)) if isinstance(value, list) else set()
