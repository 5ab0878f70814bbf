"""/api/batch"""

from __future__ import annotations

from typing import TYPE_CHECKING

from groundplane.api.exchange import Exchange, FormData, Reply
from groundplane.api.key_scopes import check_action, check_items
from groundplane.api.params import fields_param
from groundplane.api.response import json_reply
from groundplane.errors import Forbidden, Invalid, NotFound
from groundplane.records.batch import UNREADABLE, read_batch, run_batch
from groundplane.schema.collection import Collection

if TYPE_CHECKING:
    from groundplane.services import Services

NOT_ALLOWED = "Batch requests are not allowed."


async def handle_batch(exchange: Exchange, services: Services) -> Reply:
    """Carry out several record requests in one transaction (contract, records §8)."""
    if exchange.method != "POST":
        raise NotFound()
    settings = services.settings.current.batch
    if not settings.enabled or settings.max_requests <= 0:
        raise Forbidden(NOT_ALLOWED)
    values, uploads = await read_form(exchange)
    items = read_batch(values, uploads, settings.max_requests)
    check_items(exchange, services, items)

    async def admit(collection: Collection, action: str, method: str, path: str) -> None:
        check_action(exchange, services, collection, action)
        await exchange.limits.check_action(exchange, collection, action, method=method, path=path)

    results = await run_batch(services.records, items, exchange.info(), admit, timeout_s=settings.timeout)
    return json_reply(results, fields=fields_param(exchange))


async def read_form(exchange: Exchange) -> FormData:
    try:
        form = await exchange.form()
    except Invalid:
        raise Invalid(UNREADABLE) from None
    if isinstance(form.values.get("requests"), str | int | float) and "json" not in exchange.content_type:
        # Plain form fields say nothing here; only a JSON document in @jsonPayload does.
        return FormData({}, form.uploads)
    return form
