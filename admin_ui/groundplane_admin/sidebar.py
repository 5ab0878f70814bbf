"""The list of collections beside every page, and what is marked in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from groundplane_admin.registry import GROUPS, NavItem, nav_items

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection

FILTER_FROM = 12  # collections: below that, the filter box is more to look at than the list
TYPE_ICONS = {"auth": "users", "view": "eye", "base": "table"}


class Entry(NamedTuple):
    """A collection of the sidebar; `is_public` where anybody may list its records."""

    id: str
    name: str
    icon: str
    is_public: bool
    is_current: bool


class Sidebar:
    """Made from the schema's snapshot, so it costs no statement."""

    def __init__(self, schema: Schema, path: str) -> None:
        self.version = schema.version
        self.path = path
        ordered = sorted(schema, key=lambda each: each.name.lower())
        self.collections = [entry(each, path) for each in ordered if not each.system]
        self.system = [entry(each, path) for each in ordered if each.system]
        self.has_filter = len(self.collections) >= FILTER_FROM
        self.opens_system = any(each.is_current for each in self.system)

    @property
    def groups(self) -> list[tuple[str, tuple[NavItem, ...]]]:
        return [(group, nav_items(group)) for group in GROUPS if nav_items(group)]

    def is_current(self, href: str) -> bool:
        """Whether the page is this one or below it."""
        return self.path == href or self.path.startswith(f"{href.rstrip('/')}/")


def entry(collection: Collection, path: str) -> Entry:
    base = f"/_/c/{collection.name}"
    return Entry(
        collection.id,
        collection.name,
        TYPE_ICONS[collection.type],
        collection.list_rule == "",
        path == base or path.startswith(f"{base}/"),
    )
