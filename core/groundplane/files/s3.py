"""An object store that speaks S3 as a file store; the client is a blocking one, so it works in threads."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import quote, unquote, urlsplit

from groundplane.clock import unix_time
from groundplane.files.storage import (
    ATTRS_SUFFIX,
    CHUNK_BYTES,
    DEFAULT_TYPE,
    ORIGINAL_NAME,
    STAGING,
    FileInfo,
    FileMissing,
    Shown,
    StorageFailed,
    checked_key,
    checked_prefix,
    escaped_name,
    unescaped_name,
)
from groundplane.security.ids import random_text
from groundplane.settings.values import S3

if TYPE_CHECKING:
    from minio import Minio

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 16
CONNECT_S, READ_S = 5.0, 30.0
PAGE = 1000  # keys, as S3 lists them
IN_MEMORY_BYTES = 1024 * 1024  # of an upload; what is longer waits in a temporary file
MAX_SAID = 300  # characters of an answer that is no error of S3
OUT_OF_RANGE = "InvalidRange"
MISSING = frozenset({"NoSuchKey", "NoSuchObject", "ResourceNotFound"})


class OutOfRange(Exception):
    """The object ends before the part that was asked for."""


class S3Files:
    """Objects of one bucket; type and original name are the object's own type and metadata.

    Nothing is sent before an upload is complete, so what breaks off leaves nothing in the bucket.
    """

    def __init__(self, settings: S3) -> None:
        self._settings = settings
        self._client: Minio | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")

    def __repr__(self) -> str:
        return f"S3Files({self._settings.endpoint!r}, {self._settings.bucket!r})"

    async def put(
        self,
        key: str,
        chunks: AsyncIterable[bytes],
        *,
        content_type: str = "",
        original_name: str = "",
    ) -> None:
        """Store the bytes, replacing an earlier object."""
        name = escaped_name(checked_key(key))
        # The name may hold anything, and a header only ASCII.
        metadata: dict[str, Any] = {ORIGINAL_NAME: quote(original_name)} if original_name else {}
        with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as file:
            async for chunk in chunks:
                await self._in_thread(file.write, chunk)
            size = file.tell()
            file.seek(0)
            await self._call(
                "put_object", name, file, size, content_type=content_type or DEFAULT_TYPE, metadata=metadata
            )

    async def join(
        self, sources: Sequence[str], key: str, *, content_type: str = "", original_name: str = ""
    ) -> None:
        """Make an object of others, in their order, inside the store: all but the last have 5 MiB or more.

        Not every store can do it; then StorageFailed is raised as for any other failure.
        """
        name = escaped_name(checked_key(key))
        metadata = {"Content-Type": content_type or DEFAULT_TYPE}
        if original_name:
            metadata[ORIGINAL_NAME] = quote(original_name)
        await self._in_thread(
            self._join, [escaped_name(checked_key(each)) for each in sources], name, metadata
        )

    async def stat(self, key: str) -> FileInfo:
        """Describe an object; raises FileMissing."""
        found = await self._call("stat_object", escaped_name(checked_key(key)))
        headers = found.metadata or {}
        return FileInfo(
            size=found.size or 0,
            modified=(found.last_modified or datetime.fromtimestamp(0, UTC))
            .astimezone(UTC)
            .replace(microsecond=0),
            content_type=found.content_type or DEFAULT_TYPE,
            original_name=unquote(headers.get(f"x-amz-meta-{ORIGINAL_NAME}", "")),
            has_link=True,
        )

    async def read(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `start`; raises FileMissing at the first step."""
        name = escaped_name(checked_key(key))
        if length == 0:
            await self.stat(key)
            return
        try:
            answer = await self._call("get_object", name, offset=start, length=length or 0)
        except OutOfRange:
            return
        left = int(answer.headers.get("content-length", 0))
        try:
            while left > 0:
                chunk = await self._in_thread(answer.read, min(CHUNK_BYTES, left))
                if not chunk:
                    raise StorageFailed(f"reading {key!r} ended too early")
                left -= len(chunk)
                yield chunk
        finally:
            # An answer that was not read to its end cannot be followed by another one.
            if left > 0:
                answer.close()
            answer.release_conn()

    async def delete(self, key: str) -> None:
        """Remove one object; removing what is not there is no error."""
        try:
            await self._call("remove_object", escaped_name(checked_key(key)))
        except FileMissing:
            return

    async def delete_prefix(self, prefix: str) -> None:
        """Remove every object whose key starts with `prefix`, which ends in `/`."""
        await self._in_thread(self._delete_all, escaped_name(checked_prefix(prefix)))

    async def keys(self, prefix: str = "") -> AsyncIterator[str]:
        """Yield the keys that start with `prefix`, sorted."""
        async for key, _ in self.sizes(prefix):
            yield key

    async def sizes(self, prefix: str = "") -> AsyncIterator[tuple[str, int]]:
        """Yield the same keys with their bytes, as the store lists both together."""
        start = escaped_name(checked_prefix(prefix)) if prefix else ""
        names = await self._in_thread(self._names, start)
        while page := await self._in_thread(lambda: list(itertools.islice(names, PAGE))):
            for name, size in page:
                # A folder that was copied into the bucket brought its side files.
                if not name.endswith((ATTRS_SUFFIX, "/")) and (prefix or not name.startswith(STAGING + "/")):
                    yield unescaped_name(name), size

    async def link(self, key: str, lifetime_s: float, shown: Shown) -> str:
        """Sign an address at which whoever has it may read the object; nothing is sent.

        It is the same for half its lifetime, so that browsers can keep what they have read.
        """
        half = max(int(lifetime_s / 2), 1)
        began = int(unix_time()) // half * half
        return str(
            await self._call(
                "presigned_get_object",
                escaped_name(checked_key(key)),
                expires=timedelta(seconds=2 * half),
                response_headers={
                    "response-content-type": shown.content_type,
                    "response-content-disposition": shown.disposition,
                    "response-cache-control": shown.cache_control,
                },
                request_date=datetime.fromtimestamp(began, UTC),
            )
        )

    # What runs in threads

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the client for our bucket."""

        def work() -> Any:
            return getattr(self._connected(), method)(self._settings.bucket, *args, **kwargs)

        return await self._in_thread(work)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(translating, work, *args, **kwargs))

    def _connected(self) -> Minio:
        if self._client is None:
            self._client = connect(self._settings)
        return self._client

    def _join(self, sources: Sequence[str], name: str, metadata: dict[str, Any]) -> None:
        from xml.etree.ElementTree import ParseError

        from minio.commonconfig import ComposeSource

        bucket = self._settings.bucket
        try:
            self._connected().compose_object(
                bucket, name, [ComposeSource(bucket, each) for each in sources], metadata=metadata
            )
        except ParseError as error:
            # A store that takes the copy of a part for a part without content.
            raise StorageFailed("the store cannot join objects") from error

    def _names(self, prefix: str) -> Iterator[tuple[str, int]]:
        found = self._connected().list_objects(self._settings.bucket, prefix=prefix, recursive=True)
        return ((each.object_name, each.size or 0) for each in found if each.object_name is not None)

    def _delete_all(self, prefix: str) -> None:
        from minio.deleteobjects import DeleteObject

        names = self._names(prefix)
        while page := [DeleteObject(name) for name, _ in itertools.islice(names, PAGE)]:
            for problem in self._connected().remove_objects(self._settings.bucket, page):
                raise StorageFailed(f"deleting {problem.name!r} failed: {problem.code} {problem.message}")


def connect(settings: S3) -> Minio:
    """Make a client; nothing is sent yet. Raises ValueError for an endpoint that is none."""
    # Imported when it is needed: it takes longer than most of our own start.
    import certifi
    import urllib3
    from minio import Minio

    address = settings.endpoint if "://" in settings.endpoint else f"https://{settings.endpoint}"
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError("the endpoint is not an address like https://s3.example.com")
    client = Minio(
        parts.netloc,
        access_key=settings.access_key,
        secret_key=settings.secret,
        secure=parts.scheme == "https",
        region=settings.region,
        http_client=urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_S, read=READ_S),
            maxsize=THREADS,
            cert_reqs="CERT_REQUIRED",
            ca_certs=certifi.where(),
            retries=urllib3.Retry(
                total=3,
                connect=1,
                read=1,
                redirect=1,
                backoff_factor=0.2,
                status_forcelist=[500, 502, 503, 504],
            ),
        ),
    )
    if settings.force_path_style or is_bare(parts.hostname):
        client.disable_virtual_style_endpoint()  # type: ignore[no-untyped-call]  # of the library
    else:
        client.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]  # of the library
    return client


def is_bare(host: str) -> bool:
    """Whether the bucket cannot stand in front of this host: an IP address, or a name without a dot."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host
    return True


def translating(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a call of the client; raises FileMissing and StorageFailed instead of its many exceptions."""
    from minio.error import InvalidResponseError, MinioException, S3Error
    from urllib3.exceptions import HTTPError

    try:
        return work(*args, **kwargs)
    except S3Error as error:
        if error.code in MISSING:
            raise FileMissing(error.object_name or "") from None
        if error.code == OUT_OF_RANGE:
            raise OutOfRange from None
        raise StorageFailed(f"{error.code}: {error.message}") from error
    except InvalidResponseError as error:
        # An error that is XML but does not say so.
        if any(f"<Code>{code}</Code>" in str(error) for code in MISSING):
            raise FileMissing from None
        if f"<Code>{OUT_OF_RANGE}</Code>" in str(error):
            raise OutOfRange from None
        raise StorageFailed(" ".join(str(error).split())[:MAX_SAID]) from error
    except (MinioException, HTTPError, OSError, ValueError) as error:
        raise StorageFailed(f"{type(error).__name__}: {error}") from error


async def try_out(settings: S3) -> None:
    """Write and remove a small object under a random name; raises StorageFailed."""
    if not settings.enabled:
        raise StorageFailed("S3 storage filesystem is not enabled")
    store = S3Files(settings)

    async def content() -> AsyncIterator[bytes]:
        yield b"test"

    key = f"pb_settings_test_{random_text(10)}/test.txt"
    await store.put(key, content(), content_type="text/plain")
    await store.delete(key)
