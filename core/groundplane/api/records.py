"""/api/collections/{collection}/records[/{id}]"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container
from typing import TYPE_CHECKING, Any, TypeAlias

from groundplane.api.caller import token_of
from groundplane.api.exchange import DEFAULT_MAX_BODY, Exchange, Reply
from groundplane.api.params import fields_param
from groundplane.api.response import NO_CONTENT, json_reply
from groundplane.context import RequestInfo
from groundplane.errors import Invalid, NotFound
from groundplane.records.quick import NOBODY, Asker, answer_to
from groundplane.records.service import NO_VIEWS, Answer
from groundplane.records.throttle import EmptyAnswers
from groundplane.records.values import Submitted
from groundplane.records.wire import encode_ready
from groundplane.schema.collection import Collection
from groundplane.schema.fields.editor import EditorField
from groundplane.schema.fields.file import FileField
from groundplane.schema.fields.json import JsonField

if TYPE_CHECKING:
    from groundplane.services import Services

QuickWrite: TypeAlias = "Callable[[Exchange, Services, Collection, Asker], Awaitable[Reply | None]]"

LIMITED_CONTEXT = "Missing or invalid collection context."
DEFAULT_EDITOR_SIZE = 5 << 20  # bytes
BODY_LIMITS = "body limits"  # kept in `schema.plans` under this name, by collection id

empty_answers = EmptyAnswers()


async def handle_records(exchange: Exchange, services: Services) -> Reply:
    """Answer a request to a collection's records, checking in the contract's order (records §1.2)."""
    name, record_id = exchange.segments[2], exchange.segments[4:]
    match exchange.method, len(record_id):
        case "GET" | "HEAD", 0:
            return await list_records(exchange, services, name)
        case "GET" | "HEAD", 1:
            return await view_record(exchange, services, name, record_id[0])
        case "POST", 0:
            return await create_record(exchange, services, name)
        case "PATCH", 1:
            return await update_record(exchange, services, name, record_id[0])
        case "DELETE", 1:
            return await delete_record(exchange, services, name, record_id[0])
    raise NotFound()


async def handle_quickly(exchange: Exchange, services: Services) -> Reply | None:
    """Answer what one statement can answer, which then also says whether the caller's token still counts."""
    match exchange.method, len(exchange.segments):
        case (("GET" | "HEAD"), (4 | 5)):
            return await quick_read(exchange, services)
        case "POST", 4:
            return await quick_create(exchange, services)
        case "PATCH", 5:
            return await quick_update(exchange, services)
        case "DELETE", 5:
            return await quick_delete(exchange, services)
    return None


async def quick_read(exchange: Exchange, services: Services) -> Reply | None:
    """Answer a plain read with one statement; None when it takes the ordinary way, which checks more.

    The statement itself compares the caller's tokenKey with the stored one. No answer is given that limits,
    the addresses of superusers or a body could forbid.
    """
    headers = exchange.headers
    if "content-length" in headers or "transfer-encoding" in headers:
        return None
    asker = asker_of(headers.get("authorization", ""), services, headers)
    return await plain_read(exchange, services, asker) if asker is not None else None


async def plain_read(exchange: Exchange, services: Services, asker: Asker) -> Reply | None:
    """The answer to a read that one statement can give; None where it cannot, or has been tried before."""
    if exchange.is_tried or not services.records.reads_are_plain:
        return None
    exchange.is_tried = True
    quick, segments = services.records.quick, exchange.segments
    if len(segments) == 4:
        question = quick.page(segments[2], exchange.query, asker, exchange.method, exchange.rule_headers)
    else:
        question = quick.view(
            segments[2], segments[4], exchange.query, asker, exchange.method, exchange.rule_headers
        )
    found = await answer_to(question) if question is not None else None
    if found is None:
        return None
    exchange.caller = asker.caller
    return Reply(200, found.body, (("ETag", found.etag),) if found.etag else ())


async def quick_create(exchange: Exchange, services: Services) -> Reply | None:
    """Write a plain record with one statement; None, with nothing written, when it takes the ordinary way."""
    if "idempotency-key" in exchange.headers or not exchange.content_type.startswith("application/json"):
        return None
    return await quick_write(exchange, services, created)


async def quick_update(exchange: Exchange, services: Services) -> Reply | None:
    """Change a plain record with one statement; None, with nothing changed, when it takes the ordinary way."""
    if not exchange.content_type.startswith("application/json"):
        return None
    return await quick_write(exchange, services, updated)


async def quick_delete(exchange: Exchange, services: Services) -> Reply | None:
    """Delete a plain record with one statement; None, with nothing deleted, when it takes the ordinary way."""
    if exchange.declared_size or "transfer-encoding" in exchange.headers:
        return None
    return await quick_write(exchange, services, deleted)


async def quick_write(exchange: Exchange, services: Services, write: QuickWrite) -> Reply | None:
    """Try a write for a caller whose token the statement itself compares with the stored key."""
    headers = exchange.headers
    asker = asker_of(headers.get("authorization", ""), services, headers)
    collection = services.schema.current.get(exchange.segments[2])
    if asker is None or collection is None or collection.is_view:
        return None
    check_size(exchange, services, collection.id)
    exchange.is_tried = True
    reply = await write(exchange, services, collection, asker)
    if reply is not None:
        exchange.caller = asker.caller
    return reply


async def created(
    exchange: Exchange, services: Services, collection: Collection, asker: Asker
) -> Reply | None:
    """The answer to a create that one statement has done; None if it has not."""
    sent = Submitted(*await exchange.form())
    query = exchange.query if exchange.raw_query else {}
    try:
        found = await services.records.create_quickly(collection.id, sent, query, asker)
    except Invalid:
        # For the log: only a caller who has been proved to be one gets such an answer.
        exchange.caller = asker.caller
        raise
    return Reply(200, found.body, (("ETag", found.etag),)) if found is not None else None


async def updated(
    exchange: Exchange, services: Services, collection: Collection, asker: Asker
) -> Reply | None:
    """The answer to an update that one statement has done; None if it has not."""
    sent = Submitted(*await exchange.form())
    query = exchange.query if exchange.raw_query else {}
    found = await services.records.update_quickly(
        collection.id,
        exchange.segments[4],
        sent,
        query,
        asker,
        if_match=exchange.headers.get("if-match", ""),
    )
    return Reply(200, found.body, (("ETag", found.etag),)) if found is not None else None


async def deleted(
    exchange: Exchange, services: Services, collection: Collection, asker: Asker
) -> Reply | None:
    """The answer to a delete that one statement has done; None if it has not."""
    if_match = exchange.headers.get("if-match", "")
    done = await services.records.delete_quickly(
        collection.id, exchange.segments[4], asker, if_match=if_match
    )
    return NO_CONTENT if done else None


async def admitted(
    exchange: Exchange, services: Services, collection: Collection, write: QuickWrite
) -> Reply | None:
    """Try a write for a caller who has been looked up, unless that has been tried before."""
    if exchange.is_tried:
        return None
    return await write(exchange, services, collection, Asker(exchange.caller))


def asker_of(authorization: str, services: Services, headers: Container[Any]) -> Asker | None:
    """Who asks, as far as the token alone says; None when somebody else has to be asked first.

    That are limits, the addresses of superusers, and plugins that know callers by one of the `headers`.
    """
    return asker_for(token_of(authorization), services, headers)


def asker_for(token: str, services: Services, headers: Container[Any]) -> Asker | None:
    """`asker_of`, for a token that has been taken out of its header."""
    settings = services.settings.current
    if settings.rate_limits.enabled:
        return None
    if not token:
        resolving = services.plugins.hooks.resolve_actor
        return None if resolving and resolving.wants(headers) else NOBODY
    known = services.auth.callers.remembered(token)
    if known is None:
        return None
    is_superuser = known.caller is not None and known.caller.is_superuser
    return None if is_superuser and settings.superuser_ips else known


async def list_records(exchange: Exchange, services: Services, name: str) -> Reply:
    """List the records that the caller's list rule lets through."""
    collection = services.schema.current.find(name)
    await exchange.limits.check_action(exchange, collection, "list")
    info = await read_info(exchange)
    if not info.body and (plain := await plain_read(exchange, services, Asker(info.caller))) is not None:
        return plain
    page = await services.records.page(collection.id, exchange.query, info)
    if not page["items"] and collection.list_rule and exchange.query.get("filter") and not info.is_superuser:
        await empty_answers.noted(collection.id, exchange.ip)
    return reply(page, exchange)


async def view_record(exchange: Exchange, services: Services, name: str, record_id: str) -> Reply:
    """Show one record that the view rule lets through."""
    collection = services.schema.current.find(name)
    await exchange.limits.check_action(exchange, collection, "view")
    refuse_empty(record_id)
    info = await read_info(exchange)
    if not info.body and (plain := await plain_read(exchange, services, Asker(info.caller))) is not None:
        return plain
    return answered(await services.records.view(collection.id, record_id, exchange.query, info), exchange)


async def create_record(exchange: Exchange, services: Services, name: str) -> Reply:
    """Create a record; repeated under one Idempotency-Key it is created once."""
    collection = check_size(exchange, services, name)
    refuse_view(collection)
    await exchange.limits.check_action(exchange, collection, "create")
    sent = Submitted(*await exchange.form())
    key = exchange.headers.get("idempotency-key", "")
    if not key and (quick := await admitted(exchange, services, collection, created)) is not None:
        return quick
    answer = await services.records.create(
        collection.id, sent, exchange.query, exchange.info(), idempotency_key=key
    )
    return answered(answer, exchange)


async def update_record(exchange: Exchange, services: Services, name: str, record_id: str) -> Reply:
    """Change fields of a record, of the version in If-Match if there is one."""
    collection = check_size(exchange, services, name)
    refuse_view(collection)
    await exchange.limits.check_action(exchange, collection, "update")
    refuse_empty(record_id)
    values, uploads = await exchange.form()
    if (quick := await admitted(exchange, services, collection, updated)) is not None:
        return quick
    answer = await services.records.update(
        collection.id,
        record_id,
        Submitted(values, uploads),
        exchange.query,
        exchange.info(),
        if_match=exchange.headers.get("if-match", ""),
    )
    return answered(answer, exchange)


async def delete_record(exchange: Exchange, services: Services, name: str, record_id: str) -> Reply:
    """Delete a record with what follows from it."""
    collection = services.schema.current.find(name)
    refuse_view(collection)
    await exchange.limits.check_action(exchange, collection, "delete")
    refuse_empty(record_id)
    info = await read_info(exchange)
    if not info.body and (quick := await admitted(exchange, services, collection, deleted)) is not None:
        return quick
    if_match = exchange.headers.get("if-match", "")
    await services.records.delete(collection.id, record_id, info, if_match=if_match)
    return NO_CONTENT


def refuse_view(collection: Collection) -> None:
    if collection.is_view:
        raise Invalid(NO_VIEWS)


def refuse_empty(record_id: str) -> None:
    if not record_id:
        raise NotFound()


def check_size(exchange: Exchange, services: Services, name: str) -> Collection:
    """Find the collection and refuse a body that says it is larger than its fields could fill."""
    schema = services.schema.current
    collection = schema.find(name, LIMITED_CONTEXT)
    limits = schema.plans.setdefault(BODY_LIMITS, {})
    limit = limits.get(collection.id)
    if not isinstance(limit, int):
        limit = limits[collection.id] = body_limit(collection)
    exchange.max_body = limit
    exchange.check_declared_size()
    return collection


def body_limit(collection: Collection) -> int:
    """The largest body of a create or update in bytes (contract, records §2.3)."""
    total = DEFAULT_MAX_BODY
    for field in collection.fields:
        match field:
            case FileField():
                total += field.size_limit * max(field.max_select, 1)
            case EditorField():
                total += field.max_size or DEFAULT_EDITOR_SIZE
            case JsonField():
                total += field.size_limit
    return total


async def read_info(exchange: Exchange) -> RequestInfo:
    """The request as rules see it, with a body if it has one; most reads have none."""
    if exchange.declared_size or "transfer-encoding" in exchange.headers:
        return exchange.info(body=(await exchange.form()).values)
    return exchange.info()


def answered(answer: Answer, exchange: Exchange) -> Reply:
    headers = (("ETag", answer.etag),) if answer.etag else ()
    return reply(answer.record, exchange, headers)


def reply(value: Any, exchange: Exchange, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    fields = fields_param(exchange)
    if fields:
        return json_reply(value, fields=fields, headers=headers)
    return Reply(200, encode_ready(value), headers)
