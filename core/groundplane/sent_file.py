"""Files from the disk into a connection without passing through Python: the system copies them itself."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from groundplane.files.disks import is_cached

AT_ONCE = 1024 * 1024  # bytes in one call; others have their turn in between
EMPTYING_S = 0.005  # between two looks at a connection whose client is slow to read


async def sent_file(transport: Any, file: int, start: int, length: int) -> None:
    """Send `length` bytes from `start` of the open file over the socket of an asyncio transport.

    Raises OSError when the client is gone, the disk fails or the file is shorter; the connection is aborted then.
    """
    while transport.get_write_buffer_size():
        # What was written before must go first. It mostly goes out at the end of this turn of the loop.
        await asyncio.sleep(0)
        if transport.get_write_buffer_size():
            await asyncio.sleep(EMPTYING_S)
    if transport.is_closing():
        # Its number may be somebody else's by now.
        transport.abort()
        raise ConnectionResetError("the client is gone")
    # The loop watches the transport's own number for itself.
    socket = os.dup(transport.get_extra_info("socket").fileno())
    try:
        end = start + length
        while start < end:
            count = min(AT_ONCE, end - start)
            try:
                sent = await send_some(socket, file, start, count)
            except BlockingIOError:
                await writable(socket)
                sent = 0
            else:
                if not sent:
                    raise ConnectionAbortedError("the file is shorter than it was")
            start += sent
            if start < end:
                await asyncio.sleep(0)
            if transport.is_closing():
                raise ConnectionResetError("the client is gone")
    except OSError:
        transport.abort()
        raise
    finally:
        os.close(socket)


async def send_some(socket: int, file: int, start: int, count: int) -> int:
    if is_cached(file, start + count - 1):
        return os.sendfile(socket, file, start, count)
    # The disk takes its time, which everybody else would wait for.
    return await asyncio.to_thread(os.sendfile, socket, file, start, count)


async def writable(socket: int) -> None:
    """Wait until the client has read something, or is gone."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(socket, settle, ready)
    try:
        await ready
    finally:
        loop.remove_writer(socket)


def settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
