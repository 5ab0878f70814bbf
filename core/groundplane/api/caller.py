"""Authorization header to Caller, and the guards that routes put in front of themselves."""

from __future__ import annotations

from groundplane.api.exchange import Exchange
from groundplane.context import Caller
from groundplane.errors import Forbidden, Unauthorized
from groundplane.schema.cache import Schema

BEARER = "bearer "
NO_TOKEN = "The request requires valid record authorization token."  # noqa: S105  # a sentence, no secret
NO_ACCOUNT = "A service key is no account."
NOT_ALLOWED = "The authorized record is not allowed to perform this action."


def token_of(header: str) -> str:
    """The token in an Authorization header: raw, or after `Bearer ` in any case; "" when there is none.

    With another scheme or two spaces the rest still holds a space, which is in no token: a guest.
    """
    token = header[len(BEARER) :] if header[: len(BEARER)].lower() == BEARER else header
    return "" if " " in token else token


def require_caller(exchange: Exchange) -> Caller:
    """Refuse guests; return who is signed in."""
    if exchange.caller is None:
        raise Unauthorized(NO_TOKEN)
    return exchange.caller


def require_superuser(exchange: Exchange) -> Caller:
    """Refuse everybody but superusers."""
    caller = require_caller(exchange)
    if not caller.is_superuser:
        raise Forbidden(NOT_ALLOWED)
    return caller


def require_same_collection(exchange: Exchange, schema: Schema, name_or_id: str) -> Caller:
    """Refuse callers from another collection than the one in the path; the message names the caller's own.

    What is asked here is about the caller's own account, which a service key does not have.
    """
    caller = require_caller(exchange)
    if caller.key:
        raise Forbidden(NO_ACCOUNT)
    collection = schema.get(name_or_id)
    if collection is None or collection.id != caller.collection_id:
        raise Forbidden(f"The request requires auth record from {caller.collection_name} collection.")
    return caller
