"""The SQL console: statements that are typed, run confined, kept under names, and their answers as files."""

from __future__ import annotations

import csv
import io
import json
from typing import NamedTuple

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath

from groundplane.api.exchange import AnyRequest
from groundplane.clock import now
from groundplane.console.preferences import EVERYONE
from groundplane.console.sql import MAX_ROWS, TIMEOUT_S, SqlAnswer, SqlFailed
from groundplane.errors import GroundplaneError, NotFound
from groundplane.security.ids import LOWER_ALPHANUMERIC, random_text
from groundplane_admin.catalogue import say
from groundplane_admin.registry import Command, NavItem, Screen
from groundplane_admin.visits import Form, Toast, Visit, visit_of

KEPT = "sql."  # before the ids of saved queries, among what the console keeps
MAX_NAME = 100
CONFIRMATION = "write"
FORMATS = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


class Saved(msgspec.Struct, frozen=True):
    """A query that all superusers see."""

    name: str
    text: str


class Outcome(NamedTuple):
    """What came of a statement: an answer, or why there is none."""

    text: str
    answer: SqlAnswer | None
    plan: str
    wrote: bool
    problem: str
    hint: str
    line: int
    column: int


class SqlPage(NamedTuple):
    text: str
    saved: list[tuple[str, Saved]]
    open: str
    name: str
    tables: list[tuple[str, list[str]]]
    outcome: Outcome | None
    may_write: bool
    seconds: int
    rows: int


@get("/_/sql")
async def sql(request: AnyRequest) -> Response[bytes]:
    visit = visit_of(request)
    return visit.page("sql/page.html", await page_of(visit, visit.ask.query.get("q", "")))


@get("/_/sql/{saved_id:str}")
async def saved_query(request: AnyRequest, saved_id: FromPath[str]) -> Response[bytes]:
    visit = visit_of(request)
    kept = await saved_of(visit, saved_id)
    return visit.page("sql/page.html", await page_of(visit, kept.text, open=saved_id))


@post("/_/sql/run", status_code=200)
async def run(request: AnyRequest) -> Response[bytes]:
    """Run a statement, or show its plan; it writes only where that was confirmed by typing."""
    visit = visit_of(request)
    form = await visit.form()
    outcome = await outcome_of(visit, form)
    status = 200 if outcome.answer is not None else 422
    if visit.is_fragment and visit.ask.headers.get("hx-target", "").endswith("#sql-result"):
        return visit.fragment("sql/_result.html", outcome, status=status)
    open_id = form.text("open")
    page = await page_of(
        visit, outcome.text, open=open_id, outcome=outcome, may_write=bool(form.text("confirm"))
    )
    return visit.page("sql/page.html", page, status=status)


@post("/_/sql/download", status_code=200)
async def download(request: AnyRequest) -> Response[bytes]:
    """Run a query again and send its answer as a file."""
    visit = visit_of(request)
    form = await visit.form()
    kind = form.text("format")
    if kind not in FORMATS:
        raise NotFound()
    answer = await visit.services.sql.run(form.text("text"), who=who_of(visit))
    body = as_csv(answer) if kind == "csv" else as_json(answer)
    name = f"query-{now():%Y%m%d-%H%M%S}.{kind}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(body, media_type=FORMATS[kind], headers=headers)


@post("/_/sql/save", status_code=303)
async def save(request: AnyRequest) -> Response[bytes]:
    """Keep a query under a name; with `open`, in place of the one that is open and has that name."""
    visit = visit_of(request)
    form = await visit.form()
    name, text, open_id = form.text("name").strip()[:MAX_NAME], form.text("text"), form.text("open")
    if not name or not text.strip():
        problem = say("sql.needs_name" if text.strip() else "sql.needs_text")
        outcome = Outcome(text, None, "", False, problem, "", 0, 0)
        return visit.page(
            "sql/page.html", await page_of(visit, text, open=open_id, outcome=outcome), status=422
        )
    kept = await all_saved(visit)
    same = next((id for id, each in kept if each.name == name), "")
    saved_id = same or random_text(15, LOWER_ALPHANUMERIC)
    await visit.services.preferences.keep(EVERYONE, f"{KEPT}{saved_id}", Saved(name, text))
    return visit.go_to(f"/_/sql/{saved_id}", toast=Toast("sql.saved", {"name": name}))


@post("/_/sql/{saved_id:str}/delete", status_code=303)
async def delete(request: AnyRequest, saved_id: FromPath[str]) -> Response[bytes]:
    visit = visit_of(request)
    kept = await saved_of(visit, saved_id)
    await visit.services.preferences.forget(EVERYONE, f"{KEPT}{saved_id}")
    undo = {"name": kept.name, "text": kept.text} if len(kept.text) < 1000 else {}
    toast = Toast("sql.deleted", {"name": kept.name}, undo="/_/sql/save" if undo else "", undo_fields=undo)
    return visit.go_to("/_/sql", toast=toast)


def who_of(visit: Visit) -> str:
    return str(visit.user.record.get("email", "") or visit.user.id)


async def outcome_of(visit: Visit, form: Form) -> Outcome:
    text = form.text("text").replace("\r\n", "\n")
    confirmation = form.text("confirm").strip().lower()
    explain = form.text("do") == "explain"
    nothing = Outcome(text, None, "", False, "", "", 0, 0)
    if confirmation and confirmation != CONFIRMATION:
        return nothing._replace(problem=say("sql.not_confirmed", word=CONFIRMATION))
    write = confirmation == CONFIRMATION and not explain
    try:
        answer = await visit.services.sql.run(text, who=who_of(visit), write=write, explain=explain)
    except SqlFailed as error:
        return nothing._replace(problem=error.message, hint=error.hint, line=error.line, column=error.column)
    except GroundplaneError as error:
        return nothing._replace(problem=error.message)
    is_plan = [name for name, _ in answer.columns] == ["QUERY PLAN"]
    plan = "\n".join(row[0] or "" for row in answer.rows) if is_plan else ""
    return nothing._replace(answer=answer, plan=plan, wrote=write)


async def all_saved(visit: Visit) -> list[tuple[str, Saved]]:
    found = await visit.services.preferences.below(EVERYONE, KEPT, Saved)
    return sorted(found.items(), key=lambda each: each[1].name.lower())


async def saved_of(visit: Visit, saved_id: str) -> Saved:
    """Raises NotFound."""
    for id, each in await all_saved(visit):
        if id == saved_id:
            return each
    raise NotFound()


async def page_of(
    visit: Visit, text: str, *, open: str = "", outcome: Outcome | None = None, may_write: bool = False
) -> SqlPage:
    saved = await all_saved(visit)
    names = {id: each.name for id, each in saved}
    return SqlPage(
        text=text,
        saved=saved,
        open=open if open in names else "",
        name=names.get(open, ""),
        tables=visit.services.sql.tables(),
        outcome=outcome,
        may_write=may_write,
        seconds=int(TIMEOUT_S),
        rows=MAX_ROWS,
    )


def as_csv(answer: SqlAnswer) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([name for name, _ in answer.columns])
    writer.writerows(["" if value is None else value for value in row] for row in answer.rows)
    return out.getvalue().encode("utf-8", "replace")


def as_json(answer: SqlAnswer) -> bytes:
    """Objects by the columns' names; where two have the same, the later is numbered."""
    names: list[str] = []
    for name, _ in answer.columns:
        number = 2
        wanted = name
        while wanted in names:
            wanted, number = f"{name}_{number}", number + 1
        names.append(wanted)
    rows = [dict(zip(names, row, strict=True)) for row in answer.rows]
    return json.dumps(rows, ensure_ascii=False, indent=1).encode("utf-8", "replace")


SCREEN = Screen(
    handlers=[sql, saved_query, run, download, save, delete],
    nav=[NavItem("build", "sql.title", "/_/sql", "sql", order=30)],
    commands=[Command("sql.command", "/_/sql", "sql", "sql.words")],
)
