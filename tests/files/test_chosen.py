"""The store of the settings: changed while the server runs, and nothing is missing meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from groundplane.files.chosen import ChosenFiles
from groundplane.files.local import LocalFiles
from groundplane.files.s3 import S3Files
from groundplane.files.storage import FileMissing, FileStorage
from groundplane.settings.values import S3, SettingsValues
from groundplane.testing.file_storage import FileStorageSuite, chunks, keys_of, read_all
from groundplane.testing.server import Server


class FixedSettings:
    """Stands for the service: only `current` is looked at."""

    def __init__(self, s3: S3) -> None:
        self.current = SettingsValues(s3=s3)


def chosen(folder: Path, s3: S3) -> Any:
    return ChosenFiles(LocalFiles(folder), FixedSettings(s3))  # type: ignore[arg-type]


def with_s3(store: Any, s3: S3) -> None:
    store._settings.current = SettingsValues(s3=s3)


class TestTheFolder(FileStorageSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path) -> FileStorage:
        return chosen(tmp_path, S3())


class TestTheObjectStore(FileStorageSuite):
    @pytest.fixture
    def storage(self, tmp_path: Path, bucket: S3) -> FileStorage:
        return chosen(tmp_path, bucket)


async def test_new_files_go_where_the_settings_say_now(tmp_path: Path, bucket: S3) -> None:
    store = chosen(tmp_path, S3())
    await store.put("c/r/old", chunks(b"old"), content_type="text/plain")
    with_s3(store, bucket)
    await store.put("c/r/new", chunks(b"new"))
    assert await keys_of(LocalFiles(tmp_path)) == ["c/r/old"]
    assert await keys_of(S3Files(bucket)) == ["c/r/new"]
    # What is still in the folder is found.
    assert await read_all(store, "c/r/old") == b"old"
    assert (await store.stat("c/r/old")).content_type == "text/plain"
    with pytest.raises(FileMissing):
        await read_all(store, "c/r/none")
    with_s3(store, msgspec.structs.replace(bucket, enabled=False))
    with pytest.raises(FileMissing):
        await store.stat("c/r/new")


async def test_what_is_deleted_is_deleted_from_the_folder_too(tmp_path: Path, bucket: S3) -> None:
    store = chosen(tmp_path, S3())
    for key in ("c/r/a", "c/r2/a"):
        await store.put(key, chunks(b"old"))
    with_s3(store, bucket)
    await store.delete("c/r/a")
    await store.delete_prefix("c/r2/")
    assert await keys_of(LocalFiles(tmp_path)) == []


async def test_the_client_is_kept_until_its_settings_change(tmp_path: Path, bucket: S3) -> None:
    store = chosen(tmp_path, bucket)
    first = store.current
    with_s3(store, msgspec.structs.replace(bucket))
    assert store.current is first
    with_s3(store, msgspec.structs.replace(bucket, secret="other"))
    assert store.current is not first


DOCS = {
    "name": "docs",
    "type": "base",
    "fields": [{"name": "file", "type": "file"}],
    **dict.fromkeys(("viewRule", "createRule", "deleteRule"), ""),
}


@pytest.fixture
async def admin(server: Server) -> dict[str, str]:
    return {"Authorization": await server.superuser_token()}


def wire(s3: S3) -> dict[str, Any]:
    return {"s3": msgspec.to_builtins(s3)}


async def test_a_server_stores_and_sends_files_of_the_bucket(
    server: Server, admin: dict[str, str], bucket: S3
) -> None:
    await server.services.collections.create(DOCS)
    assert (await server.client.patch("/api/settings", json=wire(bucket), headers=admin)).status_code == 200
    made = await server.client.post(
        "/api/collections/docs/records", files=[("file", ("a.bin", b"0123456789"))]
    )
    record = made.json()
    key = f"{record['collectionId']}/{record['id']}/{record['file']}"
    assert await keys_of(S3Files(bucket)) == [key]
    path = f"/api/files/docs/{record['id']}/{record['file']}"
    answer = await server.client.get(path)
    assert (answer.status_code, answer.content) == (200, b"0123456789")
    part = await server.client.get(path, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.content) == (206, b"234")
    await server.client.delete(f"/api/collections/docs/records/{record['id']}")
    assert await keys_of(S3Files(bucket)) == []


async def test_a_store_that_is_away_is_said_to_be_and_loses_no_record(
    server: Server, admin: dict[str, str], bucket: S3
) -> None:
    await server.services.collections.create(DOCS)
    files = [("file", ("a.txt", b"x"))]
    await server.client.patch("/api/settings", json=wire(bucket), headers=admin)
    record = (await server.client.post("/api/collections/docs/records", files=files)).json()
    away = msgspec.structs.replace(bucket, endpoint="http://127.0.0.1:1")
    await server.client.patch("/api/settings", json=wire(away), headers=admin)
    answer = await server.client.get(f"/api/files/docs/{record['id']}/{record['file']}")
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    refused = await server.client.post("/api/collections/docs/records", files=files)
    assert refused.status_code == 400
    listed = await server.client.get("/api/collections/docs/records", headers=admin)
    assert [item["id"] for item in listed.json()["items"]] == [record["id"]]
    deleted = await server.client.delete(f"/api/collections/docs/records/{record['id']}")
    assert deleted.status_code == 204


FAILED = "Failed to test the S3 filesystem."


async def test_the_settings_of_the_object_store_can_be_tried_out(
    server: Server, admin: dict[str, str], bucket: S3
) -> None:
    async def tried(filesystem: object) -> tuple[int, str, object]:
        answer = await server.client.post(
            "/api/settings/test/s3", json={"filesystem": filesystem}, headers=admin
        )
        body = answer.json() if answer.content else {"message": "", "data": {}}
        return answer.status_code, body["message"], body["data"]

    off = (400, f"{FAILED} Raw error: \nS3 storage filesystem is not enabled.", {})
    assert await tried("storage") == off
    assert await tried("backups") == off
    await server.client.patch("/api/settings", json=wire(bucket), headers=admin)
    assert await tried("storage") == (204, "", {})
    assert await keys_of(S3Files(bucket)) == []
    change = {"backups": wire(msgspec.structs.replace(bucket, bucket="missing"))}
    await server.client.patch("/api/settings", json=change, headers=admin)
    status, message, data = await tried("backups")
    assert (status, data) == (400, {})
    assert message.startswith(f"{FAILED} Raw error: \n")
    assert bucket.secret not in message
    cannot, wrong = "validation_required", "validation_in_invalid"
    for filesystem, code in (("", cannot), ("elsewhere", wrong)):
        status, message, data = await tried(filesystem)
        assert (status, message) == (400, FAILED)
        assert isinstance(data, dict)
        assert data["filesystem"]["code"] == code
    guest = await server.client.post("/api/settings/test/s3", json={"filesystem": "storage"})
    assert guest.status_code == 401


def test_the_secret_is_not_shown() -> None:
    settings = S3(secret="very secret", access_key="the key")
    assert "very secret" not in repr(settings)
    assert "very secret" not in repr(SettingsValues(s3=settings))
