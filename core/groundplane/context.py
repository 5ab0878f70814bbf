"""Who asks and with what: plain structs without HTTP types, made by the edge and read by rules."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any

import msgspec

SUPERUSERS = "_superusers"
# Of the request that is being answered, as in the header X-Request-Id; "" outside of requests.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")


class Caller(msgspec.Struct, frozen=True):
    """The authenticated record behind a request.

    `record` holds the stored values of every field (hidden ones too), keyed by field name, in the Python
    shapes described in `schema/fields/base.py`; `id` is in there as well.

    `mark` tells the token or service key of the request from all others without being it; "" for callers that
    were named otherwise. `key` is the id of the service key that the request came with.
    """

    id: str
    collection_id: str
    collection_name: str
    record: Mapping[str, Any] = {}
    refreshable: bool = True
    token: str = ""
    mark: str = ""
    key: str = ""

    @property
    def is_superuser(self) -> bool:
        return self.collection_name == SUPERUSERS


class RequestInfo(msgspec.Struct, frozen=True):
    """What rules may see of a request (`@request.*`).

    `caller`   None for a guest
    `context`  one of default expand realtime protectedFile batch oauth2 otp password
    `query`    first value of each query parameter
    `headers`  first value of each header, names in lower snake case (`x_api_key`)
    `body`     the resolved body: modifiers applied, values as JSON-like Python (str, float, int, bool,
               None, list, dict); uploaded files are dicts with name, originalName and size
    `ip`       the client's address by the trusted-proxy settings; `remote_ip` the peer's
    `moment`   the time that date macros mean; None is the present
    """

    caller: Caller | None = None
    context: str = "default"
    method: str = "GET"
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: Mapping[str, Any] = {}
    ip: str = ""
    remote_ip: str = ""
    moment: datetime | None = None

    @property
    def is_superuser(self) -> bool:
        return self.caller is not None and self.caller.is_superuser
