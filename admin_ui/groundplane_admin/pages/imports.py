"""Import: rows of a CSV, JSON or NDJSON file into a collection, tried out first and then carried out."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal, NamedTuple

from litestar import Response, get, post

from groundplane.api.exchange import AnyRequest, Upload
from groundplane.errors import GroundplaneError
from groundplane.imports.report import Report
from groundplane.imports.tables import TableOptions, TableTarget, import_table
from groundplane_admin.catalogue import say
from groundplane_admin.registry import NavItem, Screen
from groundplane_admin.visits import Form, Visit, visit_of

MAX_FILE = 20 * 1024 * 1024  # bytes; the command takes larger ones
FORMATS = (".csv", ".json", ".ndjson", ".jsonl")


class Values(NamedTuple):
    collection: str
    on_error: str
    id_field: str
    relations: str


class Outcome(NamedTuple):
    """What came of a try or of the import itself; `problem` when nothing could be done."""

    report: Report | None
    name: str
    is_new: bool
    problem: str


class ImportPage(NamedTuple):
    values: Values
    collections: list[str]
    outcome: Outcome | None


def limit(ask: Any, services: Any) -> int:
    return MAX_FILE + (1 << 20)


def page_of(visit: Visit, values: Values, outcome: Outcome | None = None) -> ImportPage:
    schema = visit.services.schema.current
    names = sorted(each.name for each in schema if not each.is_view and not each.system)
    return ImportPage(values, names, outcome)


@get("/_/import")
async def start(request: AnyRequest) -> Response[bytes]:
    """Choose a file and where it goes."""
    visit = visit_of(request)
    values = Values(visit.ask.query.get("collection", ""), "stop", "", "")
    return visit.page("imports/page.html", page_of(visit, values))


@post("/_/import", status_code=200, opt={"body_limit": limit})
async def run(request: AnyRequest) -> Response[bytes]:
    """Try the import, or carry it out; either is one transaction."""
    visit = visit_of(request)
    form = await visit.form()
    values = Values(
        form.text("collection").strip(),
        "skip" if form.text("on_error") == "skip" else "stop",
        form.text("id_field").strip(),
        form.text("relations").strip(),
    )
    outcome = await outcome_of(visit, form, values, dry_run=form.text("do") != "import")
    status = 422 if outcome.problem else 200
    if visit.is_fragment and not visit.is_boosted:
        return visit.fragment("imports/_outcome.html", outcome, status=status)
    return visit.page("imports/page.html", page_of(visit, values, outcome), status=status)


async def outcome_of(visit: Visit, form: Form, values: Values, *, dry_run: bool) -> Outcome:
    upload = next((each for name, each in form.uploads if name == "file" and each.size), None)
    existing = visit.services.schema.current.get(values.collection)
    name = existing.name if existing is not None else values.collection
    if upload is None:
        return Outcome(None, name, existing is None, say("imports.no_file"))
    suffix = Path(upload.filename).suffix.lower()
    if suffix not in FORMATS:
        return Outcome(None, name, existing is None, say("imports.format"))
    if not values.collection or (existing is not None and existing.system):
        return Outcome(None, name, existing is None, say("imports.no_collection"))
    target = TableTarget(visit.services.db, visit.services.collections, visit.services.changes)
    with tempfile.TemporaryDirectory(prefix="gp-import-") as folder:
        options = TableOptions(
            file=stored(upload, Path(folder) / f"rows{suffix}"),
            collection=values.collection,
            on_error=on_error_of(values.on_error),
            id_field=values.id_field,
            relations=relations_of(values.relations),
            dry_run=dry_run,
        )
        try:
            report = await import_table(options, target)
        except GroundplaneError as error:
            if error.status >= 500:
                raise
            return Outcome(None, name, existing is None, error.message)
    return Outcome(report, name, existing is None, "")


def stored(upload: Upload, path: Path) -> Path:
    upload.file.seek(0)
    with path.open("wb") as file:
        shutil.copyfileobj(upload.file, file)
    return path


def on_error_of(text: str) -> Literal["stop", "skip"]:
    return "skip" if text == "skip" else "stop"


def relations_of(text: str) -> dict[str, str]:
    """Lines such as `author = users.email`."""
    pairs = [line.partition("=") for line in text.splitlines() if "=" in line]
    return {key.strip(): target.strip() for key, _, target in pairs}


SCREEN = Screen(
    handlers=[start, run],
    nav=[NavItem("build", "imports.title", "/_/import", "import", order=40)],
)
