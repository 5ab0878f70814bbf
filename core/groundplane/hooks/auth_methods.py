"""Ways to sign in that plugins add."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    from groundplane.context import RequestInfo
    from groundplane.schema.collection import Collection
    from groundplane.services import Services

METHOD_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}")


class AuthProof(msgspec.Struct, frozen=True):
    """Somebody wants to sign in: `values` is the body that the client sent."""

    collection: Collection
    values: Mapping[str, Any]
    info: RequestInfo


Prove: TypeAlias = Callable[[AuthProof, "Services"], Awaitable["str | None"]]


class AuthMethod(msgspec.Struct, frozen=True, kw_only=True):
    """One way to sign in, at `POST /api/collections/{collection}/auth-with/{name}`.

    `name`     lower-case letters, digits and hyphens; it is also the method of a second factor, and a key of `auth-methods`
    `prove`    gets an `AuthProof` and the services; returns the id of the record that has proven who it is, None
               when nobody has, or raises a `GroundplaneError` to say more. It takes thirty seconds at most.
    `applies`  for which collections; all that people sign in to, unless a plugin says otherwise
    """

    name: str
    prove: Prove
    applies: Callable[[Collection], bool] = lambda collection: not collection.is_superusers
