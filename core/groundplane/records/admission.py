"""Shows new files to plugins before anybody stores them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from groundplane.context import RequestInfo
from groundplane.errors import Invalid
from groundplane.hooks.calls import Around
from groundplane.hooks.events_files import FileRefused, FileUpload
from groundplane.records.attachments import check_upload, content_of, names_of
from groundplane.records.plan import Plan
from groundplane.records.values import NewFile
from groundplane.schema.fields.file import FileField


@asynccontextmanager
async def shown_to_plugins(
    hook: Around, plan: Plan, record: dict[str, Any], info: RequestInfo, failed: str
) -> AsyncIterator[None]:
    """Have plugins agree to a record's new files, around what writes the record; raises Invalid.

    Files that they rename get their new names in the record.
    """
    async with AsyncExitStack() as stack:
        for field in plan.file_fields:
            names = names_of(record[field.name])
            if not any(isinstance(name, NewFile) for name in names):
                continue
            agreed = [
                await agree(stack, hook, plan, field, record, name, info, failed)
                if isinstance(name, NewFile)
                else name
                for name in names
            ]
            record[field.name] = agreed if field.is_multiple else agreed[-1]
        yield


async def agree(
    stack: AsyncExitStack,
    hook: Around,
    plan: Plan,
    field: FileField,
    record: dict[str, Any],
    new: NewFile,
    info: RequestInfo,
    failed: str,
) -> NewFile:
    """Ask about one file; returns it as plugins leave it."""
    event = FileUpload(
        collection=plan.collection,
        record=record,
        field=field.name,
        name=str(new),
        client_name=new.client_name,
        content_type=new.content_type,
        size=new.upload.size,
        info=info,
        content=partial(content_of, new.upload),
    )
    try:
        await stack.enter_async_context(hook(plan.collection, event=event))
    except FileRefused as refusal:
        raise Invalid(failed, {field.name: refusal.error}) from refusal
    left = new.renamed(event.name, event.client_name, event.content_type)
    if event.name != new and (error := check_upload(field, left)):
        raise Invalid(failed, {field.name: error})
    return left
