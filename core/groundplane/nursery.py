"""A process that imports what workers need and does nothing but fork them: they start at once and share it.

The supervisor forks it before it does anything else, so what both have imported is in memory once as well.
It has no threads and no event loop, which is what makes forking safe. Supervisor and nursery talk over a pair
of sockets, a JSON object per line: `{"kind": "web"}` with the descriptors of the new worker's end of its own
socket and, for a web worker, of its listening socket; the answer is `{"pid": 1}`, and whenever a worker ends
`{"pid": 1, "code": 0}` as in `subprocess`. When the supervisor is gone the nursery ends, and with it, by their
own watch over their parent, all that it forked.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

# For each kind the module whose `main` it runs, and what that would import later.
MODULES = {
    "job": ("groundplane.job_worker",),
    "prepare": ("groundplane.preparing", "uvloop"),
    "web": (
        "groundplane.web_worker",
        "groundplane.api.routes",
        "uvicorn.lifespan.on",
        "uvicorn.loops.uvloop",
    ),
}
# What shows up in `ps` and `top`; Linux takes 15 characters.
TITLE = "groundplane-"
NURSERY = f"{TITLE}nur"
MAX_ORDER_BYTES = 4096
SETTLED_S = 0.5  # after the last fork
MADV_PAGEOUT = 21


def give_back_code() -> None:
    """Have the system forget the code of libraries that importing them has brought into memory.

    This process never runs it; a worker reads what it needs from the files again. Linux only (madvise(2), since
    5.4), and elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError, ValueError):
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        with open("/proc/self/maps", encoding="ascii", errors="replace") as maps:
            lines = maps.readlines()
        for line in lines:
            span, rights, _, _, inode, *path = line.split()
            # What can be written may differ from the file; Python itself runs here too.
            if inode == "0" or "w" in rights or not path or "libpython" in path[0] or "libc" in path[0]:
                continue
            start, _, end = span.partition("-")
            madvise(int(start, 16), int(end, 16) - int(start, 16), MADV_PAGEOUT)


@contextlib.contextmanager
def hidden(name: str) -> Iterator[None]:
    """Have what is imported meanwhile find no library of this name.

    structlog loads rich for tracebacks that we do not have it write: three megabytes of every worker.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # how the import system says that there is none
    try:
        yield
    finally:
        del sys.modules[name]


class Child:
    """A forked worker as its supervisor sees it; `reader` and `writer` are our end of its socket."""

    def __init__(self, pid: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid = pid
        self.reader = reader
        self.writer = writer
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    def signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def wait(self) -> int:
        """Return the exit code, negative for the signal that ended it."""
        await self._ended.wait()
        return self.returncode or 0

    def end(self, code: int) -> None:
        self.returncode = code
        self.writer.close()
        self._ended.set()


class NurseryGone(Exception):
    """The nursery has ended; nothing can be started any more."""


class Nursery:
    """The supervisor's side. Make it while this process has neither threads nor an event loop."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._socket.close()
            run_and_exit(partial(tend, theirs))
        theirs.close()
        self._children: dict[int, Child] = {}
        self._early: dict[int, int] = {}  # ended before we knew of them
        self._answers: asyncio.Queue[int] = asyncio.Queue()
        self._one_at_a_time = asyncio.Lock()
        self._listening: asyncio.Task[None] | None = None
        self._gone = False

    async def launch(self, kind: str, listener: socket.socket | None = None) -> Child:
        """Fork a worker; raises NurseryGone."""
        ours, theirs = socket.socketpair()
        try:
            async with self._one_at_a_time:
                if self._listening is None:
                    self._listening = asyncio.create_task(self._listen())
                if self._gone:
                    raise NurseryGone
                descriptors = [theirs.fileno()] + ([] if listener is None else [listener.fileno()])
                try:
                    socket.send_fds(self._socket, [json.dumps({"kind": kind}).encode() + b"\n"], descriptors)
                except OSError as error:
                    raise NurseryGone from error
                pid = await self._answers.get()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        if not pid:
            ours.close()
            raise NurseryGone
        reader, writer = await asyncio.open_connection(sock=ours)
        child = Child(pid, reader, writer)
        if pid in self._early:
            child.end(self._early.pop(pid))
        else:
            self._children[pid] = child
        return child

    async def _listen(self) -> None:
        reader, writer = await asyncio.open_connection(sock=self._socket.dup())
        try:
            while line := await reader.readline():
                told = json.loads(line)
                if "code" not in told:
                    self._answers.put_nowait(told["pid"])
                elif (child := self._children.pop(told["pid"], None)) is not None:
                    child.end(told["code"])
                else:
                    self._early[told["pid"]] = told["code"]
        finally:
            writer.close()
            self._gone = True
            self._answers.put_nowait(0)
            for child in self._children.values():
                child.end(-signal.SIGKILL)
            self._children.clear()

    async def close(self) -> None:
        """Let the nursery end; its workers should have ended before."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        self._socket.close()
        await asyncio.to_thread(os.waitpid, self.pid, 0)


# The nursery's own side


def tend(orders: socket.socket) -> int:
    """Fork a worker for each order, having imported what its kind needs, until the supervisor is gone."""
    from groundplane.parent import die_with_parent

    title("nur")
    os.setsid()  # Ctrl-C is for the supervisor
    die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # what is imported stays for good
    waking, woken = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(waking, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    settled = True
    while True:
        ready, _, _ = select.select([orders.fileno(), waking], [], [], None if settled else SETTLED_S)
        if not ready:
            settled = True
            give_back_code()
            continue
        if waking in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(waking, MAX_ORDER_BYTES)
            tell_ended(orders)
        if orders.fileno() in ready:
            raw, descriptors, _, _ = socket.recv_fds(orders, MAX_ORDER_BYTES, 2)
            if not raw:
                return 0
            kind = json.loads(raw)["kind"]
            with hidden("rich"):
                import_module("structlog")
            for module in MODULES[kind]:
                import_module(module)
            # Looking at what is imported would write to its pages, and every worker have its own copy.
            gc.freeze()
            settled = False
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                for descriptor in (orders.fileno(), waking, woken):
                    os.close(descriptor)
                orders.detach()
                gc.enable()
                run_and_exit(partial(become, kind, descriptors))
            for descriptor in descriptors:
                os.close(descriptor)
            orders.sendall(json.dumps({"pid": pid}).encode() + b"\n")


def tell_ended(orders: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        told = {"pid": pid, "code": os.waitstatus_to_exitcode(status)}
        orders.sendall(json.dumps(told).encode() + b"\n")


def become(kind: str, descriptors: list[int]) -> int:
    """Turn this fork into a worker: its socket is standard input, the rest is what it is given."""
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    title(kind)
    own, *given = descriptors
    os.dup2(own, 0)
    os.close(own)
    result: int = import_module(MODULES[kind][0]).main(*given)
    return result


def title(kind: str) -> None:
    """Name this process for those who look at the list of processes."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as name:
        name.write(TITLE + kind)


def run_and_exit(work: Callable[[], Any]) -> None:
    """Do the work of a fork and end it, whatever happens: nothing of the parent's may run on in it."""
    code = 1
    try:
        code = int(work() or 0)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # noqa: BLE001  # this is the end of the process
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
