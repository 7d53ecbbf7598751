"""What the wire's reference says that its structs do not: fields' meanings, examples, and the rules between frames."""

from __future__ import annotations

from typing import Any

from chat.presence import GRACE, NAMED

MOMENT = "moment: "  # stands before the words of a field whose struct leaves its type open

HEAD = """\
# The wire: `belfry.v1`

<!-- Written by `python -m docs.generate` from chat/wire.py, chat/closing.py and chat/errors.py; a test fails when it
differs. -->

A websocket at `/ws`, subprotocol `belfry.v1`, JSON text frames. Every frame is an object whose `t` says what it is.
[belfry.js](belfry-js.md) speaks all of this; this page is for those who write a client of their own.

    > {"t":"hello","token":"eyJhbGci..."}
    < {"t":"welcome","user":{"id":"u_ada","name":"Ada"},"server":"s1","heartbeat_ms":25000,...}
    > {"t":"join","room":"lobby"}
    < {"t":"joined","room":"lobby","epoch":"7tjrq3do","head":41,"gap":false,"count":3,"messages":[...],...}
    > {"t":"send","room":"lobby","nonce":"n1","text":"hi"}
    < {"t":"ack","room":"lobby","nonce":"n1","seq":42,"at":"2026-11-23T23:12:33.961544Z"}
    < {"t":"message","room":"lobby","seq":42,"from":{"id":"u_ada","name":"Ada"},"text":"hi","at":"2026-11-23T23:12..."}

Four words that the tables below use:

- A **room** is named by 1 to 64 of `a-z 0-9 . _ -`.
- A **seq** is a message's number in its room: 1, 2, 3, ..., without holes.
- A **position** is `[epoch, seq]`: up to where somebody has seen a room. The epoch is 8 characters and changes when
  the room's storage is replaced; positions of another epoch mean nothing.
- A **moment** is RFC 3339 in UTC: `2026-11-23T23:12:33.961544Z`.

Unknown fields are ignored on both sides, so that either may be newer than the other.
"""

RULES = """
## Between the frames

- **Opening.** Browsers send `Origin`; it must be the server's own host or one of the setting `origins`. The token goes
  into `hello` and never into the address, where logs would keep it. A client that offers subprotocols must offer
  `belfry.v1`; one that offers none is served too.
- **Hello** must be here within {hello_s} s, or the socket is closed with 4003. Frames may follow it at once: nobody
  has to wait for `welcome`.
- **Order.** Frames are answered in the order in which they came, except that an `ack` comes when the message is
  durable. The `ack` comes before the `message` that it is about, in the same write, to the sender only. Everybody in
  the room, the sender too, gets the same `message`.
- **Sending again.** A `send` without an `ack` may have been committed or not. Send it again with the same `nonce`: the
  answer is an `ack` with the number of the first time, and nobody sees the message twice. (room, user, nonce) is
  remembered as long as the room exists. Nonces that rise with time are cheaper for the database than random ones.
- **Coming back.** Keep, for each room, the epoch and the last seq. Put them into `hello.resume`, or into `join.after`;
  the answer is one `joined` a room with what was missed, followed by `message` frames when it is much. While it is
  sent, `joined.head` may be ahead of the last of `joined.messages`; the rest follows in order.
- **A gap.** When the position cannot be continued (another epoch, or a number beyond the head) `joined.gap` is true and
  `messages` are the newest ones: forget what you have of the room, and begin there.
- **Heartbeat.** `ping` comes when the server has heard nothing for `heartbeat_ms`; any text frame answers it. After
  {patience} heartbeats of silence the socket is closed with 4002.
- **Moving.** After `moving`, open the new socket `not_before_ms` later with the `ticket` as token, and close the old
  one when the new one has answered. A ticket is good once, and for {ticket_s} s after its moment; when it is refused
  (4500), come with your token. What arrives on both sockets is told apart by (room, epoch, seq). Until it is closed the
  old one goes on as if nothing were: with 1012, {grace} s after its moment at the latest. A drain may be aborted; then
  the old one just stays.
- **After a crash** (the socket ends without a close frame) wait a random part of `reconnect.window_ms`, then connect to
  where you were; from the second try on with backoff: random between 0 and a bound that doubles. If nobody is there and
  there is a `reconnect.tower`, ask it where to go.
- **503 with `Retry-After`** instead of a socket: come back after that many seconds and a random part of one more. A
  page in a browser cannot read that answer; it asks by `GET` at the same address, which answers 503 with `Retry-After`
  as long as a socket would be refused, else 426.
- **Refused frames.** An `error` answers a frame that was refused; the socket stays open. After {strikes} of them in a
  row that a good client would not have sent it is closed with 1008. `ref` is the nonce of a `send`, else the room it
  was about, if there is one.
- **Rates.** `limits.send_rate` and `send_burst` bound a session's messages; {per_send} times that bounds its frames of
  all kinds. Over it: `rate_limited`, with `retry_ms`. With {in_flight} sends unacknowledged the server reads no more
  until some are.
- **Compression** (`permessage-deflate`) is not agreed to, and binary frames are refused with 1003.
"""

FAMILIES = """
A code that is not in the table goes by its family: 4000 to 4499 come back with backoff, 4500 to 4999 do not come back
as you are. After 4500 another token may be welcome.
"""

ADA = {"id": "u_ada", "name": "Ada"}
AT = "2026-11-23T23:12:33.961544Z"

CLIENT_EXAMPLES: dict[str, dict[str, Any]] = {
    "hello": {"t": "hello", "token": "eyJhbGci...", "resume": {"lobby": ["7tjrq3do", 41]}, "client": "my bot 1.0"},
    "join": {"t": "join", "room": "lobby", "after": ["7tjrq3do", 41]},
    "leave": {"t": "leave", "room": "lobby"},
    "send": {"t": "send", "room": "lobby", "nonce": "n1", "text": "hi"},
    "typing": {"t": "typing", "room": "lobby"},
    "read": {"t": "read", "room": "lobby", "seq": 42},
    "pong": {"t": "pong"},
}
SERVER_EXAMPLES: dict[str, dict[str, Any]] = {
    "welcome": {
        "t": "welcome",
        "user": ADA,
        "server": "s1",
        "heartbeat_ms": 25_000,
        "reconnect": {"window_ms": 2_000},
        "limits": {
            "text_chars": 4_000,
            "frame_bytes": 65_536,
            "rooms_per_session": 100,
            "send_rate": 20.0,
            "send_burst": 60,
        },
    },
    "joined": {
        "t": "joined",
        "room": "lobby",
        "epoch": "7tjrq3do",
        "head": 42,
        "gap": False,
        "count": 1,
        "read": 41,
        "members": [ADA],
        "messages": [{"seq": 42, "from": ADA, "text": "hi", "at": AT}],
    },
    "message": {"t": "message", "room": "lobby", "seq": 42, "from": ADA, "text": "hi", "at": AT},
    "ack": {"t": "ack", "room": "lobby", "nonce": "n1", "seq": 42, "at": AT},
    "presence": {"t": "presence", "room": "lobby", "joined": [ADA], "left": ["u_grace"], "count": 3},
    "typing": {"t": "typing", "room": "lobby", "from": ADA},
    "read": {"t": "read", "room": "lobby", "user": "u_ada", "seq": 42},
    "ping": {"t": "ping"},
    "moving": {"t": "moving", "not_before_ms": 740, "window_ms": 2_400, "ticket": "eyJhbGci..."},
    "error": {
        "t": "error",
        "code": "rate_limited",
        "message": "too many messages",
        "temporary": True,
        "retry_ms": 50,
        "ref": "n1",
    },
}

FIELDS: dict[str, dict[str, str]] = {
    "Assembled": {
        "joined": "You are in the room; the answer to `join`, and one for each room of `hello.resume`.",
        "message": "A message of a room you are in; everybody gets the very same bytes.",
    },
    "Client.hello": {
        "token": "who you are: a [token](../how-to/issue-tokens.md), or the ticket of `moving`",
        "resume": "rooms to come back to, each with your position",
        "client": "your program's name",
        "cause": "why you connect",
    },
    "Client.join": {
        "room": "the room",
        "after": "everything after this position, please",
        "limit": "without `after`: how many of the newest messages",
    },
    "Client.leave": {"room": "the room"},
    "Client.send": {
        "room": "a room you are in",
        "nonce": "your own name for this message, visible ASCII without spaces; the same again is the same message",
        "text": "at most `limits.text_chars` code points, kept exactly as sent; no control characters but tab and line "
        "breaks, and something visible",
    },
    "Client.typing": {"room": "a room you are in"},
    "Client.read": {"room": "a room you are in", "seq": "you have read up to here; it only ever grows"},
    "Client.pong": {},
    "Server.welcome": {
        "user": "you, as others see you",
        "server": "the server's name",
        "heartbeat_ms": "how long the server waits before it asks a quiet client for a sign of life",
        "reconnect": "what to do after a crash",
        "limits": "what you may do",
    },
    "Server.joined": {
        "room": "string: the room",
        "epoch": "string: the first half of every position in this room",
        "head": "integer: the number of the room's newest message",
        "gap": "boolean: your position could not be continued; begin anew with `messages`",
        "count": "integer: how many people are here",
        "read": "integer: your own read mark, 0 if there is none",
        "members": f"array of [user](#the-object-user): who is here, by name; left out when they are over {NAMED}",
        "messages": "array of [message](#the-object-message): ascending, without holes",
    },
    "Server.message": {
        "room": "string: the room",
        "seq": "integer: its number, the one after the last you saw",
        "from": "[user](#the-object-user): who wrote it",
        "text": "string: what they wrote",
        "at": "moment: when it was committed",
    },
    "Server.ack": {
        "room": "the room",
        "nonce": "the nonce of your `send`",
        "seq": "the message's number",
        "at": MOMENT + "when it was committed; of the first time, if it was sent again",
    },
    "Server.presence": {
        "room": "the room",
        "joined": f"who came since the last `presence`; empty while there are more than {NAMED}, as is `left`",
        "left": f"the ids of those who left, told {GRACE:g} s after their last socket ended",
        "count": "how many people are here",
    },
    "Server.typing": {"room": "the room", "from": "who types; you hear yourself too"},
    "Server.read": {"room": "the room", "user": "the id of who read", "seq": "up to where"},
    "Server.ping": {},
    "Server.moving": {
        "not_before_ms": "when to be elsewhere, from now",
        "window_ms": "the whole server's clients move within this time",
        "ticket": "the token for the next socket; it names your rooms and positions",
        "url": "where to; left out: to the same address",
    },
    "Server.error": {
        "code": "for programs: one of [these](#error-codes)",
        "message": "for people",
        "temporary": "the same may work later",
        "retry_ms": "how much later, at the earliest",
        "ref": "the nonce or the room it is about",
    },
    "user": {"id": "who it is, for ever", "name": "what people see"},
    "message": {
        "seq": "its number in the room",
        "from": "who wrote it, under the name of that moment",
        "text": "what they wrote",
        "at": MOMENT + "when it was committed",
    },
    "reconnect": {
        "window_ms": "spread the first retry over this time",
        "url": "where to; left out: to the same address",
        "tower": "who knows where to when nobody is there: `GET {tower}/v1/assign?user=&room=` answers `{url, server}`",
    },
    "limits": {
        "text_chars": "code points of one message",
        "frame_bytes": "bytes of one frame from you",
        "rooms_per_session": "rooms you may be in at once",
        "send_rate": "messages a second in the long run",
        "send_burst": "messages at once",
    },
}
