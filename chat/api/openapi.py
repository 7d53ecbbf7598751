"""The OpenAPI document: what quart-schema derives from the routes, completed with what it cannot know."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.json import schema_components
from quart_schema import Info, OpenAPIProvider, Tag
from quart_schema.openapi import HttpSecurityScheme

from chat.api.errors import Problem
from chat.errors import CODES
from chat.tokens import SUBJECT

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart_schema import DataSource

MODELS = "#/components/schemas/"
REF = MODELS + "{name}"

INFO = Info(
    title="Belfry",
    version="1",
    description=(
        "Rooms and their history over HTTP; live messages come over the websocket at `/ws`. Bodies are JSON,"
        " moments are RFC 3339 in UTC. Every request needs `Authorization: Bearer <token>` but the one that gives"
        " guests theirs. Every error has the same shape, `{code, message, details?}`: `code` is for programs."
    ),
)
TAGS = [
    Tag("guests", "Tokens for anybody, where the server allows it."),
    Tag("rooms", "A room has a name, a title, and one sequence of messages."),
    Tag("messages", "A room's history, and sending without a websocket."),
    Tag("users", "Sending somebody away, for administrators."),
]
BEARER = {"bearer": HttpSecurityScheme(scheme="bearer", bearer_format="JWT")}


@dataclass(frozen=True, slots=True)
class Operation:
    """What is said of a route besides its docstring and types: its name in generated clients, and its refusals."""

    id: str
    refuses: tuple[str, ...]


_TOKEN = ("no_token", "bad_token")
_BODY = ("bad_json", "bad_request", "too_large", "timeout")
_ROOM = ("room_name_invalid", "room_missing")
EVERYWHERE = ("store_unavailable", "internal")

# What stands in a path: in words, and as a schema.
IN_PATHS: dict[str, tuple[str, dict[str, Any]]] = {
    "room": ("The room's name.", {"pattern": "^[a-z0-9._-]{1,64}$", "examples": ["lobby"]}),
    "user_id": (
        "The user's id, percent-encoded.",
        {"pattern": SUBJECT.replace(r"\A", "^").replace(r"\Z", "$"), "examples": ["u_ada"]},
    ),
}

# In the order of the documentation.
OPERATIONS: dict[tuple[str, str], Operation] = {
    ("/v1/guests", "post"): Operation("createGuest", (*_BODY, "name_invalid", "guests_off")),
    ("/v1/rooms", "get"): Operation("listRooms", (*_TOKEN, "bad_request", "bad_cursor")),
    ("/v1/rooms", "post"): Operation(
        "createRoom", (*_TOKEN, *_BODY, "room_name_invalid", "title_invalid", "room_taken")
    ),
    ("/v1/rooms/{room}", "get"): Operation("readRoom", (*_TOKEN, *_ROOM)),
    ("/v1/rooms/{room}", "patch"): Operation("renameRoom", (*_TOKEN, *_BODY, *_ROOM, "title_invalid", "not_allowed")),
    ("/v1/rooms/{room}", "delete"): Operation("deleteRoom", (*_TOKEN, *_ROOM, "not_allowed")),
    ("/v1/rooms/{room}/members", "get"): Operation("listMembers", (*_TOKEN, *_ROOM)),
    ("/v1/rooms/{room}/messages", "get"): Operation("readMessages", (*_TOKEN, *_ROOM, "bad_request")),
    ("/v1/rooms/{room}/messages", "post"): Operation(
        "sendMessage",
        (
            *_TOKEN,
            *_BODY,
            *_ROOM,
            "nonce_invalid",
            "text_empty",
            "text_too_long",
            "text_invalid",
            "overloaded",
            "draining",
        ),
    ),
    ("/v1/users/{user_id}/kick", "post"): Operation("kickUser", (*_TOKEN, *_BODY, "not_allowed")),
    ("/v1/users/{user_id}/ban", "delete"): Operation("unbanUser", (*_TOKEN, "bad_request", "not_allowed")),
}


class Document(OpenAPIProvider):
    """quart-schema's document, with each model once, under its name, and every refusal in its place."""

    def schema(self) -> dict[str, Any]:
        document = super().schema()
        found: dict[str, dict[str, Any]] = document["paths"]
        paths: dict[str, dict[str, Any]] = {}
        for (path, method), operation in OPERATIONS.items():
            described = found[path][method]
            described["description"] = described.get("description", "").strip()
            if not described["responses"]:
                described["responses"]["204"] = {"description": "Done."}
            described["responses"] = {str(status): said for status, said in sorted(described["responses"].items())}
            described["responses"].update(_refusals((*operation.refuses, *EVERYWHERE)))
            paths.setdefault(path, {})[method] = described
        document["paths"] = paths
        _, problem = schema_components([Problem], ref_template=REF)
        document["components"]["schemas"] = dict(sorted((document["components"]["schemas"] | problem).items()))
        return document

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str | None:
        return OPERATIONS[path, method.lower()].id

    def build_path_parameter(self, name: str, converter: Any) -> dict[str, Any]:
        parameter: dict[str, Any] = super().build_path_parameter(name, converter)
        parameter["description"], more = IN_PATHS[name]
        parameter["schema"] |= more
        return parameter

    def build_querystring_parameters(self, model: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        return _parameters(model, "query"), {}

    def build_headers_parameters(self, model: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        return _parameters(model, "header"), {}

    def build_request_body(self, model: Any, source: DataSource) -> tuple[dict[str, Any], dict[str, Any]]:
        content, components = _content(model)
        return {"required": True, "content": content}, components

    def build_response_object(self, model: Any, headers_model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        content, components = _content(model)
        return {"description": inspect.getdoc(model), "content": content}, components


def _content(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A JSON body of this model, and the models it stands on; quart-schema would lose the nested ones."""
    (reference,), components = schema_components([model], ref_template=REF)
    return {"application/json": {"schema": reference}}, components


def _parameters(model: Any, place: str) -> list[dict[str, Any]]:
    _, components = schema_components([model], ref_template=REF)
    schema = components[model.__name__]
    parameters = []
    for field, described in schema["properties"].items():
        name = field.replace("_", "-").title() if place == "header" else field
        description = described.pop("description")
        # null stands for "left out", which an address says by leaving it out
        if "anyOf" in described:
            described = next(one for one in described["anyOf"] if one.get("type") != "null")
        required = field in schema["required"]
        parameters.append(
            {"name": name, "in": place, "required": required, "description": description, "schema": described}
        )
    return parameters


def _refusals(codes: tuple[str, ...]) -> dict[str, Any]:
    """The responses of these codes, one for each status, as OpenAPI wants them."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code][0], []).append(code)
    return {
        str(status): {
            "description": "\n".join(f"- `{code}`: {CODES[code][1]}" for code in ours),
            "content": {"application/json": {"schema": {"$ref": REF.format(name=Problem.__name__)}}},
            "x-codes": ours,
        }
        for status, ours in sorted(by_status.items())
    }
