"""Asks plugins who may do what in a collection, once per version of the schema."""

from __future__ import annotations

import logging
from typing import NamedTuple, get_args

from groundplane.hooks.calls import Collect
from groundplane.hooks.events import AccessRules
from groundplane.query.effective import PLANS, Action, Compound, Rule, rule_of
from groundplane.query.errors import QueryError
from groundplane.query.rules import check_rule
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

log = logging.getLogger(__name__)

ACTIONS: tuple[Action, ...] = get_args(Action)


class Said(NamedTuple):
    """All that plugins say about one action; `closed` when one of them could not be understood."""

    grant: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    restrict: tuple[str, ...] = ()
    closed: bool = False


def ask_plugins(schema: Schema, hook: Collect, *, closed: bool = False) -> None:
    """Ask what plugins say about a new version of the schema, before anybody uses it.

    `closed` lets nobody but superusers in: a plugin that may have had a say could not be started.
    """
    shelf: dict[object, object] = {}
    for collection in schema:
        for action in ACTIONS:
            said = Said(closed=True) if closed else asked(schema, hook, collection, action)
            if said != Said():
                own = rule_of(schema, collection, action)
                shelf[collection.id, action] = combined(own, said)
    if shelf:
        schema.plans[PLANS] = shelf


def asked(schema: Schema, hook: Collect, collection: Collection, action: Action) -> Said:
    total = Said()
    for plugin, result, error in hook.ask(collection, collection=collection, action=action):
        if error is None and result is None:
            continue
        if error is not None or not isinstance(result, AccessRules):
            log.error("Plugin %s has no sound answer on %s of %s", plugin, action, collection.name)
            return Said(closed=True)
        grant = tuple(each for each in texts(result.grant) if compiles(schema, collection, each, plugin))
        bounds = (texts(result.deny), texts(result.restrict))
        if not all(compiles(schema, collection, each, plugin) for bound in bounds for each in bound):
            return Said(closed=True)
        total = Said(total.grant + grant, total.deny + bounds[0], total.restrict + bounds[1])
    return total


def texts(given: object) -> tuple[str, ...]:
    """One expression is often written without the brackets; something else becomes what does not compile."""
    if isinstance(given, str):
        return (given,)
    if isinstance(given, list | tuple):
        return tuple(each if isinstance(each, str) else "" for each in given)
    return ("",)


def compiles(schema: Schema, collection: Collection, expression: str, plugin: str) -> bool:
    try:
        if not expression.strip():
            raise QueryError("it is empty")
        check_rule(schema, collection, expression)
    except QueryError as error:
        log.error("Plugin %s: %r is no rule of %s: %s", plugin, expression, collection.name, error)
        return False
    return True


def combined(own: Rule, said: Said) -> Rule:
    """(own or any grant) and no deny and every restrict, in the simplest form that says the same."""
    if said.closed or isinstance(own, Compound):
        return None
    if own is None and not said.grant:
        return None
    allow = () if own == "" else (*(() if own is None else (own,)), *said.grant)
    if not allow and not said.deny and not said.restrict:
        return ""
    return Compound(allow, said.deny, said.restrict)
