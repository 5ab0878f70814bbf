"""`groundplane files`: what is stored, what is left over, and where it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from groundplane.commands.terminal import Progress, fail, installation, options, run

if TYPE_CHECKING:
    from groundplane.config import Config
    from groundplane.files.moving import Goal


@click.group()
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
            if services.files.uploads is not None:
                unfinished += await services.files.uploads.abandoned(age, delete=delete)
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
@click.option(
    "--to", type=click.Choice(["s3", "local", "plugin"]), required=True, help="Where all files shall be."
)
@click.option("--delete", is_flag=True, help="Delete from the old store what the new one has.")
@options
def migrate(config: Config, config_file: Path | None, to: Goal, delete: bool) -> None:
    """Move all files to the object store of the settings, or back, while the server runs.

    `plugin` is the store of the plugin that `files.store` names.
    """
    from groundplane.files.chosen import ChosenFiles
    from groundplane.files.moving import Moved, move
    from groundplane.files.storage import StorageFailed

    async def work() -> Moved:
        async with installation(config) as services:
            store = services.files.storage
            if not isinstance(store, ChosenFiles):
                fail("The files are in a store that nothing can be moved out of.")
            with Progress() as progress:
                return await move(store, services.settings, to=to, delete=delete, progress=progress)

    try:
        moved = run(work())
    except StorageFailed as error:
        fail(f"The files were not all moved ({error}): correct it and try again; what is done stays done.")
    click.echo(f"{moved.copied} files ({moved.copied_bytes} bytes) copied, {moved.there} were there already.")


@files.command()
@click.option("--count", is_flag=True, help="Count now; otherwise the last count of the server is shown.")
@options
def usage(config: Config, config_file: Path | None, count: bool) -> None:
    """Show how many files each collection has, and how large they are."""
    from groundplane.clock import wire_date
    from groundplane.files.storage import StorageFailed
    from groundplane.files.usage import Counted

    async def work() -> tuple[Counted, dict[str, str]]:
        async with installation(config) as services:
            found = await (services.files.usage.count() if count else services.files.usage.last())
            return found, {each.id: each.name for each in services.schema.current}

    try:
        found, names = run(work())
    except StorageFailed as error:
        fail(f"The file store failed ({error}): correct it and try again.")
    if found.measured is None:
        click.echo("Nobody has counted yet: --count does.")
        return
    for each in found.collections:
        name = names.get(each.collection, f"{each.collection} (no such collection)")
        thumbs = f", {each.thumbs} thumbs of {each.thumb_bytes} bytes" if each.thumbs else ""
        click.echo(f"{name}: {each.files} files of {each.bytes} bytes{thumbs}")
    count_all = sum(each.files + each.thumbs for each in found.collections)
    size = sum(each.bytes + each.thumb_bytes for each in found.collections)
    click.echo(f"{count_all} files of {size} bytes, counted at {wire_date(found.measured)}.")
