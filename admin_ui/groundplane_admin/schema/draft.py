"""The draft of a collection: what a superuser has changed but not applied, kept on the server until then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from groundplane.collections.review import version_of
from groundplane.schema.collection import RULES
from groundplane.schema.wire import collection_from_json, collection_to_json, scaffold

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane.schema.collection import Collection
    from groundplane_admin.visits import Visit

NEW = "new"  # the name of the draft of a collection that is not there yet
# Edited elsewhere, or never: they stay as they are stored.
LEFT_OUT = frozenset(
    {
        "id",
        "created",
        "updated",
        "system",
        "oauth2",
        "verificationTemplate",
        "resetPasswordTemplate",
        "confirmEmailChangeTemplate",
    }
)
KEY, GONE = "_key", "_gone"  # of a field in a draft: its name in forms, and whether it is to be removed


class Draft(msgspec.Struct):
    """`raw` is the collection as the API takes it, with marks on its fields; `base` the id of the stored one.

    `seen` is the version of the stored one that the draft began from; `made` counts new fields.
    """

    raw: dict[str, Any]
    base: str = ""
    seen: str = ""
    made: int = 0

    @property
    def name(self) -> str:
        return str(self.raw.get("name", ""))

    @property
    def type(self) -> str:
        return str(self.raw.get("type", "base"))

    @property
    def fields(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.raw.setdefault("fields", [])
        return found

    def field(self, key: str) -> dict[str, Any] | None:
        return next((each for each in self.fields if each[KEY] == key), None)

    def submitted(self) -> dict[str, Any]:
        """The collection as it is sent to be reviewed and applied."""
        raw = dict(self.raw)
        if self.type == "view":
            raw.pop("fields", None)
        else:
            raw["fields"] = [
                {key: value for key, value in each.items() if key not in (KEY, GONE)}
                for each in self.fields
                if not each.get(GONE)
            ]
        return raw


def draft_of(collection: Collection) -> Draft:
    """A draft in which nothing is changed yet."""
    raw = {
        key: value
        for key, value in collection_to_json(collection, all_options=True).items()
        if key not in LEFT_OUT
    }
    for option in ("otp", "magicLink", "authAlert"):
        if option in raw:
            raw[option].pop("emailTemplate", None)
    raw["fields"] = [{**each, KEY: each["id"]} for each in raw["fields"]]
    return Draft(raw, collection.id, version_of(collection))


def new_draft(name: str, kind: str) -> Draft:
    """A draft of a new collection, with what every one of its type begins with."""
    draft = draft_of(scaffold(kind))
    draft.base = draft.seen = ""
    draft.raw |= {"name": name, "type": kind}
    for each in draft.fields:
        draft.made += 1
        each[KEY] = f"new{draft.made}"
        each["id"] = ""
    return draft


def preference(base: str) -> str:
    return f"draft.{base or NEW}"


async def read(visit: Visit, collection: Collection | None) -> Draft | None:
    """The draft of a collection (None: of a new one); None when there is none."""
    name = preference(collection.id if collection is not None else "")
    return await visit.services.preferences.read(visit.user.id, name, Draft | None, None)  # type: ignore[arg-type]  # msgspec takes it


async def keep(visit: Visit, draft: Draft, stored: Collection | None) -> None:
    """Store a draft; one in which nothing is changed is forgotten."""
    if stored is not None and not changes(draft, stored):
        await forget(visit, draft.base)
    else:
        await visit.services.preferences.keep(visit.user.id, preference(draft.base), draft)


async def forget(visit: Visit, base: str) -> None:
    await visit.services.preferences.forget(visit.user.id, preference(base))


def plain(field: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in field.items() if key not in (KEY, GONE)}


def changes(draft: Draft, stored: Collection | None) -> list[str]:
    """What is changed, a name for each change: parts of the collection, and keys of fields."""
    if stored is None:
        return [each[KEY] for each in draft.fields if not each.get("system")]
    before = draft_of(stored)
    return list(differences(draft, before))


def differences(draft: Draft, before: Draft) -> Iterator[str]:
    for key, value in draft.raw.items():
        if key not in ("fields", "type") and value != before.raw.get(key):
            yield key
    if draft.type == "view":
        return
    known = {each[KEY]: each for each in before.fields}
    for each in draft.fields:
        stored = known.get(each[KEY])
        if stored is None or each.get(GONE) or plain(each) != plain(stored):
            yield each[KEY]
    order = [each[KEY] for each in draft.fields if each[KEY] in known]
    if order != [each[KEY] for each in before.fields if each[KEY] in set(order)]:
        yield "order"


def rule_names(draft: Draft) -> tuple[str, ...]:
    return RULES[:2] if draft.type == "view" else RULES


def as_collection(draft: Draft, stored: Collection | None, schema: Schema) -> Collection:
    """The collection that the draft describes, as far as it is complete; raises BadShape."""
    return collection_from_json(draft.submitted(), base=stored, schema=schema)
