"""Guests' tokens over HTTP."""

from __future__ import annotations

import datetime as dt

import pytest


async def test_a_guest_gets_a_token_that_works(house):
    before = dt.datetime.now(dt.UTC)
    answer = await house.ask("POST", "/v1/guests", "", json={"name": " Zoe\u0301 "})
    assert answer.status == 201
    assert answer.json["user"]["name"] == "Zoé"
    lasts = dt.datetime.fromisoformat(answer.json["expires_at"]) - before
    assert dt.timedelta(seconds=house.config.token_ttl) <= lasts < dt.timedelta(seconds=house.config.token_ttl + 60)
    room = await house.ask("POST", "/v1/rooms", answer.json["token"], json={"name": "lobby"})
    assert room.json["created_by"] == answer.json["user"]["id"]


async def test_two_guests_of_one_name_are_two(house):
    ids = {(await house.ask("POST", "/v1/guests", "", json={"name": "Ada"})).json["user"]["id"] for _ in range(2)}
    assert len(ids) == 2


@pytest.mark.parametrize("name", ["", " ", "\u202eadA", "x" * 41, "a\nb"])
async def test_names_that_do_not_fit(house, name):
    answer = await house.ask("POST", "/v1/guests", "", json={"name": name})
    assert (answer.status, answer.json["code"]) == (400, "name_invalid")


async def test_guests_off(open_a_house):
    async with open_a_house(guests=False) as house:
        answer = await house.ask("POST", "/v1/guests", "", json={"name": "Ada"})
        assert (answer.status, answer.json["code"]) == (403, "guests_off")
