"""The client's files: right types, asked again each time, nothing outside the folder."""

from __future__ import annotations

import re

import pytest
from quart import Quart

from chat.api.pages import WEB, page_routes, read_pages


@pytest.fixture
def folder(tmp_path):
    web = tmp_path / "web"
    (web / "js" / ".hidden").mkdir(parents=True)
    (web / "index.html").write_text("<!doctype html>hello")
    (web / "docs.html").write_text("docs")
    (web / "js" / "app.js").write_text("let é")
    (web / "app.webmanifest").write_text("{}")
    (web / "icon.svg").write_text("<svg/>")
    (web / "package.json").write_text("{}")
    (web / ".secret.js").write_text("x")
    (web / "js" / ".hidden" / "x.js").write_text("x")
    (tmp_path / "outside.js").write_text("outside")
    return web


@pytest.fixture
def client(folder):
    app = Quart("pages", static_folder=None)
    app.register_blueprint(page_routes(read_pages(folder)))
    return app.test_client()


def test_which_files_are_served(folder):
    assert {page.path: page.content_type for page in read_pages(folder)} == {
        "app.webmanifest": "application/manifest+json",
        "docs.html": "text/html; charset=utf-8",
        "icon.svg": "image/svg+xml",
        "index.html": "text/html; charset=utf-8",
        "js/app.js": "text/javascript; charset=utf-8",
    }


async def test_the_client_is_at_the_root_and_the_docs_in_the_api(house):
    docs = await house.ask("GET", "/v1/docs", "")
    assert docs.body == (WEB / "docs.html").read_bytes()
    assert (await house.ask("GET", "/docs.html", "")).status == 404
    script = await house.ask("GET", "/docs.js", "")
    assert (script.headers["Content-Type"], script.headers["Cache-Control"]) == (
        "text/javascript; charset=utf-8",
        "no-cache",
    )


async def test_an_unchanged_file_is_not_sent_again(house):
    first = await house.ask("GET", "/docs.css", "")
    etag = first.headers["ETag"]
    assert re.fullmatch('"[0-9a-f]{32}"', etag)
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        again = await house.ask("GET", "/docs.css", "", headers={"If-None-Match": known})
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", etag)
        assert again.headers["Cache-Control"] == "no-cache"
    other = await house.ask("GET", "/docs.css", "", headers={"If-None-Match": '"other"'})
    assert (other.status, other.body) == (200, first.body)


async def test_head(house):
    answer = await house.ask("HEAD", "/docs.css", "")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/css; charset=utf-8")


@pytest.mark.parametrize(
    "path",
    [
        "/../outside.js",
        "/..%2foutside.js",
        "/%2e%2e/outside.js",
        "/js/../../outside.js",
        "/js/..%5c..%5coutside.js",
        "//etc/passwd",
        "/%00",
        "/docs.js%00.html",
        "/package.json",
        "/.secret.js",
        "/js/",
        "/INDEX.html",
        "/%ff",
    ],
)
async def test_nothing_else_is_found(house, path):
    answer = await house.ask("GET", path, "")
    assert (answer.status, answer.json["code"]) == (404, "not_found")


def test_no_page_has_inline_script_or_style():
    pages = sorted(WEB.rglob("*.html"))
    assert pages
    for page in pages:
        html = page.read_text()
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html, re.IGNORECASE), page
        for tag in re.findall(r"<script[^>]*>", html):
            assert re.search(r'\ssrc="/', tag), page
        assert not re.search(r'(src|href)="(https?:)?//', html), page
