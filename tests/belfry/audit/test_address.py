"""Addresses as people type them."""

from __future__ import annotations

import pytest

from belfry.audit.address import Address, read_address


@pytest.mark.parametrize(
    ("url", "address", "http"),
    [
        ("http://127.0.0.1:8000", Address("127.0.0.1", 8000, False), "http://127.0.0.1:8000"),
        ("http://localhost/", Address("localhost", 80, False), "http://localhost"),
        ("https://chat.example.org", Address("chat.example.org", 443, True), "https://chat.example.org"),
        ("wss://chat.example.org:444/ws", Address("chat.example.org", 444, True), "https://chat.example.org:444"),
        ("ws://[::1]:8000/ws/", Address("::1", 8000, False), "http://[::1]:8000"),
    ],
)
def test_an_address_is_read(url: str, address: Address, http: str) -> None:
    assert read_address(url) == address
    assert address.http == http


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://a",
        "http://",
        "http://a:99999",
        "http://a:b",
        "http://[::1",
        "http://a/chat",
        "http://a/?b",
    ],
)
def test_what_is_none_is_refused_with_what_is_right(url: str) -> None:
    with pytest.raises(ValueError, match="give the address that people open"):
        read_address(url)
