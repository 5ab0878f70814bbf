"""The direction of imports, written down once and checked."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "core" / "groundplane"

# A module may import from rows above its own, and from its own package. Neighbours in a row stay strangers.
LAYERS = (
    ("errors", "clock", "parent"),
    ("security", "config", "context"),
    ("config_sources", "db", "log", "outgoing", "plain_log"),
    ("hooks",),
    ("settings",),
    ("schema",),
    ("query",),
    ("files", "broker", "mail", "jobs", "events"),
    ("collections", "records"),
    ("auth", "console", "realtime", "webhooks", "sinks", "logs", "backups", "imports"),
    ("services",),
    ("api", "housekeeping"),
    ("app", "sent_file"),
    ("http_protocol", "protocol_check"),
    ("job_worker", "preparing", "testing", "web_worker"),
    ("nursery",),
    ("supervisor",),
    ("index_advice", "process_memory"),
    ("doctor",),
    ("commands",),
    ("cli",),
)
ROW = {name: row for row, names in enumerate(LAYERS) for name in names}
ENTRY_POINTS = {"__init__", "__main__"}

# What bundled plugins and the console may use.
FOR_PLUGINS = (
    "__version__",
    "cli.installation",
    "cli.options",
    "cli.run",
    "clock",
    "context",
    "hooks",
    "records.values",
    "security.addresses",
    "services",
    "errors",
    "db.sql",
    "auth.openid",
    "auth.providers",
    "schema.fields.base",
    "files.storage",
    "sinks.address",
    "sinks.choice",
    "sinks.sink",
    "sinks.template",
    "sinks.tls",
)
# The console calls what `services` has, and so knows the words of those parts; never the database.
# The console is a client of the services in the same process: it may know what they hand out and raise, but
# not the database, the broker or the processes.
FOR_THE_CONSOLE = (
    "__version__",
    "api.errors",
    "api.exchange",
    "api.records",
    "auth",
    "clock",
    "collections",
    "config",
    "config_sources",
    "console",
    "context",
    "errors",
    "files",
    "hooks",
    "imports",
    "jobs",
    "logs",
    "mail",
    "query",
    "records",
    "schema",
    "security",
    "services",
    "settings",
    "webhooks",
)


def runtime_imports(node: ast.AST) -> Iterator[str]:
    """Yield what is imported when the program runs; imports only for types may point anywhere."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from runtime_imports(child)


def modules_used(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {name for name in runtime_imports(tree) if name.startswith("groundplane.")}


def parts_used(path: Path) -> set[str]:
    return {name.split(".")[1] for name in modules_used(path)} & ROW.keys()


@pytest.mark.parametrize("part", ROW)
def test_part_imports_only_from_rows_above(part: str) -> None:
    modules = sorted((SOURCE / part).rglob("*.py"))
    if (SOURCE / f"{part}.py").exists():
        modules.append(SOURCE / f"{part}.py")
    wrong = {
        str(module.relative_to(SOURCE)): bad
        for module in modules
        if (bad := {used for used in parts_used(module) if used != part and ROW[used] >= ROW[part]})
    }
    assert wrong == {}


def test_every_part_has_a_row() -> None:
    parts = {path.stem for path in SOURCE.glob("*.py")} | {
        path.parent.name for path in SOURCE.glob("*/__init__.py")
    }
    assert parts - ENTRY_POINTS - ROW.keys() == set()


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [("plugins/groundplane_plugins", FOR_PLUGINS), ("admin_ui/groundplane_admin", FOR_THE_CONSOLE)],
)
def test_what_stands_outside_uses_only_what_is_meant_for_it(folder: str, allowed: tuple[str, ...]) -> None:
    wrong = {
        f"{path.name}: {name}"
        for path in (ROOT / folder).rglob("*.py")
        for name in modules_used(path)
        if not any(name.removeprefix("groundplane.").startswith(each) for each in allowed)
    }
    assert wrong == set()


def test_packages_have_empty_inits() -> None:
    """You import a thing from where it is; only the package itself says its version."""
    full = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("__init__.py")
        if path.parent not in (SOURCE, SOURCE / "hooks") and path.read_text(encoding="utf-8").strip()
    }
    assert full == set()


def test_modules_begin_with_a_sentence() -> None:
    missing = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert missing == set()
