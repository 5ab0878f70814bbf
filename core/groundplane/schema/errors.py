"""What can be wrong with a collection or field before its options can even be looked at."""

from __future__ import annotations


class BadShape(Exception):
    """The submitted collection or field is not of the expected JSON shape; the text says where and why."""
