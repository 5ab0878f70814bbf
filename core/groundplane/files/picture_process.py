"""The process that decodes pictures of strangers: no network, no files, limited memory, and killed when slow.

It reads orders from standard input and answers on standard output: a line of JSON each, and the bytes behind it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

import msgspec

BYTES_PER_PIXEL = 16  # the picture as it is decoded, converted, turned and shrunk
BASE_BYTES = 512 * 1024 * 1024  # of addresses: the interpreter, the libraries and the file itself
LESS_URGENT = 5  # than answering requests
PR_SET_PDEATHSIG = 1


class Order(msgspec.Struct):
    """`length` bytes of a picture follow."""

    length: int
    size: str


class Made(msgspec.Struct):
    """`length` bytes of the thumb follow; or the reason why there are none, with `length` 0."""

    length: int
    content_type: str = ""
    problem: str = ""


def limit(max_pixels: int) -> None:
    """Give up what decoding does not need; a parser that is tricked can do little then."""
    if sys.platform == "linux":
        # A decoder that hangs does not notice that its input has ended.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        memory = BASE_BYTES + BYTES_PER_PIXEL * max_pixels
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # No file can be written, and once the libraries are loaded none can be opened.
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    os.nice(LESS_URGENT)


def main(max_pixels: int) -> None:
    from groundplane.files.pictures import BadPicture, practise, scaled

    practise()
    limit(max_pixels)
    wanted, given = sys.stdin.buffer, sys.stdout.buffer
    given.write(b"ready\n")
    given.flush()
    while line := wanted.readline():
        order = msgspec.json.decode(line, type=Order)
        content = wanted.read(order.length)
        try:
            thumb, content_type = scaled(content, order.size, max_pixels)
            answer = Made(len(thumb), content_type)
        except BadPicture as problem:
            thumb, answer = b"", Made(0, problem=str(problem))
        given.write(msgspec.json.encode(answer) + b"\n" + thumb)
        given.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
