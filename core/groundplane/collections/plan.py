"""File and database: what differs, as steps that say what they do, what they cost, and how to carry them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec

from groundplane.collections import drift, queries
from groundplane.collections.change import BadIndexes, SchemaChange
from groundplane.collections.drift import Difference
from groundplane.collections.file import BadFile, Declared
from groundplane.collections.importing import plain_errors
from groundplane.collections.service import CHANGE_TIMEOUT_S, LOCK_TIMEOUT_S, Collections
from groundplane.collections.steps import Step, change_steps, create_step, delete_step, lost_fields
from groundplane.collections.submitted import find_errors
from groundplane.collections.targets import Target, find_targets, schema_with
from groundplane.collections.views import BadView, database_text
from groundplane.db.failures import Busy
from groundplane.errors import GroundplaneError, Unavailable, sentence
from groundplane.hooks.events import PlanCheck
from groundplane.hooks.implementation import PluginFailed
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.settings.merge import BadType, merged
from groundplane.settings.service import Settings
from groundplane.settings.values import SettingsValues, to_json


class NotApplied(Exception):
    """Nothing was changed; the message says why. `plan` is what would have been done."""

    def __init__(self, message: str, plan: Plan) -> None:
        super().__init__(message)
        self.plan = plan


class Plan(msgspec.Struct, frozen=True):
    """The steps from the database's state to the file's, in the order in which they are carried out.

    `problems` are sentences of plugins that do not want it carried out.
    """

    steps: tuple[Step, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def destructive(self) -> tuple[Step, ...]:
        """The steps that destroy data, refused unless allowed."""
        return tuple(step for step in self.steps if step.destructive)

    @property
    def safe(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if not step.destructive)

    def render(self, *, with_sql: bool = False) -> str:
        """The plan as text for a terminal, one step per line; "" when there is nothing to do."""
        lines: list[str] = []
        for step in self.steps:
            lines.append(f"{'!' if step.destructive else '+'} {step.text}")
            if with_sql:
                lines += [f"    {statement};" for statement in step.sql]
        lines += [f"x {problem}" for problem in self.problems]
        return "\n".join(lines)


class Beside(Protocol):
    """What else the file declares, compared and carried out with the schema: its webhooks.

    `schema` is the one that the plan leads to; `exclusive` says that what is not declared is deleted.
    """

    async def steps(
        self, entries: Sequence[Mapping[str, Any]], schema: Schema, *, exclusive: bool
    ) -> list[Step]:
        """What `carry_out` would do; raises file.BadFile."""
        ...

    async def carry_out(
        self, entries: Sequence[Mapping[str, Any]], schema: Schema, *, exclusive: bool
    ) -> None:
        """Make it as declared; part of the open transaction."""
        ...


class Planner:
    """Compares what the file declares with the database, and carries out the difference.

    `settings` and `webhooks` are None where only the schema is of interest.
    """

    def __init__(
        self, collections: Collections, settings: Settings | None = None, webhooks: Beside | None = None
    ) -> None:
        self._collections = collections
        self._webhooks = webhooks
        self._db = collections.db
        self._settings = settings

    async def plan(self, declared: Declared) -> Plan:
        """Work out the difference without changing anything; raises file.BadFile."""
        await self._collections.refresh()
        async with self._db.transaction():
            # Rows are counted, which takes its time on big tables.
            await self._db.execute(queries.limits(LOCK_TIMEOUT_S, CHANGE_TIMEOUT_S))
            return (await self._work_out(declared, self._collections.cache.current)).plan

    async def apply(self, declared: Declared, *, allow_destructive: bool = False) -> Plan:
        """Carry out the whole difference in one transaction; returns what was done.

        Raises file.BadFile, and NotApplied when a step destroys data and that is not allowed, or when the
        database refuses one.
        """
        work = partial(self._apply, declared, allow_destructive, False)
        return await self._collections.change(work)

    async def apply_safe(self, declared: Declared) -> tuple[Plan, Plan]:
        """Carry out what destroys nothing; returns what was done and what was left. For the start of a server."""
        done = await self._collections.change(partial(self._apply, declared, False, True))
        return done, await self.plan(declared)

    async def _work_out(self, declared: Declared, schema: Schema) -> Work:
        tables = await drift.read_tables(self._db, (collection.table for collection in schema))
        work = Work(schema, find_targets(declared, schema), await drift.find_drift(self._db, schema))
        steps: list[Step] = [drift_step(each) for each in work.drift]
        for target in work.targets:
            if target.old is None:
                steps.append(create_step(target.new, schema))
            elif target.is_changed:
                steps += await change_steps(self._db, target, tables.columns.get(target.old.table, {}))
        if declared.exclusive:
            kept = {target.new.id for target in work.targets}
            work.gone = [each for each in schema if each.id not in kept and not each.system]
            for collection in work.gone:
                steps.append(await delete_step(self._db, collection, tables.kinds))
        work.settings = self._settings_difference(declared)
        if work.settings:
            steps.append(Step("change_settings", "", f"Change settings: {', '.join(sorted(work.settings))}."))
        if self._webhooks is not None and declared.webhooks is not None:
            gone = {each.id for each in work.gone}
            final = schema_with(schema, work.targets)
            final = Schema((each for each in final if each.id not in gone), final.version)
            steps += await self._webhooks.steps(declared.webhooks, final, exclusive=declared.exclusive)
        work.plan = Plan(tuple(steps))
        if steps:
            work.plan = await self.checked(work.plan)
        return work

    async def checked(self, plan: Plan) -> Plan:
        """Ask plugins what they think of a plan; one that fails is a problem too."""
        if not self._collections.hooks.plan_check:
            return plan
        event = PlanCheck(plan, [])
        try:
            await self._collections.hooks.plan_check(event=event)
        except PluginFailed as error:
            event.problems.append(sentence(str(error)))
        except GroundplaneError as error:
            event.problems.append(error.message)
        return Plan(plan.steps, tuple(str(problem) for problem in event.problems))

    def _settings_difference(self, declared: Declared) -> list[str]:
        """Dotted names of the settings that the file sets to something else; nothing secret in them."""
        if self._settings is None or declared.settings is None:
            return []
        current = self._settings.current
        try:
            wanted: SettingsValues = merged(current, declared.settings)
        except BadType as error:
            raise BadFile(f"[settings] cannot be read: {error}") from None
        return differing(to_json(current, secrets=True), to_json(wanted, secrets=True), "")

    async def _apply(
        self, declared: Declared, allow_destructive: bool, safe_only: bool, change: SchemaChange
    ) -> Plan:
        # Counted and changed under one lock, or a record written in between would be lost without a word.
        work = await self._work_out(declared, change.schema)
        if work.plan.destructive and not safe_only:
            for collection in work.at_stake():
                await self._db.execute(queries.lock_table(collection.table))
            work = await self._work_out(declared, change.schema)
        if work.plan.destructive and not safe_only and not allow_destructive:
            raise NotApplied(refusal(work.plan), work.plan)
        if work.plan.problems:
            if safe_only:
                return Plan()
            raise NotApplied("Plugins refuse the plan:\n  " + "\n  ".join(work.plan.problems), work.plan)
        done = Plan(work.plan.safe) if safe_only else work.plan
        if not done.steps:
            return done
        try:
            await self._carry_out(work, declared, change, safe_only)
        except BadIndexes as error:
            raise NotApplied(f"An index cannot be made: {plain_errors(error.errors)}.", work.plan) from error
        except BadView as error:
            raise NotApplied(f"A view cannot be made: {error}.", work.plan) from error
        except GroundplaneError as error:
            if type(error) in (Busy, Unavailable):
                raise
            raise NotApplied(f"The database refused a step: {database_text(error)}.", work.plan) from error
        return done

    async def _carry_out(self, work: Work, declared: Declared, change: SchemaChange, safe_only: bool) -> None:
        for difference in work.drift:
            if not (safe_only and difference.lossy_rows is not None):
                await change.run(difference.sql)
        if not safe_only:
            for collection in sorted(work.gone, key=lambda each: not each.is_view):
                await change.remove(collection)
                await self._collections.forget_files(collection)
        for target in work.targets:
            if safe_only and target.old is not None:
                await tame(self._db, target)
            if not target.is_changed:
                continue
            await self._refuse_wrong(target, change)
            new = await change.put(target.new, target.old, target.carried)
            if target.old is not None and target.old.name != new.name and self._collections.renamed:
                await self._collections.renamed(target.old.name, new.name)
        await change.finish()
        if work.settings and self._settings is not None:
            await self._settings.change(declared.settings)
        if self._webhooks is not None and declared.webhooks is not None:
            exclusive = declared.exclusive and not safe_only
            await self._webhooks.carry_out(declared.webhooks, change.schema, exclusive=exclusive)

    async def _refuse_wrong(self, target: Target, change: SchemaChange) -> None:
        if target.new.is_view:
            await change.restore_views(leniently=True)
            errors = await find_errors(self._db, change.schema, target.new, target.old, target.derived)
            if errors:
                raise BadView(str(plain_errors(errors)))


class Work:
    """A plan and what it was made from."""

    def __init__(self, schema: Schema, targets: list[Target], found: Sequence[Difference]) -> None:
        self.schema = schema
        self.targets = targets
        self.drift = found
        self.gone: list[Collection] = []
        self.settings: list[str] = []
        self.plan = Plan()

    def at_stake(self) -> list[Collection]:
        """Stored tables that a destructive step names."""
        names = {step.collection.lower() for step in self.plan.destructive}
        tables = [target.old for target in self.targets if target.old is not None]
        tables += [each for each in self.schema if each not in tables]
        renamed = {
            target.old.id for target in self.targets if target.old and target.new.name.lower() in names
        }
        return [
            each for each in tables if not each.is_view and (each.name.lower() in names or each.id in renamed)
        ]


async def tame(db: Any, target: Target) -> None:
    """Take back what would destroy data: fields that hold something stay as they are."""
    old = target.old
    if old is None or target.new.is_view:
        return
    columns = (await drift.read_tables(db, [old.table])).columns.get(old.table, {})
    lost = await lost_fields(db, target, columns)
    if not lost:
        return
    fields = list(target.new.fields)
    for kept in (field for field in old.fields if field.id in lost):
        places = [
            at
            for at, field in enumerate(fields)
            if target.carried.get(field.id, field.id) == kept.id or field.name.lower() == kept.name.lower()
        ]
        target.carried = {new: before for new, before in target.carried.items() if before != kept.id}
        if places:
            fields[places[0]] = kept
            fields = [field for at, field in enumerate(fields) if at not in places[1:]]
        else:
            fields.append(kept)
    target.new = target.new.replaced(fields=fields)


def drift_step(difference: Difference) -> Step:
    rows = difference.lossy_rows
    return Step(
        "repair",
        difference.collection,
        f"Drift: {difference.sentence}",
        difference.sql,
        rows or 0,
        rows is not None,
        difference.loses,
    )


def refusal(plan: Plan) -> str:
    lines = [f"  {step.text}" for step in plan.destructive]
    return "These steps destroy data and were not allowed; nothing was changed:\n" + "\n".join(lines)


def differing(current: Any, wanted: Any, path: str) -> list[str]:
    """Dotted names of the leaves that differ."""
    if isinstance(current, Mapping) and isinstance(wanted, Mapping):
        names: list[str] = []
        for key in wanted:
            names += differing(current.get(key), wanted[key], f"{path}.{key}" if path else key)
        return names
    return [] if current == wanted else [path]
