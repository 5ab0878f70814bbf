"""Whatever JSON a client sends: casts and checks answer, and what passes can be stored."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.schema.fields.registry import FIELD_TYPES, make_field

TEXTS = st.one_of(
    st.text(),
    st.text(alphabet=st.characters(codec=None)),
    st.from_regex(r"[0-9eE+\-._xXpP]{0,12}", fullmatch=True),
    st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:.,]{0,14}[Z+\-0-9: ]{0,8}", fullmatch=True),
    st.from_regex(r"[\[\]{}\",:0-9a ]{0,20}", fullmatch=True),
    st.from_regex(r"[a-z@.\-/:\[\]]{0,20}", fullmatch=True),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.integers(10**300, 10**320), st.floats(), TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.one_of(st.text(), st.sampled_from(["lon", "LAT"])), inner, max_size=5),
    ),
    max_leaves=12,
)
FIELDS = [
    make_field(
        {
            "type": type,
            "name": "f",
            "values": ["a", "b"],
            "maxSelect": several,
            **({"min": 1, "max": 20, "pattern": "[a-z]"} if type in ("text", "password") else {}),
            **({"min": -5, "max": 5, "onlyInt": True} if type == "number" else {}),
            **({"min": "2000-01-01", "max": "2100-01-01"} if type == "date" else {}),
            **({"onlyDomains": ["b.co"]} if type in ("email", "url") else {}),
        }
    )
    for type in FIELD_TYPES
    for several in (1, 3)
]


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_any_value_is_cast_and_checked(raw: Any) -> None:
    for field in FIELDS:
        value = field.from_input(raw)
        error = field.check(value)
        field.is_zero(value)
        field.to_wire(value)
        if error is None:
            for text in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
                assert "\x00" not in text
                text.encode()


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_a_stored_value_is_kept_by_another_cast(raw: Any) -> None:
    for field in FIELDS:
        value = field.from_input(raw)
        if field.check(value) is None and field.type_name not in ("json", "password"):
            assert field.from_input(value) == value or "[" in str(value)
