"""Password hashes of both kinds."""

from __future__ import annotations

import asyncio
import threading

import bcrypt
import pytest

from groundplane.errors import Unavailable
from groundplane.security import passwords


def bcrypt_hash(plain: str, prefix: bytes = b"2a") -> str:
    hashed = bcrypt.hashpw(plain.encode()[:72], bcrypt.gensalt(4, b"2b"))
    return hashed.replace(b"$2b$", b"$" + prefix + b"$", 1).decode()


async def test_a_new_hash_is_argon2id_with_the_documented_cost() -> None:
    hashed = await passwords.hash_password("correct horse")
    assert hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.verify("correct horse", hashed)
    assert not await passwords.verify("correct horse ", hashed)
    assert not passwords.needs_upgrade(hashed)


@pytest.mark.parametrize("prefix", [b"2a", b"2b", b"2y", b"2x", b"2"])
async def test_bcrypt_hashes_of_every_prefix_match_and_want_an_upgrade(prefix: bytes) -> None:
    hashed = bcrypt_hash("1234567890", prefix)
    assert await passwords.verify("1234567890", hashed)
    assert not await passwords.verify("1234567891", hashed)
    assert passwords.needs_upgrade(hashed)


async def test_only_the_first_72_bytes_of_a_password_count() -> None:
    stem = "ä" * 36
    for hashed in (bcrypt_hash(stem), await passwords.hash_password(stem + "one")):
        assert await passwords.verify(stem + "another end", hashed)
        assert not await passwords.verify(stem[:-1], hashed)


@pytest.mark.parametrize(
    "hashed",
    [
        "",
        "plain",
        "$2a$",
        "$2a$10$short",
        "$2a$03$" + "a" * 53,
        "$2a$31$" + "a" * 53,
        "$2a$10$" + "ä" * 53,
        "$argon2id$",
        "$argon2id$v=19$m=19456,t=2,p=1$AAAA",
        "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$x",
    ],
)
async def test_an_empty_or_malformed_hash_never_matches_and_never_fails(hashed: str) -> None:
    assert not await passwords.verify("", hashed)
    assert not await passwords.verify("plain", hashed)
    assert passwords.needs_upgrade(hashed)


async def test_a_password_with_a_nul_byte_is_just_a_password() -> None:
    assert not await passwords.verify("a\0b", bcrypt_hash("a"))
    assert not await passwords.verify("\ud800", bcrypt_hash("a"))
    hashed = await passwords.hash_password("a\0b")
    assert await passwords.verify("a\0b", hashed)
    assert not await passwords.verify("a", hashed)


async def test_an_older_argon2_hash_wants_an_upgrade() -> None:
    old = passwords.argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("x")
    assert await passwords.verify("x", old)
    assert passwords.needs_upgrade(old)


async def test_an_unknown_account_costs_one_comparison_of_the_kind_that_accounts_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[str] = []
    original = passwords.matches

    def counting(plain: bytes, hashed: str) -> bool:
        compared.append(hashed)
        return original(plain, hashed)

    monkeypatch.setattr(passwords, "matches", counting)
    existing = bcrypt_hash("secret")
    await passwords.waste("guess", existing)
    await passwords.waste("guess")
    assert compared == [existing, passwords.DUMMY]


async def test_hashing_happens_outside_of_the_event_loop() -> None:
    names: set[str] = set()

    def note() -> None:
        names.add(threading.current_thread().name)

    await asyncio.gather(*(passwords._in_thread(note) for _ in range(8)))
    assert all(name.startswith("passwords") for name in names)
    assert len(names) <= passwords.WORKERS


async def test_a_flood_of_sign_ins_is_turned_away_instead_of_queued_for_ever() -> None:
    gate = threading.Event()
    waiting = [asyncio.create_task(passwords._in_thread(gate.wait)) for _ in range(passwords.MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await passwords.verify("a", "")
    gate.set()
    await asyncio.gather(*waiting)
    assert not await passwords.verify("a", "")
