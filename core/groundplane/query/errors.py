"""What is wrong with a filter, rule or sort text."""

from __future__ import annotations


class QueryError(Exception):
    """The text cannot be compiled; the message is for superusers and authors of rules only.

    `position` is the index of the character where reading stopped, None when the text as a whole is wrong.
    """

    def __init__(self, message: str, position: int | None = None) -> None:
        self.position = position
        super().__init__(message)
