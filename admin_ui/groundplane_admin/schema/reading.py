"""What a form of the collection editor sent, laid over the draft."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from groundplane.schema.indexes import parse_index
from groundplane_admin.schema.draft import GONE, KEY, Draft, rule_names
from groundplane_admin.schema.options import new_field, options_of, type_names

if TYPE_CHECKING:
    from groundplane.schema.cache import Schema
    from groundplane_admin.visits import Form

LOCKED, ANYONE, EXPRESSION = STATES = ("locked", "anyone", "expression")
AUTH_RULES = ("authRule", "manageRule")
SECONDS = ("authToken", "passwordResetToken", "emailChangeToken", "verificationToken", "fileToken")
SWITCHES = ("passwordAuth", "otp", "magicLink", "passkeys", "totp", "mfa", "authAlert")
LONGEST_LIST = 500
MAX_DIGITS = 15


def read_fields(draft: Draft, form: Form) -> None:
    """Names, options and order of the fields."""
    draft.raw["name"] = form.text("name", draft.name).strip()
    order = form.all("f")
    place = {key: number for number, key in enumerate(order)}
    draft.fields.sort(key=lambda each: place.get(each[KEY], len(place)))
    for each in draft.fields:
        key = each[KEY]
        if key in place:
            if not each.get("system"):
                each["name"] = form.text(f"f.{key}.name", each["name"]).strip()
            for option in options_of(each["type"]):
                name = f"f.{key}.{option.key}"
                if form.has(name):
                    each[option.key] = value_of(option.kind, form.text(name), each.get(option.key))


def value_of(kind: str, text: str, before: Any) -> Any:
    """An option's value; what is no number leaves it as it was."""
    match kind:
        case "switch":
            return text == "true"
        case "integer":
            if not text.strip():
                return 0
            return int(text) if is_whole(text.strip().removeprefix("-")) else before
        case "number":
            if not text.strip():
                return None
            with suppress(ValueError):
                return float(text) if math.isfinite(float(text)) else before
            return before
        case "lines":
            return [line.strip() for line in text.splitlines() if line.strip()][:LONGEST_LIST]
    return text.strip() if kind == "collection" else text.replace("\r\n", "\n")


def is_whole(text: str) -> bool:
    """Whether a text is a whole number that any option could be."""
    return text.isdecimal() and len(text) <= MAX_DIGITS


def rule_of(form: Form, name: str) -> str | None:
    """A rule as its three choices and the text say it."""
    match form.text(f"{name}.state"):
        case "anyone":
            return ""
        case "expression":
            # An expression without words would let everyone in, which is a choice of its own.
            return form.text(f"{name}.text").replace("\r\n", "\n").strip() or None
    return None


def state_of(rule: str | None) -> str:
    return LOCKED if rule is None else ANYONE if rule == "" else EXPRESSION


def read_rules(draft: Draft, form: Form) -> None:
    for name in rule_names(draft):
        if form.has(f"{name}.state"):
            draft.raw[name] = rule_of(form, name)


def read_indexes(draft: Draft, form: Form) -> None:
    draft.raw["indexes"] = [text.strip() for text in form.all("index") if text.strip()][:LONGEST_LIST]


def read_view(draft: Draft, form: Form) -> None:
    draft.raw["name"] = form.text("name", draft.name).strip()
    draft.raw["viewQuery"] = form.text("viewQuery").replace("\r\n", "\n").strip()


def read_options(draft: Draft, form: Form) -> None:
    """Who may sign in, how, and for how long."""
    raw = draft.raw
    for name in AUTH_RULES:
        if form.has(f"{name}.state"):
            raw[name] = rule_of(form, name)
    for name in SWITCHES:
        if name in raw and form.has(f"{name}.enabled"):
            raw[name] = {**raw[name], "enabled": form.text(f"{name}.enabled") == "true"}
    if form.has("identityFields.sent"):
        raw["passwordAuth"] = {**raw["passwordAuth"], "identityFields": form.all("identityFields")}
    if form.has("mfa.rule"):
        raw["mfa"] = {**raw["mfa"], "rule": form.text("mfa.rule").strip()}
    for name, key in (
        ("otp", "duration"),
        ("otp", "length"),
        ("mfa", "duration"),
        ("magicLink", "duration"),
        *((token, "duration") for token in SECONDS),
    ):
        text = form.text(f"{name}.{key}").strip()
        if is_whole(text) and name in raw:
            raw[name] = {**raw[name], key: int(text)}


READERS: dict[str, Callable[[Draft, Form], None]] = {
    "fields": read_fields,
    "rules": read_rules,
    "indexes": read_indexes,
    "options": read_options,
    "query": read_view,
}


def do(draft: Draft, action: str, form: Form, schema: Schema) -> str:
    """Carry out a button of the form; returns the key of the field that the focus goes to."""
    verb, _, key = action.partition(":")
    match verb:
        case "up" | "down":
            move(draft, key, -1 if verb == "up" else 1)
            return f"{verb}.{key}"
        case "remove":
            field = draft.field(key)
            if field is not None and not field.get("system"):
                if key.startswith("new"):
                    draft.fields.remove(field)
                    return "add"
                field[GONE] = True
                return f"restore.{key}"
        case "restore":
            field = draft.field(key)
            if field is not None:
                field.pop(GONE, None)
                return f"remove.{key}"
        case "index-add":
            add_index(draft, form)
        case "index-remove" if is_whole(key) and int(key) < len(draft.raw["indexes"]):
            del draft.raw["indexes"][int(key)]
    name = form.text("add_name").strip()
    if verb in ("add", "keep") and name:
        return f"name.{add_field(draft, name, form.text('add_type'), schema)}"
    return "add" if verb == "add" else ""


def move(draft: Draft, key: str, by: int) -> None:
    fields = draft.fields
    at = next((number for number, each in enumerate(fields) if each[KEY] == key), -1)
    if at >= 0 and 0 <= at + by < len(fields):
        fields[at], fields[at + by] = fields[at + by], fields[at]


def add_field(draft: Draft, name: str, type_name: str, schema: Schema) -> str:
    """Add a field before the dates that stand last; returns its key."""
    draft.made += 1
    field = new_field(name, type_name if type_name in type_names() else "", schema)
    field[KEY] = f"new{draft.made}"
    fields = draft.fields
    at = len(fields)
    while at and fields[at - 1]["type"] == "autodate":
        at -= 1
    fields.insert(at if field["type"] != "autodate" else len(fields), field)
    return str(field[KEY])


def add_index(draft: Draft, form: Form) -> None:
    """An index over the chosen columns, with a name that is not taken."""
    names = {each["name"] for each in draft.fields if not each.get(GONE)}
    columns = [each for each in form.all("columns") if each in names]
    if not columns:
        return
    taken = {found.name.lower() for text in draft.raw["indexes"] if (found := parse_index(text)) is not None}
    stem = name = f"idx_{draft.name}_{'_'.join(columns)}"[:60]
    number = 1
    while name.lower() in taken:
        number += 1
        name = f"{stem}{number}"
    unique = "UNIQUE " if form.text("unique") == "true" else ""
    listed = ", ".join(f"`{each}`" for each in columns)
    draft.raw["indexes"].append(f"CREATE {unique}INDEX `{name}` ON `{draft.name}` ({listed})")
