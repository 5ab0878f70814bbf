"""The texts of an entry are the same whichever way they are made, and numbers grow with time."""

from __future__ import annotations

import pytest

from groundplane.context import Caller
from groundplane.logs.entry import (
    Numbers,
    Seen,
    in_common,
    plain_row,
    plain_texts,
    request_texts,
    rows_of,
)
from groundplane.settings.values import Logs

CALLER = Caller(id="a" * 15, collection_id="c", collection_name="users")


def seen(
    path: bytes = b"/api/health",
    *,
    query: bytes = b"",
    caller: Caller | None = None,
    agent: bytes = b'x "y" \\',
) -> Seen:
    return (
        1.0,
        1.012345,
        "GET",
        path,
        query,
        200,
        b"https://a.example/?token=x",
        agent,
        caller,
        "ip",
        "peer",
        None,
    )


@pytest.mark.parametrize("settings", [Logs(), Logs(log_ip=False), Logs(log_auth_id=True)])
@pytest.mark.parametrize("caller", [None, CALLER])
@pytest.mark.parametrize(
    "query",
    [
        b"",
        b"page=2&perPage=1",
        b"filter=score%3E3+%26%26%20name~%27%C3%A9%00%FF%27&sort=-created",
        b"sort=a%ZZ",
    ],
)
def test_the_quick_way_gives_what_the_careful_way_gives(
    settings: Logs, caller: Caller | None, query: bytes
) -> None:
    entry = seen(b"/api/collections/posts/records/abc", query=query, caller=caller)
    assert plain_texts(entry, settings) == request_texts(entry, settings)


@pytest.mark.parametrize("settings", [Logs(), Logs(log_ip=False), Logs(log_auth_id=True)])
@pytest.mark.parametrize("caller", [None, CALLER])
def test_a_row_made_at_once_is_the_row_that_is_made_later(settings: Logs, caller: Caller | None) -> None:
    path = b"/api/collections/posts/records/abc"
    headers = {b"referer": b"https://a.example/?token=x", b"user-agent": b'x "y" \\'}
    common = in_common("GET", caller, "ip", headers, settings)
    assert common is not None
    # Its time is 50 ms after the clocks were read, on a day of its own.
    row = plain_row(common, path, 12_345, 86_400_050, Numbers(1).next(86_400_050))
    entry = (50.0, 50.012345, *seen(path, caller=caller)[2:9], "ip", "ip", None)
    times = {"now_ms": 86_400_000.0, "now_counter": 49.962345}
    [(day, [later])] = rows_of([entry], settings, Numbers(1), **times).items()
    assert (day, later) == (1, row)
    assert rows_of([row, row], settings, Numbers(1), **times) == {1: [row, row]}
    other = plain_row(common, path, 1, 5, 7)
    assert rows_of([other, row], settings, Numbers(1), **times) == {0: [other], 1: [row]}


def test_what_is_not_to_be_kept_has_nothing_in_common() -> None:
    assert in_common("GET", None, "ip", {}, Logs(max_days=0)) is None
    assert in_common("GET", None, "ip", {}, Logs(min_level=8)) is None


@pytest.mark.parametrize(
    "query", [b"token=a", b"page=1&x=2", b'filter=%22"', "sort=é".encode(), b"&", b"%66ilter=a"]
)
def test_queries_that_are_not_known_to_be_harmless_take_the_careful_way(query: bytes) -> None:
    assert plain_texts(seen(query=query), Logs()) is None


@pytest.mark.parametrize("path", [b"/api/%41", b'/api/"', b"/api/\\", "/api/é".encode(), b"/api/\x01"])
def test_paths_that_json_or_people_read_otherwise_take_the_careful_way(path: bytes) -> None:
    assert plain_texts(seen(path), Logs()) is None


def test_numbers_grow_with_time_and_differ_between_processes() -> None:
    one, other = Numbers(1), Numbers(2)
    numbers = [one.next(1_700_000_000_000), one.next(1_700_000_000_000), one.next(1_700_000_000_001)]
    assert numbers == sorted(set(numbers))
    assert other.next(1_700_000_000_000) not in numbers
    second = Numbers(1, 1)
    assert second.next(1_700_000_000_000) not in numbers
    assert len(f"{numbers[0]:015x}") == 15
