"""`groundplane plan`, `apply` and `pull`: the database and the file that declares it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from groundplane.commands.terminal import installation, options, run, write_whole

if TYPE_CHECKING:
    from groundplane.config import Config

DIFFERENT = 3  # the exit code when file and database differ


@click.command()
@click.option("--sql", is_flag=True, help="Also show the statements.")
@options
def plan(config: Config, config_file: Path | None, sql: bool) -> None:
    """Show what differs between the file and the database; exit code 3 when something does."""
    from groundplane.collections.file import read_document

    async def work() -> int:
        async with installation(config) as services:
            found = await services.planner.plan(read_document(config.declared))
        if not found.steps:
            click.echo("The database is as the file says.")
            return 0
        click.echo(found.render(with_sql=sql))
        return DIFFERENT

    sys.exit(run(work()))


@click.command()
@click.option("--allow-destructive", is_flag=True, help="Also do what destroys data.")
@options
def apply(config: Config, config_file: Path | None, allow_destructive: bool) -> None:
    """Bring the database to what the file says, in one transaction."""
    from groundplane.collections.file import read_document

    async def work() -> None:
        async with installation(config) as services:
            done = await services.planner.apply(
                read_document(config.declared), allow_destructive=allow_destructive
            )
        click.echo(done.render() if done.steps else "The database is as the file says.")

    run(work())


@click.command()
@options
def pull(config: Config, config_file: Path | None) -> None:
    """Write the database's collections into the file, and the settings that it has; comments stay."""
    from groundplane.collections.pull import pulled
    from groundplane.config import DEFAULT_FILE
    from groundplane.settings.values import to_json
    from groundplane.webhooks.pulled import pulled_webhooks

    file = config_file or DEFAULT_FILE

    async def work() -> str:
        async with installation(config) as services:
            settings = to_json(services.settings.current)
            before = file.read_text(encoding="utf-8") if file.exists() else ""
            after = pulled(before, services.schema.current, settings)
            after = pulled_webhooks(after, await services.webhooks.all(), services.schema.current)
        if after == before:
            return f"{file} is as the database."
        write_whole(file, after)
        return f"{file} was written."

    click.echo(run(work()))
