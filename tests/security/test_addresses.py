"""Addresses of clients behind proxies."""

from __future__ import annotations

import pytest

from groundplane.security.addresses import client_ip, covers, parse_network


@pytest.mark.parametrize(
    ("lists", "leftmost", "expected"),
    [
        ([], False, "10.0.0.9"),
        ([None], False, "10.0.0.9"),
        (["1.1.1.1"], False, "1.1.1.1"),
        (["1.1.1.1, 2.2.2.2 ,3.3.3.3"], False, "3.3.3.3"),
        (["1.1.1.1, 2.2.2.2"], True, "1.1.1.1"),
        (["1.1.1.1, 2.2.2.2, junk"], False, "2.2.2.2"),
        (["junk", "2.2.2.2"], False, "2.2.2.2"),
        (["", "x"], False, "10.0.0.9"),
        ([None, "2001:db8::1"], False, "2001:0db8:0000:0000:0000:0000:0000:0001"),
    ],
)
def test_the_client_is_the_nearest_address_the_proxy_wrote(
    lists: list[str | None], leftmost: bool, expected: str
) -> None:
    assert client_ip("10.0.0.9", lists, leftmost=leftmost) == expected


@pytest.mark.parametrize(
    ("entries", "ip", "expected"),
    [
        ([], "1.2.3.4", False),
        (["1.2.3.4"], "1.2.3.4", True),
        (["1.2.3.5"], "1.2.3.4", False),
        (["1.2.0.0/16"], "1.2.3.4", True),
        (["1.2.3.9/16"], "1.2.3.4", True),
        (["2001:db8::/32"], "2001:0db8:0000:0000:0000:0000:0000:0001", True),
        (["::/0"], "1.2.3.4", False),
        (["nonsense", "1.2.3.4"], "1.2.3.4", True),
        (["0.0.0.0/0"], "", False),
    ],
)
def test_a_list_covers_its_addresses_and_networks(entries: list[str], ip: str, expected: bool) -> None:
    assert covers(entries, ip) is expected


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "1.2.3.4/33", "1.2.3.4/255.0.0.0", "host", "1.2.3.4 ", "1.2.3.4/"]
)
def test_what_is_no_address_and_no_network_is_refused(text: str) -> None:
    assert parse_network(text) is None
