"""Weak secrets are found, good ones are let pass."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belfry.strength import weakness


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (b"a" * 40, "one character again and again"),
        (b"abc12" * 10, "repeats 5 characters"),
        (b"Zr8#pQ1!Zr8#pQ1!Zr8#pQ1!Zr8#pQ1!", "repeats 8 characters"),
        (b"abcdefghijklmnopqrstuvwxyz0123456789", "neighbouring"),
        (b"changeme-changeme-secret-password", "words that are tried first"),
        (b"my-super-secret-password-for-test", "words that are tried first"),
        (b"the quick brown fox jumps over the lazy dog", "reads like words"),
        (b"0011001010110100110101101100101001", "bits at most"),
    ],
)
def test_weak(key: bytes, why: str) -> None:
    found = weakness(key)
    assert found is not None
    assert why in found
    assert key.decode() not in found


@given(st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key)) > 24))
def test_random_bytes_pass_in_every_spelling(key: bytes) -> None:
    assert weakness(base64.b64encode(key)) is None
    assert weakness(base64.urlsafe_b64encode(key)) is None
    assert weakness(key.hex().encode()) is None


@given(st.binary(min_size=1, max_size=100))
def test_any_bytes_have_an_answer(key: bytes) -> None:
    found = weakness(key)
    assert found is None or found
