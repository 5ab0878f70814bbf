"""The checks of fields as SQL, for values that one statement keeps or computes.

Each condition is enough for the field's own check to pass, not always necessary: where it fails, the ordinary
way looks again and says what is wrong.
"""

from __future__ import annotations

import re

from groundplane.db.sql import Args
from groundplane.schema.fields.autodate import AutodateField
from groundplane.schema.fields.base import Field
from groundplane.schema.fields.boolean import BoolField
from groundplane.schema.fields.date import DateField
from groundplane.schema.fields.editor import EditorField
from groundplane.schema.fields.email import EmailField
from groundplane.schema.fields.file import FileField
from groundplane.schema.fields.geo_point import GeoPointField
from groundplane.schema.fields.json import JsonField
from groundplane.schema.fields.number import NumberField
from groundplane.schema.fields.relation import RelationField
from groundplane.schema.fields.select import SelectField
from groundplane.schema.fields.text import DEFAULT_MAX, TextField
from groundplane.schema.fields.url import UrlField

# One class of ASCII characters, so often: it means the same in RE2 and in PostgreSQL.
SIMPLE_PATTERN = re.compile(r"\^\[[A-Za-z0-9_-]+\](?:[+*]|\{[0-9]{1,3}(?:,[0-9]{0,3})?\})\$")
PLAIN_EMAIL = "^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*@([A-Za-z0-9]+(-[A-Za-z0-9]+)*[.])+[A-Za-z]{2,10}$"
PLAIN_EMAIL_LENGTH = 60
PLAIN_URL = "^https?://([A-Za-z0-9]+(-[A-Za-z0-9]+)*[.])+[A-Za-z]{2,10}(/[A-Za-z0-9._~/-]*)?$"
PLAIN_URL_LENGTH = 200
LARGEST = "1.7976931348623157e308::double precision"


def stored_check(field: Field, value: str, args: Args) -> str | None:
    """A condition on `value`, SQL of the field's type; "" when anything passes, None when SQL cannot tell."""
    required = getattr(field, "required", False)
    match field:
        case TextField() if field.primary_key:
            return ""  # that of a stored record stays
        case TextField():
            return text_check(field, value, args)
        case EditorField():
            return joined(
                f"{value} <> ''" if required else "", f"octet_length({value}) <= {field.size_limit}"
            )
        case EmailField() | UrlField():
            if field.only_domains or field.except_domains:
                return None
            is_email = isinstance(field, EmailField)
            plain = args.add(PLAIN_EMAIL if is_email else PLAIN_URL)
            longest = PLAIN_EMAIL_LENGTH if is_email else PLAIN_URL_LENGTH
            fits = f"(char_length({value}) <= {longest} AND {value} ~ {plain}::text)"
            return fits if required else f"({value} = '' OR {fits})"
        case NumberField():
            return number_check(field, value, args)
        case BoolField():
            return value if required else ""
        case DateField():
            bounds = [
                f"{value} {sign} {args.add(bound)}::text::timestamptz"
                for sign, bound in ((">=", field.min), ("<=", field.max))
                if bound
            ]
            if required:
                return joined(f"{value} IS NOT NULL", *bounds)
            return f"({value} IS NULL OR ({joined(*bounds)}))" if bounds else ""
        case SelectField():
            allowed = f"{args.add(list(field.values))}::text[]"
            if not field.is_multiple:
                chosen = f"{value} = ANY({allowed})"
                return chosen if required else f"({value} = '' OR {chosen})"
            return joined(f"{value} <@ {allowed}", count_check(value, 1 if required else 0, field.max_select))
        case RelationField() if field.is_multiple:
            least = max(field.min_select, 1)
            counted = count_check(value, least, field.max_select)
            return counted if required else f"(cardinality({value}) = 0 OR {counted})"
        case RelationField():
            if field.min_select > 1:
                return None
            return f"{value} <> ''" if required else ""
        case FileField() if field.is_multiple:
            return count_check(value, 1 if required else 0, field.max_select)
        case FileField():
            return f"{value} <> ''" if required else ""
        case JsonField():
            sized = f"({value} IS NULL OR octet_length({value}::text) <= {field.size_limit})"
            filled = f"COALESCE({value}::text, '') NOT IN ('', 'null', '\"\"', '[]', '{{}}')"
            return joined(filled if required else "", sized)
        case GeoPointField():
            inside = f"({value})[0] BETWEEN -180 AND 180 AND ({value})[1] BETWEEN -90 AND 90"
            return joined(f"NOT (({value})[0] = 0 AND ({value})[1] = 0)" if required else "", inside)
        case AutodateField():
            return ""
    return None


def text_check(field: TextField, value: str, args: Args) -> str | None:
    most = field.max or DEFAULT_MAX
    conditions = [f"char_length({value}) BETWEEN {max(field.min, 0)} AND {most}"]
    if field.pattern:
        if not SIMPLE_PATTERN.fullmatch(field.pattern):
            return None
        conditions.append(f"{value} ~ {args.add(field.pattern)}::text")
    if field.required:
        return joined(f"{value} <> ''", *conditions)
    return f"({value} = '' OR ({joined(*conditions)}))"


def number_check(field: NumberField, value: str, args: Args) -> str:
    conditions = [f"{value} BETWEEN -{LARGEST} AND {LARGEST}"]
    limits = [f"{value} = trunc({value})"] if field.only_int else []
    for sign, bound in ((">=", field.min), ("<=", field.max)):
        if bound is not None:
            limits.append(f"{value} {sign} {args.add(bound)}::double precision")
    if field.required:
        conditions += [f"{value} <> 0", *limits]
    elif limits:
        conditions.append(f"({value} = 0 OR ({joined(*limits)}))")
    return joined(*conditions)


def count_check(value: str, least: int, most: int) -> str:
    return f"cardinality({value}) BETWEEN {least} AND {most}"


def joined(*conditions: str) -> str:
    return " AND ".join(condition for condition in conditions if condition)
