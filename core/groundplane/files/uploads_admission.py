"""Who may begin an upload: whoever could write a record with a file in the field that it names."""

from __future__ import annotations

import ipaddress

from groundplane.context import RequestInfo
from groundplane.errors import Forbidden, Invalid, TooLarge, Unauthorized
from groundplane.query.effective import Action, Compound, Rule, rule_of
from groundplane.query.errors import QueryError
from groundplane.query.nodes import All, Any, Comparison, Identifier, Node, Operand, Text
from groundplane.query.parser import parse
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.fields.file import FileField

WRITING: tuple[Action, ...] = ("create", "update")
CALLER = "@request.auth."
IPV6_NETWORK = 64  # bits; one client has all the addresses of such a network

NO_GUESTS = "Sign in to upload files."
NAME_A_FIELD = (
    "Sign in, or name in Upload-Metadata the collection and the field that the file is for, "
    "where guests may write."
)
NO_SUCH_FIELD = "Upload-Metadata names no file field of a collection that records can be written to."
NOT_FOR_YOU = "You cannot write records with files to this collection."


def admit(
    schema: Schema, info: RequestInfo, collection: str, field: str, length: int, *, guests: bool
) -> tuple[str, str]:
    """Return the ids of collection and field that an upload is for, both "" if it may go anywhere.

    Raises Unauthorized, Forbidden, Invalid for a field that there is not, and TooLarge.
    """
    is_guest = info.caller is None
    if is_guest and not guests:
        raise Unauthorized(NO_GUESTS)
    if not collection and not field:
        if is_guest:
            raise Unauthorized(NAME_A_FIELD)
        return "", ""
    found = schema.get(collection) if collection else None
    if found is None or found.is_view:
        raise Invalid(NO_SUCH_FIELD)
    # First, so that nobody is told of the fields of a collection that is none of theirs.
    if not info.is_superuser and not any(could_pass(schema, found, action, info) for action in WRITING):
        raise Unauthorized(NAME_A_FIELD) if is_guest else Forbidden(NOT_FOR_YOU)
    target = found.by_name.get(field)
    if not isinstance(target, FileField) or (target.hidden and not info.is_superuser):
        raise Invalid(NO_SUCH_FIELD)
    if length > target.size_limit:
        raise TooLarge(f"A file of this field may have {target.size_limit} bytes, this one has {length}.")
    return found.id, target.name


def could_pass(schema: Schema, collection: Collection, action: Action, info: RequestInfo) -> bool:
    """Whether some record could satisfy the rule for this caller; in doubt it could."""
    return is_possible(rule_of(schema, collection, action), is_guest=info.caller is None)


def is_possible(rule: Rule, *, is_guest: bool) -> bool:
    if rule is None:
        return False
    if isinstance(rule, str):
        return verdict(rule, is_guest=is_guest) is not False
    return is_compound_possible(rule, is_guest=is_guest)


def is_compound_possible(rule: Compound, *, is_guest: bool) -> bool:
    allowed = not rule.allow or any(verdict(each, is_guest=is_guest) is not False for each in rule.allow)
    return (
        allowed
        and all(verdict(each, is_guest=is_guest) is not False for each in rule.restrict)
        and not any(verdict(each, is_guest=is_guest) is True for each in rule.deny)
    )


def verdict(rule: str, *, is_guest: bool) -> bool | None:
    """What a rule says whatever the record is; None when that depends on it."""
    if not rule.strip():
        return True
    try:
        return of_node(parse(rule), is_guest=is_guest)
    except QueryError:
        return False  # such a rule lets in nobody


def of_node(node: Node, *, is_guest: bool) -> bool | None:
    match node:
        case All():
            found = [of_node(item, is_guest=is_guest) for item in node.items]
            return False if False in found else None if None in found else True
        case Any():
            found = [of_node(item, is_guest=is_guest) for item in node.items]
            return True if True in found else None if None in found else False
        case Comparison():
            return of_comparison(node, is_guest=is_guest)


def of_comparison(node: Comparison, *, is_guest: bool) -> bool | None:
    left, right = (text_of(side, is_guest=is_guest) for side in (node.left, node.right))
    if left is None or right is None or node.sign not in ("=", "!="):
        return None
    return (left == right) is (node.sign == "=")


def text_of(operand: Operand, *, is_guest: bool) -> str | None:
    """The text of an operand if it is the same for every record: of guests all that is known is nothing."""
    match operand:
        case Text():
            return operand.value
        case Identifier() if operand.name == "null":
            return ""
        case Identifier() if is_guest and operand.name.startswith(CALLER) and ":" not in operand.name:
            return ""
    return None


def payer_of(info: RequestInfo, owner: str) -> str:
    """Whose limits an upload counts against: the account, or the network of a guest."""
    if owner:
        return owner
    try:
        address = ipaddress.ip_address(info.ip)
    except ValueError:
        return f"guest/{info.ip}"
    if isinstance(address, ipaddress.IPv6Address):
        network = ipaddress.ip_network((address, IPV6_NETWORK), strict=False)
        return f"guest/{network}"
    return f"guest/{address}"
