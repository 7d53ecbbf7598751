"""docs/reference/tower.md says of the tower's API what is so: addresses, fields, codes and metrics."""

from __future__ import annotations

import re

import pytest

from tests.docs.page import text
from tower.errors import CODES
from tower.metrics import COUNTS, GAUGES
from tower.verbs import VERBS
from tower.views import DrainView, FleetView, RolloutView, ServerView

PAGE = text("reference/tower.md")
FLAT = " ".join(PAGE.split())


def test_every_metric_is_told() -> None:
    told = dict(re.findall(r"^\| `belfry_(\w+)` \| (.+) \|$", PAGE, re.MULTILINE))
    assert told.pop("tower_servers")
    assert told == {f"{name}_total": text for name, text in COUNTS} | dict(GAUGES)


@pytest.mark.parametrize("view", [FleetView, ServerView, RolloutView, DrainView])
def test_every_field_is_told(view: type[FleetView]) -> None:
    assert f"`{{{', '.join(view.__struct_fields__)}}}`" in FLAT


def test_every_code_is_one_of_ours_with_its_status() -> None:
    told = re.findall(r"(\d{3}) ((?:`\w+`(?:, )?)+)", PAGE)
    assert told
    for status, codes in told:
        for code in re.findall(r"`(\w+)`", codes):
            assert CODES[code][0] == int(status), code


def test_every_verb_has_its_address() -> None:
    assert re.findall(r"`POST /v1/servers/\{id\}/(\w+)`", PAGE) == list(VERBS)
