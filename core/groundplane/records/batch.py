"""Many changes in one transaction: reading the batch, checking it, carrying it out."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, unquote

import msgspec

from groundplane.context import RequestInfo
from groundplane.db.failures import Busy, SchemaChanged
from groundplane.errors import REQUIRED, FieldError, GroundplaneError, Invalid
from groundplane.records.answers import Answer, is_possible_id
from groundplane.records.attachments import undone_on_failure
from groundplane.records.project import BadFields, project
from groundplane.records.service import Records
from groundplane.records.values import Submitted, UploadedFile
from groundplane.schema.cache import Schema
from groundplane.schema.casting import to_text
from groundplane.schema.collection import Collection

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
MAX_URL_BYTES = 2000
DEFAULT_TIMEOUT_S = 3
MAX_QUERY_PAIRS = 1000

UNREADABLE = "Failed to read the submitted batch data."
BAD_REQUESTS = "Invalid batch request data."
FAILED = "Batch transaction failed."
NOT_A_METHOD = FieldError("validation_in_invalid", "Must be a valid value.")

LIST_URL = re.compile(r"/api/collections/([^/?]+)/records(?:\?(.*))?", re.DOTALL)
RECORD_URL = re.compile(r"/api/collections/([^/?]+)/records/([^/?]+)(?:\?(.*))?", re.DOTALL)
FILE_KEY = re.compile(r"requests(?:\.([0-9]{1,6})\.|\[([0-9]{1,6})\]\.)(.+)", re.DOTALL)

Admit: TypeAlias = Callable[[Collection, str, str, str], Awaitable[None]]
"""Counts one item against the rate limits: collection, action, method and path; raises TooManyRequests."""


class Item(NamedTuple):
    """One request of a batch, as submitted."""

    method: str
    url: str
    headers: dict[str, str]
    body: dict[str, Any]
    uploads: list[tuple[str, UploadedFile]]


class Target(NamedTuple):
    """What a method and URL mean: create and upsert have no record id."""

    collection: str
    record_id: str
    query: dict[str, str]
    path: str


def read_batch(
    values: Mapping[str, Any], uploads: Sequence[tuple[str, UploadedFile]], max_requests: int
) -> list[Item]:
    """Read and check the submitted document before anything runs; raises Invalid."""
    raw = values.get("requests")
    if raw is None:
        raw = []
    if not isinstance(raw, list):
        raise Invalid(UNREADABLE)
    items = [read_item(each) for each in raw]
    if not items:
        raise Invalid(BAD_REQUESTS, {"requests": REQUIRED})
    if len(items) > max_requests:
        raise Invalid(BAD_REQUESTS, {"requests": too_long(max_requests)})
    errors = {str(position): found for position, item in enumerate(items) if (found := item_errors(item))}
    if errors:
        raise Invalid(BAD_REQUESTS, {"requests": errors})
    for key, upload in uploads:
        match = FILE_KEY.fullmatch(key)
        if match is not None and (position := int(match[1] or match[2])) < len(items):
            items[position].uploads.append((match[3], upload))
    return items


def read_item(raw: Any) -> Item:
    if not isinstance(raw, dict):
        raise Invalid(UNREADABLE)
    method, url = raw.get("method"), raw.get("url")
    headers, body = raw.get("headers"), raw.get("body")
    method = "" if method is None else method
    url = "" if url is None else url
    headers = {} if headers is None else headers
    body = {} if body is None else body
    if not isinstance(method, str) or not isinstance(url, str) or not isinstance(body, dict):
        raise Invalid(UNREADABLE)
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise Invalid(UNREADABLE)
    return Item(method, url, headers, body, [])


def item_errors(item: Item) -> dict[str, FieldError]:
    errors: dict[str, FieldError] = {}
    if not item.method:
        errors["method"] = REQUIRED
    elif item.method not in METHODS:
        errors["method"] = NOT_A_METHOD
    if not item.url:
        errors["url"] = REQUIRED
    elif len(item.url.encode("utf-8", "replace")) > MAX_URL_BYTES:
        errors["url"] = too_long(MAX_URL_BYTES)
    return errors


def too_long(maximum: int) -> FieldError:
    return FieldError(
        "validation_length_too_long",
        f"The length must be no more than {maximum}.",
        {"max": maximum, "min": 0},
    )


def target_of(item: Item) -> Target | None:
    """Understand method and URL together; None when no row of the contract's table fits."""
    if item.method in ("POST", "PUT"):
        match = LIST_URL.fullmatch(item.url)
        if match is not None:
            return Target(unquote(match[1]), "", query_of(match[2]), path_of(item.url))
    elif item.method in ("PATCH", "DELETE"):
        match = RECORD_URL.fullmatch(item.url)
        if match is not None:
            return Target(unquote(match[1]), unquote(match[2]), query_of(match[3]), path_of(item.url))
    return None


def path_of(url: str) -> str:
    return url.partition("?")[0]


def query_of(text: str | None) -> dict[str, str]:
    """The first value of each parameter."""
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(text or "", keep_blank_values=True, max_num_fields=MAX_QUERY_PAIRS)
    except ValueError:
        raise Invalid() from None
    for name, value in pairs:
        found.setdefault(name, value)
    return found


class Unmatched(Exception):
    """Method and URL of an item mean nothing here."""


async def run_batch(
    records: Records, items: Sequence[Item], info: RequestInfo, admit: Admit, *, timeout_s: float
) -> list[dict[str, Any]]:
    """Carry out all items in one transaction and return their results; raises Invalid when one fails.

    `info` is the outer request's; nothing is announced and no file removed before the commit.
    """

    async def once(schema: Schema) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        async with undone_on_failure(records.files) as uploads, records.db.transaction():
            for position, item in enumerate(items):
                try:
                    results.append(await run_item(records, item, info, admit))
                except (Busy, SchemaChanged):
                    raise  # the whole batch is worth another attempt
                except Unmatched:
                    failed = GroundplaneError()
                    raise batch_failure(position, failed, 500 if position else 400) from None
                except GroundplaneError as error:
                    raise batch_failure(position, error, error.status) from error
            uploads.keep()
        return results

    try:
        async with asyncio.timeout(timeout_s if timeout_s > 0 else DEFAULT_TIMEOUT_S):
            return await records.again(once)
    except TimeoutError:
        raise Invalid(FAILED) from None


def batch_failure(position: int, error: GroundplaneError, status: int) -> Invalid:
    """The answer when one item failed: only that item is told of."""
    response = {"data": error.data, "message": error.message, "status": status}
    leaf = {"code": "batch_request_failed", "message": "Batch request failed.", "response": response}
    return Invalid(FAILED, {"requests": {str(position): leaf}})


async def run_item(records: Records, item: Item, info: RequestInfo, admit: Admit) -> dict[str, Any]:
    """Carry out one item inside the open transaction."""
    target = target_of(item)
    if target is None:
        raise Unmatched()
    schema = records.cache.current
    collection = schema.find(target.collection)
    own_headers = {
        name.lower().replace("-", "_"): value
        for name, value in item.headers.items()
        if name.lower() != "authorization"
    }
    inner = msgspec.structs.replace(
        info,
        context="batch",
        method=item.method,
        query=target.query,
        headers={**info.headers, **own_headers},
        body=item.body,
    )
    sent = Submitted(item.body, item.uploads)
    if_match = own_headers.get("if_match", "")
    method = item.method
    record_id = target.record_id
    if method == "PUT":
        record_id = await stored_id(records, collection, item.body.get("id"))
        method = "PATCH" if record_id else "POST"
    action = {"POST": "create", "PATCH": "update", "DELETE": "delete"}[method]
    if not collection.is_view:
        await admit(collection, action, item.method, target.path)
    match method:
        case "POST":
            answer = await records.create(collection.id, sent, target.query, inner)
        case "PATCH":
            answer = await records.update(
                collection.id, record_id, sent, target.query, inner, if_match=if_match
            )
        case _:
            await records.delete(collection.id, record_id, inner, if_match=if_match)
            return {"body": None, "status": 204}
    return {"body": projected(answer, target.query.get("fields", "")), "status": 200}


async def stored_id(records: Records, collection: Collection, raw: Any) -> str:
    """The id of an upsert's body when such a record exists, whatever the rules; else ""."""
    record_id = to_text(raw)
    if not is_possible_id(record_id):
        return ""
    row = await records.find_one(collection, 'r."id" = $1', record_id)
    return record_id if row is not None else ""


def projected(answer: Answer, fields: str) -> Any:
    if not fields:
        return answer.record
    try:
        return project(answer.record, fields)
    except BadFields:
        return None
