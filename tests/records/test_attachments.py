"""Files named in records."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.errors import Invalid
from groundplane.files.storage import StorageFailed

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20


@pytest.fixture
async def docs(base):
    await base.collection(
        "docs",
        {"name": "one", "type": "file", "maxSize": 100},
        {"name": "many", "type": "file", "maxSelect": 3, "maxSize": 100},
        {"name": "pictures", "type": "file", "maxSelect": 3, "mimeTypes": ["image/png", "image/jpg"]},
        {"name": "t", "type": "text"},
        indexes=["CREATE UNIQUE INDEX `idx_t` ON `docs` (`t`) WHERE t != ''"],
    )
    return base


def stems(names: Any) -> list[str]:
    return [name.rpartition("_")[0] for name in names]


@pytest.fixture
async def record(docs, upload):
    files = [("many", upload(f"file {name}.txt", name.encode())) for name in "ab"]
    return await docs.create("docs", {}, ("one", upload("single.txt", b"1")), *files)


async def test_uploads_are_stored_under_their_new_names(docs, record) -> None:
    assert stems(record["many"]) == ["file_a", "file_b"]
    assert docs.files_of("docs", record["id"]) == sorted([record["one"], *record["many"]])
    collection = docs.schema.find("docs")
    info = await docs.records.files.stat(f"{collection.id}/{record['id']}/{record['one']}")
    assert (info.size, info.content_type, info.original_name) == (
        1,
        "text/plain; charset=utf-8",
        "single.txt",
    )


@pytest.mark.parametrize(
    ("text", "key", "result"),
    [
        ({}, "many", ["new"]),
        ({}, "many+", ["file_a", "file_b", "new"]),
        ({}, "+many", ["new", "file_a", "file_b"]),
        ({"many": "second"}, "many", ["file_b", "new"]),
        ({"many": ["second", "first", "first", ""]}, "many", ["file_b", "file_a", "new"]),
        ({"many": ["second"]}, "many+", ["file_b", "new"]),
        ({"many-": "first"}, "many+", ["file_b", "new"]),
        ({}, "other", ["file_a", "file_b"]),
        ({}, "many-", ["file_a", "file_b"]),
        ({}, "++many", ["file_a", "file_b"]),
    ],
)
async def test_uploads_and_names_are_combined(docs, record, upload, text: Any, key: str, result: Any) -> None:
    first, second = record["many"]

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(each) for each in value]
        return {"first": first, "second": second}.get(value, value)

    body = {name: named(value) for name, value in text.items()}
    changed = await docs.update("docs", record["id"], body, (key, upload("new.txt", b"n")))
    assert stems(changed["many"]) == result
    assert docs.files_of("docs", record["id"]) == sorted([record["one"], *changed["many"]])


@pytest.mark.parametrize("cleared", ["", None, []])
async def test_clearing_a_field_removes_its_files(docs, record, cleared: Any) -> None:
    changed = await docs.update("docs", record["id"], {"many": cleared})
    assert changed["many"] == []
    assert docs.files_of("docs", record["id"]) == [record["one"]]


async def test_a_single_field_keeps_the_last_upload(docs, record, upload) -> None:
    changed = await docs.update(
        "docs", record["id"], {}, ("one", upload("x1.txt", b"1")), ("one", upload("second.txt", b"2"))
    )
    assert stems([changed["one"]]) == ["second"]
    assert docs.files_of("docs", record["id"]) == sorted([changed["one"], *record["many"]])


async def test_a_prepended_upload_does_not_replace_a_single_file(docs, record, upload) -> None:
    changed = await docs.update("docs", record["id"], {}, ("+one", upload("x.txt", b"1")))
    assert changed["one"] == record["one"]
    assert docs.files_of("docs", record["id"]) == sorted([record["one"], *record["many"]])


@pytest.mark.parametrize(
    ("body", "files", "codes"),
    [
        ({"one": "unknown.txt"}, [], {"one": "validation_invalid_file"}),
        ({"many": ["../../x", "b"]}, [], {"many": "validation_invalid_file"}),
        ({}, [("many", "a.txt", b"x")] * 4, {"many": "validation_too_many_files"}),
        ({}, [("one", "a.txt", b"x" * 101)], {"one": "validation_file_size_limit"}),
        ({}, [("pictures", "a.png", b"not a picture")], {"pictures": "validation_invalid_mime_type"}),
    ],
)
async def test_what_is_wrong_with_files(
    docs, record, failing, upload, body: Any, files: Any, codes: Any
) -> None:
    uploads = [(key, upload(name, content)) for key, name, content in files]
    before = docs.files_of("docs", record["id"])
    with failing() as failure:
        await docs.update("docs", record["id"], body, *uploads)
    assert (failure.message, failure.codes) == ("Failed to update record.", codes)
    assert docs.files_of("docs", record["id"]) == before


async def test_the_type_is_that_of_the_content(docs, upload) -> None:
    created = await docs.create("docs", {}, ("pictures", upload("really.txt", PNG)))
    assert created["pictures"][0].endswith(".txt")
    assert len(docs.files_of("docs", created["id"])) == 1


async def test_messages_name_the_file(docs, upload) -> None:
    with pytest.raises(Invalid) as caught:
        await docs.create("docs", {"many": ["x" * 300]}, ("one", upload("My file.txt", b"x" * 101)))
    assert caught.value.data["one"].message == (
        "Failed to upload My file.txt - the maximum allowed file size is 100 bytes."
    )
    assert caught.value.data["one"].params == {"file": "My file.txt", "maxSize": 100}
    assert caught.value.data["many"].params == {"invalidFiles": ["x" * 250 + "..."]}


async def test_a_refused_write_leaves_no_files(docs, failing, upload) -> None:
    await docs.create("docs", {"t": "taken"})
    collection = docs.schema.find("docs")
    with failing() as failure:
        await docs.create("docs", {"t": "taken"}, ("one", upload("a.txt", b"x")))
    assert failure.codes == {"t": "validation_not_unique"}
    assert not (docs.folder / collection.id).exists()


async def test_a_refused_update_keeps_the_old_files(docs, record, failing, upload) -> None:
    await docs.create("docs", {"t": "taken"})
    before = docs.files_of("docs", record["id"])
    with failing():
        await docs.update("docs", record["id"], {"t": "taken", "many": ""}, ("one", upload("a.txt", b"x")))
    assert docs.files_of("docs", record["id"]) == before


async def test_a_store_that_fails_refuses_the_write_and_leaves_nothing(
    docs, failing, upload, monkeypatch
) -> None:
    put = docs.records.files.storage.put
    calls = []

    async def failing_put(key, chunks, **options):
        calls.append(key)
        if len(calls) == 2:
            raise StorageFailed("no space")
        await put(key, chunks, **options)

    monkeypatch.setattr(docs.records.files.storage, "put", failing_put)
    with failing() as failure:
        await docs.create("docs", {}, ("many", upload("a.txt", b"x")), ("many", upload("b.txt", b"x")))
    assert (failure.message, failure.codes) == ("Failed to create record.", {})
    assert not (docs.folder / docs.schema.find("docs").id).exists()
    assert (await docs.listed("docs"))["totalItems"] == 0


async def test_deleting_a_record_removes_its_folder(docs, record) -> None:
    await docs.delete("docs", record["id"])
    assert docs.files_of("docs", record["id"]) == []


async def test_a_removed_file_takes_its_thumbs(docs, record) -> None:
    folder = docs.folder / docs.schema.find("docs").id / record["id"]
    (folder / f"thumbs_{record['one']}").mkdir()
    (folder / f"thumbs_{record['one']}" / f"100x100_{record['one']}").write_bytes(b"x")
    await docs.update("docs", record["id"], {"one": ""})
    assert docs.files_of("docs", record["id"]) == sorted(record["many"])


async def test_rules_see_uploads_as_objects(base, upload, failing) -> None:
    await base.collection(
        "docs",
        {"name": "f", "type": "file"},
        createRule="@request.body.f.originalName = 'a b.txt' && @request.body.f.size = 3 && f ~ 'a_b_%.txt'",
    )
    await base.create("docs", {}, ("f", upload("a b.txt", b"123")))
    with failing():
        await base.create("docs", {}, ("f", upload("a b.txt", b"1")))
