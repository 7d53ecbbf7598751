"""The OpenAPI document is whole, and the reference page is made from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chat.api.openapi import OPERATIONS
from chat.api.reference import document, markdown
from chat.errors import CODES

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "http.md"


@pytest.fixture(scope="module")
def api():
    return document()


def references(value):
    if isinstance(value, dict):
        yield from (value[key] for key in ("$ref",) if key in value)
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from references(one)


async def test_it_is_served_to_everybody(house, api):
    answer = await house.ask("GET", "/v1/openapi.json", "")
    assert (answer.status, answer.json) == (200, api)


async def test_it_has_every_route_of_the_api(house, api):
    hidden = {"/v1/openapi.json", "/v1/docs"}
    routes = {
        (re.sub(r"<(?:\w+:)?(.+?)>", r"{\1}", rule.rule), method.lower())
        for rule in house.app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/v1/") and rule.rule not in hidden
    }
    described = {(path, method) for path, methods in api["paths"].items() for method in methods}
    assert described == routes == set(OPERATIONS)


def test_every_reference_leads_to_a_model_and_every_model_is_used(api):
    found = {reference.removeprefix("#/components/schemas/") for reference in references(api)}
    assert found == set(api["components"]["schemas"])


def test_every_operation_says_what_it_is_and_how_it_ends(api):
    ids = []
    for methods in api["paths"].values():
        for operation in methods.values():
            ids.append(operation["operationId"])
            assert operation["summary"]
            assert operation["tags"][0] in {tag["name"] for tag in api["tags"]}
            assert any(status.startswith("2") for status in operation["responses"])
            for status, response in operation["responses"].items():
                assert response["description"]
                for code in response.get("x-codes", []):
                    assert CODES[code][0] == int(status)
            for parameter in operation["parameters"]:
                assert parameter["description"]
    assert len(ids) == len(set(ids))


def test_who_needs_a_token(api):
    assert api["security"] == [{"bearer": []}]
    free = [
        operation["operationId"]
        for methods in api["paths"].values()
        for operation in methods.values()
        if operation.get("security") == []
    ]
    assert free == ["createGuest"]


def test_what_is_required_is_said(api):
    send = api["paths"]["/v1/rooms/{room}/messages"]["post"]
    needed = {parameter["name"]: parameter["required"] for parameter in send["parameters"]}
    assert needed == {"room": True, "Idempotency-Key": True}
    listing = api["paths"]["/v1/rooms"]["get"]
    assert not any(parameter["required"] for parameter in listing["parameters"])
    (limit,) = (parameter for parameter in listing["parameters"] if parameter["name"] == "limit")
    assert limit["schema"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 50}


@pytest.mark.parametrize(("parameter", "good", "bad"), [("room", "lobby", "Ada"), ("user_id", "u/Ada@x", "Ada L")])
def test_what_stands_in_a_path_has_its_own_pattern(api, parameter, good, bad):
    patterns = [
        said["schema"]["pattern"]
        for methods in api["paths"].values()
        for operation in methods.values()
        for said in operation["parameters"]
        if said["in"] == "path" and said["name"] == parameter
    ]
    assert patterns
    for pattern in patterns:
        assert re.search(pattern, good)
        assert not re.search(pattern, bad)


def test_the_reference_page_is_true(api):
    assert PAGE.read_text() == markdown(api), "run: python -m chat.api.reference > docs/reference/http.md"
