"""`groundplane plugin`, `hooks` and `x`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from groundplane.commands.terminal import (
    CONFIG_FILE,
    DATA_DIR,
    configured,
    fail,
    installation,
    options,
    run,
    write_whole,
)

if TYPE_CHECKING:
    from groundplane.config import Config
    from groundplane.hooks.removal import Belongings

PLUGIN_COMMANDS = "groundplane.commands"  # where the context keeps what was found


@click.group()
def plugin() -> None:
    """See, make and check plugins."""


@plugin.command("list")
@options
def list_plugins(config: Config, config_file: Path | None) -> None:
    """List the plugins that are there, and how they are."""
    from groundplane.hooks.listing import plugin_lines
    from groundplane.hooks.manager import Plugins

    for line in plugin_lines(Plugins.of(config).all):
        click.echo(line)


@plugin.command("new")
@click.argument("name")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where; default is here.",
)
def new_plugin(name: str, folder: Path) -> None:
    """Make a package for a new plugin, with tests that pass."""
    from groundplane.hooks.checks import BadPlugin
    from groundplane.hooks.scaffold import make

    try:
        made = make(name, folder)
    except BadPlugin as error:
        fail(f"{str(error)[0].upper()}{str(error)[1:]}.")
    click.echo(f"Made {made}. Install it with: pip install --editable {made}")


@plugin.command("check")
@options
def check_plugins(config: Config, config_file: Path | None) -> None:
    """Load every plugin as the server would; exit code 1 when one is broken."""
    from groundplane.hooks.listing import plugin_lines
    from groundplane.hooks.manager import Plugins

    plugins = Plugins.of(config)
    for line in plugin_lines(plugins.loaded + plugins.broken):
        click.echo(line)
    if plugins.broken:
        sys.exit(1)


@plugin.command("enable")
@click.argument("name")
@options
def enable_plugin(config: Config, config_file: Path | None, name: str) -> None:
    """Switch a plugin on in the configuration file; it is loaded at the next start."""
    click.echo(switch(config, config_file, name, on=True))


@plugin.command("disable")
@click.argument("name")
@options
def disable_plugin(config: Config, config_file: Path | None, name: str) -> None:
    """Switch a plugin off in the configuration file; its tables and settings stay."""
    click.echo(switch(config, config_file, name, on=False))


def switch(config: Config, config_file: Path | None, name: str, *, on: bool) -> str:
    """Edit the configuration file; returns what came of it as a sentence."""
    from groundplane.config import DEFAULT_FILE
    from groundplane.hooks.checks import BadPlugin
    from groundplane.hooks.loading import Source, find
    from groundplane.hooks.switching import switched

    found = next((each for each in find(config) if each.name == name), None)
    if found is None and on:
        fail(f"There is no plugin {name}: install it first.")
    file = config_file or DEFAULT_FILE
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    is_bundled = found is not None and found.source is Source.BUNDLED
    try:
        after = switched(before, name, on=on, needs_section=is_bundled)
    except BadPlugin as error:
        fail(f"{error}.")
    word = "on" if on else "off"
    if after == before:
        return f"{name} is switched {word} in {file}."
    write_whole(file, after)
    return f"{name} was switched {word} in {file}; restart the server."


@plugin.command("uninstall")
@click.argument("name")
@click.option("--keep-data", is_flag=True, help="Only switch it off; its tables stay.")
@click.option(
    "--export",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write its tables to a new file, then drop them.",
)
@click.option("--drop-data", is_flag=True, help="Drop its tables.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options
def uninstall_plugin(
    config: Config,
    config_file: Path | None,
    name: str,
    keep_data: bool,
    file: Path | None,
    drop_data: bool,
    yes: bool,
) -> None:
    """Take a plugin out: shows what it has in the database, and does with it what you say. Stop the server first."""
    from groundplane.errors import GroundplaneError
    from groundplane.hooks.checks import BadPlugin
    from groundplane.hooks.loading import NAME, find
    from groundplane.hooks.manager import Plugins
    from groundplane.hooks.removal import belongings, drop

    if keep_data + drop_data + (file is not None) > 1:
        raise click.UsageError("Say one of --keep-data, --export FILE and --drop-data.")
    found = next((each for each in find(config) if each.name == name), None)
    known = Plugins.of(config).get(name)
    types = (
        {str(getattr(each, "type_name", "")) for each in known.field_types} if known is not None else set()
    )

    async def look() -> tuple[Belongings, list[str]]:
        # Without any plugin: this one must not make its tables again.
        async with installation(config, Plugins()) as services:
            fields = [
                f"{collection.name}.{field.name}"
                for collection in services.schema.current
                for field in collection.fields
                if field.type_name in types
            ]
            return await belongings(services.db, name), fields

    async def remove(ids: tuple[str, ...]) -> int:
        async with installation(config, Plugins()) as services:
            rows = await drop(services.db, name, file)
            for job in ids:
                with suppress(GroundplaneError):
                    await services.jobs.cancel(job)
            return rows

    if not NAME.fullmatch(name):
        fail(f"There is no plugin {name}.")
    has, fields = run(look())
    if found is None and not has:
        fail(f"There is no plugin {name}, and nothing of it in the database.")
    for line in described(name, has, fields):
        click.echo(line)
    if not (keep_data or drop_data or file is not None):
        raise click.UsageError("Say what becomes of this: --keep-data, --export FILE or --drop-data.")
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("Say --yes, or run this on a terminal.")
        click.confirm("Go on?", abort=True)
    if not keep_data:
        try:
            rows = run(remove(has.jobs))
        except BadPlugin as error:
            fail(f"{str(error)[0].upper()}{str(error)[1:]}.")
        click.echo(f"{rows} rows were written to {file}." if file is not None else "Its tables were dropped.")
    click.echo(switch(config, config_file, name, on=False))
    if found is not None:
        click.echo(f"Its code is still there ({found.where}): remove that as it was installed.")


def described(name: str, has: Belongings, fields: list[str]) -> Iterator[str]:
    """What a plugin has in the database, line by line."""
    for table, rows in has.tables.items():
        yield f"table x_{name}.{table}: {rows} rows"
    if has.steps:
        yield f"{len(has.steps)} steps of its tables, up to {has.steps[-1]}"
    if has.jobs:
        yield f"{len(has.jobs)} jobs that are not finished"
    for field in fields:
        yield f"field {field}: stays with its values, and cannot be changed any more"
    if not (has or fields):
        yield f"{name} has nothing in the database."


@click.command()
def hooks() -> None:
    """List the hooks that plugins may implement, with their kinds and signatures."""
    from groundplane.hooks.listing import hook_lines

    for line in hook_lines():
        click.echo(line)


class PluginCommands(click.RichGroup):
    """The commands that plugins add, one group per plugin; plugins are loaded when one is looked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(self._groups(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return self._groups(ctx).get(cmd_name)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # Which plugins there are is in the file that the command at the end is given.
        ctx.meta[CONFIG_FILE] = option_value(args, "--config")
        ctx.meta[DATA_DIR] = option_value(args, "--data-dir")
        return super().parse_args(ctx, args)

    def _groups(self, ctx: Any) -> dict[str, Any]:
        from groundplane.hooks.manager import Plugins

        found: dict[str, Any] = ctx.meta.setdefault(PLUGIN_COMMANDS, {})
        if found:
            return found
        file = ctx.meta.get(CONFIG_FILE)
        config = configured(Path(file) if file else None, {"data_dir": ctx.meta.get(DATA_DIR)})
        for name, result, error in Plugins.of(config).hooks.register_commands.ask():
            commands = result if isinstance(result, list | tuple) else []
            if (
                error is not None
                or not commands
                or not all(isinstance(each, click.Command) for each in commands)
            ):
                click.echo(f"Plugin {name} has no sound commands.", err=True)
                continue
            found[name] = click.RichGroup(
                name=name, commands=list(commands), help=f"Commands of plugin {name}."
            )
        return found


def option_value(args: list[str], name: str) -> str | None:
    """The value of an option anywhere among arguments that are not parsed yet."""
    for position, argument in enumerate(args):
        if argument == "--":
            return None
        if argument == name and position + 1 < len(args):
            return args[position + 1]
        if argument.startswith(f"{name}="):
            return argument.partition("=")[2]
    return None


@click.group("x", cls=PluginCommands)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file; default groundplane.toml.")
@click.option("--data-dir", help="Folder of the embedded database and of files; default gp_data.")
def plugin_commands(config: Path | None, data_dir: str | None) -> None:
    """Commands of plugins: `groundplane x PLUGIN COMMAND`."""
