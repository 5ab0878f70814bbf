"""The command palette and the list of keys, which are pages of their own without script."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from litestar import Response, get

from groundplane.api.exchange import AnyRequest
from groundplane_admin.catalogue import say
from groundplane_admin.registry import Screen, commands
from groundplane_admin.sidebar import TYPE_ICONS
from groundplane_admin.visits import Visit, visit_of

MOST = 12
MOST_COLLECTIONS = 100  # that are asked for a record's id
ID_LENGTHS = range(3, 256)


class Line(NamedTuple):
    kind: str
    label: str
    detail: str
    href: str
    icon: str
    key: str = ""


class PalettePage(NamedTuple):
    query: str
    lines: list[Line]


@get("/_/palette")
async def palette(request: AnyRequest) -> Response[bytes]:
    """What the words lead to; with `#` collections only, `>` and `=` actions and settings, `@` users."""
    visit = visit_of(request)
    query = visit.ask.query.get("q", "")[:200]
    page = PalettePage(query, await found(visit, query))
    if visit.is_fragment and not visit.is_boosted:
        return visit.fragment("palette/_palette.html", page)
    return visit.page("palette/page.html", page)


async def found(visit: Visit, query: str) -> list[Line]:
    text = query.strip()
    mark, words = (text[:1], text[1:].strip()) if text[:1] in ("#", ">", "=", "@") else ("", text)
    wanted = words.lower().split()
    lines: list[Line] = []
    if mark in ("", "@") and wanted:
        lines += await records(visit, wanted, users_only=mark == "@")
    if mark in ("", "#"):
        lines += collection_lines(visit, wanted)
    if mark in ("", ">", "="):
        lines += command_lines(wanted, settings_only=mark == "=")
    return lines[: MOST if wanted or mark else 2 * MOST]


def collection_lines(visit: Visit, wanted: list[str]) -> list[Line]:
    """Collections whose names have all the words; those that begin with the first one come first."""
    ranked: list[tuple[bool, bool, str, Line]] = []
    for each in visit.services.schema.current:
        name = each.name.lower()
        if not all(word in name for word in wanted):
            continue
        line = Line(say("palette.collection"), each.name, "", f"/_/c/{each.name}", TYPE_ICONS[each.type])
        ranked.append((bool(wanted) and not name.startswith(wanted[0]), each.system, name, line))
    lines = [line for _, _, _, line in sorted(ranked, key=lambda item: item[:3])]
    if len(lines) == 1 and wanted and not lines[0].label.startswith("_"):
        name = lines[0].label
        new = say("palette.new_record", collection=name)
        lines.append(Line(say("palette.action"), new, "", f"/_/c/{name}/new", "plus", "n"))
    return lines


def command_lines(wanted: list[str], *, settings_only: bool) -> list[Line]:
    lines: list[Line] = []
    for command in commands():
        label = say(command.label)
        searched = f"{label} {say(command.words) if command.words else ''}".lower()
        is_setting = command.href.startswith("/_/settings/")
        if all(word in searched for word in wanted) and (is_setting or not settings_only):
            kind = say("palette.setting" if is_setting else "palette.action")
            lines.append(Line(kind, label, "", command.href, command.icon, command.keys))
    return lines


async def records(visit: Visit, wanted: list[str], *, users_only: bool) -> list[Line]:
    """Records by their id, or users by their address; `posts k3p0` looks in one collection only."""
    schema = visit.services.schema.current
    named = schema.get(wanted[0]) if len(wanted) > 1 else None
    needle = wanted[-1]
    if len(needle) not in ID_LENGTHS or len(wanted) > 2:
        return []
    candidates = [named] if named is not None else [each for each in schema if not each.system]
    if len(wanted) > 1 and named is None:
        return []
    lines: list[Line] = []
    for collection in candidates[:MOST_COLLECTIONS]:
        if users_only and not collection.is_auth:
            continue
        name = "email" if collection.is_auth and "@" in needle else "id"
        # Ids are looked up by their index: the whole id everywhere, the beginning of one where it is named.
        pattern = (
            f"{name} = {quoted(needle)}"
            if named is None
            else f"{name} >= {quoted(needle)} && {name} < {quoted(needle + '~')}"
        )
        # In the order of the index that finds them, or else every record would be looked at.
        asked = {"filter": pattern, "perPage": "5", "skipTotal": "1", "sort": name}
        page = await visit.services.records.page(collection.id, asked, visit.info())
        for record in page["items"]:
            href = f"/_/c/{collection.name}/r/{quote(str(record['id']), safe='')}"
            detail = str(record.get("email") or record.get("title") or record.get("name") or "")
            lines.append(
                Line(say("palette.record"), f"{collection.name} / {record['id']}", detail[:80], href, "file")
            )
        if len(lines) >= MOST // 2:
            break
    return lines


def quoted(text: str) -> str:
    """A text as the filter language writes it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@get("/_/keys")
async def keys(request: AnyRequest) -> Response[bytes]:
    """The shortcuts of every page; a page's own are added by its script."""
    visit = visit_of(request)
    if visit.is_fragment and not visit.is_boosted:
        return visit.fragment("palette/_keys.html", None)
    return visit.page("palette/keys.html", None)


SCREEN = Screen(handlers=[keys, palette])
