"""What may be a name, a title, a text, a nonce: properties over all strings, and a table of Unicode's traps."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chat.errors import CODES, Refused
from chat.text import check_nonce, check_person_name, check_room_name, check_text, check_title

LIMIT = 4_000

anything = st.text(alphabet=st.characters(), max_size=120)  # surrogates too
labels = st.text(
    st.sampled_from(list("aé ж\u0301\u200b\u200c\u200d\u202e\u2066\ufe0f\ufeff\u3164葛👩🏴\t\n\x00\x85")), max_size=60
)


def refusal(check, *args) -> str:
    with pytest.raises(Refused) as caught:
        check(*args)
    assert caught.value.code in CODES
    assert "\n" not in caught.value.message
    caught.value.message.encode()  # no half of a pair in it: it goes back over the wire
    return caught.value.code


def outcome(check, *args) -> str | Refused:
    try:
        return check(*args)
    except Refused as refused:
        return refused


# --- rooms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "lobby", "tea-break", "v1.2_x", "0", "-", "...", "a" * 64])
def test_room_names(name):
    assert check_room_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a" * 65,
        "Lobby",
        "lobby\n",  # `$` would take it
        " lobby",
        "lob by",
        "löbby",
        "\u017f",  # long s, lower case of S by some casings
        "\u0663",  # a digit to \d
        "a/b",
        "a%2f",
        "\uff41",  # full width
        "lobby\u200b",
        "\x00",
        ".",  # cannot stand in an address
        "..",
    ],
)
def test_not_room_names(name):
    assert refusal(check_room_name, name) == "room_name_invalid"


@given(anything)
def test_a_room_name_is_checked_character_by_character(name):
    good = (
        1 <= len(name) <= 64 and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-") and name not in (".", "..")
    )
    if good:
        assert check_room_name(name) == name
    else:
        assert refusal(check_room_name, name) == "room_name_invalid"


# --- texts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "hi",
        "  indented\n\tcode\r\n",  # kept exactly, spaces too
        "مرحبا \u202bright to left\u202c",
        "e\u0301",  # not composed
        "👩\u200d👩\u200d👧\ufe0f",
        "x\u200b",
        "\u0301",  # a lone combining mark can be seen
        "\ufffd\ufffe",
        "a" * LIMIT,
        "\U0001f600" * LIMIT,  # 4,000 code points, 8,000 UTF-16 units, 16,000 bytes
        "\ue000",
        "\U0010ffff",
    ],
)
def test_texts_are_kept_as_sent(text):
    assert check_text(text, LIMIT) is text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "text_empty"),
        ("   ", "text_empty"),
        ("\n\t\r\n", "text_empty"),
        ("\u00a0\u2003\u3000", "text_empty"),
        ("\u2028\u2029", "text_empty"),
        ("\u200b", "text_empty"),
        ("\u200d\u2060\ufeff", "text_empty"),
        ("\u3164", "text_empty"),  # Hangul filler: a letter by its category
        ("\u2800", "text_empty"),  # Braille blank: a symbol by its category
        ("\u202e", "text_empty"),
        ("\U000e0041", "text_empty"),
        ("a\x00b", "text_invalid"),
        ("a\x08", "text_invalid"),
        ("\x1b[2J", "text_invalid"),
        ("a\x0bb", "text_invalid"),
        ("a\x0cb", "text_invalid"),
        ("a\x1cb", "text_invalid"),  # white space to Python
        ("a\x7f", "text_invalid"),
        ("a\x85b", "text_invalid"),  # a line break to Python
        ("a\x9b", "text_invalid"),
        ("a\ud800", "text_invalid"),
        ("\udc00a", "text_invalid"),
        ("a" * (LIMIT + 1), "text_too_long"),
    ],
)
def test_refused_texts(text, code):
    assert refusal(check_text, text, LIMIT) == code


@given(anything, st.integers(0, 100))
@example("\x85", 0)
def test_a_text_comes_back_itself_or_is_refused_for_what_is_in_it(text, limit):
    wrong = any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n\r" for c in text)
    result = outcome(check_text, text, limit)
    if isinstance(result, str):
        assert result is text
        assert not wrong
        assert text.strip()
        assert len(text) <= limit or limit == 0
    elif result.code == "text_too_long":
        assert len(text) > limit > 0
    elif result.code == "text_invalid":
        assert wrong
    else:
        assert result.code == "text_empty"
        assert not any(unicodedata.category(c)[0] in "LN" and c not in "\u115f\u1160\u3164\uffa0" for c in text)


# --- names and titles -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("Ada", "Ada"),
        ("  Ada Lovelace\n", "Ada Lovelace"),
        ("\u3000山田\u3000太郎\u3000", "山田\u3000太郎"),
        ("Rene\u0301", "René"),  # composed
        ("\u212b", "\u00c5"),  # the Angstrom sign is the letter
        ("\uff21da", "\uff21da"),  # NFC leaves compatibility forms alone; NFKC would change what people typed
        ("عل\u200cرض", "عل\u200cرض"),  # Persian needs the non-joiner
        ("ක්\u200dෂ", "ක්\u200dෂ"),  # Sinhala needs the joiner
        ("👩\u200d💻", "👩\u200d💻"),
        ("❤\ufe0f\u200d🔥", "❤\ufe0f\u200d🔥"),
        ("👩🏽\u200d🚀", "👩🏽\u200d🚀"),
        ("1\ufe0f\u20e3", "1\ufe0f\u20e3"),
        ("🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",) * 2,  # Scotland
        ("葛\U000e0100城", "葛\U000e0100城"),  # Japanese names choose a glyph
        ("שלום", "שלום"),
        ("a" * 40, "a" * 40),
        ("e\u0301" * 40, "é" * 40),  # 80 code points as sent, 40 as kept
        ("<b>&\"'", "<b>&\"'"),  # escaping is for who shows it
    ],
)
def test_names(given_name, kept):
    assert check_person_name(given_name) == kept


@pytest.mark.parametrize(
    "name",
    [
        "",
        "   ",
        "a" * 41,
        "Ada\nLovelace",
        "Ada\tL",
        "Ada\x00",
        "Ada\x85B",
        "A\ud83d",
        "Ada\u2028B",
        "\u202eadA",  # right-to-left override: shows as Ada
        "Ada\u202c",
        "\u2066Ada\u2069",  # isolates
        "Ada\u200e",  # marks
        "Ada\u061c",
        "Ada\u200b",  # zero width space
        "A\u200dda",  # a joiner between Latin letters
        "Ada\u200c",
        "\u200dAda",
        "ع\u200d\u200dع",
        "Ada\u2060",
        "\ufeffAda",
        "Ad\u00ada",  # soft hyphen
        "Ada\u034f",  # grapheme joiner
        "Ada\ufe0f",  # a variation selector behind a letter
        "葛\ufe00",
        "Ada\U000e0041",  # a tag
        "🏴\U000e0067",  # a flag without its end
        "\u3164",
        "A\u3164",
        "\u2800",
        "\uffa0",
        "\u180e",
        "\u0301",
        "\u0301Ada",  # would sit on what stands before the name
        "\ufe0f",
        "\u200d",
        "\ufdd0",
        "a\ufffe",
        "A\ufff9B\ufffa",  # interlinear annotation
    ],
)
def test_not_names(name):
    assert refusal(check_person_name, name) == "name_invalid"
    assert refusal(check_title, name if len(name) < 41 else name * 3) == "title_invalid"


@given(st.one_of(anything, labels))
def test_a_kept_name_is_in_its_one_form(name):
    kept = outcome(check_person_name, name)
    if isinstance(kept, Refused):
        assert kept.code == "name_invalid"
        return
    assert kept == unicodedata.normalize("NFC", name.strip())
    assert check_person_name(kept) == kept
    assert 1 <= len(kept) <= 40
    assert kept == kept.strip()
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]", kept)
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in kept)
    assert check_title(name) == kept


def test_a_title_may_be_longer():
    assert check_title("x" * 100) == "x" * 100
    assert refusal(check_title, "x" * 101) == "title_invalid"


def test_an_endless_name_is_refused_before_it_is_normalised():
    assert refusal(check_person_name, "a" + "\u0301\u0316" * 1_000_000) == "name_invalid"


# --- nonces -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nonce", ["n1", "!", "~" * 64, "5f0c7b1e-8d0a-4a49-9d8e-0f8f9f6c2f41", '"quoted"'])
def test_nonces(nonce):
    assert check_nonce(nonce) == nonce


@pytest.mark.parametrize("nonce", ["", "x" * 65, "a b", " a", "a\n", "é", "a\x00", "\x7f", "\ud800", "٣"])
def test_not_nonces(nonce):
    assert refusal(check_nonce, nonce) == "nonce_invalid"
