"""Files that an import has brought are files like others: in parts, with thumbs, and gone with their records."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from groundplane.errors import Invalid
from groundplane.imports.pocketbase import PocketBaseOptions, Target, import_pocketbase
from groundplane.schema.fields.file import FileField
from groundplane.testing.file_storage import keys_of
from groundplane.testing.server import Server


async def test_imported_files_have_ranges_and_thumbs_and_go_with_their_record(
    server: Server, real_inputs: Path
) -> None:
    services = server.services
    target = Target(services.db, services.collections, services.settings, services.files.storage)
    source = real_inputs / "pocketbase-0.39"
    report = await import_pocketbase(PocketBaseOptions(folder=source), target)
    assert report.files > 0
    tried = deleted = 0
    for key in await keys_of(services.files.storage):
        collection_id, record_id, name, *thumb = key.split("/")
        if thumb or not name.endswith(".png"):
            continue
        content = (source / "storage" / key).read_bytes()
        collection = services.schema.current.by_id[collection_id]
        fields = [field for field in collection.fields if isinstance(field, FileField)]
        path = f"/api/files/{collection_id}/{record_id}/{name}"
        whole = await server.client.get(path)
        if whole.status_code == 404 and any(field.protected for field in fields):
            continue
        assert (whole.status_code, whole.content, whole.headers["content-type"]) == (
            200,
            content,
            "image/png",
        )
        assert whole.headers["content-disposition"] == f"inline; filename={name}"
        part = await server.client.get(path, headers={"Range": "bytes=-10"})
        assert (part.status_code, part.content) == (206, content[-10:])
        several = await server.client.get(path, headers={"Range": "bytes=0-3,8-11"})
        assert several.status_code == 206
        thumb_file = source / "storage" / collection_id / record_id / f"thumbs_{name}" / f"100x100_{name}"
        shown = await server.client.get(f"{path}?thumb=100x100")
        assert Image.open(io.BytesIO(shown.content)).size == (100, 100)
        if thumb_file.exists():
            assert shown.content == thumb_file.read_bytes()
        tried += 1
        try:
            await services.records.delete_internal(collection, record_id)
        except Invalid:
            continue  # another record cannot do without it
        deleted += 1
        assert not [
            each for each in await keys_of(services.files.storage) if each.startswith(key[: -len(name)])
        ]
    assert tried > 1
    assert deleted > 0
