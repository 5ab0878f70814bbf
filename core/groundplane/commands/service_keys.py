"""`groundplane keys`: service keys, beside a running server or without one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from groundplane.commands.terminal import installation, options, run

if TYPE_CHECKING:
    from groundplane.auth.scopes import Key
    from groundplane.config import Config


@click.group()
def keys() -> None:
    """Make, list, rotate and revoke the keys of programs."""


@keys.command("list")
@options
def list_keys(config: Config, config_file: Path | None) -> None:
    """List service keys, newest first."""

    async def work() -> list[Key]:
        async with installation(config) as services:
            return await services.keys.all()

    found = run(work())
    for key in found:
        click.echo(line_of(key))
    if not found:
        click.echo("There is no service key yet.")


def line_of(key: Key) -> str:
    from groundplane.clock import wire_date

    until = f"expires {wire_date(key.expires)}" if key.expires is not None else "does not expire"
    used = f"last used {wire_date(key.used)}" if key.used is not None else "never used"
    return f"{key.id}  {key.hint}…  {key.access.value:9}  {key.name}  ({until}, {used})"


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="COLLECTIONS:ACTIONS",
    help="What it may do, such as posts,tags:list,view; * stands for all. Several are added up.",
)
@click.option("--as", "record", metavar="COLLECTION/ID", help="Act as this record, bound by the rules.")
@click.option("--superuser", is_flag=True, help="May do everything; takes no scopes.")
@click.option("--expires", default="", help="Date, such as 2030-01-01 00:00:00Z; without it the key stays.")
@options
def create(
    config: Config,
    config_file: Path | None,
    name: str,
    scopes: tuple[str, ...],
    record: str | None,
    superuser: bool,
    expires: str,
) -> None:
    """Make a key and print it, once. Without --as or --superuser no rules bind it within its scopes."""
    parts = [scope.partition(":") for scope in scopes]
    raw: dict[str, object] = {
        "name": name,
        "expires": expires,
        "access": "superuser" if superuser else "rules" if record else "full",
        "scopes": [
            {"collections": collections.split(","), "actions": actions.split(",")}
            for collections, _, actions in parts
        ],
    }
    if record:
        collection, _, id = record.partition("/")
        raw["record"] = {"collection": collection, "id": id}

    async def work() -> str:
        async with installation(config) as services:
            return (await services.keys.create(raw))[1]

    click.echo(run(work()))


@keys.command()
@click.argument("id")
@click.option("--grace", type=click.IntRange(min=0), default=0, help="Seconds for which the old one goes on.")
@options
def rotate(config: Config, config_file: Path | None, id: str, grace: int) -> None:
    """Replace a key by another with the same rights, and print it, once."""

    async def work() -> str:
        async with installation(config) as services:
            return (await services.keys.rotate(id, grace))[1]

    click.echo(run(work()))


@keys.command()
@click.argument("id")
@options
def revoke(config: Config, config_file: Path | None, id: str) -> None:
    """Revoke a key, at once and in every process."""

    async def work() -> None:
        async with installation(config) as services:
            await services.keys.revoke(id)

    run(work())
    click.echo(f"Service key {id} was revoked.")
