"""The HTTP reference as Markdown, from the OpenAPI document.

`python -m chat.api.reference > docs/reference/http.md` writes it; a test keeps the file true.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, cast

from chat.api.app import make_app
from chat.api.openapi import MODELS
from chat.config import Config
from chat.errors import CODES
from chat.tokens import MIN_SECRET_BYTES, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chat.service import Service

HEAD = """\
# HTTP API

{description}

The same as a page: `/v1/docs` on every server. For programs: `/v1/openapi.json`.

| Besides | |
| --- | --- |
| `GET /healthz` | 200 while the process lives |
| `GET /readyz` | 200 in state `ready`, else 503; `{{"state": ...}}` |
| `GET /metrics` | the metrics, in Prometheus' text format |
| `GET /` | the web client |

Bodies are at most 64 KiB. Pages of other origins may call `/v1` if the `origins` setting allows them (CORS).
"""

ERRORS = """
## Errors

`code` is for programs and keeps its meaning; `message` is for people and may change; `details` says which fields do
not fit. `Retry-After` says, in whole seconds, when the same may work.

```json
{"code": "bad_request", "message": "the query does not fit: limit: expected int <= 100",
 "details": [{"field": "limit", "problem": "expected int <= 100"}]}
```

The websocket's `error` frames have the same codes.

| Code | Status | Meaning |
| --- | --- | --- |
"""


def document() -> dict[str, Any]:
    """The OpenAPI document of an app that serves nobody."""
    app = make_app(cast("Service", None), Config(), Tokens(bytes(MIN_SECRET_BYTES)))
    schema = app.extensions["QUART_SCHEMA"].openapi_provider.schema()
    return cast("dict[str, Any]", json.loads(app.json.dumps(schema)))


def markdown(api: dict[str, Any]) -> str:
    """The whole page."""
    parts = [HEAD.format(description=api["info"]["description"])]
    for tag in api["tags"]:
        parts.append(f"\n## {tag['name'].title()}\n\n{tag['description']}\n")
        for path, methods in api["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    parts.extend(_operation(api, path, method, operation))
    parts.append(ERRORS)
    parts.extend(f"| `{code}` | {status} | {_cell(meaning)} |\n" for code, (status, meaning) in CODES.items())
    return "".join(parts)


def _operation(api: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"\n### {operation['summary']}\n\n`{method.upper()} {path}`\n"
    if operation["description"]:
        yield f"\n{operation['description']}\n"
    if operation["parameters"]:
        yield "\n| Parameter | In | Type | |\n| --- | --- | --- | --- |\n"
        for one in operation["parameters"]:
            kind = _kind(api, one["schema"])
            needed = ", required" if one["required"] and one["in"] != "path" else ""
            yield f"| `{one['name']}` | {one['in']}{needed} | {kind} | {_cell(one['description'])} |\n"
    if "requestBody" in operation:
        yield "\nBody:\n"
        yield from _fields(api, operation["requestBody"]["content"], say_required=True)
    refusals: list[str] = []
    for status, response in operation["responses"].items():
        if "x-codes" in response:
            refusals += [f"`{code}` ({status})" for code in response["x-codes"]]
        elif "content" in response:
            yield f"\nAnswer {status}: {response['description'][0].lower()}{response['description'][1:]}\n"
            yield from _fields(api, response["content"], say_required=False)
        else:
            yield f"\nAnswer {status}, without a body.\n"
    yield f"\nRefusals: {', '.join(refusals)}.\n"


def _fields(api: dict[str, Any], content: dict[str, Any], say_required: bool) -> Iterator[str]:
    model = _resolve(api, content["application/json"]["schema"])
    yield "\n| Field | Type | |\n| --- | --- | --- |\n"
    yield from _rows(api, model, "", say_required)


def _rows(api: dict[str, Any], model: dict[str, Any], prefix: str, say_required: bool) -> Iterator[str]:
    for name, schema in model["properties"].items():
        description = schema.get("description", "")
        needed = ", required" if say_required and name in model["required"] else ""
        yield f"| `{prefix}{name}` | {_kind(api, schema)}{needed} | {_cell(description)} |\n"
        inner = _resolve(api, schema.get("items", schema))
        if inner.get("type") == "object":
            yield from _rows(api, inner, f"{prefix}{name}{'[]' if 'items' in schema else ''}.", False)


def _resolve(api: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    return cast("dict[str, Any]", api["components"]["schemas"][schema["$ref"].removeprefix(MODELS)])


def _kind(api: dict[str, Any], schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_kind(api, one) for one in schema["anyOf"])
    schema = _resolve(api, schema)
    if "enum" in schema:
        words = " or ".join(f"`{one}`" for one in schema["enum"])
    elif schema["type"] == "array":
        words = f"list of {_kind(api, schema['items'])}"
    else:
        words = "moment" if schema.get("format") == "date-time" else schema["type"]
    if "minimum" in schema:
        # 2**63-1 is what the database's columns hold: a bound, but no news
        words += (
            f" {schema['minimum']}-{schema['maximum']}" if schema["maximum"] < 2**53 else f" from {schema['minimum']}"
        )
    if "maxLength" in schema:
        words += f", at most {schema['maxLength']} characters"
    if schema.get("default"):
        words += f", default `{schema['default']}`"
    return words


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(markdown(document()))
