"""Two operands and an operator to SQL: the matrix of the contract (filters §3, §5, §6.1).

Each comparison has two conditions, `true` and `false`: the rows where it holds and those where it is
violated. Where a side is NULL often neither is the case, so one is not the negation of the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from groundplane.query.operands import Affinity, Operand, State, decimal_text, digits, number_of, parameter
from groundplane.query.values import Values

MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
OPPOSITE = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "=": "<>"}

WIRE_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
# Beginnings of a wire date after which every continuation sorts higher; what follows makes them complete.
DATE_PREFIX = re.compile(r"[0-9]{4}(-[0-9]{2}(-[0-9]{2}( [0-9]{2}(:[0-9]{2}(:[0-9]{2}(\.[0-9]{3})?)?)?)?)?)?")
FIRST_DATE = "0001-01-01 00:00:00.000Z"


@dataclass(frozen=True, slots=True)
class Outcome:
    """SQL for "holds" and "is violated" (each true or not true), and whether missing rows exclude them."""

    true: str
    false: str
    needs_rows: bool = False
    false_needs_rows: bool = False

    @property
    def negated(self) -> Outcome:
        return Outcome(self.false, self.true, self.false_needs_rows, self.needs_rows)


NEVER = Outcome("false", "false", True, True)


def compare(left: Operand, sign: str, right: Operand, values: Values) -> Outcome:
    if sign in ("~", "!~"):
        outcome = like(left, right, values)
        return outcome.negated if sign == "!~" else outcome
    if sign in ("=", "!="):
        return equality(left, right, sign == "=", values)
    if left.is_null or right.is_null:
        return NEVER
    if left.moment is not None and isinstance(right.constant, str):
        return date_order(left, sign, right, values)
    if right.moment is not None and isinstance(left.constant, str):
        return date_order(right, MIRRORED[sign], left, values)
    return order(*converted_for_order(*converted(left, right, values)), sign)


# Conversions


def converted(left: Operand, right: Operand, values: Values) -> tuple[Operand, Operand]:
    """Convert a parameter to the class of the column on the other side."""
    if right.is_parameter:
        return left, parameter_for(left, right, values)
    if left.is_parameter:
        return parameter_for(right, left, values), right
    return left, right


def parameter_for(column: Operand, given: Operand, values: Values) -> Operand:
    value = given.constant
    if column.affinity is Affinity.TEXT and isinstance(value, bool | int | float):
        return parameter(decimal_text(value), values)
    if column.affinity is Affinity.NUMBER and isinstance(value, str):
        number = number_of(value)
        return given if number is None else parameter(number, values)
    return given


def converted_for_order(left: Operand, right: Operand) -> tuple[Operand, Operand]:
    """A text column ordered against a number column is read as a number where it looks like one."""
    if left.affinity is Affinity.TEXT and right.affinity is Affinity.NUMBER:
        return read_as_number(left), right
    if left.affinity is Affinity.NUMBER and right.affinity is Affinity.TEXT:
        return left, read_as_number(right)
    return left, right


def read_as_number(operand: Operand) -> Operand:
    number = f"gp.to_number({operand.text})"
    return replace(
        operand,
        number=number,
        text=f"CASE WHEN {number} IS NULL THEN {operand.text} END",
        moment=None,
        collated=False,
    )


# Equality


def equality(left: Operand, right: Operand, equal: bool, values: Values) -> Outcome:
    if left.is_json or right.is_json:
        outcome = same_or_null(left, right)
        return outcome if equal else outcome.negated
    left_empty, right_empty = left.state is State.EMPTY, right.state is State.EMPTY
    if left_empty and right_empty:
        return Outcome("true", "false") if equal else Outcome("false", "true")
    if State.KNOWN in (left.state, right.state):
        left = parameter("", values) if left_empty else left
        right = parameter("", values) if right_empty else right
        return equal_to_known(left, right, equal, values)
    if left_empty or right_empty:
        outcome = blank(right if left_empty else left)
    else:
        outcome = equal_open(left, right)
    return outcome if equal else outcome.negated


def same_or_null(left: Operand, right: Operand) -> Outcome:
    """IS NOT DISTINCT FROM of values whose type is known at run time only."""
    if left.constant is not None:
        left, right = right, left
    if right.constant is not None:
        # The other side's number and text are never both there, so one comparison decides.
        part, constant = (left.number, right.number) if right.text is None else (left.text, right.text)
        if part is None:
            return Outcome("false", "true")
        # `IS TRUE` makes NULL a plain false.
        same = f"({part} = {constant})"
        return Outcome(same, f"({same} IS NOT TRUE)", needs_rows=True)
    same_parts, other_parts = [], []
    for one, other in ((left.number, right.number), (left.text, right.text)):
        if one is not None and other is not None:
            same_parts.append(f"{one} IS NOT DISTINCT FROM {other}")
            other_parts.append(f"{one} IS DISTINCT FROM {other}")
        elif one is not None or other is not None:
            same_parts.append(f"{one or other} IS NULL")
            other_parts.append(f"{one or other} IS NOT NULL")
    if not same_parts:
        return Outcome("true", "false")
    against_null = left.is_null or right.is_null
    return Outcome(both(same_parts), either(other_parts), false_needs_rows=against_null)


def equal_to_known(left: Operand, right: Operand, equal: bool, values: Values) -> Outcome:
    """Plain `=`, and null-safe `!=`, with a side that is known not to be empty."""
    if left.constant is not None and right.constant is None:
        left, right = right, left
    if left.moment is not None and isinstance(right.constant, str):
        same = date_equality(left, right.constant, values)
    elif (
        left.boolean is not None
        and isinstance(right.constant, bool | int | float)
        and right.constant in (0, 1)
    ):
        wanted = "true" if right.constant else "false"
        same = Outcome(f"({left.boolean} = {wanted})", f"({left.boolean} <> {wanted})", True, True)
    else:
        left, right = converted(left, right, values)
        same = equal_values(left, right)
    if equal:
        return same
    if left.state is State.KNOWN and left.nullable and right.constant == "":
        # Elements of a submitted list against '': neither equal nor different if there are none.
        return same.negated
    if left.nullable and right.nullable:
        return same_or_null(left, right).negated
    if left.nullable or right.nullable:
        return Outcome(
            f"({same.true} IS NOT TRUE)" if same.true != "false" else "true", same.true, False, True
        )
    return same.negated


def equal_values(left: Operand, right: Operand) -> Outcome:
    """`=` that is unknown when a side is NULL."""
    true, false = [], mixed(left, right)
    for one, other in ((left.number, right.number), (left.text, right.text)):
        if one is not None and other is not None:
            true.append(f"{one} = {other}")
            false.append(f"{one} <> {other}")
    return Outcome(either(true), either(false), True, True)


def mixed(left: Operand, right: Operand) -> list[str]:
    """The conditions under which one side is a number and the other a text."""
    found = []
    for number, text in ((left, right), (right, left)):
        if number.number is not None and text.text is not None:
            found.append(both([is_number(number), is_text(text)]))
    return found


def is_number(operand: Operand) -> str:
    sure = operand.text is None and not operand.nullable
    return "true" if sure else f"{operand.number} IS NOT NULL"


def is_text(operand: Operand) -> str:
    sure = operand.number is None and not operand.nullable
    return "true" if sure else f"{operand.text} IS NOT NULL"


def blank(operand: Operand) -> Outcome:
    """`= ''` of a column or expression: NULL counts as empty."""
    if operand.moment is not None:
        return Outcome(f"{operand.moment} IS NULL", f"{operand.moment} IS NOT NULL", False, True)
    if operand.text is None:
        if not operand.nullable:
            return Outcome("false", "true")
        return Outcome(f"{operand.number} IS NULL", f"{operand.number} IS NOT NULL", False, True)
    empty = f"{operand.text} = ''"
    if operand.nullable:
        nothing = f"{operand.text} IS NULL" + (f" AND {operand.number} IS NULL" if operand.number else "")
        empty = f"({empty} OR {nothing})"
    filled = f"{operand.text} <> ''"
    if operand.number is not None:
        filled = f"({filled} OR {operand.number} IS NOT NULL)"
    return Outcome(empty, filled, False, True)


def equal_open(left: Operand, right: Operand) -> Outcome:
    """`COALESCE(a, '') = COALESCE(b, '')` of two columns or expressions; numbers never equal texts."""
    if left.moment is not None and right.moment is not None:
        return Outcome(
            f"{left.moment} IS NOT DISTINCT FROM {right.moment}",
            f"{left.moment} IS DISTINCT FROM {right.moment}",
        )
    if left.text is not None and right.text is not None and left.number is None and right.number is None:
        texts = filled_text(left), filled_text(right)
        return Outcome(" = ".join(texts), " <> ".join(texts))
    if left.text is None and right.text is None:
        if not (left.nullable or right.nullable):
            return Outcome(f"{left.number} = {right.number}", f"{left.number} <> {right.number}")
        return Outcome(
            f"{left.number} IS NOT DISTINCT FROM {right.number}",
            f"{left.number} IS DISTINCT FROM {right.number}",
        )
    # A number and a text: equal only when both count as empty.
    one, other = blank(left), blank(right)
    return Outcome(both([one.true, other.true]), either([one.false, other.false]))


def filled_text(operand: Operand) -> str:
    return f"COALESCE({operand.text}, '')" if operand.nullable else str(operand.text)


# Order


def order(left: Operand, right: Operand, sign: str) -> Outcome:
    """NULL is unknown, a number is less than a text."""
    true, false = [], []
    if left.number is not None and right.number is not None:
        true.append(f"{left.number} {sign} {right.number}")
        false.append(f"{left.number} {OPPOSITE[sign]} {right.number}")
    if left.text is not None and right.text is not None:
        text = left.text if fits_collation(left, right) else f'{left.text} COLLATE "C"'
        true.append(f"{text} {sign} {right.text}")
        false.append(f"{text} {OPPOSITE[sign]} {right.text}")
    upwards = sign in ("<", "<=")
    for number, other, rising in ((left, right, True), (right, left, False)):
        if number.number is not None and other.text is not None:
            found = both([is_number(number), is_text(other)])
            (true if rising == upwards else false).append(found)
    return Outcome(either(true), either(false), True, True)


def fits_collation(left: Operand, right: Operand) -> bool:
    """A plain comparison of a column with a value uses the column's own collation, and its index."""
    return (left.collated and (right.collated or right.is_parameter)) or (
        right.collated and left.is_parameter
    )


def both(conditions: list[str]) -> str:
    """AND of conditions; an empty list is true."""
    if "false" in conditions:
        return "false"
    parts = [condition for condition in conditions if condition != "true"]
    return parts[0] if len(parts) == 1 else f"({' AND '.join(parts)})" if parts else "true"


def either(conditions: list[str]) -> str:
    """OR of conditions; an empty list is false."""
    if "true" in conditions:
        return "true"
    parts = [condition for condition in conditions if condition != "false"]
    return parts[0] if len(parts) == 1 else f"({' OR '.join(parts)})" if parts else "false"


# Dates against texts


def moment_of(text: str) -> datetime | None:
    """Return the time that a complete wire date names."""
    if WIRE_DATE.fullmatch(text) is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def lower_bound_of(text: str) -> datetime | None:
    """Return the first time whose wire text is above `text`, for a proper beginning of a wire date."""
    if len(text) >= len(FIRST_DATE) or DATE_PREFIX.fullmatch(text) is None:
        return None
    return moment_of(text + FIRST_DATE[len(text) :])


def date_equality(column: Operand, text: str, values: Values) -> Outcome:
    moment = moment_of(text)
    row_is_there = column.present or "true"
    if moment is None:
        return Outcome("false", row_is_there, True, True)
    marker = f"{values.put(moment)}::timestamptz"
    unset = both([f"{column.moment} IS NULL", row_is_there])
    return Outcome(f"{column.moment} = {marker}", either([f"{column.moment} <> {marker}", unset]), True, True)


def date_order(column: Operand, sign: str, given: Operand, values: Values) -> Outcome:
    """Order a date column against a text: as timestamps where that is the same, so that an index serves."""
    text = str(given.constant)
    moment = moment_of(text)
    if moment is None:
        moment = lower_bound_of(text)
        if moment is None:
            return order(column, given, sign)
        sign = {"<=": "<", ">": ">="}.get(sign, sign)
    marker = f"{values.put(moment)}::timestamptz"
    above = f"{column.moment} {sign if sign in ('>', '>=') else OPPOSITE[sign]} {marker}"
    below_sign = sign if sign in ("<", "<=") else OPPOSITE[sign]
    # An unset date is the empty text, which is below every other.
    unset = both([f"{column.moment} IS NULL", column.present or "true"])
    below = either([f"{column.moment} {below_sign} {marker}", unset])
    outcome = Outcome(above, below, True, True)
    return outcome if sign in (">", ">=") else outcome.negated


# LIKE


def like(left: Operand, right: Operand, values: Values) -> Outcome:
    """Contains, or LIKE with the client's own pattern; letters A-Z fold, no others do."""
    if left.is_null or right.is_null:
        return NEVER
    subject = f'lower({left.as_text} COLLATE "C")'
    value = right.constant
    if value is not None and not isinstance(value, bool):
        pattern = like_pattern(value if isinstance(value, str) else digits(value))
        if pattern is None:
            nothing_else = "true" if not left.nullable else f"{left.as_text} IS NOT NULL"
            return Outcome("false", nothing_else, True, True)
        against = f"{values.put(ascii_lower(pattern))}::text"
    else:
        against = f"('%' || lower({right.as_text} COLLATE \"C\") || '%')"
    return Outcome(f"{subject} LIKE {against}", f"{subject} NOT LIKE {against}", True, True)


UPPER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


def ascii_lower(text: str) -> str:
    return text.translate(UPPER)


LIKE_PART = re.compile(r"\\[\\%_]|[\\%_]|[^\\%_]+")


def like_pattern(text: str) -> str | None:
    """Return the pattern of a literal (contract §3.1); None for one that can match nothing."""
    parts = LIKE_PART.findall(text)
    if "%" not in parts:
        return "%" + "".join("\\" + part if part in ("\\", "_") else part for part in parts) + "%"
    # PostgreSQL refuses a pattern that ends in its escape character.
    return None if parts[-1] == "\\" else text
