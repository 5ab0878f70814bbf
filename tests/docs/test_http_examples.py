"""The `http` blocks of the guides are sent to a server; the `json` block after one is its answer.

In an answer `"…"` stands for anything. A word in capitals that ends in `_ID` or `_TOKEN` stands for the value
that it had when it was first seen, also in the requests after it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```http\n(.*?)^```(?:\n\n```json\n(.*?)^```)?", re.DOTALL | re.MULTILINE)
WORD = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:ID|TOKEN)\b")
ANYTHING = "…"


class Example(NamedTuple):
    line: int
    method: str
    target: str
    headers: dict[str, str]
    body: str
    answer: str | None


def examples(text: str) -> list[Example]:
    found = []
    for match in BLOCK.finditer(text):
        head, _, body = match[1].partition("\n\n")
        first, *lines = head.strip().splitlines()
        method, target = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines)
        found.append(
            Example(text.count("\n", 0, match.start()) + 1, method, target, headers, body.strip(), match[2])
        )
    return found


def replaced(text: str, known: dict[str, str]) -> str:
    """Put in what the words in capitals stand for."""
    return WORD.sub(lambda word: known.get(word[0], word[0]), text)


def differences(expected: Any, actual: Any, known: dict[str, str], path: str = "answer") -> list[str]:
    """Compare an answer with the guide's; new words in capitals are learnt."""
    if expected == ANYTHING:
        return []
    if isinstance(expected, str) and WORD.fullmatch(expected):
        if not isinstance(actual, str) or not actual:
            return [f"{path} is {actual!r}, not a text"]
        value = known.setdefault(expected, actual)
        return [] if value == actual or expected.endswith("_TOKEN") else [f"{path} is {actual}, not {value}"]
    if isinstance(expected, dict) and isinstance(actual, dict):
        if list(expected) != list(actual):
            return [f"{path} has the keys {list(actual)}, not {list(expected)}"]
        return [
            problem
            for key in expected
            for problem in differences(expected[key], actual[key], known, f"{path}.{key}")
        ]
    if isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        return [
            problem
            for number, (left, right) in enumerate(zip(expected, actual, strict=True))
            for problem in differences(left, right, known, f"{path}[{number}]")
        ]
    return [] if expected == actual else [f"{path} is {actual!r}, not {expected!r}"]


GUIDES = [path for path in sorted(DOCS.glob("*.md")) if examples(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
async def test_the_requests_of_the_guide_are_answered_as_it_says(guide: Path, guide_server: Any) -> None:
    server, known = guide_server
    for example in examples(guide.read_text(encoding="utf-8")):
        place = f"{guide.name}:{example.line} {example.method} {example.target}"
        answer = await server.client.request(
            example.method,
            replaced(example.target, known),
            content=replaced(example.body, known).encode(),
            headers={name: replaced(value, known) for name, value in example.headers.items()},
        )
        if example.answer is None:
            assert (answer.status_code, answer.content) == (204, b""), f"{place}: {answer.text}"
            continue
        expected = json.loads(example.answer)
        # A refusal repeats its status in the body; everything else that has a body is a 200.
        is_refusal = isinstance(expected, dict) and set(expected) == {"data", "message", "status"}
        assert answer.status_code == (expected["status"] if is_refusal else 200), f"{place}: {answer.text}"
        problems = differences(expected, answer.json(), known)
        assert problems == [], f"{place}: {answer.text}"


def test_the_comparison_notices_what_differs() -> None:
    known: dict[str, str] = {}
    assert differences({"id": "NEW_ID", "n": 1}, {"id": "abc", "n": 1}, known) == []
    assert known == {"NEW_ID": "abc"}
    assert differences({"id": "NEW_ID"}, {"id": "other"}, known) == ["answer.id is other, not abc"]
    assert differences({"a": [1, "…"]}, {"a": [2, "x"]}, known) == ["answer.a[0] is 2, not 1"]
    assert differences({"a": 1}, {"a": 1, "b": 2}, known) == ["answer has the keys ['a', 'b'], not ['a']"]
    assert replaced("/records/NEW_ID", known) == "/records/abc"
