"""The web client's files and the API's documentation page.

All files are read once, when the server starts: no request touches the disk, and no address can escape the folder
because each file is a route of its own. The client is about 200 KB.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from quart import Blueprint, Response, request
from quart_schema import hide

WEB = Path(__file__).parent.parent / "web"
INDEX = "index.html"
DOCS = "docs.html"

# A file of another kind is not served: Node's package.json lies in the same folder.
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True)
class Page:
    """One file as it is served."""

    path: str  # below the folder, with forward slashes
    content: bytes
    content_type: str
    etag: str  # unquoted

    @hide
    async def serve(self) -> Response:
        """The file, or 304 if the browser has it; `no-cache` is to ask each time, since a redeploy changes it."""
        if request.if_none_match.contains_weak(self.etag):
            response = Response(b"", 304)
        else:
            response = Response(self.content, content_type=self.content_type)
        response.set_etag(self.etag)
        response.headers["Cache-Control"] = "no-cache"
        return response


def read_pages(folder: Path = WEB) -> list[Page]:
    """Every file below the folder that a browser may have."""
    pages = []
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder).as_posix()
        if file.suffix not in TYPES or not file.is_file() or any(part.startswith(".") for part in path.split("/")):
            continue
        content = file.read_bytes()
        etag = hashlib.sha256(content).hexdigest()[:32]
        pages.append(Page(path, content, TYPES[file.suffix], etag))
    return pages


def page_routes(pages: list[Page]) -> Blueprint:
    """The client at /, its files beside it, and the API's documentation at /v1/docs."""
    routes = Blueprint("pages", __name__)
    for number, page in enumerate(pages):  # an endpoint's name may hold no dot; nobody refers to these
        address = {INDEX: "/", DOCS: "/v1/docs"}.get(page.path, f"/{page.path}")
        routes.add_url_rule(address, f"page{number}", page.serve, methods=["GET"])
    return routes
