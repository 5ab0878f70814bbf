"""The command line: reads arguments, calls services, says what came of it.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 there is a difference (`plan`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import rich_click as click

from groundplane import __version__
from groundplane.commands.declared import apply, plan, pull
from groundplane.commands.importing import import_
from groundplane.commands.plugins import hooks, plugin, plugin_commands
from groundplane.commands.service_keys import keys
from groundplane.commands.serving import serve, worker
from groundplane.commands.stored_files import files
from groundplane.commands.superusers import superuser
from groundplane.commands.terminal import installation, options, run

if TYPE_CHECKING:
    from groundplane.config import Config

# What plugins import from here for commands of their own.
__all__ = ["groundplane", "installation", "main", "options", "run"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def groundplane() -> None:
    """A backend in one command: collections, rules, sign-in and files on PostgreSQL."""


@groundplane.command()
@click.option("--all", "everything", is_flag=True, help="Also what only superusers may use.")
@options
def openapi(config: Config, config_file: Path | None, everything: bool) -> None:
    """Print the OpenAPI document of this installation."""
    from groundplane.api.openapi import document

    async def work() -> bytes:
        async with installation(config) as services:
            return document(services.schema.current, everything=everything)

    click.echo(run(work()).decode())


@groundplane.command()
@click.option("--indexes", is_flag=True, help="Name the indexes that collections lack for how they are used.")
@click.option("--memory", is_flag=True, help="Show what the processes of the running server take.")
@options
def doctor(config: Config, config_file: Path | None, indexes: bool, memory: bool) -> None:
    """Look for what is wrong with this installation; exit code 1 when something is."""
    from groundplane.doctor import examine, index_lines
    from groundplane.process_memory import memory_lines

    async def work() -> bool:
        sound = True
        async for finding in examine(config):
            sound = sound and finding.sound
            click.echo(f"{'ok   ' if finding.sound else 'WRONG'} {finding.text}")
        return sound

    async def advise() -> None:
        async with installation(config) as services:
            async for line in index_lines(services):
                click.echo(line)

    if memory:
        for line in memory_lines(config):
            click.echo(line)
    if indexes:
        run(advise())
    if not (indexes or memory) and not run(work()):
        sys.exit(1)


@groundplane.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)


for _each in (
    serve,
    worker,
    plan,
    apply,
    pull,
    superuser,
    keys,
    import_,
    files,
    plugin,
    hooks,
    plugin_commands,
):
    groundplane.add_command(_each)


def main() -> NoReturn:
    """The `groundplane` command."""
    groundplane(prog_name="groundplane")
    raise SystemExit(0)
