"""What an import says about itself: progress while it runs, a report at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import msgspec

from groundplane.errors import GroundplaneError

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done and how much there is (0: not known)."""

PROGRESS_STEP = 1000  # rows between two calls


class ImportFailed(GroundplaneError):
    """The import cannot be done; the message is one sentence that says what to do."""


def silent(what: str, done: int, total: int) -> None:
    """A progress callback that shows nothing."""


class CollectionReport(msgspec.Struct, frozen=True, kw_only=True):
    """One collection as it came or would come in; `records` is 0 for views."""

    id: str
    name: str
    type: str
    records: int


class Report(msgspec.Struct, kw_only=True):
    """The outcome of an import, or with `dry_run` what it would be.

    `warnings`    whole sentences: what was left out or could not be kept as it was
    `mapping`     pairs of a key in the file and the field it goes to (imports of tables)
    `types`       field types by name (imports of tables)
    `schema_file` where the inferred schema was written, when only that was asked for
    `skipped`     rows that were left out
    """

    dry_run: bool = False
    collections: list[CollectionReport] = msgspec.field(default_factory=list)
    files: int = 0
    file_bytes: int = 0
    settings: bool = False
    skipped: int = 0
    mapping: list[tuple[str, str]] = msgspec.field(default_factory=list)
    types: dict[str, str] = msgspec.field(default_factory=dict)
    schema_file: str = ""
    warnings: list[str] = msgspec.field(default_factory=list)

    @property
    def records(self) -> int:
        return sum(each.records for each in self.collections)

    def lines(self) -> list[str]:
        """The report as plain lines for people."""
        verb = "Would import" if self.dry_run else "Imported"
        shown = [f"  {key!r} -> {name} ({self.types.get(name, '')})" for key, name in self.mapping]
        if self.schema_file:
            return [
                f"Wrote the inferred schema to {self.schema_file}; edit it and import with --schema.",
                *shown,
            ]
        lines = [
            f"{verb} {counted(self.records, 'record')} in {counted(len(self.collections), 'collection')}."
        ]
        lines += shown
        lines += [
            f"  {each.name} ({each.type}): {counted(each.records, 'record')}"
            if each.type != "view"
            else f"  {each.name} (view)"
            for each in self.collections
        ]
        if self.files:
            lines.append(f"{verb} {counted(self.files, 'file')} of {self.file_bytes:,} bytes.")
        if self.settings:
            lines.append(f"{verb} the settings.")
        if self.skipped:
            lines.append(f"Left out {counted(self.skipped, 'row')}.")
        return lines + [f"Warning: {warning}" for warning in self.warnings]


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
