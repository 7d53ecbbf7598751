"""The dashboard's files: each read once, when the tower starts, and a route of its own, so no address can escape."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from quart import Blueprint, Response, request
from quart_schema import hide

WEB = Path(__file__).parent.parent / "web"
INDEX = "index.html"

# A file of another kind is not served.
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
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
        pages.append(Page(path, content, TYPES[file.suffix], hashlib.sha256(content).hexdigest()[:32]))
    return pages


def page_routes(pages: list[Page]) -> Blueprint:
    """The dashboard at /, its files beside it."""
    routes = Blueprint("pages", __name__)
    for number, page in enumerate(pages):  # an endpoint's name may hold no dot; nobody refers to these
        routes.add_url_rule(
            "/" if page.path == INDEX else f"/{page.path}", f"page{number}", page.serve, methods=["GET"]
        )
    return routes
