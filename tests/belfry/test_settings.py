"""The table of settings is whole, and what is made from it is true."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from belfry.reference import SETTINGS_PAGE, settings_page
from belfry.settings import BY_NAME, GROUPS, TABLE, Setting, config_fields, settings_of
from chat.config import Config, Limits

ROOT = Path(__file__).parents[2]
NOT_SETTINGS = {
    "boot",  # new at each start
    "version",  # the code's
    "secret",  # never a flag
    "limits",  # its fields are settings
}


def test_every_field_of_a_chat_servers_config_is_a_setting() -> None:
    fields = {one.name for kind in (Config, Limits) for one in dataclasses.fields(kind)}
    assert fields - NOT_SETTINGS == config_fields()


def test_names_are_unique_and_every_group_is_shown() -> None:
    assert len(BY_NAME) == len(TABLE)
    assert {setting.group for setting in TABLE} == set(GROUPS)


@pytest.mark.parametrize("setting", TABLE, ids=lambda setting: setting.name)
def test_a_default_is_a_value_that_could_be_typed(setting: Setting) -> None:
    for command in setting.commands:
        default = setting.default_for(command)
        if default not in (None, ()):
            assert setting.kind.read(setting.show_default(command)) == default


def test_up_differs_from_serve_where_it_should() -> None:
    up = {setting.name: setting.default_for("up") for setting in settings_of("up")}
    serve = {setting.name: setting.default_for("serve") for setting in settings_of("serve")}
    assert (up["guests"], serve["guests"]) == (True, False)
    assert (up["first_rooms"], serve["first_rooms"]) == (("lobby",), ())
    assert up.keys() - serve.keys() == {"data", "tower_port", "open_dashboard", "ready_deadline"}
    assert (up["open_dashboard"], up["port"]) == (True, 8000)
    tower = {setting.name: setting.default_for("tower") for setting in settings_of("tower")}
    assert (tower["open_dashboard"], tower["port"]) == (False, 8900)
    assert serve.keys() - up.keys() == {"db", "bus", "tower"}


def test_the_reference_page_is_what_the_code_says() -> None:
    assert (ROOT / SETTINGS_PAGE).read_text() == settings_page(), "run `make docs`"
