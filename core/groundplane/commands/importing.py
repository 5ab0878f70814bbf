"""`groundplane import`: data that comes from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from groundplane.commands.terminal import Progress, installation, options, run

if TYPE_CHECKING:
    from groundplane.config import Config


class ImportGroup(click.RichGroup):
    """`import pocketbase DIR` is a command of its own, any other word is a file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and not {"-h", "--help"} & set(args):
            args = ["file", *args]
        return super().parse_args(ctx, args)


@click.group("import", cls=ImportGroup)
def import_() -> None:
    """Bring in data from elsewhere: a PocketBase folder, or a FILE (CSV, JSON, NDJSON, SQLite)."""


@import_.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only say what would come in.")
@click.option("--merge", is_flag=True, help="Add to a database that has collections or records already.")
@click.option("--encryption-key", default="", help="The 32 characters with which the settings are encrypted.")
@options
def pocketbase(
    config: Config, config_file: Path | None, folder: Path, dry_run: bool, merge: bool, encryption_key: str
) -> None:
    """Import a PocketBase folder: collections, records, files, accounts, settings."""
    from groundplane.imports.pocketbase import PocketBaseOptions, Target, import_pocketbase

    wanted = PocketBaseOptions(folder=folder, dry_run=dry_run, merge=merge, encryption_key=encryption_key)

    async def work() -> list[str]:
        async with installation(config) as services:
            target = Target(
                services.db,
                services.collections,
                services.settings,
                services.files.storage,
                loaded=services.realtime.have_all_load_again,
            )
            with Progress() as progress:
                return (await import_pocketbase(wanted, target, progress)).lines()

    for line in run(work()):
        click.echo(line)


@import_.command("file")
@click.argument("path", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--collection", default="", help="Where the rows go; default is the file's name.")
@click.option(
    "--format", "format_", type=click.Choice(["csv", "json", "ndjson", "sqlite"]), help="Default: by name."
)
@click.option("--table", default="", help="Which table of a SQLite file.")
@click.option("--schema-out", type=click.Path(path_type=Path), help="Only write the inferred fields as TOML.")
@click.option(
    "--schema", type=click.Path(exists=True, path_type=Path), help="Take the fields of this TOML file."
)
@click.option("--on-error", type=click.Choice(["stop", "skip"]), default="stop", help="What a bad row does.")
@click.option("--id-field", default="", help="The key whose values become record ids.")
@click.option(
    "--relation", "relations", multiple=True, metavar="KEY=COLLECTION.FIELD", help="What a key refers to."
)
@click.option("--dry-run", is_flag=True, help="Only say what would come in.")
@options
def import_file(
    config: Config, config_file: Path | None, path: Path, collection: str, format_: str | None, **more: Any
) -> None:
    """Import the rows of a file into a collection, which is made when it is not there."""
    from groundplane.imports.tables import TableOptions, TableTarget, import_table

    relations = dict(pair.partition("=")[::2] for pair in more.pop("relations"))
    if not all(relations.values()):
        raise click.BadParameter("write it as KEY=COLLECTION.FIELD", param_hint="--relation")
    wanted = TableOptions(
        file=path,
        collection=collection or named_after(path),
        format=format_ or "",
        relations=relations,
        **more,
    )

    async def work() -> list[str]:
        async with installation(config) as services:
            with Progress() as progress:
                target = TableTarget(services.db, services.collections, services.changes)
                return (await import_table(wanted, target, progress)).lines()

    for line in run(work()):
        click.echo(line)


def named_after(path: Path) -> str:
    """A collection's name made of a file's."""
    name = "".join(char if char.isascii() and char.isalnum() else "_" for char in path.stem).strip("_")
    return f"t_{name}" if not name or name[0].isdigit() else name
