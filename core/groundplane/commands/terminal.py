"""What every command needs: options, the configuration, an installation to work on, and a way to end."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

import rich_click as click
from click import get_current_context

# Everything else is imported by the command that needs it, so that `--help` answers at once.
if TYPE_CHECKING:
    from groundplane.config import Config
    from groundplane.hooks.manager import Plugins
    from groundplane.services import Services

# Keys of what the group of plugins' commands keeps in the context.
CONFIG_FILE, DATA_DIR = "groundplane.config", "groundplane.data_dir"
Result = TypeVar("Result")
Command = Callable[..., Any]


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
