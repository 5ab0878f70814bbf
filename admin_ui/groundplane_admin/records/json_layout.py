"""JSON in lines and steps, with every number and text as it is written: it is never read as values."""

from __future__ import annotations

import re

PART = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s"{}\[\],:]+')
STEP = "  "


def laid_out(text: str) -> str:
    """Compact JSON with a line for each member; what is empty or short stays on one line."""
    if len(text) <= 60 and not re.search(r"[{\[].*[{\[]", text):
        return text
    lines: list[str] = []
    depth = 0
    line = ""
    parts = PART.findall(text)
    for at, each in enumerate(parts):
        following = parts[at + 1] if at + 1 < len(parts) else ""
        if each in "{[" and following in ("}", "]"):
            line += each
        elif each in "{[":
            lines.append(line + each)
            depth += 1
            line = STEP * depth
        elif each in "}]" and parts[at - 1] in ("{", "["):
            line += each
        elif each in "}]":
            lines.append(line)
            depth -= 1
            line = STEP * depth + each
        elif each == ",":
            lines.append(line + each)
            line = STEP * depth
        elif each == ":":
            line += ": "
        else:
            line += each
    lines.append(line)
    return "\n".join(lines)
