"""Asks plugins who sees which field, once per version of the schema."""

from __future__ import annotations

import logging

import msgspec

from groundplane.hooks.calls import Collect
from groundplane.hooks.events import FieldVisibility
from groundplane.query.errors import QueryError
from groundplane.query.restricted import NOWHERE, PLANS, Restriction
from groundplane.query.rules import check_rule
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

log = logging.getLogger(__name__)


def ask_about_fields(schema: Schema, hook: Collect, *, closed: bool = False) -> None:
    """Ask what plugins say about a new version of the schema, before anybody uses it.

    `closed` shows nothing but ids: a plugin that may have had a say could not be started.
    """
    shelf: dict[object, object] = {}
    for collection in schema:
        found = everything(collection) if closed else asked(schema, hook, collection)
        if found:
            shelf[collection.id] = found
    if shelf:
        schema.plans[PLANS] = shelf


def everything(collection: Collection) -> dict[str, Restriction]:
    return {field.name: NOWHERE for field in collection.fields if field.name != "id"}


def asked(schema: Schema, hook: Collect, collection: Collection) -> dict[str, Restriction]:
    total: dict[str, Restriction] = {}
    for plugin, result, error in hook.ask(collection, collection=collection):
        if error is None and result is None:
            continue
        if error is not None or not is_sound(result, collection):
            log.error("Plugin %s has no sound answer on the fields of %s", plugin, collection.name)
            return everything(collection)
        for each in result:
            said = restriction_of(schema, collection, each, plugin)
            known = total.get(each.field)
            total[each.field] = said if known is None else both(known, said)
    return total


def is_sound(answer: object, collection: Collection) -> bool:
    return isinstance(answer, list | tuple) and all(
        isinstance(each, FieldVisibility)
        and each.field != "id"
        and collection.field(each.field) is not None
        and isinstance(each.visible, str)
        and is_json(each.mask)
        for each in answer
    )


def is_json(value: object) -> bool:
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError):
        return value is msgspec.UNSET
    return True


def restriction_of(schema: Schema, collection: Collection, said: FieldVisibility, plugin: str) -> Restriction:
    visible: tuple[str, ...] | None = None
    if said.visible.strip():
        try:
            check_rule(schema, collection, said.visible)
            visible = (said.visible,)
        except QueryError as error:
            log.error("Plugin %s: %r is no rule of %s: %s", plugin, said.visible, collection.name, error)
    return Restriction(visible, said.mask)


def both(one: Restriction, other: Restriction) -> Restriction:
    """What remains visible where both let it; a mask of the first, unless one of them leaves the field out."""
    visible = None if one.visible is None or other.visible is None else one.visible + other.visible
    is_masked = one.mask is not msgspec.UNSET and other.mask is not msgspec.UNSET
    return Restriction(visible, one.mask if is_masked else msgspec.UNSET)
