"""A place on the globe: longitude and latitude in degrees."""

from __future__ import annotations

import json
import math
from typing import Any, ClassVar

from groundplane.errors import REQUIRED, FieldError
from groundplane.schema.casting import nearest_float
from groundplane.schema.fields.base import Field, Kind

BAD_LATITUDE = FieldError("validation_invalid_latitude", "Latitude must be between -90 and 90 degrees.")
BAD_LONGITUDE = FieldError("validation_invalid_longitude", "Longitude must be between -180 and 180 degrees.")
NOWHERE = (0.0, 0.0)


class GeoPointField(Field, kw_only=True, rename="camel"):
    type_name: ClassVar[str] = "geoPoint"

    required: bool = False
    help: str = ""

    @property
    def kind(self) -> Kind:
        return Kind.GEO

    @property
    def zero(self) -> tuple[float, float]:
        return NOWHERE

    def from_input(self, raw: Any) -> tuple[float, float]:
        if isinstance(raw, tuple) and len(raw) == 2:  # already in the stored form
            return (coordinate(raw[0]), coordinate(raw[1]))
        if isinstance(raw, str):
            try:
                raw = json.loads(raw)
            except (ValueError, RecursionError):
                return NOWHERE
        if not isinstance(raw, dict):
            return NOWHERE
        lon = lat = 0.0
        for key, value in raw.items():
            name = key.lower() if isinstance(key, str) else ""
            if name == "lon":
                lon = coordinate(value)
            elif name == "lat":
                lat = coordinate(value)
        return (lon, lat)

    def from_column(self, value: Any) -> tuple[float, float]:
        return (value[0], value[1])

    def to_wire(self, value: Any) -> dict[str, float]:
        return {"lon": value[0], "lat": value[1]}

    def check(self, value: Any, *, before: Any = None) -> FieldError | None:
        lon, lat = value
        if lon == 0 and lat == 0:
            return REQUIRED if self.required else None
        if not -90 <= lat <= 90:
            return BAD_LATITUDE
        if not -180 <= lon <= 180:
            return BAD_LONGITUDE
        return None


def coordinate(value: Any) -> float:
    """Return the number, or 0 for anything that is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0.0
    number = nearest_float(value) if isinstance(value, int) else value
    return 0.0 if math.isnan(number) else number
