"""The plain part of a mail, from its HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser

SILENT = frozenset({"head", "script", "style", "template", "title"})
BLOCKS = frozenset(
    {"article", "blockquote", "div", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header", "ol", "p"}
    | {"section", "table", "ul"}
)
LINES = frozenset({"br", "dd", "dt", "hr", "li", "tr"})
SPACES = re.compile(r"[ \t\r\n\f]+")


class Reader(HTMLParser):
    """Collects the texts; a link's address follows its words."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._silent = 0
        self._links: list[tuple[str, int]] = []  # the address, and where its words begin

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in SILENT:
            self._silent += 1
        elif tag in BLOCKS:
            self.parts.append("\n\n")
        elif tag in LINES:
            self.parts.append("\n- " if tag == "li" else "\n")
        elif tag == "a":
            self._links.append(((given.get("href") or "").strip(), len(self.parts)))
        elif tag == "img" and given.get("alt"):
            self.parts.append(given["alt"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in SILENT:
            self._silent = max(self._silent - 1, 0)
        elif tag in BLOCKS:
            self.parts.append("\n\n")
        elif tag == "a" and self._links:
            address, begin = self._links.pop()
            words = "".join(self.parts[begin:]).strip()
            if address and address not in (words, f"mailto:{words}"):
                self.parts.append(f" ({address})" if words else address)

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(SPACES.sub(" ", data))


def plain_text(html: str) -> str:
    """The words of an HTML text with paragraphs kept and links written out."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    lines = [line.strip() for line in "".join(reader.parts).split("\n")]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"
