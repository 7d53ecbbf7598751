"""What a chat server refuses, and why. One tree, told alike over websocket (`error`) and HTTP.

Refused            the caller's fault, or the moment's: a code, a message for people, and whether to try again
"""

from __future__ import annotations


class Refused(Exception):
    """A request that is not done. `code` is for programs, `message` for people, `temporary` says to try again."""

    def __init__(self, code: str, message: str, *, temporary: bool = False, retry_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.temporary = temporary
        self.retry_ms = retry_ms


# code -> (HTTP status, what it means). The reference page is generated from this table.
CODES: dict[str, tuple[int, str]] = {
    "bad_json": (400, "the text is not JSON"),
    "bad_frame": (400, "JSON, but not a frame this server knows: a field is missing, unknown or of the wrong type"),
    "unknown_type": (400, 'no frame has this "t"'),
    "bad_request": (400, "a parameter or the body does not fit; `details` says where"),
    "bad_cursor": (400, "the cursor was made by another listing"),
    "room_name_invalid": (400, "a room's name is 1-64 of a-z 0-9 . _ -"),
    "title_invalid": (400, "a title is 1-100 characters, no control characters"),
    "name_invalid": (400, "a person's name is 1-40 characters, visible, no control characters"),
    "text_empty": (400, "the text is empty"),
    "text_too_long": (400, "the text is longer than limits.text_chars"),
    "text_invalid": (400, "the text holds control characters other than tab and line breaks"),
    "nonce_invalid": (400, "a nonce is 1-64 printable ASCII characters"),
    "no_token": (401, "no token was given"),
    "bad_token": (401, "the token is not one of ours, or has expired"),
    "not_allowed": (403, "this token may not do that"),
    "origin_refused": (403, "the page's origin is not allowed to connect"),
    "guests_off": (403, "this server takes no guests"),
    "not_joined": (403, "join the room first"),
    "not_found": (404, "nothing is here"),
    "room_missing": (404, "no room of this name exists"),
    "room_deleted": (410, "the room was deleted while you were in it"),
    "method_not_allowed": (405, "this address does not take that method"),
    "room_taken": (409, "a room of this name exists already"),
    "upgrade_required": (426, "this address speaks websocket"),
    "too_large": (413, "the body is larger than this server takes"),
    "too_many_rooms": (429, "this session is in as many rooms as it may be"),
    "rate_limited": (429, "too many at once; retry after retry_ms"),
    "head_too_large": (431, "the request's head is larger than 8 KiB"),
    "internal": (500, "the server failed; the log has the cause"),
    "overloaded": (503, "the server has more waiting work than it takes; retry after retry_ms"),
    "store_unavailable": (503, "the database cannot answer now; nothing was written; retry after retry_ms"),
    "draining": (503, "the server is stopping; come back as `moving` says"),
    "timeout": (408, "the request took too long to arrive"),
}
