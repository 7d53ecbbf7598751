"""Tokens and tickets: what is issued verifies, and nothing else does."""

from __future__ import annotations

import base64
import json
import math
import re

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chat.errors import Refused
from chat.tokens import MAX_TOKEN_CHARS, Identity, Tokens

SECRET = b"a secret of more than thirty-two bytes"
NOW = 1_795_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(clock) -> Tokens:
    return Tokens(SECRET, clock)


def part(value) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(claims: dict, secret: bytes = SECRET, algorithm: str = "HS256", **header) -> str:
    return jwt.encode(claims, secret, algorithm, headers=header)


def refusal(tokens: Tokens, token: str) -> str:
    with pytest.raises(Refused) as caught:
        tokens.verify(token)
    assert caught.value.code == "bad_token"
    assert not caught.value.temporary
    return caught.value.message


GOOD = {"sub": "u_7", "name": "Ada", "exp": NOW + 60}


def test_what_is_issued_verifies(tokens):
    assert tokens.verify(tokens.issue("u_7", "Ada", 60.0)) == Identity("u_7", "Ada", NOW + 60)
    assert tokens.verify(tokens.issue("root", "Op", 60.0, admin=True)).admin


def test_the_claims_are_the_standard_ones(tokens):
    claims = jwt.decode(tokens.issue("u_7", "Ada", 60.0), options={"verify_signature": False})
    assert claims == {"sub": "u_7", "name": "Ada", "iat": int(NOW), "exp": NOW + 60}


@given(
    st.from_regex(re.compile(r"[!-~]{1,64}"), fullmatch=True),
    st.text(st.characters(codec="latin-1", categories=["L", "N"]), min_size=1, max_size=40),
    st.floats(1, 1e7),
)
def test_any_user_verifies_until_the_end_and_not_after(user_id, name, ttl):
    clock = Clock()
    tokens = Tokens(SECRET, clock)
    token = tokens.issue(user_id, name, ttl)
    identity = tokens.verify(token)
    assert identity.name == name
    assert identity.user_id == user_id
    assert NOW + ttl <= identity.expires_at < NOW + ttl + 1
    clock.now = math.nextafter(identity.expires_at, 0)
    assert tokens.verify(token) == identity
    clock.now = identity.expires_at
    assert refusal(tokens, token) == "the token has expired"


def test_tokens_of_an_own_backend_with_the_same_secret(tokens):
    identity = Identity("u_7", "Ada", NOW + 60)
    assert tokens.verify(signed(GOOD)) == identity  # the very head of our own: the short way
    assert tokens.verify(signed(GOOD, iss="here")) == identity  # another head: PyJWT's way
    assert tokens.verify(signed(GOOD | {"email": "ada@example.org", "iat": NOW + 5}, kid="2026")) == identity


WRONG_CLAIMS = {
    "no sub": {"name": "Ada", "exp": NOW + 60},
    "no name": {"sub": "u_7", "exp": NOW + 60},
    "no exp": {"sub": "u_7", "name": "Ada"},
    "sub is a number": GOOD | {"sub": 7},
    "sub is empty": GOOD | {"sub": ""},
    "sub is long": GOOD | {"sub": "u" * 65},
    "sub ends in a line break": GOOD | {"sub": "u_7\n"},
    "sub is not ASCII": GOOD | {"sub": "ü"},
    "name reorders": GOOD | {"name": "\u202eadA"},
    "name is empty": GOOD | {"name": ""},
    "name is half a pair": GOOD | {"name": "\ud800"},
    "expired": GOOD | {"exp": NOW - 1},
    "expires now": GOOD | {"exp": NOW},
    "never expires": GOOD | {"exp": math.inf},
    "exp is not a number": GOOD | {"exp": math.nan},
    "exp is text": GOOD | {"exp": "tomorrow"},
    "exp is true": GOOD | {"exp": True},
    "exp is huge": GOOD | {"exp": 10**400},
    "not yet": GOOD | {"nbf": NOW + 3_600},
    "admin is text": GOOD | {"admin": "no"},
    "for somebody else": GOOD | {"aud": "payments"},
}


@pytest.mark.parametrize("head", [{}, {"cty": "x"}], ids=["our head", "another head"])
@pytest.mark.parametrize("claims", WRONG_CLAIMS.values(), ids=WRONG_CLAIMS)
def test_well_signed_but_wrong(tokens, claims, head):
    message = refusal(tokens, signed(claims, **head))
    message.encode()


def test_a_clock_that_is_a_little_behind_is_forgiven_for_nbf(tokens):
    assert tokens.verify(signed(GOOD | {"nbf": NOW + 30})).user_id == "u_7"


def forged() -> dict[str, str]:
    good = signed(GOOD)
    head, body, signature = good.split(".")
    admin = part(GOOD | {"admin": True})
    last = "B" if signature[-1] == "A" else "A"
    return {
        "empty": "",
        "dots": "..",
        "garbage": "garbage",
        "three garbages": "a.b.c",
        "not ASCII": "é" + good,
        "half a pair": "\ud800",
        "other claims": f"{head}.{admin}.{signature}",
        "no signature": f"{head}.{body}.",
        "no signature, no dot": f"{head}.{body}",
        "cut signature": good[:-1],
        "other last bits": f"{head}.{body}.{signature[:-1]}{last}",
        "padded": good + "=",
        "a space behind": good + " ",
        "a line break behind": good + "\n",
        "a fourth part": good + ".x",
        "another secret": signed(GOOD, b"another secret of more than thirty-two bytes"),
        "alg none": f"{part({'alg': 'none', 'typ': 'JWT'})}.{body}.",
        "alg None": f"{part({'alg': 'None'})}.{body}.{signature}",
        "no alg": f"{part({'typ': 'JWT'})}.{body}.{signature}",
        "alg is a list": f"{part({'alg': ['HS256']})}.{body}.{signature}",
        "another alg, our secret": signed(GOOD, algorithm="HS512", secret=SECRET * 2),
        "alg swapped in the head": f"{part({'alg': 'RS256', 'typ': 'JWT'})}.{body}.{signature}",
        "crit": signed(GOOD, crit=["x"]),
        "head is no object": f"{part([])}.{body}.{signature}",
        "head is no JSON": f"{part(b'{')}.{body}.{signature}",
        "head is deep": f"{part(b'[' * 4_000)}.{body}.{signature}",
        "ticket by another": signed(GOOD, b"another secret of more than thirty-two bytes", typ="ticket"),
        "huge": good + "A" * 1_000_000,
        "huge before the dot": "A" * 1_000_000 + good,
    }


@pytest.mark.parametrize("token", forged().values(), ids=forged())
def test_forged(tokens, token):
    assert refusal(tokens, token) in ("this is not one of our tokens", "this is not a token")


@given(st.text(st.characters(codec="ascii"), max_size=300), st.booleans())
def test_no_text_is_a_token(text, with_our_head):
    tokens = Tokens(SECRET, Clock())
    head = tokens.issue("u_7", "Ada", 60).partition(".")[0] + "." if with_our_head else ""
    refusal(tokens, head + text)


def test_signed_text_that_holds_no_claims(tokens):
    for payload in (b"", b"{", b"[]", b"null", b"\xff", b'{"sub": "\xff"}', b"1" * 5_000):
        for head in ({}, {"cty": "x"}):
            refusal(tokens, jwt.api_jws.encode(payload, SECRET, "HS256", headers=head))


def test_a_short_secret_is_refused():
    with pytest.raises(ValueError, match="31 bytes"):
        Tokens(b"x" * 31)


# --- guests -----------------------------------------------------------------------------------------------------


def test_guests_are_all_different_and_their_names_checked(tokens):
    token, identity = tokens.guest("  Ada ", ttl=60.0)
    assert re.fullmatch("g_[a-z2-7]{16}", identity.user_id)
    assert (identity.name, identity.expires_at, identity.admin) == ("Ada", NOW + 60, False)
    assert tokens.verify(token) == identity
    assert len({tokens.guest("Ada")[1].user_id for _ in range(100)}) == 100
    with pytest.raises(Refused) as caught:
        tokens.guest("\u202e")
    assert caught.value.code == "name_invalid"


# --- tickets ----------------------------------------------------------------------------------------------------


def test_a_ticket_carries_the_session(tokens, clock):
    session = Identity("u_7", "Ada", NOW + 3_600, admin=True)
    positions = {"lobby": ("k3f9", 41), "tea": ("a", 2**63 - 1)}
    ticket = tokens.ticket(session, positions, 30.0)
    taken = tokens.verify(ticket)
    own = {"ticket": taken.ticket, "ticket_until": NOW + 30}
    assert taken == Identity("u_7", "Ada", NOW + 3_600, admin=True, rooms=positions, **own)
    assert taken.ticket
    assert tokens.verify(tokens.ticket(session, positions, 30.0)).ticket != taken.ticket
    clock.now += 30
    assert refusal(tokens, ticket) == "the token has expired"
    assert taken.expires_at > clock.now  # the session goes on


def test_a_ticket_does_not_outlive_its_session(tokens, clock):
    ticket = tokens.ticket(Identity("u_7", "Ada", NOW + 10), {}, 30.0)
    clock.now += 9
    assert tokens.verify(ticket).expires_at == NOW + 10
    clock.now += 1
    refusal(tokens, ticket)


def test_a_ticket_is_never_too_long_for_hello(tokens):
    positions = {f"{number:064}": ("e" * 16, 2**63 - 1) for number in range(500)}
    ticket = tokens.ticket(Identity("u_7", "\U0001f600" * 40, NOW + 60.123456), positions, 30.0)
    assert MAX_TOKEN_CHARS * 3 / 4 < len(ticket) <= MAX_TOKEN_CHARS
    kept = tokens.verify(ticket).rooms
    assert list(kept.items()) == list(positions.items())[: len(kept)]


def test_only_a_ticket_has_rooms(tokens):
    rooms = {"rooms": {"lobby": ["k3f9", 41]}, "ses": NOW + 3_600}
    assert tokens.verify(signed(GOOD | rooms)) == Identity("u_7", "Ada", NOW + 60)


@pytest.mark.parametrize(
    "claims",
    [
        {"rooms": {}},
        {"ses": NOW + 59, "rooms": {}},
        {"ses": math.inf, "rooms": {}},
        {"ses": NOW + 90, "rooms": []},
        {"ses": NOW + 90, "rooms": {"lobby": ["k3f9"]}},
        {"ses": NOW + 90, "rooms": {"lobby": ["k3f9", "41"]}},
    ],
)
def test_wrong_tickets(tokens, claims):
    refusal(tokens, signed(GOOD | claims, typ="ticket"))


# --- other issuers' keys ----------------------------------------------------------------------------------------


OTHER = b"the identity provider's own key, which is no secret to whoever reads its JWKS: 64 bytes"


class KnownKeys:
    """As a JWKS: the key names its algorithm, here HS512."""

    def key(self, kid: str) -> jwt.PyJWK | None:
        if kid != "2026":
            return None
        return jwt.PyJWK({"kty": "oct", "k": part(OTHER)}, "HS512")


@pytest.fixture
def trusting(clock) -> Tokens:
    return Tokens(SECRET, clock, KnownKeys())


def test_a_token_by_a_known_key(trusting):
    assert trusting.verify(signed(GOOD, OTHER, "HS512", kid="2026")) == Identity("u_7", "Ada", NOW + 60)
    assert trusting.verify(trusting.issue("u_7", "Ada", 60)) == Identity("u_7", "Ada", NOW + 60)


@pytest.mark.parametrize(
    "token",
    [
        signed(GOOD, OTHER, "HS256", kid="2026"),  # the right key, another algorithm: what confuses RS256 with HS256
        signed(GOOD, SECRET, kid="2026"),
        signed(GOOD, OTHER, "HS512"),
        signed(GOOD, OTHER, "HS512", kid="2025"),
        f"{part({'alg': 'none', 'kid': '2026'})}.{part(GOOD)}.",
        f"{part({'alg': 'HS512', 'kid': ['2026']})}.{part(GOOD)}.x",
    ],
)
def test_a_key_is_only_good_with_its_own_algorithm(trusting, token):
    refusal(trusting, token)


def test_another_issuer_cannot_make_tickets(trusting):
    claims = GOOD | {"ses": NOW + 3_600, "rooms": {"lobby": ["k3f9", 41]}}
    assert trusting.verify(signed(claims, OTHER, "HS512", kid="2026", typ="ticket")) == Identity("u_7", "Ada", NOW + 60)
