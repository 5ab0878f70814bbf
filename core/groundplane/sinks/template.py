"""Names of topics, subjects and routing keys that are made of parts of an event."""

from __future__ import annotations

import re

from groundplane.sinks.sink import Message

PLACE = re.compile(r"\{(\w*)\}")
PLACES = ("collection", "action", "type", "record")
# The ids of records may hold whatever their pattern allows; a dot or a star would mean something to a broker.
FORBIDDEN = re.compile(r"[^A-Za-z0-9_-]")


class Template:
    """A text with `{collection}`, `{action}`, `{type}` and `{record}` in it; raises ValueError for others."""

    def __init__(self, text: str) -> None:
        unknown = [name for name in PLACE.findall(text) if name not in PLACES]
        if unknown or "{" in PLACE.sub("", text) or "}" in PLACE.sub("", text):
            known = ", ".join(f"{{{name}}}" for name in PLACES)
            raise ValueError(f"{text!r} is no template: known are {known}")
        if not text:
            raise ValueError("a template must not be empty")
        self.text = text

    def fill(self, message: Message) -> str:
        """Return the name for this message."""

        def part(match: re.Match[str]) -> str:
            name = match[1]
            # The dot in a type is meant: it parts the words of a routing key.
            return message.type if name == "type" else FORBIDDEN.sub("_", getattr(message, name))

        return PLACE.sub(part, self.text)
