"""The command line: reads arguments, calls services, says what came of it.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 there is a difference (`plan`).
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

import rich_click as click
from click import get_current_context

from groundplane import __version__

# Everything else is imported by the command that needs it, so that `--help` answers at once.
if TYPE_CHECKING:
    from groundplane.config import Config
    from groundplane.hooks.manager import Plugins
    from groundplane.hooks.removal import Belongings
    from groundplane.services import Services

DIFFERENT = 3
# Keys of what the group of plugins' commands keeps in the context.
CONFIG_FILE, DATA_DIR, PLUGIN_COMMANDS = (
    f"groundplane.{name}" for name in ("config", "data_dir", "commands")
)
Result = TypeVar("Result")
Command = Callable[..., Any]

click.rich_click.USE_RICH_MARKUP = False
click.rich_click.SHOW_ARGUMENTS = True


def fail(sentence: str) -> NoReturn:
    """End the command with a sentence for the person at the terminal, and exit code 1."""
    click.echo(f"Error: {sentence}", err=True)
    sys.exit(1)


def options(command: Command) -> Command:
    """Add what every command that works on an installation takes, and pass it on as `config`."""

    @click.option(
        "--config",
        "config_file",
        type=click.Path(path_type=Path),
        help="TOML file; default groundplane.toml.",
    )
    @click.option("--data-dir", help="Folder of the embedded database and of files; default gp_data.")
    @functools.wraps(command)
    def wrapped(*args: Any, config_file: Path | None, data_dir: str | None, **more: Any) -> Any:
        flags = {"data_dir": data_dir} | {
            f"server.{name}": more.pop(name, None) for name in ("host", "port", "workers")
        }
        context = get_current_context()
        # `groundplane x --config FILE PLUGIN COMMAND` means the command too.
        if config_file is None and (given := context.meta.get(CONFIG_FILE)):
            config_file = Path(given)
        flags["data_dir"] = data_dir or context.meta.get(DATA_DIR)
        context.obj = flags
        return command(*args, config=configured(config_file, flags), config_file=config_file, **more)

    return wrapped


def configured(file: Path | None, flags: dict[str, Any]) -> Config:
    from groundplane.config import ConfigError, load_config

    try:
        return load_config(file, flags=flags)
    except ConfigError as error:
        fail(str(error))


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's work; failures that explain themselves end it with their sentence."""
    from groundplane.errors import explained
    from groundplane.supervisor import CannotStart, is_for_people

    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        fail("Interrupted; what was not finished was not kept.")
    except Exception as error:
        if isinstance(error, CannotStart) or is_for_people(error):
            fail(explained(error))
        raise


@asynccontextmanager
async def installation(config: Config, plugins: Plugins | None = None) -> AsyncIterator[Services]:
    """Open the parts on the configured database, beside a running server or alone.

    `plugins` are those of the configuration, unless others are given.
    """
    from groundplane.app import open_services
    from groundplane.log import set_up_logging
    from groundplane.supervisor import database_of

    set_up_logging(config.log)
    async with (
        database_of(config) as (url, _),
        open_services(config, url, small=True, plugins=plugins) as services,
    ):
        yield services


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def groundplane() -> None:
    """A backend in one command: collections, rules, sign-in and files on PostgreSQL."""


@groundplane.command()
@click.option("--host", help="Address to listen on; default 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port; default 8090.")
@click.option(
    "--workers", callback=lambda *a: worker_number(a[2]), help="Number of web processes, or `auto`."
)
@click.option("--dev", is_flag=True, help="Apply the configuration file again whenever it changes.")
@options
def serve(config: Config, config_file: Path | None, dev: bool) -> None:
    """Start the server."""
    from groundplane.config import DEFAULT_FILE, load_config
    from groundplane.nursery import Nursery

    nursery = Nursery()  # before there are threads or an event loop
    from groundplane.plain_log import set_up_plain_logging
    from groundplane.supervisor import Supervisor

    set_up_plain_logging(config.log)
    flags = get_current_context().obj

    def again() -> Config:
        return load_config(config_file, flags=flags)

    async def work() -> None:
        supervisor = Supervisor(
            config,
            nursery,
            say=click.echo,
            watched=(config_file or DEFAULT_FILE) if dev else None,
            reload=again,
        )
        await supervisor.run()

    run(work())


@groundplane.command()
@options
def worker(config: Config, config_file: Path | None) -> None:
    """Run jobs, beside `serve` or on a machine of its own, until it is stopped."""
    from groundplane.job_worker import work
    from groundplane.log import set_up_logging
    from groundplane.supervisor import database_of

    set_up_logging(config.log)

    def ready() -> None:
        click.echo(f"Running up to {config.jobs.slots} jobs at a time.")

    async def work_on_it() -> None:
        async with database_of(config) as (url, _):
            await work(config, url, ready=ready, by_orders=False)

    run(work_on_it())


def worker_number(text: str | None) -> int | None:
    if text is None:
        return None
    if text == "auto":
        return 0
    if not text.isdigit() or int(text) < 1:
        raise click.BadParameter("a number from 1, or auto")
    return int(text)


@groundplane.command()
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


@groundplane.command()
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


@groundplane.command()
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


def write_whole(file: Path, text: str) -> None:
    """Replace a file at once, so that an interruption leaves the old or the new one."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        if file.exists():
            os.chmod(partial, file.stat().st_mode & 0o777)
        partial.replace(file)
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}.")


@groundplane.group()
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


class ImportGroup(click.RichGroup):
    """`import pocketbase DIR` is a command of its own, any other word is a file."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and not {"-h", "--help"} & set(args):
            args = ["file", *args]
        return super().parse_args(ctx, args)


@groundplane.group("import", cls=ImportGroup)
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
            target = Target(services.db, services.collections, services.settings, services.files.storage)
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


class Progress:
    """Shows how far a long piece of work is: a bar on a terminal, a line per step elsewhere."""

    def __init__(self) -> None:
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        if sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self._bars = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                console=Console(stderr=True),
                transient=True,
            )

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._bars is not None:
            task = self._tasks.get(what)
            if task is None:
                task = self._tasks[what] = self._bars.add_task(what, total=total or None)
            self._bars.update(task, completed=done, total=total or None)
        elif what not in self._tasks:
            self._tasks[what] = what
            click.echo(f"{what} …", err=True)


@groundplane.group()
def files() -> None:
    """The stored files of records."""


@files.command()
@click.option("--delete", is_flag=True, help="Delete them.")
@click.option(
    "--min-age",
    type=click.FloatRange(min=0),
    default=24.0,
    help="Hours; what is younger may belong to a record that is just being written. Default 24.",
)
@options
def orphans(config: Config, config_file: Path | None, delete: bool, min_age: float) -> None:
    """List stored files that no record names."""
    from datetime import timedelta

    from groundplane.clock import now
    from groundplane.files.chosen import ChosenFiles
    from groundplane.files.local import LocalFiles
    from groundplane.files.orphans import find_orphans
    from groundplane.files.storage import StorageFailed

    async def work() -> tuple[int, int, int]:
        count = size = unfinished = 0
        age = timedelta(hours=min_age)
        async with installation(config) as services:
            storage = services.files.storage
            if isinstance(storage, ChosenFiles) and isinstance(storage.local, LocalFiles):
                unfinished = await storage.local.abandoned(now() - age, delete=delete)
            found = find_orphans(storage, services.db, services.schema.current, age)
            async for orphan in found:
                click.echo(f"{orphan.key}  {orphan.size}  {orphan.reason}")
                if delete:
                    await storage.delete(orphan.key)
                count, size = count + 1, size + orphan.size
        return count, size, unfinished

    try:
        count, size, unfinished = run(work())
    except StorageFailed as error:
        fail(f"The file store failed ({error}): correct it and try again.")
    outcome = "deleted" if delete else "found; --delete removes them"
    click.echo(f"{count} files of {size} bytes {outcome}." if count else "No orphans.")
    if unfinished:
        click.echo(f"{unfinished} uploads that a crash cut off {outcome}.")


@files.command()
@click.option("--to", type=click.Choice(["s3", "local"]), required=True, help="Where all files shall be.")
@click.option("--delete", is_flag=True, help="Delete from the old store what the new one has.")
@options
def migrate(config: Config, config_file: Path | None, to: str, delete: bool) -> None:
    """Move all files to the object store of the settings, or back, while the server runs."""
    from groundplane.files.chosen import ChosenFiles
    from groundplane.files.moving import Moved, move
    from groundplane.files.storage import StorageFailed

    async def work() -> Moved:
        async with installation(config) as services:
            store = services.files.storage
            if not isinstance(store, ChosenFiles):
                fail("The files are in the store of a plugin, which they cannot be moved out of.")
            with Progress() as progress:
                return await move(
                    store, services.settings, to_s3=to == "s3", delete=delete, progress=progress
                )

    try:
        moved = run(work())
    except StorageFailed as error:
        fail(f"The files were not all moved ({error}): correct it and try again; what is done stays done.")
    click.echo(f"{moved.copied} files ({moved.copied_bytes} bytes) copied, {moved.there} were there already.")


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


@groundplane.group()
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


@groundplane.command()
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


@groundplane.group("x", cls=PluginCommands)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file; default groundplane.toml.")
@click.option("--data-dir", help="Folder of the embedded database and of files; default gp_data.")
def plugin_commands(config: Path | None, data_dir: str | None) -> None:
    """Commands of plugins: `groundplane x PLUGIN COMMAND`."""


@groundplane.command()
def version() -> None:
    """Print the version."""
    click.echo(__version__)


def main() -> NoReturn:
    """The `groundplane` command."""
    groundplane(prog_name="groundplane")
    raise SystemExit(0)
