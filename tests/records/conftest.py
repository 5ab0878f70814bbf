"""A records service over collections that a test makes itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from groundplane.collections.service import Collections
from groundplane.context import SUPERUSERS, Caller, RequestInfo
from groundplane.db.engine import Database
from groundplane.errors import FieldError, GroundplaneError, Invalid
from groundplane.files.local import LocalFiles
from groundplane.files.removals import Removals
from groundplane.files.service import Files
from groundplane.records.service import Records
from groundplane.records.values import Submitted
from groundplane.records.wire import encode_ready
from groundplane.schema.cache import Schema, SchemaCache
from groundplane.schema.collection import Collection

GUEST = RequestInfo()
SUPERUSER = RequestInfo(
    caller=Caller(id="superuser000001", collection_id="pbc_3142635823", collection_name=SUPERUSERS)
)
PUBLIC = dict.fromkeys(("listRule", "viewRule", "createRule", "updateRule", "deleteRule"), "")


def seen(value: Any) -> Any:
    """The value as a client reads it from the response."""
    return msgspec.json.decode(encode_ready(value))


class Upload:
    """An uploaded file as the edge hands it over."""

    def __init__(self, filename: str, content: bytes) -> None:
        self.filename = filename
        self.content_type = "application/octet-stream"
        self.size = len(content)
        self.file = BytesIO(content)


class Base:
    """A database with collections, and the verbs on records with short arguments."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.db = db
        self.folder = folder
        self.cache = SchemaCache()
        storage = LocalFiles(folder)
        self.records = Records(db, self.cache, Files(storage, Removals(db, storage, self.cache)))
        self.collections = Collections(db, self.cache, delete_record=self.records.delete_internal)

    @property
    def schema(self) -> Schema:
        return self.cache.current

    async def collection(self, name: str, *fields: dict[str, Any], **options: Any) -> Collection:
        """Make a collection; without rules in `options` everything is public."""
        raw = {"name": name, "type": "base", "fields": list(fields), **PUBLIC, **options}
        if raw["type"] == "view":
            raw = {
                key: value
                for key, value in raw.items()
                if key not in ("createRule", "updateRule", "deleteRule")
            }
        await self.collections.create(raw)
        return self.schema.find(name)

    async def create(
        self,
        name: str,
        values: Mapping[str, Any] | None = None,
        *uploads: tuple[str, Upload],
        info: RequestInfo = GUEST,
        query: Mapping[str, str] | None = None,
        key: str = "",
    ) -> dict[str, Any]:
        answer = await self.records.create(
            name, Submitted(values or {}, uploads), query or {}, info, idempotency_key=key
        )
        return seen(answer.record)

    async def update(
        self,
        name: str,
        record_id: str,
        values: Mapping[str, Any] | None = None,
        *uploads: tuple[str, Upload],
        info: RequestInfo = GUEST,
        query: Mapping[str, str] | None = None,
        if_match: str = "",
    ) -> dict[str, Any]:
        answer = await self.records.update(
            name, record_id, Submitted(values or {}, uploads), query or {}, info, if_match=if_match
        )
        return seen(answer.record)

    async def delete(self, name: str, record_id: str, info: RequestInfo = GUEST) -> None:
        await self.records.delete(name, record_id, info)

    async def view(
        self, name: str, record_id: str, info: RequestInfo = GUEST, **query: str
    ) -> dict[str, Any]:
        return seen((await self.records.view(name, record_id, query, info)).record)

    async def listed(self, name: str, info: RequestInfo = GUEST, **query: str) -> dict[str, Any]:
        return seen(await self.records.page(name, query, info))

    async def ids(self, name: str, info: RequestInfo = GUEST, **query: str) -> list[str]:
        return [item["id"] for item in (await self.listed(name, info, **query))["items"]]

    def as_caller(self, name: str, record: Mapping[str, Any]) -> RequestInfo:
        """A request by this record of an auth collection."""
        collection = self.schema.find(name)
        return RequestInfo(
            caller=Caller(
                id=record["id"], collection_id=collection.id, collection_name=collection.name, record=record
            )
        )

    def files_of(self, name: str, record_id: str) -> list[str]:
        folder = self.folder / self.schema.find(name).id / record_id
        return (
            sorted(path.name for path in folder.iterdir() if not path.name.endswith(".attrs"))
            if folder.exists()
            else []
        )


@pytest.fixture
async def base(db: Database, tmp_path: Path) -> Base:
    made = Base(db, tmp_path / "storage")
    await made.collections.load()
    return made


@pytest.fixture
def upload() -> Callable[[str, bytes], Upload]:
    return Upload


@pytest.fixture
def failing() -> Callable[..., Any]:
    """Expects a failure and gives its message and its data with the codes alone."""

    @contextmanager
    def expect(kind: type[GroundplaneError] = Invalid) -> Iterator[Failure]:
        failure = Failure()
        with pytest.raises(kind) as caught:
            yield failure
        failure.message = caught.value.message
        failure.codes = codes_of(caught.value.data)

    return expect


class Failure:
    message = ""
    codes: dict[str, Any]


def codes_of(data: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value.code
        if isinstance(value, FieldError)
        else codes_of(value)
        if isinstance(value, Mapping)
        else value
        for key, value in data.items()
    }


@pytest.fixture
def superuser() -> RequestInfo:
    return SUPERUSER


@pytest.fixture
def field() -> Callable[..., dict[str, Any]]:
    """Writes a field as the collections API takes it."""

    def make(name: str, type: str = "text", **options: Any) -> dict[str, Any]:
        return {"name": name, "type": type, **options}

    return make
