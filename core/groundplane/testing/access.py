"""Why somebody may or may not do something with a record: each rule that has a say, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from groundplane.context import RequestInfo
from groundplane.db.sql import Args
from groundplane.errors import GroundplaneError
from groundplane.hooks.events import AccessRules
from groundplane.query.access import texts
from groundplane.query.effective import Action, rule_of
from groundplane.query.errors import QueryError
from groundplane.query.rules import rule_condition
from groundplane.records import queries
from groundplane.records.creating import virtual_values
from groundplane.records.plan import plan_of
from groundplane.records.values import Submitted, empty_record, resolve
from groundplane.schema.collection import Collection
from groundplane.services import Services


class Says(NamedTuple):
    """One rule: where it comes from, and whether the record meets it; None when nobody can tell."""

    kind: str  # own, grant, deny, restrict
    source: str
    expression: str
    is_met: bool | None

    @property
    def lets_in(self) -> bool:
        return self.is_met is not True if self.kind == "deny" else self.is_met is True


class Explanation(NamedTuple):
    """What the rules of one action say about one record and one caller."""

    is_superuser: bool
    says: list[Says]

    @property
    def allows(self) -> bool:
        """(own rule or any grant) and no deny and every restrict; superusers stand above."""
        if self.is_superuser:
            return True
        entries = [each.lets_in for each in self.says if each.kind in ("own", "grant")]
        bounds = [each.lets_in for each in self.says if each.kind in ("deny", "restrict")]
        return any(entries) and all(bounds)

    def deciding(self) -> list[Says]:
        """The rules that made it so: those that keep out, else those that let in."""
        if self.is_superuser:
            return []
        bounds = [each for each in self.says if each.kind in ("deny", "restrict") and not each.lets_in]
        entries = [each for each in self.says if each.kind in ("own", "grant")]
        if bounds:
            return bounds
        return [each for each in entries if each.lets_in] or entries

    def __str__(self) -> str:
        if self.is_superuser:
            return "a superuser stands above all rules"
        deciding = self.deciding()
        words = {True: "true", False: "false", None: "cannot be told"}
        lines = [
            f"  {'->' if each in deciding else '  '} {each.source}: {each.expression} is {words[each.is_met]}"
            for each in self.says
        ]
        return f"the rules say {'yes' if self.allows else 'no'}:\n" + "\n".join(lines)


async def explain(
    services: Services,
    info: RequestInfo,
    action: Action,
    collection: Collection,
    record_id: str = "",
    values: Mapping[str, Any] | None = None,
) -> Explanation:
    """Evaluate every rule of an action by itself, on the stored record or on the one that would be created."""
    said: list[Says] = []

    async def add(kind: str, source: str, expression: str) -> None:
        met = await is_met(services, info, collection, record_id, values, expression)
        said.append(Says(kind, source, expression, met))

    name = f"{action}Rule of {collection.name}"
    own: str | None = getattr(collection, f"{action}_rule")
    if own is None:
        said.append(Says("own", name, "null (superusers only)", False))
    elif own == "":
        said.append(Says("own", name, '"" (everybody)', True))
    else:
        await add("own", name, own)
    asked = services.plugins.hooks.access_rules.ask(collection, collection=collection, action=action)
    for plugin, answer, error in asked:
        if error is None and answer is None:
            continue
        if not isinstance(answer, AccessRules):
            reason = str(error) if error is not None else f"answered {answer!r}"
            said.append(Says("restrict", f"plugin {plugin}", f"superusers only, because it {reason}", False))
            continue
        for kind in ("grant", "deny", "restrict"):
            for expression in texts(getattr(answer, kind)):
                await add(kind, f"{kind} of plugin {plugin}", expression)
    explanation = Explanation(info.is_superuser, said)
    is_shut = rule_of(services.schema.current, collection, action) is None
    if is_shut and explanation.allows and not info.is_superuser:
        said.append(Says("restrict", "a broken plugin", "superusers only until it is repaired", False))
    return explanation


async def is_met(
    services: Services,
    info: RequestInfo,
    collection: Collection,
    record_id: str,
    values: Mapping[str, Any] | None,
    expression: str,
) -> bool | None:
    """Whether one expression holds; None when it does not compile, or there is no such record."""
    schema = services.schema.current
    plan, args = plan_of(schema, collection), Args()
    try:
        if record_id:
            condition = rule_condition(schema, collection, expression, info, args)
            statement = queries.stored_check(plan, record_id, [condition], args)
        else:
            sent = Submitted(dict(values or {}))
            new = resolve(collection, sent, empty_record(collection), see_hidden=info.is_superuser)
            seen = RequestInfo(info.caller, info.context, info.method, info.query, info.headers, new.body)
            row = queries.virtual_row(plan, virtual_values(plan, new), args)
            condition = rule_condition(schema, collection, expression, seen, args, virtual=queries.VIRTUAL)
            statement = args.bind(queries.virtual_check(row, [condition]))
        found = await services.db.fetchrow(statement.text, *statement.args)
    except (QueryError, GroundplaneError):
        return None
    return None if found is None else bool(found[0])
