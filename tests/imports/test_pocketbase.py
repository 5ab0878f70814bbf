"""Importing the PocketBase folder of the real inputs, and folders with everything that can go wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from groundplane.clock import wire_date
from groundplane.db.sql import ident
from groundplane.imports.pocketbase import PocketBaseOptions, Target, import_pocketbase
from groundplane.imports.report import ImportFailed
from groundplane.schema.fields.base import Kind
from groundplane.security.encryption import Seal
from groundplane.security.tokens import sign, verify


@pytest.fixture
def folder(pocketbase: Path, tmp_path: Path) -> Path:
    """A copy of the real folder that may be changed."""
    copy = tmp_path / "pb_data"
    shutil.copytree(pocketbase, copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    for name in ("data.db-wal", "data.db-shm"):
        (copy / name).unlink(missing_ok=True)
    return copy


@contextmanager
def opened(folder: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(folder / "data.db")
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


async def ids(target: Target, table: str) -> list[str]:
    return [row["id"] for row in await target.db.fetch(f'SELECT id FROM {ident(table)} ORDER BY "_row"')]


async def test_every_collection_keeps_its_id_rules_fields_and_indexes(target: Target, folder: Path) -> None:
    report = await import_pocketbase(PocketBaseOptions(folder=folder), target)
    assert report.warnings == []
    schema = target.collections.cache.current
    with opened(folder) as source:
        rows = source.execute(
            "SELECT id, name, type, system, fields, indexes, listRule, deleteRule, created, updated FROM _collections"
        ).fetchall()
    assert [each.name for each in schema] == [
        *(row[1] for row in rows if row[2] != "view"),
        *(row[1] for row in rows if row[2] == "view"),
    ]
    for id, name, type, system, fields, indexes, list_rule, delete_rule, created, updated in rows:
        collection = schema.by_id[id]
        assert (collection.name, collection.type, collection.system) == (name, type, bool(system))
        assert (collection.list_rule, collection.delete_rule) == (list_rule, delete_rule)
        assert list(collection.indexes) == json.loads(indexes)
        assert (wire_date(collection.created), wire_date(collection.updated)) == (created, updated)
        assert [(field.id, field.name, field.type_name) for field in collection.fields] == [
            (field["id"], field["name"], field["type"]) for field in json.loads(fields)
        ]


async def test_whoever_listens_is_told_to_load_again_once_and_not_by_a_trial(
    target: Target, folder: Path
) -> None:
    told: list[bool] = []

    async def loaded() -> None:
        told.append(target.db.in_transaction)

    await import_pocketbase(PocketBaseOptions(folder=folder, dry_run=True), target._replace(loaded=loaded))
    assert told == []
    await import_pocketbase(PocketBaseOptions(folder=folder), target._replace(loaded=loaded))
    assert told == [True]


async def test_every_record_has_the_values_of_the_source_in_its_order(target: Target, folder: Path) -> None:
    report = await import_pocketbase(PocketBaseOptions(folder=folder), target)
    compared = 0
    with opened(folder) as source:
        source.row_factory = sqlite3.Row
        for collection in target.collections.cache.current:
            if collection.is_view:
                continue
            query = f"SELECT * FROM {ident(collection.table)}"
            wanted = source.execute(f"{query} ORDER BY rowid").fetchall()
            found = await target.db.fetch(f'{query} ORDER BY "_row"')
            assert [row["id"] for row in found] == [row["id"] for row in wanted]
            for old, new in zip(wanted, found, strict=True):
                for field in collection.fields:
                    value = field.from_column(new[field.column])
                    assert value_of(field.kind, value) == source_value(field.kind, old[field.name]), (
                        field.name
                    )
                    compared += 1
    assert compared > 300
    assert report.records == 35


def value_of(kind: Kind, value: Any) -> Any:
    match kind:
        case Kind.DATE:
            return wire_date(value)
        case Kind.JSON:
            return None if value is None else json.loads(value)
        case Kind.GEO:
            return {"lon": value[0], "lat": value[1]}
        case _:
            return value


def source_value(kind: Kind, value: Any) -> Any:
    match kind:
        case Kind.JSON | Kind.GEO | Kind.MULTI:
            return json.loads(value) if value else ([] if kind is Kind.MULTI else None)
        case Kind.BOOL:
            return bool(value)
        case _:
            return value


async def test_password_hashes_token_keys_and_secrets_are_kept_byte_for_byte(
    target: Target, folder: Path
) -> None:
    await import_pocketbase(PocketBaseOptions(folder=folder), target)
    with opened(folder) as source:
        wanted = source.execute("SELECT id, password, tokenKey FROM users").fetchall()
        options = json.loads(
            source.execute("SELECT options FROM _collections WHERE name = 'users'").fetchone()[0]
        )
    found = await target.db.fetch('SELECT id, password, "tokenKey" FROM users ORDER BY "_row"')
    assert [tuple(row) for row in found] == wanted
    assert bcrypt.checkpw(b"1234567890", found[0]["password"].encode())
    users = target.collections.cache.current.find("users").options
    assert users is not None
    assert users.auth_token.secret == options["authToken"]["secret"]
    assert users.file_token.secret == options["fileToken"]["secret"]
    assert users.password_reset_token.duration == options["passwordResetToken"]["duration"]


async def test_a_token_of_the_source_is_still_signed_with_the_right_key(target: Target, folder: Path) -> None:
    with opened(folder) as source:
        (key,) = source.execute("SELECT tokenKey FROM users WHERE id = '4q1xlclmfloku33'").fetchone()
        (text,) = source.execute("SELECT options FROM _collections WHERE name = 'users'").fetchone()
    claims = {"id": "4q1xlclmfloku33", "type": "auth", "collectionId": "_pb_users_auth_", "exp": 4102444800}
    token = sign(claims, key + json.loads(text)["authToken"]["secret"])
    await import_pocketbase(PocketBaseOptions(folder=folder), target)
    options = target.collections.cache.current.find("users").options
    assert options is not None
    kept = await target.db.fetchval("SELECT \"tokenKey\" FROM users WHERE id = '4q1xlclmfloku33'")
    assert verify(token, kept + options.auth_token.secret)
    assert not verify(token, kept + options.file_token.secret)


async def test_every_file_is_there_byte_for_byte_with_its_type(target: Target, folder: Path) -> None:
    report = await import_pocketbase(PocketBaseOptions(folder=folder), target)
    root = target.storage.root  # type: ignore[attr-defined]  # the local store of the fixture
    wanted = {path.relative_to(folder / "storage"): digest(path) for path in files(folder / "storage")}
    assert {path.relative_to(root): digest(path) for path in files(root)} == wanted
    assert report.files == sum(1 for path in wanted if path.suffix != ".attrs")
    info = await target.storage.stat("wsmn24bux7wo113/84nmscqy84lsi1t/test_QZFjKjXchk.txt")
    assert info.content_type == "text/plain; charset=utf-8"


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def test_views_show_what_they_showed_in_sqlite(target: Target, folder: Path) -> None:
    await import_pocketbase(PocketBaseOptions(folder=folder), target)
    with opened(folder) as source:
        wanted = source.execute("SELECT id, state, file_many, rel_many FROM view2").fetchall()
    found = await target.db.fetch("SELECT id, state, file_many, rel_many FROM view2")
    assert [tuple(row) for row in found] == [
        (id, bool(state), json.loads(many), json.loads(relations)) for id, state, many, relations in wanted
    ]
    numbered = await target.db.fetch("SELECT id, email FROM numeric_id_view")
    assert [tuple(row) for row in numbered] == [("1", "test@example.com"), ("2", "test2@example.com")]


async def test_the_settings_come_in(target: Target, folder: Path) -> None:
    report = await import_pocketbase(PocketBaseOptions(folder=folder), target)
    assert report.settings
    assert target.settings.current.meta.app_name == "acme_test"
    assert target.settings.current.batch.enabled


async def test_encrypted_settings_need_their_key(target: Target, folder: Path) -> None:
    key = "k" * 32
    with opened(folder) as source:
        (value,) = source.execute("SELECT value FROM _params WHERE id = 'settings'").fetchone()
        sealed = Seal(key).encrypt(value if isinstance(value, bytes) else value.encode())
        source.execute("UPDATE _params SET value = ? WHERE id = 'settings'", [sealed])
    with pytest.raises(ImportFailed, match="encrypted"):
        await import_pocketbase(PocketBaseOptions(folder=folder), target)
    with pytest.raises(ImportFailed, match="encryption key"):
        await import_pocketbase(PocketBaseOptions(folder=folder, encryption_key="x" * 32), target)
    await import_pocketbase(PocketBaseOptions(folder=folder, encryption_key=key), target)
    assert target.settings.current.meta.app_name == "acme_test"


async def test_a_dry_run_tells_the_same_and_changes_nothing(target: Target, pocketbase: Path) -> None:
    before = {each.id for each in target.collections.cache.current}
    dry = await import_pocketbase(PocketBaseOptions(folder=pocketbase, dry_run=True), target)
    assert {each.id for each in target.collections.cache.current} == before
    assert files(target.storage.root) == []  # type: ignore[attr-defined]  # the local store of the fixture
    real = await import_pocketbase(PocketBaseOptions(folder=pocketbase), target)
    assert [each.name for each in dry.collections] == [each.name for each in real.collections]
    assert (dry.records, dry.files, dry.file_bytes) == (real.records, real.files, real.file_bytes)
    assert dry.lines()[0].startswith("Would import 35 records")


async def test_nothing_is_written_into_the_source(target: Target, folder: Path) -> None:
    before = {path: digest(path) for path in files(folder)}
    await import_pocketbase(PocketBaseOptions(folder=folder), target)
    assert {path: digest(path) for path in files(folder)} == before


async def test_changes_in_a_leftover_write_ahead_log_are_read(
    target: Target, folder: Path, tmp_path: Path
) -> None:
    with opened(folder) as source:
        source.execute("PRAGMA journal_mode = wal")
        source.execute("PRAGMA wal_autocheckpoint = 0")
        source.execute("UPDATE demo2 SET title = 'from the log' WHERE id = 'llvuca81nly1qls'")
        source.commit()
        # As after a crash: the log is copied before the last connection would fold it in.
        crashed = tmp_path / "crashed"
        shutil.copytree(folder, crashed)
    assert (crashed / "data.db-wal").stat().st_size > 0
    (crashed / "data.db-shm").unlink(missing_ok=True)
    before = {path: digest(path) for path in files(crashed)}
    await import_pocketbase(PocketBaseOptions(folder=crashed), target)
    title = await target.db.fetchval("SELECT title FROM demo2 WHERE id = 'llvuca81nly1qls'")
    assert title == "from the log"
    assert {path: digest(path) for path in files(crashed)} == before


async def test_a_second_import_is_refused_without_merge(target: Target, folder: Path) -> None:
    await import_pocketbase(PocketBaseOptions(folder=folder), target)
    with pytest.raises(ImportFailed, match="not empty"):
        await import_pocketbase(PocketBaseOptions(folder=folder), target)


async def test_merging_replaces_records_with_the_same_id_and_keeps_the_others(
    target: Target, folder: Path
) -> None:
    await import_pocketbase(PocketBaseOptions(folder=folder), target)
    await target.db.execute("INSERT INTO demo3 (id, title) VALUES ('mine', 'stays')")
    await target.db.execute("UPDATE demo3 SET title = 'changed' WHERE id = '1tmknxy2868d869'")
    with opened(folder) as source:
        source.execute("UPDATE users SET name = 'newer' WHERE id = '4q1xlclmfloku33'")
    report = await import_pocketbase(PocketBaseOptions(folder=folder, merge=True), target)
    assert not report.settings
    titles = dict(await target.db.fetch("SELECT id, title FROM demo3"))
    assert titles["mine"] == "stays"
    assert titles["1tmknxy2868d869"] == "test1"
    assert await target.db.fetchval("SELECT name FROM users WHERE id = '4q1xlclmfloku33'") == "newer"
    assert len(await ids(target, "demo3")) == 5


async def test_a_failure_in_the_middle_leaves_nothing_and_the_next_run_succeeds(
    target: Target, folder: Path
) -> None:
    before = [each.id for each in target.collections.cache.current]

    def stop(what: str, done: int, total: int) -> None:
        if what == "demo3":
            raise RuntimeError("the cable was pulled")

    with pytest.raises(ImportFailed, match="the cable was pulled"):
        await import_pocketbase(PocketBaseOptions(folder=folder), target, stop)
    schema = await target.collections.load()
    assert [each.id for each in schema] == before
    assert await target.db.fetchval("SELECT to_regclass('demo1')") is None
    assert files(target.storage.root) == []  # type: ignore[attr-defined]  # the local store of the fixture
    assert target.settings.current.meta.app_name != "acme_test"
    report = await import_pocketbase(PocketBaseOptions(folder=folder), target)
    assert report.records == 35


async def test_values_of_the_wrong_type_are_normalised(target: Target, folder: Path) -> None:
    with opened(folder) as source:
        source.execute(
            "UPDATE demo1 SET number = 'abc', select_many = 'optionA', rel_one = '[\"a\",\"b\"]', bool = 'x',"
            " datetime = 'soon', text = 'a' || char(0) || 'b', json = '{broken', point = 'nowhere', file_many = NULL"
            " WHERE id = '84nmscqy84lsi1t'"
        )
        source.execute(
            "UPDATE demo1 SET number = 9e999, text = CAST(x'ff41' AS TEXT) WHERE id = 'al1h9ijdeojtsjy'"
        )
    report = await import_pocketbase(PocketBaseOptions(folder=folder), target)
    row = await target.db.fetchrow("SELECT * FROM demo1 WHERE id = '84nmscqy84lsi1t'")
    assert row is not None
    assert (row["number"], row["select_many"], row["rel_one"], row["bool"]) == (0, ["optionA"], "b", False)
    assert (row["datetime"], row["text"], row["json"], row["file_many"]) == (None, "ab", '"{broken"', [])
    assert tuple(row["point"]) == (0, 0)
    other = await target.db.fetchrow("SELECT number, text FROM demo1 WHERE id = 'al1h9ijdeojtsjy'")
    assert other is not None
    assert (other["number"], other["text"]) == (0, "\ufffdA")
    assert report.warnings == ["1 value(s) of demo1 contained NUL characters, which were removed."]


async def test_what_cannot_be_translated_is_named_and_left_out(target: Target, folder: Path) -> None:
    with opened(folder) as source:
        source.execute(
            "UPDATE _collections SET indexes = json_insert(indexes, '$[#]', ?) WHERE name = 'demo2'",
            ["CREATE INDEX `odd` ON `demo2` (soundex(`title`))"],
        )
        source.execute(
            "UPDATE _collections SET options = ? WHERE name = 'view1'",
            [json.dumps({"viewQuery": "SELECT id, sqlite_version() AS text FROM demo1"})],
        )
    report = await import_pocketbase(PocketBaseOptions(folder=folder), target)
    assert report.warnings[0] == (
        "An index of demo2 was left out (CREATE INDEX `odd` ON `demo2` (soundex(`title`))): "
        "the function soundex() is not available."
    )
    assert (
        report.warnings[1] == "The view view1 was left out: the function sqlite_version() is not available."
    )
    assert report.warnings[2].startswith("The view view2 was left out: no such table: view1")
    schema = target.collections.cache.current
    assert schema.get("view1") is None
    assert len(schema.find("demo2").indexes) == 3


async def test_an_index_that_the_records_violate_is_left_out(target: Target, folder: Path) -> None:
    with opened(folder) as source:
        source.execute(
            "UPDATE _collections SET indexes = json_insert(indexes, '$[#]', ?) WHERE name = 'demo1'",
            ["CREATE UNIQUE INDEX `one_only` ON `demo1` (`select_one`)"],
        )
    report = await import_pocketbase(PocketBaseOptions(folder=folder), target)
    assert len(report.warnings) == 1
    assert "one_only" in report.warnings[0]
    assert len(await ids(target, "demo1")) == 3
    names = [
        row[0] for row in await target.db.fetch("SELECT indexname FROM pg_indexes WHERE tablename = 'demo1'")
    ]
    assert "_wsmn24bux7wo113_created_idx" in names
    assert "one_only" not in names


async def test_links_in_the_storage_folder_are_not_followed(
    target: Target, folder: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("not yours")
    (folder / "storage" / "wsmn24bux7wo113" / "84nmscqy84lsi1t" / "link.txt").symlink_to(secret)
    report = await import_pocketbase(PocketBaseOptions(folder=folder), target)
    assert "link.txt" in report.warnings[0]
    copied = files(target.storage.root)  # type: ignore[attr-defined]  # the local store of the fixture
    assert not [path for path in copied if path.name == "link.txt"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing"),
        (b"", "not a database"),
        (b"not a database at all, but long enough to look at" * 40, "read"),
    ],
)
async def test_a_folder_that_is_no_pocketbase_folder_is_refused(
    target: Target, tmp_path: Path, content: bytes | None, message: str
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    if content is not None:
        (folder / "data.db").write_bytes(content)
    with pytest.raises(ImportFailed, match=message):
        await import_pocketbase(PocketBaseOptions(folder=folder), target)


async def test_progress_reaches_the_number_of_records_and_files(target: Target, folder: Path) -> None:
    seen: dict[str, tuple[int, int]] = {}
    await import_pocketbase(
        PocketBaseOptions(folder=folder), target, lambda what, done, total: seen.update({what: (done, total)})
    )
    assert seen["demo1"] == (3, 3)
    assert seen["files"][0] == seen["files"][1] > 0


async def test_a_superuser_of_the_target_does_not_stand_in_the_way_and_stays(
    target: Target, folder: Path
) -> None:
    add = 'INSERT INTO "_superusers" (id, email, password, "tokenKey") VALUES ($1, $2, \'x\', $3)'
    await target.db.execute(add, "mine00000000000", "admin@example.org", "a" * 50)
    await target.db.execute(add, "same00000000000", "test@example.com", "b" * 50)
    report = await import_pocketbase(PocketBaseOptions(folder=folder), target)
    assert report.settings
    rows = await target.db.fetch('SELECT id, email FROM "_superusers" ORDER BY "_row"')
    found = {row["email"]: row["id"] for row in rows}
    assert found["admin@example.org"] == "mine00000000000"
    # The same address in the source is the same person, with the password known there.
    assert found["test@example.com"] == "sywbhecnh46rhm0"
    assert len(rows) == 5
