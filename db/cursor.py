"""The room listing's cursor: where a page ended, opaque to clients, the same in every twin."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

import msgspec

from db.moments import moment, moment_text
from db.records import Order, RoomSort
from db.store import BadCursor

if TYPE_CHECKING:
    from db.records import RoomRecord

LONGEST = 256  # characters; the longest real one has about 130, so anything over this is not looked at


class Cursor(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The last room of a page, in one sort and order.

    `key` is the value sorted by and `id` breaks ties. Names have none, but one shape serves all. Listing on after a
    room has gone works, since nothing here points at a row.
    """

    sort: RoomSort
    order: Order
    key: str
    id: int


_decoder = msgspec.json.Decoder(Cursor)


def cursor_text(room: RoomRecord, sort: RoomSort, order: Order) -> str:
    """The cursor of the page that ends with this room."""
    key = room.name if sort == "name" else moment_text(room.created_at if sort == "created_at" else room.active_at)
    encoded = msgspec.json.encode(Cursor(sort, order, key, room.id))
    return base64.urlsafe_b64encode(encoded).rstrip(b"=").decode("ascii")


def read_cursor(text: str, sort: RoomSort, order: Order) -> Cursor:
    """What cursor_text put in. Raises BadCursor for everything else, and for another sort or order."""
    if len(text) > LONGEST:
        raise BadCursor("the cursor is not one of ours")
    try:
        encoded = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        cursor = _decoder.decode(encoded)
        if cursor.sort != "name":
            moment(cursor.key)
        if not 0 <= cursor.id < 2**63 or "\0" in cursor.key:
            raise ValueError
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise BadCursor("the cursor is not one of ours") from error
    if (cursor.sort, cursor.order) != (sort, order):
        raise BadCursor(f"the cursor is of the listing by {cursor.sort} {cursor.order}, not by {sort} {order}")
    return cursor
