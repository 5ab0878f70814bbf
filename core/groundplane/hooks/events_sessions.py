"""The structs that hooks about sessions receive."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from groundplane.context import RequestInfo
    from groundplane.schema.collection import Collection


class Session(msgspec.Struct, frozen=True):
    """One sign-in and what came of it, until its last token expires.

    `method` says how it was proven who it is, "" when that is not known; `ip` and `agent` are those of the
    sign-in or the last refresh; `used` is right to some minutes.
    """

    id: str
    collection: Collection
    record_id: str
    method: str
    ip: str
    agent: str
    created: datetime
    used: datetime
    expires: datetime


class SessionCreated(msgspec.Struct, frozen=True):
    """`record` holds the stored values of who has signed in."""

    session: Session
    record: Mapping[str, Any]
    info: RequestInfo


class SessionRevoked(msgspec.Struct, frozen=True):
    """`session` is the one that was ended, None when all of the record's were; `info` is None for the server."""

    collection: Collection
    record_id: str
    session: Session | None
    info: RequestInfo | None
