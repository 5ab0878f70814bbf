"""`groundplane superuser`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from groundplane.commands.terminal import installation, options, run

if TYPE_CHECKING:
    from groundplane.config import Config


@click.group()
def superuser() -> None:
    """Make, list and remove superusers."""


@superuser.command()
@click.argument("email")
@click.argument("password", required=False)
@options
def upsert(config: Config, config_file: Path | None, email: str, password: str | None) -> None:
    """Make a superuser, or give an existing one a new password (asked for when left out)."""
    if password is None:
        if not sys.stdin.isatty():
            raise click.UsageError("Give the password as the second argument, or run this on a terminal.")
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)

    async def work() -> bool:
        async with installation(config) as services:
            return await services.superusers.upsert(email, str(password))

    is_new = run(work())
    click.echo(f"Superuser {email} was {'made' if is_new else 'given the new password'}.")


@superuser.command("list")
@options
def list_superusers(config: Config, config_file: Path | None) -> None:
    """List superusers, oldest first."""
    from groundplane.clock import wire_date

    async def work() -> list[str]:
        async with installation(config) as services:
            return [f"{each.email}  {wire_date(each.created)}" for each in await services.superusers.all()]

    for line in run(work()) or ["There is no superuser yet."]:
        click.echo(line)


@superuser.command()
@click.argument("email")
@options
def delete(config: Config, config_file: Path | None, email: str) -> None:
    """Remove a superuser; the last one stays."""

    async def work() -> None:
        async with installation(config) as services:
            await services.superusers.delete(email)

    run(work())
    click.echo(f"Superuser {email} was deleted.")


@superuser.command()
@click.argument("email")
@options
def otp(config: Config, config_file: Path | None, email: str) -> None:
    """Make a one-time password for a superuser; `_superusers` must allow them."""
    from groundplane.auth.identities import find_by_email
    from groundplane.context import SUPERUSERS
    from groundplane.errors import NotFound

    async def work() -> tuple[str, str]:
        async with installation(config) as services:
            collection = services.auth.require_otp(SUPERUSERS)
            record = await find_by_email(services.db, collection, email)
            if record is None:
                raise NotFound(f"There is no superuser {email}.")
            return await services.otp.issue(collection, record)

    otp_id, code = run(work())
    click.echo(f"id:   {otp_id}\ncode: {code}")
