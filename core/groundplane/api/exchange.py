"""One HTTP request as our handlers see it, whether it came through Litestar or straight from the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeAlias, cast
from urllib.parse import quote, unquote

import msgspec
from litestar import Request

from groundplane.api import body as bodies
from groundplane.context import Caller, RequestInfo
from groundplane.errors import Invalid, TooLarge
from groundplane.logs.entry import Failure

if TYPE_CHECKING:
    from litestar.types import HTTPScope, Receive

    from groundplane.api.limits import Limits
    from groundplane.services import Services

DEFAULT_MAX_BODY = 32 * 1024 * 1024  # bytes, as in PocketBase
UNSUPPORTED = "Unsupported Content-Type."
SCOPE_KEY = "groundplane.exchange"
AnyRequest: TypeAlias = "Request[Any, Any, Any]"


class Upload(msgspec.Struct):
    """One uploaded file: `filename` as the client named it (without folders), `size` in bytes.

    `file` is at its start, can be read again after a seek, and is closed when the request ends.
    """

    filename: str
    content_type: str
    size: int
    file: BinaryIO


class FormData(NamedTuple):
    """A request body: decoded values by key, and the files in the order in which they were sent."""

    values: dict[str, Any]
    uploads: list[tuple[str, Upload]]


class Reply(NamedTuple):
    """An answer before it is put on the wire; the gateway adds the headers every answer has."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"


class Exchange:
    """What handlers may know of a request.

    The gateway fills in `caller`, `ip` (the client by the trusted-proxy settings) and `max_body` (bytes;
    None is no limit; a handler may set another limit before it reads the body). `limits` counts actions on
    collections (`await exchange.limits.check_action(exchange, collection, "create")`).
    """

    def __init__(self, scope: HTTPScope, receive: Receive) -> None:
        self._receive = receive
        self._raw_headers = cast("list[tuple[bytes, bytes]]", scope["headers"])
        self.raw_query: bytes = scope["query_string"]
        self.method: str = scope["method"]
        raw_path: bytes | None = scope.get("raw_path")
        # Some servers include the query in raw_path; the path is what stands before it.
        self.raw_path = raw_path.partition(b"?")[0].decode("latin-1") if raw_path else quote(scope["path"])
        self.path: str = scope["path"]
        # The parts of the path, percent-decoded each on its own: an encoded slash does not split.
        parts = self.raw_path.split("/")[1:]
        self.segments: tuple[str, ...] = tuple(
            [unquote(part) for part in parts] if "%" in self.raw_path else parts
        )
        # The first value of each header, by lower-case name.
        self.headers: dict[str, str] = {}
        for name, value in self._raw_headers:
            self.headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        client = scope.get("client")
        self.remote_ip: str = client[0] if client else ""
        self.ip: str = self.remote_ip
        self.caller: Caller | None = None
        self.request_id: str = ""
        # For the log: when it came, what was answered (0: nothing yet), why it failed.
        self.started = perf_counter()
        self.status = 0
        self.failure: Failure | None = None
        self.route = ""  # the template that Litestar has found for the path
        self.max_body: int | None = DEFAULT_MAX_BODY
        self.limits: Limits
        # Lower-case names of general headers that the gateway is not to add to this answer.
        self.left_out: set[bytes] = set()
        self._body: bytes | None = None
        self._is_read = False
        self._json: dict[str, Any] = {}
        self._pairs: list[bodies.Pair] | None = None
        self._uploads: list[tuple[str, Upload]] = []
        self._form: FormData | None = None
        # Whether the short way of a write has been tried, so that the ordinary one need not.
        self.is_tried = False

    # What was asked

    def last_header(self, name: str) -> str | None:
        """The last value of a header that may stand several times; `name` in lower case."""
        wanted = name.lower().encode("latin-1", "replace")
        for raw_name, value in reversed(self._raw_headers):
            if raw_name.lower() == wanted:
                return value.decode("latin-1")
        return None

    @cached_property
    def query_pairs(self) -> list[tuple[str, str]]:
        """Every query parameter in order; malformed ones are left out, as PocketBase does."""
        return bodies.parse_pairs(self.raw_query, strict=False)

    @cached_property
    def query(self) -> dict[str, str]:
        """The first value of each query parameter."""
        found: dict[str, str] = {}
        for name, value in self.query_pairs:
            found.setdefault(name, value)
        return found

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")

    @property
    def declared_size(self) -> int | None:
        """The Content-Length in bytes; None when there is none or it is not a number."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None

    # The body

    def check_declared_size(self) -> None:
        """Refuse at once a body that says it is larger than the limit."""
        declared = self.declared_size
        if self.max_body is not None and declared is not None and declared > self.max_body:
            raise TooLarge()

    async def chunks(self) -> bodies.Chunks:
        """Yield the body as it arrives; raises TooLarge when it passes the limit, Disconnected when it ends early."""
        self.check_declared_size()
        if self._body is not None:
            yield self._body
            return
        async for chunk in self._chunks_from(await self._receive()):
            yield chunk

    async def _chunks_from(self, message: Any) -> bodies.Chunks:
        size = 0
        while True:
            if message["type"] != "http.request":
                raise Disconnected()
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if self.max_body is not None and size > self.max_body:
                raise TooLarge()
            if chunk:
                yield chunk
            if not message.get("more_body", False):
                return
            message = await self._receive()

    async def body(self) -> bytes:
        """The whole body; raises TooLarge."""
        if self._body is not None:
            return self._body
        self.check_declared_size()
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            # The usual one, which came in one piece.
            body: bytes = message.get("body", b"")
            if self.max_body is not None and len(body) > self.max_body:
                raise TooLarge()
        else:
            body = b"".join([chunk async for chunk in self._chunks_from(message)])
        self._body = body
        return body

    async def form(self) -> FormData:
        """The body as values and files, by its content type (contract, records §2); the query is not merged.

        Raises Invalid with `Unsupported Content-Type.` or the default message, and TooLarge.
        """
        if self._form is None:
            await self._read()
            values = self._json if self._pairs is None else bodies.form_values(self._pairs)
            self._form = FormData(values, self._uploads)
        return self._form

    async def texts(self) -> tuple[list[bodies.Pair], list[tuple[str, Upload]]]:
        """The text parts of a browser's form, none of them inferred, and its files.

        Raises Invalid for another content type, and TooLarge.
        """
        await self._read()
        if self._pairs is None and self._json:
            raise Invalid(UNSUPPORTED)
        return self._pairs or [], self._uploads

    async def json_form(
        self,
        types: dict[str, type],
        load_error: str = "An error occurred while loading the submitted data.",
        *,
        hide_cause: bool = False,
    ) -> dict[str, Any]:
        """The body of an endpoint with a fixed form (contract, auth §1).

        `types` names its keys (matched case-insensitively) and the JSON type of each; absent keys get the
        type's zero. A body that cannot be read is Invalid with `load_error`. An unsupported content type
        and a limit passed in the middle have answers of their own, unless `hide_cause` is set.
        """
        try:
            await self._read()
            values = self._json if self._pairs is None else bodies.form_texts(self._pairs)
        except Invalid as error:
            if error.message == UNSUPPORTED and not hide_cause:
                raise
            raise Invalid(load_error) from None
        except TooLarge:
            if hide_cause and self.declared_size is None:
                raise Invalid(load_error) from None
            raise
        return bodies.fixed(values, types, load_error)

    async def _read(self) -> None:
        """Read and split the body once: into `_json`, or into `_pairs` of text and `_uploads`."""
        if self._is_read:
            return
        kind = self.content_type
        if self.declared_size == 0:
            pass
        elif kind.startswith("multipart/form-data"):
            self._pairs, files = await bodies.read_multipart(kind, self.chunks())
            self._uploads = [
                (key, Upload(part.filename, part.content_type, part.size, part.file)) for key, part in files
            ]
        elif raw := await self.body():
            if kind.startswith("application/json"):
                self._json = bodies.json_object(raw)
            elif kind.startswith("application/x-www-form-urlencoded"):
                self._pairs = bodies.parse_pairs(raw, strict=True)
            elif kind.startswith(("text/xml", "application/xml")):
                raise Invalid()
            else:
                raise Invalid(UNSUPPORTED)
        self._is_read = True

    def close(self) -> None:
        """Close uploaded files; the gateway calls it when the answer is out."""
        for _, upload in self._uploads:
            upload.file.close()

    # What rules see

    def rule_headers(self) -> dict[str, str]:
        return rule_names(self.headers)

    def info(
        self,
        *,
        body: Mapping[str, Any] | None = None,
        context: str = "default",
        method: str | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> RequestInfo:
        """The request as rules see it; the arguments replace parts of it (batch items, sign-in).

        `headers` here are by lower-case HTTP name and added to the request's own.
        """
        seen = self.headers if headers is None else self.headers | dict(headers)
        return RequestInfo(
            caller=self.caller,
            context=context,
            method=method if method is not None else self.method,
            query=self.query if query is None else query,
            headers=rule_names(seen),
            body={} if body is None else body,
            ip=self.ip,
            remote_ip=self.remote_ip,
        )


def rule_names(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by the names that rules have for them."""
    return {snake_case(name): value for name, value in headers.items()}


@lru_cache(maxsize=1024)
def snake_case(name: str) -> str:
    """A header's name as rules write it: `X-Api-Key` is `x_api_key`."""
    return name.lower().replace("-", "_")


class Disconnected(Exception):
    """The client went away before its request was complete; there is nobody to answer."""


def exchange(request: AnyRequest) -> Exchange:
    """The gateway's exchange of a request that Litestar handles."""
    return cast("Exchange", request.scope[SCOPE_KEY])  # type: ignore[literal-required]  # our own key


def services_of(request: AnyRequest) -> Services:
    """The parts of the server, for handlers."""
    return cast("Services", request.app.state.services)
