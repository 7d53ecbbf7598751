"""What a tower refuses, and why. One tree, told alike over HTTP and on the command line.

Refused       the caller's fault, or the moment's: a code, a message for people, and perhaps when to try again
BadToken      the caller's token is not one of ours; a ValueError, so that whoever verifies tokens can raise it
"""

from __future__ import annotations


class Refused(Exception):
    """A request that is not done. `code` is for programs, `message` for people, `retry` seconds to wait."""

    def __init__(self, code: str, message: str, *, retry: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry = retry


class BadToken(ValueError):
    """A token that names nobody; its text is the reason, for people."""


# code -> (HTTP status, what it means)
CODES: dict[str, tuple[int, str]] = {
    "bad_json": (400, "the body is not JSON"),
    "bad_request": (400, "a parameter or the body does not fit; the message says which"),
    "no_token": (401, "no token was given"),
    "bad_token": (401, "the token is not one of ours, or has expired"),
    "not_allowed": (403, "this is for administrators"),
    "not_found": (404, "nothing is here"),
    "server_missing": (404, "no server of this id has beaten"),
    "method_not_allowed": (405, "this address does not take that method"),
    "timeout": (408, "the request took too long to arrive"),
    "server_gone": (409, "the server has stopped, or is silent"),
    "wrong_state": (409, "the server is not in a state for this verb"),
    "last_server": (409, "no other server would be left for newcomers; `force` does it all the same"),
    "too_fast": (409, "the others cannot take that many a second, or not by that deadline"),
    "too_large": (413, "the body is larger than this tower takes"),
    "upgrade_refused": (400, "this tower speaks no websocket"),
    "head_too_large": (431, "the request's head is larger than 8 KiB"),
    "internal": (500, "the tower failed; its log has the cause"),
    "nobody_ready": (503, "no server takes newcomers now; retry after Retry-After"),
    "bus_unavailable": (503, "the bus is away, so the server would not hear it"),
    "store_unavailable": (503, "the database cannot answer now"),
    "too_many": (503, "this tower has as many connections as it takes; retry after Retry-After"),
}
