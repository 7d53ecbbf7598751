"""Who somebody is: signed tokens (JWT) and the short-lived tickets that carry a session to its next server.

A key and its algorithm are one value (PyJWK), so that no token can choose how it is checked: `alg: none`
and a public key used as an HMAC secret fail because the header's algorithm is only ever compared with the
key's own.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import math
import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import jwt
import msgspec
from msgspec import Meta

from chat.errors import Refused
from chat.text import check_person_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_TOKEN_CHARS = 8192  # of `hello.token`; a ticket for 100 rooms with 20-character names is 5,600
MIN_SECRET_BYTES = 32  # RFC 7518, 3.2: an HS256 key has at least the hash's size
GUEST_TTL = 86_400.0  # seconds
NBF_LEEWAY = 60.0  # seconds a token may come before its nbf: two machines' clocks differ; expiry has no leeway

TICKET = "ticket"  # the header's typ; RFC 8725, 3.11: kinds of tokens are told apart by it

SUBJECT = r"\A[!-~]{1,64}\Z"  # user ids stand in keys of the database and in logs

Position = tuple[str, int]  # (epoch, seq)


class Identity(msgspec.Struct, frozen=True):
    """Who a good token names, and until when."""

    user_id: str
    name: str
    expires_at: float  # Unix seconds; of the session, also when a ticket told it
    admin: bool = False
    rooms: dict[str, Position] = {}  # only from a ticket: where the session was in each room
    ticket: str = ""  # a ticket's own id
    ticket_until: float = 0.0  # Unix seconds


class Keys(Protocol):
    """Keys of other issuers, such as a JWKS read from an identity provider; each knows its one algorithm."""

    def key(self, kid: str) -> jwt.PyJWK | None:
        """The key of this id, from memory: it must not block. None refuses the token."""


class _Claims(msgspec.Struct, frozen=True):
    """What a token must and may say; other claims are left alone."""

    sub: Annotated[str, Meta(pattern=SUBJECT)]
    name: str
    exp: float
    nbf: float = 0.0
    admin: bool = False
    ses: float | None = None  # a ticket's: when the session that it carries ends
    rooms: dict[str, Position] = {}
    jti: str = ""  # a ticket's, so that it is taken once
    aud: Any = None


_decode_claims = msgspec.json.Decoder(_Claims).decode


class Tokens:
    """Issues and verifies tokens; our own by `secret` (HS256), others' by the key that their `kid` names."""

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time, keys: Keys | None = None) -> None:
        if len(secret) < MIN_SECRET_BYTES:
            raise ValueError(f"the secret has {len(secret)} bytes; HS256 needs at least {MIN_SECRET_BYTES}")
        octets = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
        self._own = jwt.PyJWK({"kty": "oct", "k": octets}, "HS256")
        self._keys = keys
        self._clock = clock
        # PyJWT checks signatures only: claims are checked in one place, for its path and the fast one.
        self._jwt = jwt.PyJWT({"verify_exp": False, "verify_nbf": False, "verify_iat": False, "verify_aud": False})
        self._token_head = self._jwt.encode({}, self._own).partition(".")[0] + "."
        self._ticket_head = self._jwt.encode({}, self._own, headers={"typ": TICKET}).partition(".")[0] + "."

    def issue(self, user_id: str, name: str, ttl: float, admin: bool = False) -> str:
        """A token for a user, good for `ttl` seconds."""
        now = self._clock()
        claims: dict[str, Any] = {"sub": user_id, "name": name, "iat": int(now), "exp": math.ceil(now + ttl)}
        if admin:
            claims["admin"] = True
        return self._jwt.encode(claims, self._own)

    def guest(self, name: str, ttl: float = GUEST_TTL) -> tuple[str, Identity]:
        """A token for somebody new, under the name they chose. Raises Refused("name_invalid")."""
        # 80 random bits: among a billion guests two share an id with a chance of 4 in 10 million.
        user_id = "g_" + base64.b32encode(secrets.token_bytes(10)).decode().lower()
        token = self.issue(user_id, check_person_name(name), ttl)
        return token, self.verify(token)

    def ticket(self, identity: Identity, positions: Mapping[str, Position], ttl: float) -> str:
        """A token that carries a session: good for `ttl` seconds, or less if the session ends sooner.

        Positions beyond MAX_TOKEN_CHARS are left out; the client's own `resume` has them all.
        """
        now = self._clock()
        claims: dict[str, Any] = {
            "sub": identity.user_id,
            "name": identity.name,
            "iat": int(now),
            "exp": min(now + ttl, identity.expires_at),
            "ses": identity.expires_at,
            "jti": secrets.token_urlsafe(12),
        }
        if identity.admin:
            claims["admin"] = True
        # Base64 makes four characters of three bytes; 200 are for the header, the signature and the braces.
        room_left = MAX_TOKEN_CHARS * 3 // 4 - 200 - len(msgspec.json.encode(claims))
        rooms: dict[str, Position] = {}
        for room, (epoch, seq) in positions.items():
            room_left -= len(msgspec.json.encode([room, epoch, seq])) + 4
            if room_left < 0:
                break
            rooms[room] = (epoch, seq)
        return self._signed(self._ticket_head, claims | {"rooms": rooms})

    def _signed(self, head: str, claims: dict[str, Any]) -> str:
        """What PyJWT makes of these, without its looking at the key anew: 7 us instead of 90 for each who moves."""
        signed = head.encode() + base64.urlsafe_b64encode(msgspec.json.encode(claims)).rstrip(b"=")
        return (signed + b"." + self._signature(signed)).decode()

    def _signature(self, signed: bytes) -> bytes:
        return base64.urlsafe_b64encode(self._own.Algorithm.sign(signed, self._own.key)).rstrip(b"=")

    def verify(self, token: str) -> Identity:
        """Who this token or ticket names. Raises Refused("bad_token") with a reason for people."""
        # The size first: PyJWT looks at every character in Python, 0.1 s for a megabyte.
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            raise Refused("bad_token", "this is not a token")
        try:
            if (claims := self._claims_of_own(token)) is not None:
                ticket = token.startswith(self._ticket_head)
            else:
                key = self._key_of(token)
                decoded = self._jwt.decode_complete(token, key)
                ticket = key is self._own and decoded["header"].get("typ") == TICKET
                claims = msgspec.convert(decoded["payload"], _Claims)
        except (jwt.PyJWTError, binascii.Error):
            raise Refused("bad_token", "this is not one of our tokens") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:  # the latter for a string that is not UTF-8
            raise Refused("bad_token", f"the token's claims do not fit: {error}") from None
        return self._identity(claims, ticket)

    def _claims_of_own(self, token: str) -> _Claims | None:
        """The claims of a token that this class made, past PyJWT's parsing; None if it made no such token.

        12 us instead of 130, and 60 instead of 1,000 for a large ticket, where a wave of reconnects is 800
        a second. It is safe because nothing in the token is looked at before its signature: the head is
        compared as text, so there is no algorithm to choose, and the signature is made again and compared,
        not decoded.
        """
        if not token.startswith((self._token_head, self._ticket_head)):
            return None
        signed, _, signature = token.encode().rpartition(b".")
        if not hmac.compare_digest(self._signature(signed), signature):
            raise Refused("bad_token", "this is not one of our tokens")
        payload = signed.partition(b".")[2]
        return _decode_claims(base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4)))

    def _identity(self, claims: _Claims, ticket: bool) -> Identity:
        if claims.aud is not None:
            # RFC 7519, 4.1.3: a token meant for somebody must be refused by everybody else; we have no such
            # name.
            raise Refused("bad_token", "the token is meant for another audience")
        now = self._clock()
        if not now < claims.exp < math.inf:  # also refuses NaN, which JSON in Python may hold
            raise Refused("bad_token", "the token has expired")
        if not claims.nbf <= now + NBF_LEEWAY:
            raise Refused("bad_token", "the token is not valid yet")
        if not ticket:
            return Identity(claims.sub, _person(claims.name), claims.exp, claims.admin)
        if claims.ses is None or not claims.exp <= claims.ses < math.inf:
            raise Refused("bad_token", "the ticket does not say when its session ends")
        return Identity(
            claims.sub, _person(claims.name), claims.ses, claims.admin, claims.rooms, claims.jti, claims.exp
        )

    def _key_of(self, token: str) -> jwt.PyJWK:
        if self._keys is None:
            return self._own  # and the header is parsed once only
        kid = jwt.get_unverified_header(token).get("kid")
        if kid is None:
            return self._own
        if (key := self._keys.key(kid)) is None:
            raise Refused("bad_token", "this is not one of our tokens")
        return key


def _person(name: str) -> str:
    try:
        return check_person_name(name)
    except Refused as refusal:
        raise Refused("bad_token", f"the token's name does not fit: {refusal.message}") from None
