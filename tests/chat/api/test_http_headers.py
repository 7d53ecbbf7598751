"""The headers on every answer: safety, caching, and other origins."""

from __future__ import annotations

import pytest

ORIGIN = "https://app.example.org"  # the house's own setting

ADDRESSES = [
    ("GET", "/", 200),
    ("GET", "/nothing", 404),
    ("GET", "/healthz", 200),
    ("POST", "/healthz", 405),
    ("GET", "/metrics", 200),
    ("GET", "/v1/rooms", 200),
    ("GET", "/v1/rooms/attic", 404),
    ("GET", "/v1/nothing", 404),
    ("POST", "/v1/rooms", 400),
    ("GET", "/v1/openapi.json", 200),
    ("GET", "/v1/docs", 200),
    ("OPTIONS", "/v1/rooms", 200),
]


@pytest.mark.parametrize(("method", "path", "status"), ADDRESSES)
async def test_every_answer_is_safe(house, method, path, status):
    answer = await house.ask(method, path)
    assert answer.status == status
    assert answer.headers["Content-Security-Policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self' ws: wss: http: https:;"
        " manifest-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in answer.headers["Permissions-Policy"]
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Cache-Control"] == ("no-cache" if path == "/" else "no-store")


async def test_an_unexpected_error_is_safe_too(house):
    house.service.store = None
    answer = await house.ask("GET", "/v1/rooms", headers={"Origin": ORIGIN})
    assert answer.status == 500
    assert "Content-Security-Policy" in answer.headers
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN


async def test_a_page_of_an_allowed_origin_may_call(house):
    preflight = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
    }
    answer = await house.ask("OPTIONS", "/v1/rooms/lobby/messages", "", headers=preflight)
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert {"GET", "POST", "PATCH", "DELETE"} <= set(answer.headers["Access-Control-Allow-Methods"].split(", "))
    assert answer.headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type, Idempotency-Key"
    assert "Origin" in answer.headers["Vary"]
    answer = await house.ask("GET", "/v1/rooms", headers={"Origin": ORIGIN})
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
    answer = await house.ask("GET", "/v1/rooms", "", headers={"Origin": ORIGIN})
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (401, ORIGIN)  # it may read why


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", f"{ORIGIN}.evil.example", ORIGIN.upper(), "", f"{ORIGIN}, x"]
)
async def test_other_origins_get_nothing(house, origin):
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    for method, headers in (("OPTIONS", preflight), ("GET", {"Origin": origin})):
        answer = await house.ask(method, "/v1/rooms", headers=headers)
        assert not [name for name, _ in answer.headers.items() if name.lower().startswith("access-control")]
        assert "Origin" in answer.headers["Vary"]  # a cache must not mix the two


async def test_only_the_api_is_for_other_origins(house):
    for path in ("/", "/metrics", "/healthz"):
        answer = await house.ask("GET", path, headers={"Origin": ORIGIN})
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_any_origin(open_a_house):
    async with open_a_house(origins=("*",)) as house:
        answer = await house.ask("GET", "/v1/rooms", headers={"Origin": "https://anything.example"})
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
