"""Statements of the imports, composed from checked names."""

from __future__ import annotations

from collections.abc import Sequence

from groundplane.db.sql import ident

STAGING = "gp_import"
DROP_STAGING = f"DROP TABLE {STAGING}"
SET_UPDATED = 'UPDATE "_collections" SET "updated" = $2 WHERE "id" = $1'


def any_row(table: str) -> str:
    return f"SELECT EXISTS (SELECT FROM {ident(table)})"


def staging(table: str) -> str:
    """A temporary table with the columns of `table`, in which rows wait in the order they came."""
    return f"CREATE TEMPORARY TABLE {STAGING} (LIKE {ident(table)} INCLUDING DEFAULTS INCLUDING IDENTITY) ON COMMIT DROP"


def take_over(table: str, columns: Sequence[str]) -> str:
    """Move the waiting rows into `table`; they replace those with the same ids."""
    names = ", ".join(map(ident, columns))
    changes = ", ".join(f"{ident(name)} = excluded.{ident(name)}" for name in columns if name != "id")
    action = f"DO UPDATE SET {changes}" if changes else "DO NOTHING"
    return (
        f"INSERT INTO {ident(table)} ({names}) SELECT {names} FROM {STAGING} ORDER BY {ident('_row')} "
        f"ON CONFLICT ({ident('id')}) {action}"
    )


def make_room(table: str) -> str:
    """Remove the accounts whose address a waiting row with another id has: the source's account counts."""
    return (
        f"DELETE FROM {ident(table)} r USING {STAGING} s "
        f"WHERE r.{ident('email')} = s.{ident('email')} AND r.{ident('id')} <> s.{ident('id')}"
    )


def insert(table: str, columns: Sequence[str]) -> str:
    places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
    return f"INSERT INTO {ident(table)} ({', '.join(map(ident, columns))}) VALUES ({places})"


def related(table: str, key: str) -> str:
    """The ids of the records whose column `key` has one of the values $1; the first record of each counts."""
    return (
        f"SELECT DISTINCT ON ({ident(key)}) {ident(key)} AS key, {ident('id')} AS id "
        f"FROM {ident(table)} WHERE {ident(key)} = ANY ($1::text[]) ORDER BY {ident(key)}, {ident('_row')}"
    )
