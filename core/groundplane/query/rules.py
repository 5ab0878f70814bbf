"""A collection's rule and a request to a condition on the record (contract, filters §9)."""

from __future__ import annotations

from groundplane.context import RequestInfo
from groundplane.db.sql import Args
from groundplane.query.compile import condition
from groundplane.query.effective import Compound
from groundplane.query.names import Names
from groundplane.query.parser import parse
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection

GUEST = RequestInfo()


def rule_condition(
    schema: Schema,
    collection: Collection,
    rule: str | Compound,
    info: RequestInfo,
    args: Args,
    *,
    base: str = "r",
    virtual: str | None = None,
) -> str:
    """Return a boolean SQL expression on the row with alias `base`, a plain name; raises QueryError.

    `virtual` names the table expression that stands in for the collection when a record is created: its
    columns have the physical names and types, but do not convert when compared, and nothing can point to it.
    The expression refers to the row by its alias only. It may be NULL, which means no.
    """
    names = Names(schema, collection, info, base=base, virtual=virtual is not None)
    return names.values.bind(rule_on_row(rule, names), args)


def rule_on_row(rule: str | Compound, names: Names) -> str:
    """The condition on the row of `names`, with the markers of its values still in it; raises QueryError."""
    if isinstance(rule, str):
        return condition(parse(rule), names)

    def one(expression: str) -> str:
        return f"({condition(parse(expression), names.again())})"

    bounds = [f"{one(each)} IS TRUE" for each in rule.restrict]
    # What cannot be said of a row (NULL) was not denied.
    bounds += [f"{one(each)} IS NOT TRUE" for each in rule.deny]
    if rule.allow:
        bounds.append(f"({' OR '.join(f'{one(each)} IS TRUE' for each in rule.allow)})")
    return f"({' AND '.join(bounds)})"


def check_rule(schema: Schema, collection: Collection, rule: str) -> None:
    """Compile a rule as on saving a collection: for a guest with an empty request. Raises QueryError."""
    rule_condition(schema, collection, rule, GUEST, Args())
