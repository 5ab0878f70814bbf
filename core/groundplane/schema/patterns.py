"""Regular expressions of field options: matching by RE2, and random texts that match (contract §5.2)."""

from __future__ import annotations

import os
import secrets
import string
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import re2  # type: ignore[import-untyped]

MAX_PATTERN_LENGTH = 10_000
UNBOUNDED_REPEATS = 6  # `*`, `+` and `{m,}` end below this many copies
MAX_STEPS = 100_000  # copies made by all repeats of a pattern; nested ones multiply

ANY_CHARACTER = string.ascii_letters + string.digits
PRINTABLE = "".join(map(chr, range(32, 127)))
WORD = string.ascii_letters + string.digits + "_"
ESCAPED_CLASSES = {"d": string.digits, "w": WORD, "s": "\t\n\f\r "}
POSIX_CLASSES = {
    "alnum": ANY_CHARACTER,
    "alpha": string.ascii_letters,
    "ascii": PRINTABLE,
    "blank": "\t ",
    "cntrl": "\t\n\r",
    "digit": string.digits,
    "graph": PRINTABLE[1:],
    "lower": string.ascii_lowercase,
    "print": PRINTABLE,
    "punct": string.punctuation,
    "space": "\t\n\v\f\r ",
    "upper": string.ascii_uppercase,
    "word": WORD,
    "xdigit": string.hexdigits,
}
ESCAPED_CHARACTERS = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def options() -> Any:
    chosen = re2.Options()
    chosen.log_errors = False  # the text of a bad pattern goes to its author, not to the log
    return chosen


OPTIONS = options()


@lru_cache(maxsize=2048)
def compile_pattern(pattern: str) -> Any | None:
    """Return the compiled expression (`.search(text)`), None when it is not valid RE2."""
    try:
        return re2.compile(pattern, OPTIONS)
    except (re2.error, UnicodeError):
        return None


def pattern_error(pattern: str) -> str | None:
    """Return what is wrong with a regular expression, None when it is valid."""
    if len(pattern) > MAX_PATTERN_LENGTH:
        return "error parsing regexp: expression too long"
    try:
        re2.compile(pattern, OPTIONS)
    except re2.error as error:
        reason = error.args[0] if error.args else "invalid expression"
        text = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        what, mark, where = text.partition(": ")
        return f"error parsing regexp: {what}: `{where}`" if mark else f"error parsing regexp: {text}"
    except UnicodeError:
        return "error parsing regexp: invalid UTF-8"
    return None


class NotGenerable(Exception):
    """The pattern is valid but no text can be made from it; the text says which part stands in the way."""


Writer: TypeAlias = Callable[[list[str]], None]


def generate(pattern: str) -> str:
    """Return a random text that matches the pattern; "" when the pattern is empty or cannot be generated from.

    Randomness is cryptographic, since the texts become ids and token keys.
    """
    writer = sampler(pattern)
    if writer is None:
        return ""
    parts: list[str] = []
    try:
        writer(parts)
    except NotGenerable:
        return ""
    return "".join(parts)


@lru_cache(maxsize=512)
def sampler(pattern: str) -> Writer | None:
    try:
        return parse(pattern)
    except NotGenerable:
        return None


def generator_error(pattern: str) -> str | None:
    """Return why no text can be generated from a (valid) pattern, else None."""
    try:
        writer = parse(pattern)
        writer([])
    except NotGenerable as error:
        return str(error)
    return None


def parse(pattern: str) -> Writer:
    """Turn a valid RE2 expression into a writer of random texts; raises NotGenerable."""
    if pattern_error(pattern) is not None:
        raise NotGenerable("invalid expression")
    parser = Parser(pattern)
    try:
        writer = parser.alternation()
    except (IndexError, RecursionError, ValueError, OverflowError):
        raise NotGenerable("unsupported pattern") from None
    if parser.position < len(pattern):
        raise NotGenerable(f"unsupported pattern at {parser.position}")
    return writer


class Parser:
    """Recursive descent over alternation, sequence, repetition and single items."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.position = 0

    def peek(self, text: str) -> bool:
        return self.pattern.startswith(text, self.position)

    def take(self) -> str:
        character = self.pattern[self.position]
        self.position += 1
        return character

    def accept(self, text: str) -> bool:
        if not self.peek(text):
            return False
        self.position += len(text)
        return True

    def alternation(self) -> Writer:
        choices = [self.sequence()]
        while self.accept("|"):
            choices.append(self.sequence())
        return choices[0] if len(choices) == 1 else one_of(choices)

    def sequence(self) -> Writer:
        items: list[Writer] = []
        while self.position < len(self.pattern) and not self.peek("|") and not self.peek(")"):
            items.extend(self.repeated())
        return items[0] if len(items) == 1 else in_order(items)

    def repeated(self) -> list[Writer]:
        if self.accept(r"\Q"):
            quoted, _, _ = self.pattern[self.position :].partition(r"\E")
            self.position = min(self.position + len(quoted) + 2, len(self.pattern))
            if self.bounds() is not None:
                raise NotGenerable("unsupported repetition of quoted text")
            return [literal(quoted)]
        item = self.item()
        bounds = self.bounds()
        if bounds is None:
            return [] if item is None else [characters(item, 1) if isinstance(item, str) else item]
        least, most = bounds
        if item is None:
            return []
        return [repetition(item, least, most)]

    def bounds(self) -> tuple[int, int] | None:
        """Read a quantifier; the upper bound is exclusive unless both are equal."""
        if self.accept("*"):
            result = (0, UNBOUNDED_REPEATS)
        elif self.accept("+"):
            result = (1, UNBOUNDED_REPEATS)
        elif self.accept("?"):
            result = (0, 1)
        elif self.peek("{"):
            end = self.pattern.find("}", self.position)
            least, comma, most = self.pattern[self.position + 1 : end].partition(",")
            if end < 0 or not (least.isascii() and least.isdigit()) or (most and not most.isdigit()):
                return None  # a brace that stands for itself
            self.position = end + 1
            low = int(least)
            result = (low, int(most) if most else max(low, UNBOUNDED_REPEATS) if comma else low)
        else:
            return None
        self.accept("?")  # lazy or greedy makes no difference for generating
        return result

    def item(self) -> str | Writer | None:
        """Read one item: an alphabet to choose a character from, a group, or None for a mere flag."""
        character = self.take()
        if character == "(":
            return self.group()
        if character == "[":
            return self.character_class()
        if character == ".":
            return ANY_CHARACTER
        if character == "\\":
            return self.escape()
        if character in "^$":
            raise NotGenerable(f"unsupported pattern operator {character!r}")
        return character

    def group(self) -> Writer | None:
        if self.accept("?"):
            if self.accept("P<") or self.accept("<"):
                self.position = self.pattern.index(">", self.position) + 1
            else:
                while self.take() not in ":)":
                    pass
                if self.pattern[self.position - 1] == ")":
                    return None
        writer = self.alternation()
        if not self.accept(")"):
            raise NotGenerable("missing closing parenthesis")
        return writer

    def escape(self) -> str:
        """Read what follows a backslash, inside or outside a class, as an alphabet."""
        letter = self.take()
        if letter in ESCAPED_CLASSES:
            return ESCAPED_CLASSES[letter]
        if letter.lower() in ESCAPED_CLASSES:
            return without(ESCAPED_CLASSES[letter.lower()])
        if letter in ESCAPED_CHARACTERS:
            return ESCAPED_CHARACTERS[letter]
        if letter == "x":
            if self.accept("{"):
                end = self.pattern.index("}", self.position)
                digits, self.position = self.pattern[self.position : end], end + 1
            else:
                digits = self.take() + self.take()
            return chr(int(digits, 16))
        if letter in "01234567":
            digits = letter
            while len(digits) < 3 and self.pattern[self.position : self.position + 1] in tuple("01234567"):
                digits += self.take()
            return chr(int(digits, 8))
        if letter.isalnum():
            raise NotGenerable(f"unsupported pattern operator '\\{letter}'")
        return letter

    def character_class(self) -> str:
        negated = self.accept("^")
        chosen: dict[str, None] = {}
        first = True
        while first or not self.peek("]"):
            first = False
            if self.accept("[:"):
                end = self.pattern.index(":]", self.position)
                name, self.position = self.pattern[self.position : end], end + 2
                letters = POSIX_CLASSES.get(name.lstrip("^"), "")
                chosen.update(dict.fromkeys(without(letters) if name.startswith("^") else letters))
                continue
            low = self.escape() if self.accept("\\") else self.take()
            following = self.pattern[self.position + 1 : self.position + 2]
            if len(low) == 1 and self.peek("-") and following not in ("]", ""):
                self.take()
                high = self.escape() if self.accept("\\") else self.take()
                if len(high) != 1 or ord(high) - ord(low) > 0xFFFF:
                    raise NotGenerable("the character class is too large")
                low = "".join(map(chr, range(ord(low), ord(high) + 1)))
            chosen.update(dict.fromkeys(low))
        self.take()
        alphabet = "".join(chosen)
        if negated:
            alphabet = without(alphabet)
        if not alphabet:
            raise NotGenerable("empty character class")
        return "".join(letter for letter in alphabet if not 0xD800 <= ord(letter) <= 0xDFFF)


def without(letters: str) -> str:
    """The printable ASCII characters that are not among `letters`: what a negated class is made from."""
    left = "".join(letter for letter in PRINTABLE if letter not in letters)
    if not left:
        raise NotGenerable("empty character class")
    return left


def literal(text: str) -> Writer:
    return lambda out: out.append(text)


def characters(alphabet: str, count: int) -> Writer:
    """Return a writer of `count` characters, each drawn evenly from the alphabet."""
    size = len(alphabet)
    if size == 1:
        return literal(alphabet * count)
    if not alphabet.isascii() or size > 128:
        return lambda out: out.append("".join(secrets.choice(alphabet) for _ in range(count)))
    # Bytes beyond the last whole multiple of the size are dropped, so that every character is as likely.
    fair = 256 - 256 % size
    table = bytes(ord(alphabet[byte % size]) for byte in range(256))
    unfair = bytes(range(fair, 256))

    def write(out: list[str]) -> None:
        drawn = b""
        while len(drawn) < count:
            drawn += os.urandom(2 * count + 8).translate(table, unfair)
        out.append(drawn[:count].decode())

    return write


def repetition(item: str | Writer, least: int, most: int) -> Writer:
    """Return a writer of `least` to `most - 1` copies (exactly `least` when both are equal)."""
    if isinstance(item, str) and most <= least:
        return characters(item, least)
    single = characters(item, 1) if isinstance(item, str) else item

    def write(out: list[str]) -> None:
        count = least if most <= least else least + secrets.randbelow(most - least)
        for _ in range(count):
            if len(out) > MAX_STEPS:
                raise NotGenerable("the pattern takes too long to generate from")
            # Counts the copy even if it is empty, since nested repeats of nothing would go on for ever.
            out.append("")
            single(out)

    return write


def one_of(choices: list[Writer]) -> Writer:
    return lambda out: secrets.choice(choices)(out)


def in_order(items: list[Writer]) -> Writer:
    def write(out: list[str]) -> None:
        for item in items:
            item(out)

    return write
