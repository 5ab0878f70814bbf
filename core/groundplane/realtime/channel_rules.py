"""Which channels there are, and who may do what in them.

A rule reads `@request.*` and `@collection.*` as every rule does, and of the channel `channel`, its name, and `key`,
what the `*` of its table stands for: `@collection.members.room ?= key && …`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from groundplane.config import ChannelConfig
from groundplane.context import RequestInfo
from groundplane.db.engine import Database
from groundplane.db.sql import Args
from groundplane.query.errors import QueryError
from groundplane.query.rules import rule_condition
from groundplane.realtime.grouped import Grouped, Values
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection
from groundplane.schema.fields.text import TextField

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9_.:-]{1,100}", re.ASCII)
CHANNEL = Collection(
    id="@channel", name="@channel", fields=[TextField(id=name, name=name) for name in ("channel", "key")]
)
ROW = 'SELECT true FROM (SELECT {}::text COLLATE "C" AS "channel", {}::text COLLATE "C" AS "key") r WHERE '


class Place(NamedTuple):
    """A channel: its name, what the `*` stands for in it, and what its table says."""

    name: str
    key: str
    config: ChannelConfig


class Question(NamedTuple):
    """Whether a rule lets somebody; None is a rule that is absent."""

    rule: str | None
    place: Place
    info: RequestInfo


class ChannelRules:
    """Finds channels by their names and evaluates their rules, many at a time."""

    def __init__(self, channels: Mapping[str, ChannelConfig], db: Database, schema: SchemaCache) -> None:
        self._schema = schema
        self._grouped = Grouped(db)
        # The one that says most about a name counts.
        ordered = sorted(channels, key=lambda name: ("*" not in name, len(name)), reverse=True)
        self._patterns = [(pattern_of(name), channels[name]) for name in ordered]
        self._warned: set[str] = set()
        self.place = lru_cache(maxsize=4096)(self._place)

    def __bool__(self) -> bool:
        """Whether there can be any channel."""
        return bool(self._patterns)

    def _place(self, name: str) -> Place | None:
        """The channel of this name; None when there is none."""
        if not NAME.fullmatch(name):
            return None
        for pattern, config in self._patterns:
            if (found := pattern.fullmatch(name)) is not None:
                return Place(name, found[1] if pattern.groups else "", config)
        return None

    async def allowed(self, questions: Sequence[Question]) -> list[bool]:
        """The answers in the order of the questions; raises Unavailable and the like."""
        answers = [False] * len(questions)
        groups: dict[str, tuple[list[Values], list[int]]] = {}
        for number, question in enumerate(questions):
            if question.info.is_superuser or question.rule == "":
                answers[number] = True
            elif question.rule is not None and (compiled := self._compiled(question)) is not None:
                callers, numbers = groups.setdefault(compiled[0], ([], []))
                callers.append(compiled[1])
                numbers.append(number)
        for text, (callers, numbers) in groups.items():
            for _, place in await self._grouped.ask("", text, callers):
                answers[numbers[place]] = True
        return answers

    def _compiled(self, question: Question) -> tuple[str, Values] | None:
        """A statement that gives a row if the rule lets somebody, and its values; None for nobody."""
        args, rule = Args(), question.rule or ""
        row = ROW.format(args.add(question.place.name), args.add(question.place.key))
        try:
            condition = rule_condition(self._schema.current, CHANNEL, rule, question.info, args, virtual="r")
        except QueryError as error:
            if rule not in self._warned:
                self._warned.add(rule)
                log.error("A channel's rule lets nobody, because it is wrong: %s (%s)", error, rule)
            return None
        return row + condition, tuple(
            tuple(value) if isinstance(value, list) else value for value in args.values
        )


def pattern_of(name: str) -> re.Pattern[str]:
    return re.compile("(.+)".join(re.escape(part) for part in name.split("*")), re.ASCII)
