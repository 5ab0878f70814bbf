"""All collections as one immutable snapshot, and the place that holds the current one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

from groundplane.errors import NotFound
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field


class Schema:
    """Every collection at one version; never changed, only replaced as a whole.

    Whatever can be computed once per version hangs on the snapshot (`cached_property` here, or a
    dictionary in `plans` keyed by the module that owns it), so it dies together with the version.
    """

    def __init__(self, collections: Iterable[Collection] = (), version: int = 0) -> None:
        self.version = version
        self.collections = tuple(collections)
        self.by_id = {collection.id: collection for collection in self.collections}
        self.by_lower_name = {collection.name.lower(): collection for collection in self.collections}
        self.plans: dict[str, dict[object, object]] = {}

    def __iter__(self) -> Iterator[Collection]:
        return iter(self.collections)

    def get(self, name_or_id: str) -> Collection | None:
        """Find by id (exact) or by name (ASCII case-insensitive)."""
        return self.by_id.get(name_or_id) or self.by_lower_name.get(name_or_id.lower())

    def find(self, name_or_id: str, message: str = "Missing collection context.") -> Collection:
        """Like `get`, but raises NotFound with `message`."""
        collection = self.get(name_or_id)
        if collection is None:
            raise NotFound(message)
        return collection

    @cached_property
    def references(self) -> dict[str, tuple[tuple[Collection, Field], ...]]:
        """For each collection id the relation fields that point to it, by collection name; views left out."""
        found: dict[str, list[tuple[Collection, Field]]] = {}
        for collection in sorted(self.collections, key=lambda each: each.name):
            if collection.is_view:
                continue
            for field in collection.fields:
                target = getattr(field, "collection_id", "")
                if field.type_name == "relation" and target:
                    found.setdefault(target, []).append((collection, field))
        return {target: tuple(pairs) for target, pairs in found.items()}


class SchemaCache:
    """Holds the current snapshot for this process.

    Reading is a plain attribute access (`cache.current`). The collections service replaces it after a
    committed change, the broker's messages do so in the other processes.
    """

    def __init__(self, schema: Schema | None = None) -> None:
        self.current = schema or Schema()
        # Called with every new snapshot before anybody reads it.
        self.prepare: Callable[[Schema], None] | None = None

    def replace(self, schema: Schema) -> None:
        """Take a newer snapshot; an older one (a message that came late) is ignored."""
        if schema.version >= self.current.version:
            if self.prepare is not None:
                self.prepare(schema)
            self.current = schema
