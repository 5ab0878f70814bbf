"""Guesses the fields of a collection from the rows that are to fill it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from groundplane.imports.spelled_dates import read_date, slashed
from groundplane.schema.fields.email import EmailField
from groundplane.schema.fields.url import UrlField

NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?")
# Codes such as 007 or 02134 would lose their zeros.
LEADING_ZERO = re.compile(r"[+-]?0\d")
MAX_EXACT = 2**53
BOOL_WORDS = {"true": True, "false": False, "yes": True, "no": False, "t": True, "f": False}
DEFAULT_TEXT_LIMIT = 5000
LATITUDES = ("latitude", "lat")
LONGITUDES = ("longitude", "lon", "lng", "long")
RESERVED = frozenset({"null", "true", "false", "_rowid_", "collectionid", "collectionname", "expand", "id"})
RESERVED_IN_AUTH = frozenset({"passwordconfirm", "oldpassword"})
EMAIL, URL = EmailField(), UrlField()
VALID_NAME = re.compile(r"[A-Za-z0-9_]{1,100}")
ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


def field_names(keys: Iterable[str]) -> dict[str, str]:
    """Valid and distinct field names for the keys of a file: `US Gross` becomes `us_gross`.

    Keys that are all valid names stay what they are; as soon as one is not, they are headings, and all of them
    are spelled in lower case.
    """
    known = list(keys)
    spelled = all(VALID_NAME.fullmatch(key) for key in known)
    names: dict[str, str] = {}
    taken: set[str] = set()
    for place, key in enumerate(known, 1):
        name = key if spelled else _cleaned(key) or f"column_{place}"
        if name.lower() in RESERVED or "_via_" in name.lower():
            name = name.replace("_via_", "_") + "_value" if "_via_" in name.lower() else f"{name}_value"
        base, number = name[:90], 2
        while name.lower() in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name.lower())
        names[key] = name
    return names


def _cleaned(key: str) -> str:
    plain = unicodedata.normalize("NFKD", key).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_").lower()[:90]


class Column:
    """What has been seen in one column; bounded, whatever the number of rows."""

    def __init__(self) -> None:
        self.values = 0
        self.numbers = self.integers = self.bools = self.texts = 0
        self.objects = self.lists = self.places = 0
        self.numeric = self.bool_words = self.dates = self.emails = self.urls = self.ids = 0
        self.integral = True
        self.longest = 0
        self.day_first = self.month_first = self.slashes = 0

    def add(self, value: Any) -> None:
        if value is None or value == "":
            return
        self.values += 1
        if isinstance(value, bool):
            self.bools += 1
        elif isinstance(value, (int, float)):
            self.numbers += 1
            self.integral = self.integral and float(value).is_integer()
        elif isinstance(value, str):
            self._add_text(value)
        elif isinstance(value, dict):
            self.objects += 1
            keys = {str(key).lower() for key in value}
            self.places += len(keys) == 2 and bool(keys & {*LATITUDES}) and bool(keys & {*LONGITUDES})
        else:
            self.lists += 1

    def _add_text(self, value: str) -> None:
        self.texts += 1
        self.longest = max(self.longest, len(value))
        self.ids += bool(ID.fullmatch(value))
        # A check that has failed once cannot hold for all any more, so it is not made again.
        before = self.texts - 1
        if self.numeric == before and NUMBER.fullmatch(value) and not LEADING_ZERO.match(value):
            number = float(value)
            if abs(number) <= MAX_EXACT:
                self.numeric += 1
                self.integral = self.integral and number.is_integer()
        if self.bool_words == before:
            self.bool_words += value.lower() in BOOL_WORDS
        if self.dates == before:
            parts = slashed(value)
            if parts is not None:
                self.slashes += 1
                self.day_first += parts[0] > 12
                self.month_first += parts[1] > 12
                self.dates += 1
            else:
                self.dates += read_date(value) is not None
        if self.emails == before:
            self.emails += EMAIL.check(value) is None
        if self.urls == before:
            self.urls += "://" in value and URL.check(value) is None

    @property
    def date_order(self) -> str | None:
        """How dates with slashes are meant; "" without any, None when it cannot be told."""
        if not self.slashes:
            return ""
        if bool(self.day_first) == bool(self.month_first):
            return None
        return "dm" if self.day_first else "md"

    def field(self) -> dict[str, Any]:
        """The type and options that fit every value seen."""
        if self.values == self.bools and self.values:
            return {"type": "bool"}
        if self.objects or self.lists:
            return {"type": "geoPoint"} if self.places == self.values else {"type": "json"}
        if self.values and self.numbers == self.values:
            return {"type": "number", "onlyInt": True} if self.integral else {"type": "number"}
        if self.texts and self.texts == self.values:
            if self.numeric == self.texts:
                return {"type": "number", "onlyInt": True} if self.integral else {"type": "number"}
            if self.bool_words == self.texts:
                return {"type": "bool"}
            if self.dates == self.texts and self.date_order is not None:
                return {"type": "date"} | ({"order": self.date_order} if self.date_order else {})
            if self.emails == self.texts:
                return {"type": "email"}
            if self.urls == self.texts:
                return {"type": "url"}
        if self.longest > DEFAULT_TEXT_LIMIT:
            return {"type": "text", "max": max(self.longest * 2, 100_000)}
        return {"type": "text"}

    @property
    def can_be_id(self) -> bool:
        return (
            bool(self.values)
            and self.ids + self.numbers == self.values
            and (not self.numbers or self.integral)
        )


class Inference:
    """Collects rows and says what fields they need, in the order in which the keys first appeared."""

    def __init__(self) -> None:
        self.columns: dict[str, Column] = {}
        self.rows = 0

    def add(self, values: dict[str, Any]) -> None:
        self.rows += 1
        for key, value in values.items():
            column = self.columns.get(key)
            if column is None:
                column = self.columns[key] = Column()
            column.add(value)

    def fields(self, *, id_field: str = "", relations: Iterable[str] = ()) -> list[dict[str, Any]]:
        """The fields as in the collections API, each with `from`, the key it is filled from.

        Keys in `relations` are left out, their fields are for the caller. A key called `id`, or `id_field`,
        becomes the record id if every row has one that may be an id. Latitude and longitude also make a
        geoPoint called `location`.
        """
        skipped = set(relations)
        wanted = id_field or next((key for key in self.columns if key.lower() == "id"), None)
        fields: list[dict[str, Any]] = []
        id_column = self.columns.get(wanted) if wanted is not None else None
        can_be_id = id_column is not None and id_column.can_be_id and id_column.values == self.rows
        if wanted is not None and (id_field or can_be_id):
            fields.append(id_options(wanted))
            skipped.add(wanted)
        names = field_names(key for key in self.columns if key not in skipped)
        for key, name in names.items():
            fields.append({"name": name, "from": key} | self.columns[key].field())
        location = self._location(fields)
        return [*fields, *location]

    def _location(self, fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
        names = {each["name"].lower(): each for each in fields if each["type"] == "number"}
        latitude = next((names[name] for name in LATITUDES if name in names), None)
        longitude = next((names[name] for name in LONGITUDES if name in names), None)
        if (
            latitude is None
            or longitude is None
            or any(each["name"].lower() == "location" for each in fields)
        ):
            return []
        return [{"name": "location", "from": [longitude["from"], latitude["from"]], "type": "geoPoint"}]


def id_options(key: str) -> dict[str, Any]:
    """The id field of a collection whose ids come from the file."""
    return {
        "name": "id",
        "from": key,
        "type": "text",
        "min": 1,
        "max": 100,
        "pattern": "^[A-Za-z0-9_-]+$",
        "autogeneratePattern": "[a-z0-9]{15}",
        "primaryKey": True,
        "required": True,
        "system": True,
    }
