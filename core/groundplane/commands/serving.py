"""`groundplane serve` and `groundplane worker`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from click import get_current_context

from groundplane.commands.terminal import options, run

if TYPE_CHECKING:
    from groundplane.config import Config


@click.command()
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
    from groundplane.config_sources import origin_of
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
            origin=lambda: origin_of(config_file, flags=flags),
        )
        await supervisor.run()

    run(work())


@click.command()
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
