"""`groundplane x history …`: the history at a terminal, and bringing records back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import rich_click as click

from groundplane.cli import installation, options, run
from groundplane.clock import wire_date
from groundplane.context import SUPERUSERS, Caller, RequestInfo
from groundplane_plugins.history.entries import page
from groundplane_plugins.history.restoring import restore

if TYPE_CHECKING:
    from groundplane.config import Config

# Whoever may run commands may do everything; in the history it is a superuser without an id.
AT_THE_TERMINAL = RequestInfo(caller=Caller(id="", collection_id="", collection_name=SUPERUSERS))


@click.command("list")
@click.argument("collection")
@click.argument("record", default="")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True)
@options
def list_command(config: Config, collection: str, record: str, limit: int, **_: Any) -> None:
    """Show the changes of a collection or of one record, the newest first."""

    async def work() -> None:
        async with installation(config) as services:
            found = services.schema.current.find(collection)
            items = (await page(services, found, record=record, limit=limit)).items
        for item in items:
            who = " ".join(filter(None, (item["callerCollection"], item["callerId"]))) or "nobody signed in"
            what = sorted({*item["before"], *item["after"], *item["secrets"]})
            cascade = ", along with another record" if item["cascade"] else ""
            click.echo(
                f"{item['id']:>8}  {wire_date(item['at'])}  {item['record']}  {item['action']} by {who}{cascade}"
            )
            if item["action"] == "update":
                click.echo(f"          {', '.join(what)}")

    run(work())


@click.command("restore")
@click.argument("collection")
@click.argument("record")
@click.option(
    "--version", type=click.IntRange(1), default=None, help="Number of an entry; default: the deletion."
)
@click.option("--field", "fields", multiple=True, help="Bring back this field only; may stand several times.")
@options
def restore_command(
    config: Config, collection: str, record: str, version: int | None, fields: tuple[str, ...], **_: Any
) -> None:
    """Bring back a deleted record, or what a record was after an entry of its history."""

    async def work() -> None:
        async with installation(config) as services:
            done = await restore(
                services, collection, record, AT_THE_TERMINAL, version=version or 0, fields=fields
            )
        click.echo("The record was made again." if done.is_new else "The record was changed.")
        if done.gone:
            click.echo(f"Files that are no more: {msgspec.json.encode(done.gone).decode()}")

    run(work())
