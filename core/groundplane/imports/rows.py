"""Rows out of CSV, JSON, NDJSON and SQLite files, one at a time, each with its place in the file."""

from __future__ import annotations

import codecs
import csv
import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from groundplane.db.sql import ident
from groundplane.imports.json_stream import JsonDamaged, stream_objects
from groundplane.imports.report import ImportFailed

Format: TypeAlias = Literal["csv", "json", "ndjson", "sqlite"]

MAX_CELL_CHARACTERS = 16 * 1024 * 1024
MAX_LINE_BYTES = 32 * 1024 * 1024
MAX_COLUMNS = 1000
SAMPLE_BYTES = 64 * 1024
DELIMITERS = ",;\t|"
SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".db": "sqlite",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
}


class Row(NamedTuple):
    """One row: its line (for SQLite its number) and its values, or why it cannot be read."""

    line: int
    values: dict[str, Any]
    problem: str = ""


def format_of(file: Path, wanted: str = "") -> Format:
    """The format by the file's name unless `wanted` says it; raises ImportFailed."""
    if wanted in ("csv", "json", "ndjson", "sqlite"):
        return wanted  # type: ignore[return-value]  # one of the four literals
    found = SUFFIXES.get(file.suffix.lower())
    if wanted or found is None:
        raise ImportFailed(f"The format of {file.name} is not known: use csv, json, ndjson or sqlite.")
    return found


def read_rows(file: Path, format: Format, table: str = "") -> Iterator[Row]:
    """Read a file row by row; raises ImportFailed when it cannot be read at all.

    Empty CSV cells are missing values. A row that is damaged comes with a `problem`, and reading goes on
    where that is possible. `table` names the table of a SQLite file with several.
    """
    if not file.is_file():
        raise ImportFailed(f"{file} does not exist or is not a file.")
    readers = {"csv": read_csv, "json": read_json, "ndjson": read_ndjson}
    try:
        if format == "sqlite":
            yield from read_sqlite(file, table)
        else:
            yield from readers[format](file)
    except OSError as error:
        raise ImportFailed(f"{file} cannot be read: {error.strerror}") from error


def encoding_of(beginning: bytes) -> str:
    """UTF-8 unless a byte order mark says otherwise; the mark itself is not part of the text."""
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig"


def is_clean(text: str) -> bool:
    """Whether the text was valid in its encoding (bad bytes are carried as lone surrogates)."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


# CSV


def read_csv(file: Path) -> Iterator[Row]:
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    with file.open("rb") as raw:
        beginning = raw.read(SAMPLE_BYTES)
        raw.seek(0)
        encoding = encoding_of(beginning)
        sample = beginning.decode(encoding, "replace")
        with io.TextIOWrapper(raw, encoding=encoding, errors="surrogateescape", newline="") as text:
            reader = csv.reader(_bounded_lines(text), delimiter=delimiter_of(sample))
            header = _header(reader, file)
            while True:
                line = reader.line_num + 1
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    yield Row(line, {}, f"the line cannot be read: {error}")
                    continue
                if not cells or (len(cells) == 1 and not cells[0].strip() and len(header) > 1):
                    continue
                if len(cells) != len(header):
                    yield Row(line, {}, f"{len(cells)} cells where the header has {len(header)}")
                elif not all(map(is_clean, cells)):
                    yield Row(line, {}, "the text is not UTF-8")
                else:
                    pairs = zip(header, cells, strict=True)
                    yield Row(line, {name: cell if cell != "" else None for name, cell in pairs})


def _bounded_lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Lines of the file; one without end is cut, so that it cannot fill the memory."""
    while line := text.readline(MAX_CELL_CHARACTERS):
        yield line


def _header(reader: Any, file: Path) -> list[str]:
    try:
        header = next((cells for cells in reader if any(cell.strip() for cell in cells)), None)
    except csv.Error as error:
        raise ImportFailed(f"The first line of {file.name} cannot be read: {error}") from error
    if header is None:
        raise ImportFailed(f"{file.name} is empty.")
    if len(header) > MAX_COLUMNS:
        raise ImportFailed(f"{file.name} has more than {MAX_COLUMNS} columns.")
    names: list[str] = []
    for place, cell in enumerate(header, 1):
        name = cell.encode("utf-8", "replace").decode().replace("\x00", "").strip() or f"column_{place}"
        names.append(name if name not in names else f"{name}_{place}")
    return names


def delimiter_of(sample: str) -> str:
    """The separator that the first line has most of, outside of quotes."""
    first = sample.lstrip("\r\n").split("\n", 1)[0]
    bare = "".join(part for place, part in enumerate(first.split('"')) if place % 2 == 0)
    return max(DELIMITERS, key=bare.count)


# JSON


def read_json(file: Path) -> Iterator[Row]:
    """Elements of the array in the file, or of the first array of objects in the object it holds."""
    with file.open("rb") as raw:
        encoding = encoding_of(raw.read(4))
        raw.seek(0)
        with io.TextIOWrapper(raw, encoding=encoding, errors="surrogateescape") as text:
            try:
                for line, value in stream_objects(text):
                    yield _object_row(line, value)
            except JsonDamaged as error:
                raise ImportFailed(f"{file.name} is damaged in line {error.line}: {error}.") from error


def read_ndjson(file: Path) -> Iterator[Row]:
    decoder = msgspec.json.Decoder()
    with file.open("rb") as raw:
        number = 0
        while line := raw.readline(MAX_LINE_BYTES):
            number += 1
            if not line.endswith(b"\n") and len(line) == MAX_LINE_BYTES:
                yield Row(number, {}, "the line is too long")
                while line and not line.endswith(b"\n"):
                    line = raw.readline(MAX_LINE_BYTES)
                continue
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            if not line.strip():
                continue
            try:
                yield _object_row(number, decoder.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                yield Row(number, {}, "the line is not JSON")


def _object_row(line: int, value: Any) -> Row:
    if not isinstance(value, dict):
        return Row(line, {}, "not an object")
    if len(value) > MAX_COLUMNS:
        return Row(line, {}, f"more than {MAX_COLUMNS} members")
    return Row(line, value)


# SQLite


def read_sqlite(file: Path, table: str) -> Iterator[Row]:
    """Rows of one table in the order of insertion; the file is opened as immutable and not changed."""
    try:
        with closing(
            sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
        ) as connection:
            connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
            name = _table(connection, file, table)
            cursor = connection.execute(f"SELECT * FROM {ident(name)}")  # noqa: S608  # a quoted name
            columns = [str(each[0]) for each in cursor.description]
            for number, cells in enumerate(cursor, 1):
                if any(isinstance(cell, bytes) for cell in cells):
                    yield Row(number, {}, "a value is binary")
                elif not all(is_clean(cell) for cell in cells if isinstance(cell, str)):
                    yield Row(number, {}, "the text is not UTF-8")
                else:
                    yield Row(number, dict(zip(columns, cells, strict=True)))
    except sqlite3.DatabaseError as error:
        raise ImportFailed(f"{file.name} cannot be read: {error}") from error


def _table(connection: sqlite3.Connection, file: Path, wanted: str) -> str:
    query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    names = [row[0] for row in connection.execute(query)]
    if wanted:
        if wanted not in names:
            raise ImportFailed(f"{file.name} has no table {wanted}; it has {', '.join(names) or 'none'}.")
        return wanted
    if len(names) != 1:
        raise ImportFailed(f"Say which table of {file.name} to import: {', '.join(names) or 'it has none'}.")
    return str(names[0])
