"""Sending somebody away over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from db.errors import StoreUnavailable

if TYPE_CHECKING:
    from tests.chat.api.conftest import House


@pytest.mark.parametrize(("body", "action"), [({}, "kick"), ({"ban": False}, "kick"), ({"ban": True}, "ban")])
async def test_an_administrator_kicks_and_bans(house: House, body: dict[str, bool], action: str) -> None:
    answer = await house.ask("POST", "/v1/users/u_ada/kick", token=house.admin, json=body)
    assert (answer.status, answer.json) == (200, {"user_id": "u_ada", "closed": 2})
    assert house.service.revoked == [("u_ada", action, "u_op")]


async def test_a_ban_is_lifted(house: House) -> None:
    answer = await house.ask("DELETE", "/v1/users/u_ada/ban", token=house.admin)
    assert answer.status == 200
    assert house.service.revoked == [("u_ada", "unban", "u_op")]


async def test_only_for_administrators(house: House) -> None:
    for token, status, code in ((house.bob, 403, "not_allowed"), ("", 401, "no_token")):
        answer = await house.ask("POST", "/v1/users/u_ada/kick", token=token, json={})
        assert (answer.status, answer.json["code"]) == (status, code)
    assert house.service.revoked == []


async def test_bad_requests(house: House) -> None:
    for path, body in (("/v1/users/u_ada/kick", {"ban": "yes"}), ("/v1/users/u%20ada/kick", {})):
        answer = await house.ask("POST", path, token=house.admin, json=body)
        assert (answer.status, answer.json["code"]) == (400, "bad_request")


async def test_a_store_that_cannot_answer(house: House) -> None:
    house.service.fails = StoreUnavailable("away")
    answer = await house.ask("POST", "/v1/users/u_ada/kick", token=house.admin, json={})
    assert (answer.status, answer.json["code"]) == (503, "store_unavailable")
