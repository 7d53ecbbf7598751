"""What people may call themselves and their rooms, and what they may say: the checks on every incoming text.

Messages are kept exactly as sent, since code, poems and right-to-left quotations are all somebody's text; a
reader's client isolates them. Names and titles stand inside other people's pages, so they are brought to
one form (NFC) and may hold nothing that makes two of them look alike or that reorders what is around them.
"""

from __future__ import annotations

import re
import unicodedata

from chat.errors import Refused

ROOM_NAME_CHARS = 64
TITLE_CHARS = 100
PERSON_NAME_CHARS = 40
NONCE_CHARS = 64

# Unicode's Default_Ignorable_Code_Point: drawn as nothing. U+2800 and the fillers claim to be letters or
# symbols and are drawn as nothing too.
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_VISIBLE = re.compile(rf"[^\s\x00-\x1f\x7f-\x9f{_IGNORABLE}]")

# C0 and C1 but tab, line feed and carriage return; and halves of UTF-16 pairs, which no UTF-8 can carry.
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

_ROOM_NAME = re.compile(rf"[a-z0-9._-]{{1,{ROOM_NAME_CHARS}}}")
# No space: HTTP trims it from a header's ends, and MySQL's padded comparison takes "a" and "a " for one.
_NONCE = re.compile(rf"[!-~]{{1,{NONCE_CHARS}}}")

# In a name or title an ignorable stays only where a script or an emoji needs it: a joiner between two
# characters from Armenian upwards (never between Latin, Greek or Cyrillic letters, where it only makes
# look-alikes), a variation selector behind an emoji, an ideograph or a Mongolian letter, the tags of a
# regional flag.
_NEEDED = re.compile(
    rf"(?<=[\u0530-\U0001faff])(?<![\u2800\u3164])[\u200c\u200d](?=[\u0530-\U0001faff])(?![{_IGNORABLE}\s])"
    r"|(?<=[#*0-9\xa9\xae\u203c-\u27ff\u2900-\u32ff\U0001f000-\U0001faff])[\ufe0e\ufe0f]"
    r"|(?<=[\u3400-\u9fff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef]"
    r"|(?<=[\u1820-\u18aa])[\u180b-\u180d\u180f]"
    r"|(?<=\U0001f3f4)[\U000e0030-\U000e0039\U000e0061-\U000e007a]{1,6}\U000e007f"
)
_NOT_LABEL = re.compile(rf"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff{_IGNORABLE}]")


def check_room_name(name: str) -> str:
    """Return a room's name unchanged, or raise Refused("room_name_invalid")."""
    if _ROOM_NAME.fullmatch(name) is None:
        raise Refused("room_name_invalid", f"a room's name is 1-{ROOM_NAME_CHARS} of a-z 0-9 . _ -")
    if name in (".", ".."):
        # Browsers resolve these in an address, also percent-encoded: /v1/rooms/.. would never be asked for.
        raise Refused("room_name_invalid", f'"{name}" cannot stand in an address; choose another name')
    return name


def check_title(title: str) -> str:
    """Return a room's title trimmed and in NFC, or raise Refused("title_invalid")."""
    return _label(title, TITLE_CHARS, "title_invalid", "a title")


def check_person_name(name: str) -> str:
    """Return a person's name trimmed and in NFC, or raise Refused("name_invalid")."""
    return _label(name, PERSON_NAME_CHARS, "name_invalid", "a name")


def check_text(text: str, limit: int) -> str:
    """Return a message's text exactly as sent, or raise Refused; `limit` is in code points, 0 is none."""
    if limit and len(text) > limit:
        raise Refused("text_too_long", f"the text has {len(text)} characters; the limit is {limit}")
    # isprintable is a tight loop in C, three times as fast as the search, and true for most messages; it is
    # false for every control and surrogate, but also for line breaks and some emoji: a false proves nothing.
    if not text.isprintable() and (wrong := _NOT_TEXT.search(text)) is not None:
        raise Refused("text_invalid", f"the text holds {_code_point(wrong[0])}, which is not text")
    if _VISIBLE.search(text) is None:
        raise Refused("text_empty", "the text is empty")
    return text


def check_nonce(nonce: str) -> str:
    """Return a nonce unchanged, or raise Refused("nonce_invalid")."""
    if _NONCE.fullmatch(nonce) is None:
        raise Refused("nonce_invalid", f"a nonce is 1-{NONCE_CHARS} printable ASCII characters without spaces")
    return nonce


def _label(text: str, limit: int, code: str, what: str) -> str:
    """Bring a line of text that others see beside their own into its one form, or raise Refused(code)."""
    # Before the normalisation, whose sorting of combining marks is quadratic. Three or four code points
    # compose to one at the most, so ten times the limit is nobody's name.
    if len(text) > 10 * limit:
        raise Refused(code, f"{what} has at most {limit} characters")
    text = unicodedata.normalize("NFC", text.strip())
    if (wrong := _NOT_LABEL.search(_NEEDED.sub("", text))) is not None:
        raise Refused(code, f"{what} cannot hold {_code_point(wrong[0])}")
    if _VISIBLE.search(text) is None:
        raise Refused(code, f"{what} needs at least one visible character")
    if unicodedata.category(text[0]).startswith("M"):
        raise Refused(code, f"{what} cannot start with a combining mark")
    if len(text) > limit:
        raise Refused(code, f"{what} has at most {limit} characters, not {len(text)}")
    return text


def _code_point(char: str) -> str:
    name = unicodedata.name(char, "")
    return f"U+{ord(char):04X}" + (f" {name.lower()}" if name else "")
