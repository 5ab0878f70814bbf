"""Statements over the tables of auth collections, whose names and columns only the schema knows."""

from __future__ import annotations

from groundplane.db.lanes import Shape
from groundplane.db.sql import ident
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field, Kind

PLANS = "auth"  # our shelf in `Schema.plans`


def columns(collection: Collection) -> str:
    return ", ".join(ident(field.column) for field in collection.fields)


def select_by_id(schema: Schema, collection: Collection) -> Shape:
    """The record with id $1: its columns in the order of the collection's fields, then its version."""
    shelf = schema.plans.setdefault(PLANS, {})
    key = ("by_id", collection.id)
    shape = shelf.get(key)
    if not isinstance(shape, Shape):
        text = f"SELECT {columns(collection)}, xmin FROM {ident(collection.table)} WHERE id = $1"
        shape = shelf[key] = Shape(text, 1)
    return shape


def select_with_refusal(schema: Schema, collection: Collection) -> Shape:
    """As `select_by_id`, then up to which expiry (Unix seconds) the tokens of mark $2 are refused, or NULL."""
    shelf = schema.plans.setdefault(PLANS, {})
    key = ("with_refusal", collection.id)
    shape = shelf.get(key)
    if not isinstance(shape, Shape):
        refused = '(SELECT "until" FROM "_refused_tokens" WHERE "mark" = $2)'
        text = f"SELECT {columns(collection)}, xmin, {refused} FROM {ident(collection.table)} WHERE id = $1"
        shape = shelf[key] = Shape(text, 2)
    return shape


def select_by_identity(collection: Collection, field: Field, *, nocase: bool) -> str:
    """The record whose identity field equals $1; `nocase` folds ASCII letters, as its unique index does."""
    column = ident(field.column)
    # The form of the index expression, so that the planner can use it.
    test = f'lower({column} COLLATE "C") = lower($1::text COLLATE "C")' if nocase else f"{column} = $1"
    if field.kind is Kind.TEXT:
        # The unique index of an optional identity leaves empty values out, and only says so in these words.
        test += f" AND {column} <> ''"
    return f"SELECT {columns(collection)} FROM {ident(collection.table)} WHERE {test} LIMIT 1"


def select_some_password(collection: Collection) -> str:
    """The password hash of one existing record: the first at or after id $1, else the first of all."""
    table = ident(collection.table)
    return (
        f"(SELECT password FROM {table} WHERE id >= $1 ORDER BY id LIMIT 1) "
        f"UNION ALL (SELECT password FROM {table} ORDER BY id LIMIT 1) LIMIT 1"
    )


def replace_password(collection: Collection) -> str:
    """Put a better hash of the same password in place of the one that was just compared."""
    return f"UPDATE {ident(collection.table)} SET password = $3 WHERE id = $1 AND password = $2"


def lock_with_token_key(collection: Collection) -> str:
    """The record with id $1 as long as its tokenKey is $2; nobody changes it until the transaction ends."""
    return f'SELECT 1 FROM {ident(collection.table)} WHERE id = $1 AND "tokenKey" = $2 FOR UPDATE'


def matches_condition(collection: Collection, condition: str, id_placeholder: str) -> str:
    """Whether the record with this id meets a compiled rule over the alias r."""
    return (
        f"SELECT EXISTS (SELECT 1 FROM {ident(collection.table)} AS r "
        f"WHERE r.id = {id_placeholder} AND ({condition}))"
    )


def lock_record(collection: Collection) -> str:
    """Keep others from changing the record with id $1 until the transaction ends."""
    return f"SELECT 1 FROM {ident(collection.table)} WHERE id = $1 FOR NO KEY UPDATE"
