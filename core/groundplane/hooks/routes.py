"""What a plugin's route is: a plain async function, who may call it, and what it gets to see of a request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from groundplane.context import RequestInfo

if TYPE_CHECKING:
    from groundplane.services import Services

Access: TypeAlias = Literal["everyone", "accounts", "superusers"]
Handler: TypeAlias = "Callable[[PluginRequest, Services], Awaitable[Any]]"
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


class PluginRequest(msgspec.Struct, frozen=True):
    """A request to a plugin's route.

    `params`   the values of `{name}` in the route's path
    `info`     the request as rules see it: caller, method, query, headers, body, ip
    `body`     reads the body and returns it raw
    """

    params: Mapping[str, str]
    info: RequestInfo
    body: Callable[[], Awaitable[bytes]]


class PluginAnswer(msgspec.Struct, frozen=True):
    """What a handler returns that answers something else than JSON, or with another status than 200."""

    body: bytes
    content_type: str = "application/octet-stream"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


class Route(msgspec.Struct, frozen=True):
    """One route below `/api/x/<plugin>`; `path` begins with a slash and may hold `{name}` parts.

    The handler returns what becomes JSON (None is 204), a `PluginAnswer`, or raises a `GroundplaneError`. `access` says who
    gets that far: superusers, unless a plugin says otherwise.
    """

    method: str
    path: str
    handler: Handler
    access: Access = "superusers"

    def matches(self, method: str, segments: tuple[str, ...]) -> dict[str, str] | None:
        """The values of the path's parameters; None when it is another route."""
        parts = tuple(self.path.strip("/").split("/")) if self.path.strip("/") else ()
        if segments == ("",):
            segments = ()  # a slash behind the plugin's name
        if method != self.method or len(parts) != len(segments):
            return None
        params: dict[str, str] = {}
        for part, segment in zip(parts, segments, strict=True):
            if part.startswith("{") and part.endswith("}"):
                params[part[1:-1]] = segment
            elif part != segment:
                return None
        return params


def route_problem(route: object) -> str:
    """Why this is no route; "" when it is one."""
    if not isinstance(route, Route):
        return f"it is {type(route).__name__}, not a Route"
    if route.method not in METHODS or not route.path.startswith("/"):
        return f"{route.method} {route.path} is no route: write a method in capitals and a path with a slash"
    if route.access not in ("everyone", "accounts", "superusers"):
        return f"{route.path} lets in {route.access!r}: write everyone, accounts or superusers"
    return ""
