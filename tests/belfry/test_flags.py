"""Flags are read, mistakes are told in one line with what would be right, and --help teaches every setting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belfry.errors import Wrong
from belfry.flags import WIDTH, Flag, help_text, parse
from belfry.settings import settings_of

OWN = (Flag("user", "NAME", "who"), Flag("admin", "", "more"))


@pytest.mark.parametrize(
    ("argv", "found"),
    [
        ([], {}),
        (["--port", "1"], {"port": "1"}),
        (["--port=1"], {"port": "1"}),
        (["--port="], {"port": ""}),
        (["--port", "-1"], {"port": "-1"}),
        (["--port", "1", "--port", "2"], {"port": "2"}),
        (["--guests", "--no-guests"], {"guests": "no"}),
        (["--server-id", "s2", "--config=x=y"], {"server_id": "s2", "config": "x=y"}),
        (["--user", "Ada", "--admin"], {"user": "Ada", "admin": "yes"}),
    ],
)
def test_flags(argv: list[str], found: dict[str, str]) -> None:
    assert parse("up", OWN, argv) == found


@pytest.mark.parametrize("argv", [["s1", "--port", "1"], ["--port", "1", "s1"], ["--admin", "s1", "--port=1"]])
def test_a_word_without_a_flag_is_the_subject_wherever_it_stands(argv: list[str]) -> None:
    own = (*OWN, Flag("server", "ID", "which"))
    found = parse("up", own, argv, "server")
    assert found is not None
    assert (found["server"], found["port"]) == ("s1", "1")


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_is_asked_for(word: str) -> None:
    assert parse("up", OWN, ["--port", "1", word]) is None


@pytest.mark.parametrize(
    ("command", "argv", "line"),
    [
        ("up", ["--prot", "1"], "--prot (flag) is not known; did you mean --port?"),
        ("up", ["--no-gests"], "--no-gests (flag) is not known; did you mean --no-guests?"),
        ("up", ["--xyzzyx"], "--xyzzyx (flag) is not known; `belfry up --help` lists them"),
        ("up", ["-p", "1"], "-p (flag) is not known"),
        ("up", ["--port"], "--port (flag) needs a value; give a whole number from 0 to 65,535"),
        ("up", ["--port", "--host", "x"], "--port (flag) needs a value"),
        ("up", ["--guests=no"], "--guests (flag) takes no value; it is --guests, or --no-guests to turn it off"),
        ("up", ["--guests", "no"], '"no" (argument): --guests (flag) takes no value; it is --guests, or --no-guests'),
        ("up", ["8000"], '"8000" (argument) is one too many; `belfry up` takes flags only'),
        ("up", ["--db", "x"], "`belfry serve` takes --db"),
        ("serve", ["--data", "x"], "`belfry up` takes --data"),
        ("token", ["--port", "1"], "--port (flag) is not for `belfry token`; it is for `belfry up`"),
        ("serve", ["--secret", "abc123"], "--secret (flag): everybody on this machine can read a command line"),
        ("serve", ["--secret=abc123"], "BELFRY_SECRET_FILE"),
        ("serve", ["--secret-file", "x"], "BELFRY_SECRET_FILE"),
    ],
)
def test_mistakes(command: str, argv: list[str], line: str) -> None:
    with pytest.raises(Wrong) as caught:
        parse(command, (), argv)
    assert line in str(caught.value)
    assert "abc123" not in str(caught.value)


@given(st.lists(st.text()))
def test_any_arguments_are_read_or_refused(argv: list[str]) -> None:
    known = {setting.name for setting in settings_of("up")} | {"user", "admin", "config"}
    try:
        found = parse("up", OWN, argv)
    except Wrong:
        found = {}
    assert found is None or found.keys() <= known


@pytest.mark.parametrize("command", ["up", "serve", "token", "db status", "doctor"])
def test_help_tells_every_settings_default_unit_and_variable(command: str) -> None:
    text = help_text(command, "It does.", OWN)
    folded = " ".join(text.split())
    for setting in settings_of(command.split()[0]):
        unit = f" {setting.unit}" if setting.unit else ""
        assert setting.flag.removeprefix("--") in folded
        assert f"(default {setting.show_default(command)}{unit}) [{setting.variable}]" in folded
    assert all(len(line) <= WIDTH for line in text.splitlines())
