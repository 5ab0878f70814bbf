"""The `excerpt` modifier of `fields`: the beginning of an HTML text as plain text, in linear time.

The texts are whatever clients stored, so nothing here may look at a character more than a few times: a
construct that never ends takes the rest of the text with it (as in the HTML standard), reading stops as
soon as enough text is known, and the markup before that is limited.
"""

from __future__ import annotations

import html
import re
from collections import Counter

DROPPED = frozenset(
    [
        "head",
        "style",
        "script",
        "iframe",
        "embed",
        "applet",
        "object",
        "svg",
        "img",
        "picture",
        "dialog",
        "template",
        "button",
        "form",
        "textarea",
        "input",
        "select",
        "option",
    ]
)
INLINE = frozenset(
    [
        "a",
        "abbr",
        "acronym",
        "b",
        "bdo",
        "big",
        "br",
        "button",
        "cite",
        "code",
        "em",
        "i",
        "label",
        "q",
        "small",
        "span",
        "strong",
        "strike",
        "sub",
        "sup",
        "time",
    ]
)
VOID = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
    ]
)
# Inside these, tags are text until the element's own end tag.
RAW = frozenset({"script", "style", "iframe", "noembed", "noframes", "textarea", "title", "xmp"})
RAW_END = {name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in RAW}

SPACES = re.compile(r"[ \t\n\r\f\v]+")
MAX_MARKUP = 20_000
"""Tags, comments and stray `<` read for one excerpt; a document with more before its text has none to show."""
# A name, then attributes whose quoted values may hold `>`. Possessive: no position is tried twice.
TAG = re.compile(
    r"</?+(?P<name>[a-zA-Z][^\s/>]*+)"
    r"""(?:[^>=]++|=[ \t\n\f\r]*+(?:"[^"]*+"?+|'[^']*+'?+|[^\s>"'][^\s>]*+)?+)*+>"""
)


class TextOf:
    """Collects the text of a document, with a space where a block begins or ends."""

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.parts: list[str] = []
        self.length = 0
        self.spaced = True
        self.dropping: list[str] = []
        self.open: Counter[str] = Counter()
        """How often each name is in `dropping`: an end tag is looked up without walking the list."""

    @property
    def enough(self) -> bool:
        """Whether more text could not change the excerpt (a space at the end is trimmed)."""
        return self.length - self.spaced > self.maximum

    def space(self) -> None:
        if not self.spaced:
            self.parts.append(" ")
            self.length += 1
            self.spaced = True

    def text(self, data: str) -> None:
        if self.dropping:
            return
        plain = SPACES.sub(" ", html.unescape(data))
        if self.spaced:
            plain = plain.removeprefix(" ")
        if plain:
            self.parts.append(plain)
            self.length += len(plain)
            self.spaced = plain.endswith(" ")

    def start(self, tag: str) -> None:
        if not self.dropping and tag not in INLINE:
            self.space()
        if tag in DROPPED and tag not in VOID:
            self.dropping.append(tag)
            self.open[tag] += 1

    def end(self, tag: str) -> None:
        while self.open[tag]:
            closed = self.dropping.pop()
            self.open[closed] -= 1
            if closed == tag:
                break
        if not self.dropping and tag not in INLINE:
            self.space()


def excerpt(text: str, maximum: int, with_ellipsis: bool = False) -> str:
    """Return the beginning of an HTML text as plain text of at most `maximum` code points."""
    reader = TextOf(maximum)
    read(text, reader)
    plain = "".join(reader.parts).strip()
    if len(plain) <= maximum:
        return plain
    return plain[:maximum].strip() + ("..." if with_ellipsis else "")


def read(text: str, reader: TextOf) -> None:
    position = 0
    for _ in range(MAX_MARKUP):
        if reader.enough:
            return
        opening = text.find("<", position)
        if opening < 0:
            reader.text(text[position:])
            return
        reader.text(text[position:opening])
        position = after_markup(text, opening, reader)


def after_markup(text: str, opening: int, reader: TextOf) -> int:
    """Handle what the `<` at `opening` begins and return where reading goes on."""
    following = text[opening + 1 : opening + 3]
    if following[:1].isascii() and following[:1].isalpha():
        tag = TAG.match(text, opening)
        return len(text) if tag is None else after_start(text, tag, reader)
    if following[:1] == "/" and following[1:].isascii() and following[1:].isalpha():
        tag = TAG.match(text, opening)
        if tag is None:
            return len(text)
        reader.end(tag["name"].lower())
        return tag.end()
    if text.startswith("<!--", opening):
        # `<!-->` and `<!--->` are complete comments.
        return after(text, "-->", opening + 2)
    if following[:1] in ("!", "?") or (following[:1] == "/" and following[1:]):
        return after(text, ">", opening + 1)
    reader.text("<")
    return opening + 1


def after_start(text: str, tag: re.Match[str], reader: TextOf) -> int:
    name = tag["name"].lower()
    reader.start(name)
    if name not in RAW:
        return tag.end()
    closing = RAW_END[name].search(text, tag.end())
    end = closing.start() if closing else len(text)
    reader.text(text[tag.end() : end])
    return end


def after(text: str, what: str, position: int) -> int:
    found = text.find(what, position)
    return len(text) if found < 0 else found + len(what)
