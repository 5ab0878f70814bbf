"""The steps of a plan: one sentence each, the statements, and the records that would lose something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from groundplane.collections import ddl, queries
from groundplane.collections.casts import cast
from groundplane.collections.drift import Column, user_indexes
from groundplane.collections.targets import Target, index_key
from groundplane.collections.views import BadView, translated
from groundplane.db.engine import Database
from groundplane.db.sql import ident
from groundplane.schema.cache import Schema
from groundplane.schema.collection import RULES, Collection
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.wire import RULE_ATTRIBUTES, collection_to_json


class Step(msgspec.Struct, frozen=True):
    """One step; `rows` is how many records lose something (`loses` says what) when it is `destructive`.

    Kinds: create_collection rename_collection delete_collection change_view add_field rename_field
    change_field change_field_type drop_field reorder_fields add_index drop_index change_rules
    change_options change_settings create_webhook change_webhook delete_webhook repair.
    `field` is the field, as it is stored, that loses something.
    """

    kind: str
    collection: str
    sentence: str
    sql: tuple[str, ...] = ()
    rows: int = 0
    destructive: bool = False
    loses: str = ""
    field: str = ""

    @property
    def text(self) -> str:
        """The sentence, with what is lost and in how many records."""
        if not self.destructive:
            return self.sentence
        return f"{self.sentence} Loses {self.loses} in {self.rows} record{'' if self.rows == 1 else 's'}."


def create_step(new: Collection, schema: Schema) -> Step:
    if new.is_view:
        try:
            sql: tuple[str, ...] = (f"CREATE VIEW {ident(new.table)} AS {translated(schema, new)}",)
        except BadView:
            # It reads a collection that is made by an earlier step.
            sql = ()
        return Step("create_collection", new.name, f"Create view {new.name}.", sql)
    sql = (*ddl.create_table(new), *user_indexes(new).values())
    names = ", ".join(field.name for field in new.fields if not field.system)
    fields = f" with the fields {names}" if names else ""
    return Step("create_collection", new.name, f"Create {new.type} collection {new.name}{fields}.", sql)


async def delete_step(db: Database, collection: Collection, kinds: Mapping[str, str]) -> Step:
    rows = 0
    if not collection.is_view and kinds.get(collection.table) == "r":
        rows = int(await db.fetchval(queries.count_rows(collection.table)))
    return Step(
        "delete_collection",
        collection.name,
        f"Delete collection {collection.name}, which is not in the file.",
        (ddl.drop_table(collection),),
        rows,
        # Even an empty collection has rules and options that nobody else knows.
        True,
        "everything",
    )


async def change_steps(db: Database, target: Target, columns: Mapping[str, Column]) -> list[Step]:
    """The steps of one stored collection; `columns` are those its table really has."""
    old, new = target.old, target.new
    if old is None:
        return [create_step(new, Schema())]
    steps: list[Step] = []
    if old.name != new.name:
        kind = "VIEW" if new.is_view else "TABLE"
        sql = f"ALTER {kind} {ident(old.table)} RENAME TO {ident(new.table)}"
        steps.append(
            Step("rename_collection", new.name, f"Rename collection {old.name} to {new.name}.", (sql,))
        )
    if new.is_view:
        if old.view_query != new.view_query:
            steps.append(Step("change_view", new.name, f"Change the query of view {new.name}."))
    else:
        steps += await field_steps(db, target, columns)
        steps += index_steps(old, new)
    steps += rule_steps(old, new)
    steps += option_steps(old, new)
    return steps


async def field_steps(db: Database, target: Target, columns: Mapping[str, Column]) -> list[Step]:
    old, new = target.old, target.new
    if old is None:
        return []
    table = ident(new.table)
    pairs = ddl.matched(old, new, target.carried)
    matched = {pair.old.id for pair in pairs}
    steps: list[Step] = []
    for field in old.fields:
        if field.id not in matched:
            sql = (f"ALTER TABLE {table} DROP COLUMN {ident(field.column)}",)
            rows = await count_used(db, old, field, columns)
            sentence = f"Drop field {new.name}.{field.name}."
            steps.append(Step("drop_field", new.name, sentence, sql, rows, rows > 0, "its value", field.name))
    for pair in pairs:
        steps += await pair_steps(db, target, pair, columns)
    known = {pair.new.id for pair in pairs}
    for field in new.fields:
        if field.id not in known:
            sql = (f"ALTER TABLE {table} ADD COLUMN {field.column_definition}",)
            steps.append(
                Step("add_field", new.name, f"Add {field.type_name} field {new.name}.{field.name}.", sql)
            )
    if not steps and [field.id for field in old.fields] != [field.id for field in new.fields]:
        steps.append(Step("reorder_fields", new.name, f"Put the fields of {new.name} into another order."))
    return steps


async def pair_steps(
    db: Database, target: Target, pair: ddl.Pair, columns: Mapping[str, Column]
) -> list[Step]:
    """What happens to a field that goes on: rename, other type, other options."""
    old, new = target.old, target.new
    if old is None:
        return []
    table = ident(new.table)
    name = f"{new.name}.{pair.new.name}"
    steps: list[Step] = []
    if pair.old.name != pair.new.name:
        sql = f"ALTER TABLE {table} RENAME COLUMN {ident(pair.old.column)} TO {ident(pair.new.column)}"
        sentence = f"Rename field {new.name}.{pair.old.name} to {pair.new.name}."
        steps.append(Step("rename_field", new.name, sentence, (sql,)))
    rows = await count_lost(db, old, pair, columns)
    if pair.old.id != pair.new.id:
        sentence = f"Change field {name} from {pair.old.type_name} to {pair.new.type_name}."
        if ddl.conversion(pair) is None:
            sql_lines: tuple[str, ...] = (
                f"ALTER TABLE {table} DROP COLUMN {ident(pair.new.column)}",
                f"ALTER TABLE {table} ADD COLUMN {pair.new.column_definition}",
            )
            loses = "its value"
        else:
            sql_lines = tuple(ddl.retype(table, pair)) if ddl.is_retyped(pair) else ()
            loses = "a value that does not fit the new type"
        step = Step("change_field_type", new.name, sentence, sql_lines, rows, rows > 0, loses, pair.old.name)
        steps.append(step)
        return steps
    changes = option_changes(pair.old, pair.new)
    if changes:
        sql_lines = tuple(ddl.retype(table, pair)) if ddl.is_retyped(pair) else ()
        sentence = f"Change field {name}: {', '.join(changes)}."
        loses = "all but the last of several values"
        step = Step("change_field", new.name, sentence, sql_lines, rows, rows > 0, loses, pair.old.name)
        steps.append(step)
    return steps


def option_changes(old: Field, new: Field) -> list[str]:
    before, after = old.to_json(), new.to_json()
    return [
        f"{key} {brief(before.get(key))} to {brief(after[key])}"
        for key in after
        if key not in ("id", "name") and before.get(key) != after[key]
    ]


def brief(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:57] + "…"


async def lost_fields(db: Database, target: Target, columns: Mapping[str, Column]) -> set[str]:
    """Ids of stored fields that hold values which the target would destroy."""
    old = target.old
    if old is None:
        return set()
    pairs = ddl.matched(old, target.new, target.carried)
    matched = {pair.old.id for pair in pairs}
    lost = {
        field.id
        for field in old.fields
        if field.id not in matched and await count_used(db, old, field, columns)
    }
    return lost | {pair.old.id for pair in pairs if await count_lost(db, old, pair, columns)}


async def count_lost(db: Database, old: Collection, pair: ddl.Pair, columns: Mapping[str, Column]) -> int:
    """How many records lose something by what becomes of a pair."""
    if pair.old.column not in columns:
        return 0
    change = cast(pair.old, pair.new, ident(pair.old.column))
    if change is None:
        return await count_used(db, old, pair.old, columns)
    if change.lossy is None:
        return 0
    return int(await db.fetchval(queries.count_rows(old.table, change.lossy)))


async def count_used(db: Database, old: Collection, field: Field, columns: Mapping[str, Column]) -> int:
    """How many records have a value in a field."""
    if field.column not in columns:
        return 0
    return int(await db.fetchval(queries.count_rows(old.table, is_used(field))))


def is_used(field: Field) -> str:
    column = ident(field.column)
    match field.kind:
        case Kind.TEXT:
            return f"{column} <> ''"
        case Kind.NUMBER:
            return f"{column} <> 0"
        case Kind.BOOL:
            return column
        case Kind.MULTI:
            return f"cardinality({column}) > 0"
        case Kind.GEO:
            return f"NOT ({column} ~= point '(0,0)')"
        case _:
            return f"{column} IS NOT NULL"


def index_steps(old: Collection, new: Collection) -> list[Step]:
    before = {index_key(text): text for text in old.indexes}
    after = {index_key(text): text for text in new.indexes}
    steps: list[Step] = []
    for key, text in before.items():
        if key not in after:
            name = ddl.physical_index(text)
            sql = (f"DROP INDEX {ident(name)}",)
            steps.append(Step("drop_index", new.name, f"Drop index {name} of {new.name}.", sql))
    statements = user_indexes(new)
    for key, text in after.items():
        if key not in before:
            name = ddl.physical_index(text)
            made = (statements[name],) if name in statements else ()
            steps.append(Step("add_index", new.name, f"Create index {name} on {new.name}.", made))
    return steps


def rule_steps(old: Collection, new: Collection) -> list[Step]:
    changes = []
    for rule in RULES:
        before, after = getattr(old, RULE_ATTRIBUTES[rule]), getattr(new, RULE_ATTRIBUTES[rule])
        if before != after:
            changes.append(f"{rule} from {who(before)} to {who(after)}")
    if not changes:
        return []
    return [Step("change_rules", new.name, f"Change rules of {new.name}: {'; '.join(changes)}.")]


def who(rule: str | None) -> str:
    if rule is None:
        return "superusers only"
    return "everyone" if rule == "" else f'"{rule}"'


def option_steps(old: Collection, new: Collection) -> list[Step]:
    """Changed options of an auth collection, by name only: their values may be secret."""
    if old.options is None or new.options is None:
        return []
    before = collection_to_json(old, secrets=True, all_options=True)
    after = collection_to_json(new, secrets=True, all_options=True)
    known = set(collection_to_json(old.replaced(options=None)))
    changed = [key for key in after if key not in known and before.get(key) != after[key]]
    steps = []
    if changed:
        note = " Everyone has to sign in again." if "authRule" in changed else ""
        sentence = f"Change options of {new.name}: {', '.join(changed)}.{note}"
        steps.append(Step("change_options", new.name, sentence))
    return steps
