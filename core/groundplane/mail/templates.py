"""Subjects and bodies of mails from an administrator's templates: plain replacement, nothing is evaluated."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, NamedTuple

from groundplane.schema.casting import to_text
from groundplane.schema.collection import Collection
from groundplane.schema.options import Template

PLACEHOLDER = re.compile(r"\{(?:[A-Z_]{1,40}|RECORD:\w{1,255})\}")
# Their values are numbers, dates and the like, which have no marks of HTML.
UNESCAPED_TYPES = frozenset({"autodate", "bool", "date", "number"})
LAYOUT = files("groundplane.mail").joinpath("layout.html").read_text(encoding="utf-8")
BODY_MARK, TITLE_MARK = "<!-- body -->", "<!-- title -->"


class Rendered(NamedTuple):
    subject: str
    html: str
    text: str


def record_values(collection: Collection, record: Mapping[str, Any]) -> dict[str, str]:
    """`{RECORD:field}` of every field that is not hidden, escaped for HTML (contract, auth §9)."""
    values = {}
    for field in collection.fields:
        if field.hidden:
            continue
        value = record.get(field.name)
        # JSON is stored as its text.
        shown = (value or "null") if field.type_name == "json" else field.to_wire(value)
        text = "" if field.is_multiple else to_text(shown)
        escaped = text if field.type_name in UNESCAPED_TYPES else html.escape(text)
        values[f"{{RECORD:{field.name}}}"] = escaped
    return values


def render(template: Template, values: Mapping[str, str]) -> Rendered:
    """Put the values in place of the placeholders; those that are not known stay.

    Each place is replaced once: what a value holds is never taken for a placeholder.
    """

    def replaced(text: str) -> str:
        return PLACEHOLDER.sub(lambda match: values.get(match[0], match[0]), text)

    subject, body = replaced(template.subject), replaced(template.body)
    # As it is in PocketBase, the subject is escaped like the body, and a title of a page anyway.
    title = html.escape(html.unescape(subject))
    whole = LAYOUT.replace(TITLE_MARK, title).replace(BODY_MARK, body)
    # Loaded with the first mail.
    from groundplane.mail.plain import plain_text

    return Rendered(subject, whole, plain_text(body))
