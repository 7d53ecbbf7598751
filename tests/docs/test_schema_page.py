"""docs/explanation/schema.md tells of every table, column and index, and of none that is not there."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from db.migrations import migrate_sqlite
from tests.docs.page import block, text

if TYPE_CHECKING:
    from pathlib import Path

PAGE = text("explanation/schema.md")


@pytest.fixture
def schema(tmp_path: Path) -> dict[str, dict[str, str]]:
    """Table -> column -> type, as the migrations make them."""
    migrate_sqlite(tmp_path / "belfry.db")
    with closing(sqlite3.connect(tmp_path / "belfry.db")) as connection:
        tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        return {
            table: {row[1]: row[2] for row in connection.execute(f"PRAGMA table_info({table})")}
            for (table,) in tables.fetchall()
        }


def test_the_diagram_is_the_schema(schema: dict[str, dict[str, str]]) -> None:
    drawn = {
        table: {name: kind for kind, name in re.findall(r"^ {8}([A-Z]+) (\w+)", columns, re.MULTILINE)}
        for table, columns in re.findall(r"^ {4}(\w+) \{\n(.*?)^ {4}\}", block("explanation/schema.md", "mermaid"),
                                         re.DOTALL | re.MULTILINE)
    }  # fmt: skip
    assert drawn == schema


def test_every_column_has_its_reason(schema: dict[str, dict[str, str]]) -> None:
    sections = dict(re.findall(r"^## (\w+)$(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
    assert set(schema) <= set(sections)
    for table, columns in schema.items():
        first_cells = re.findall(r"^\| (`[^|]*) \|", sections[table], re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", " ".join(first_cells))) == set(columns), table


def test_every_index_is_told(tmp_path: Path) -> None:
    migrate_sqlite(tmp_path / "belfry.db")
    with closing(sqlite3.connect(tmp_path / "belfry.db")) as connection:
        indexes = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL"
        ).fetchall()
    assert indexes
    assert [name for (name,) in indexes if f"`{name}`" not in PAGE] == []
