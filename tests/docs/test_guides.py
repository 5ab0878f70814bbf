"""The other blocks of the guides: Python runs, TOML is a configuration, help texts are the command's own."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest

from groundplane.collections.file import read_document
from groundplane.config import Config, refuse_unknown

ROOT = Path(__file__).parents[2]
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"^(?:\.venv/bin/)?groundplane (.*)$")


def blocks(guide: Path, language: str) -> list[tuple[int, str]]:
    """Return the code blocks of a language with the number of the line before each."""
    text = guide.read_text(encoding="utf-8")
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, match.start(1)), match[1]) for match in pattern.finditer(text)]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_python_in_the_guide_runs(guide: Path) -> None:
    shared: dict[str, object] = {}
    for line, source in blocks(guide, "python"):
        # Blank lines in front keep the guide's own line numbers in a traceback.
        exec(compile("\n" * line + source, str(guide), "exec"), shared)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_toml_in_the_guide_is_a_configuration(guide: Path) -> None:
    for line, source in blocks(guide, "toml"):
        raw = tomllib.loads(source)
        try:
            refuse_unknown(raw, Config, "")
            msgspec.convert(raw, Config)
            read_document(raw)
        except Exception as problem:
            raise AssertionError(f"{guide.name}:{line}: {problem}") from problem


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_json_in_the_guide_is_json(guide: Path) -> None:
    for line, source in blocks(guide, "json"):
        try:
            msgspec.json.decode(source.encode())
        except msgspec.DecodeError as problem:
            raise AssertionError(f"{guide.name}:{line}: {problem}") from problem


def console_lines(guide: Path) -> list[str]:
    return [
        line.removeprefix("$ ")
        for _, block in blocks(guide, "console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]


def commands() -> list[str]:
    """Return every groundplane command that a guide shows, without its arguments' values."""
    found = {match[1] for guide in GUIDES for line in console_lines(guide) if (match := COMMAND.match(line))}
    return sorted(found)


@pytest.mark.parametrize("command", commands())
def test_a_command_in_a_guide_exists_with_its_flags(command: str) -> None:
    words = command.split()
    names = [word for word in words if re.fullmatch(r"[a-z]+", word)][:2]
    if words[0] == "import" and words[1] != "pocketbase":
        names = ["import", "file"]  # any word that is no command of `import` is a file
    flags = [word for word in words if word.startswith("--")]
    helped = None
    for path in (names, names[:1]):
        done = subprocess.run(
            [sys.executable, "-m", "groundplane", *path, "--help"],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode == 0:
            helped = done.stdout
            break
    assert helped is not None, f"groundplane {command} is not a command"
    missing = [flag for flag in flags if flag not in helped]
    assert missing == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_links_between_the_guides_lead_somewhere(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    missing = [target for target in LINK.findall(text) if not (guide.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_make_targets_in_the_guide_exist(guide: Path) -> None:
    wanted = {line.removeprefix("make ") for line in console_lines(guide) if line.startswith("make ")}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8") if wanted else ""
    missing = [target for target in wanted if not re.search(rf"^{target}:", makefile, re.MULTILINE)]
    assert missing == []
