"""Styles, scripts, fonts and words: all there, kept for good, and nothing that nobody uses."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from groundplane.testing.server import Server
from groundplane_admin.assets import assets, sources, version
from groundplane_admin.catalogue import catalogue

ADMIN = Path(__file__).parents[2] / "admin_ui" / "groundplane_admin"
HEX = re.compile(r"#[0-9a-fA-F]{3,8}\b")
MAX_STYLE, MAX_SCRIPT, MAX_SPRITE = 15_000, 26_000, 7_000  # bytes, compressed


async def test_everything_that_a_page_loads_is_there_and_kept_for_good(server: Server) -> None:
    page = (await server.client.get("/_/sign-in")).text
    loaded = set(re.findall(r'(?:src|href)="(/_/static/[^"#]+)', page))
    assert len(loaded) >= 4
    for path in loaded:
        answer = await server.client.get(path)
        assert answer.status_code == 200, path
        assert "immutable" in answer.headers["cache-control"], path
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_text_is_sent_compressed_to_who_takes_that(server: Server) -> None:
    path = f"/_/static/{version()}/console.css"
    zipped = await server.client.get(path, headers={"Accept-Encoding": "gzip"})
    plain = await server.client.get(path, headers={"Accept-Encoding": "identity"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert zipped.text == plain.text


async def test_an_asset_that_is_not_there_is_not_found_whatever_its_name(server: Server) -> None:
    for name in ("nothing.js", "..%2F__init__.py", "%2e%2e/__init__.py", "css/10-base.css", "x%00.js", "js/"):
        answer = await server.client.get(f"/_/static/{version()}/{name}")
        assert answer.status_code == 404, name


async def test_an_address_of_another_version_is_not_kept(server: Server) -> None:
    answer = await server.client.get("/_/static/000000000000/console.css")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")


def test_the_assets_stay_within_their_weight() -> None:
    found = assets()
    shell = [name for name in found if name.startswith("js/") and "/screens/" not in name]
    records = [f"js/screens/{name}.js" for name in ("records", "record", "relation", "files", "expression")]
    scripts = gzip.compress(b"".join(found[name].body for name in [*shell, *records]), 9)
    assert len(found["console.css"].zipped) < MAX_STYLE
    assert len(scripts) < MAX_SCRIPT
    assert len(found["icons.svg"].zipped) < MAX_SPRITE


def test_colours_stand_in_one_file() -> None:
    wrong = {
        path.name: found
        for path in (ADMIN / "static" / "css").glob("*.css")
        if (found := HEX.findall(path.read_text(encoding="utf-8")))
    }
    assert wrong == {}


def test_no_template_has_what_the_policy_forbids() -> None:
    forbidden = re.compile(r"\sstyle=|<script>|\son[a-z]+=\"|hx-on|js:|hx-trigger=\"[^\"]*\[")
    wrong = {
        str(path.relative_to(ADMIN)): found
        for path in (ADMIN / "templates").rglob("*.html")
        if (found := forbidden.findall(path.read_text(encoding="utf-8")))
    }
    assert wrong == {}


def test_nothing_is_marked_safe_in_a_template() -> None:
    wrong = [
        str(path.relative_to(ADMIN))
        for path in (ADMIN / "templates").rglob("*.html")
        if re.search(r"\|\s*safe\b|autoescape", path.read_text(encoding="utf-8"))
    ]
    assert wrong == []


def test_vendored_files_have_their_licences() -> None:
    for name in ("vendor/htmx-4.0.1", "fonts/geist-5.3.0", "fonts/geist-mono-5.3.0"):
        assert (ADMIN / "static" / f"{name}.LICENSE.txt").stat().st_size > 300


def test_every_string_that_is_named_is_in_the_catalogue_and_used() -> None:
    text = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("templates", "pages", "records", ".")
        for path in (ADMIN / folder).glob("**/*" if folder != "." else "*")
        if path.suffix in (".html", ".py")
    )
    known = catalogue()
    named = set(re.findall(r"""\bt(?:m)?\(["']([a-z0-9_.]+)["']\s*[,)]""", text))
    named |= set(re.findall(r"""\bsay(?:_marked)?\(["']([a-z0-9_.]+)["']""", text))
    missing = {each for each in named if each not in known and f"{each}.other" not in known}
    assert missing == set()


def test_a_sheet_and_every_script_is_found() -> None:
    assert {"console.css", "icons.svg", "js/app.js"} <= set(sources())
