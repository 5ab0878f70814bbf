"""The texts of an entry are the same whichever way they are made, and numbers grow with time."""

from __future__ import annotations

import pytest

from groundplane.context import Caller
from groundplane.logs.entry import Numbers, Seen, plain_texts, request_texts
from groundplane.settings.values import Logs

CALLER = Caller(id="a" * 15, collection_id="c", collection_name="users")


def seen(path: bytes = b"/api/health", *, caller: Caller | None = None, agent: bytes = b'x "y" \\') -> Seen:
    return (
        1.0,
        1.012345,
        "GET",
        path,
        b"",
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
def test_the_quick_way_gives_what_the_careful_way_gives(settings: Logs, caller: Caller | None) -> None:
    entry = seen(b"/api/collections/posts/records/abc", caller=caller)
    assert plain_texts(entry, settings) == request_texts(entry, settings)


@pytest.mark.parametrize("path", [b"/api/%41", b'/api/"', b"/api/\\", "/api/é".encode(), b"/api/\x01"])
def test_paths_that_json_or_people_read_otherwise_take_the_careful_way(path: bytes) -> None:
    assert plain_texts(seen(path), Logs()) is None


def test_numbers_grow_with_time_and_differ_between_processes() -> None:
    one, other = Numbers(1), Numbers(2)
    numbers = [one.next(1_700_000_000_000), one.next(1_700_000_000_000), one.next(1_700_000_000_001)]
    assert numbers == sorted(set(numbers))
    assert other.next(1_700_000_000_000) not in numbers
    assert len(f"{numbers[0]:015x}") == 15
