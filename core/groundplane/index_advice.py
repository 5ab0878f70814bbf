"""Which index a collection lacks for the lists that clients really ask for, and what it would save.

The questions are the collections' list rules and the filters and sorts that the log has noted
(`logs/shapes.py`). PostgreSQL's own planner judges: for each missing index it is asked for the cost of the
statement as it is and with the index. On tables of up to `MAX_TRIED_ROWS` the index is really made, in a
transaction that is rolled back; while it is made nobody can write to the table. On larger ones the second
cost is an estimate from the number of rows that the planner expects to be left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from groundplane.context import Caller, RequestInfo
from groundplane.db.engine import Database
from groundplane.db.failures import Busy
from groundplane.db.sql import Args, Sql, ident
from groundplane.errors import GroundplaneError
from groundplane.query.effective import rule_of
from groundplane.query.errors import QueryError
from groundplane.query.filters import filter_condition
from groundplane.query.nodes import All, Comparison, Identifier, Node, Number, Text
from groundplane.query.nodes import Any as AnyOf
from groundplane.query.parser import parse
from groundplane.query.rules import rule_condition
from groundplane.query.sort import entries, order_by
from groundplane.records.queries import all_of, where
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field, Kind
from groundplane.schema.indexes import Index, IndexColumn, parse_index
from groundplane.schema.sqlite import translate_index
from groundplane.services import Services

MIN_ROWS = 1000  # of a table that is worth an index
MAX_TRIED_ROWS = 200_000  # the index of more takes long, and nobody can write meanwhile
MIN_GAIN = 2.0  # how many times cheaper it must become
PAGE = 30  # records of a list
MAX_COLUMNS = 4
RANGE_SHARE = 50  # a range is taken to hold one in so many rows: people ask for the newest, the highest
MAX_QUESTIONS = 200  # of one collection, the most used first
LOCK_TIMEOUT = "2s"
# As PostgreSQL counts: a page read at random, a row looked at.
RANDOM_PAGE_COST, ROW_COST = 4.0, 0.01
DESCENT_COST = 8.0

SHAPES = 'SELECT "collection", "filter", "sort", "counted", "used" FROM "_query_shapes" ORDER BY "used" DESC'
INDEXABLE = frozenset({Kind.TEXT, Kind.NUMBER, Kind.BOOL, Kind.DATE})
RANGES = frozenset({"<", "<=", ">", ">="})
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


class Question(NamedTuple):
    """A list as clients ask for it, without values, with a total if `counted`; `used` is how often, by sample."""

    filter: str
    sort: str
    counted: bool
    used: int


class Advice(NamedTuple):
    """An index worth making; `before` and `after` are costs in the planner's unit, `tried` how `after` was found."""

    collection: str
    create_index: str
    questions: tuple[Question, ...]
    before: float
    after: float
    tried: bool

    @property
    def gain(self) -> float:
        return self.before / max(self.after, 0.01)

    def lines(self) -> Iterator[str]:
        yield self.create_index
        how = "measured" if self.tried else "estimated"
        yield f"  {self.gain:.0f} times cheaper ({how}: cost {self.after:.0f} instead of {self.before:.0f}), for"
        for question in self.questions[:3]:
            filter_text = f"filter {question.filter}" if question.filter else "the list rule"
            sort = f", sort {question.sort}" if question.sort else ""
            used = f", asked about {question.used} times" if question.used else ""
            yield f"    {self.collection}: {filter_text}{sort}{used}"
        if len(self.questions) > 3:
            yield f"    and {len(self.questions) - 3} more"


class Bounds(NamedTuple):
    """What a condition says about the collection's own columns: equal to something, within a range, or one of these."""

    equal: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()


async def advice(services: Services) -> list[Advice]:
    """Every index worth making, the most useful first."""
    asked: dict[str, list[Question]] = {}
    schema = services.schema.current
    for row in await services.db.fetch(SHAPES):
        collection = schema.get(row["collection"])
        if collection is not None:
            asked.setdefault(collection.id, []).append(Question(*tuple(row)[1:]))
    found: list[Advice] = []
    for collection in schema:
        if collection.is_view:
            continue
        rows = await services.db.fetchval(
            f"SELECT count(*) FROM (SELECT 1 FROM {ident(collection.table)} LIMIT {MAX_TRIED_ROWS + 1}) AS counted"  # noqa: S608
        )
        if rows >= MIN_ROWS:
            questions = [*asked.get(collection.id, ())[:MAX_QUESTIONS], Question("", "", True, 0)]
            found += await Adviser(services, collection, rows).for_questions(questions)
    return sorted(found, key=lambda each: -each.gain * (1 + sum(one.used for one in each.questions)))


class Adviser:
    """Looks at one collection; `rows` is how many it has, or one more than are tried."""

    def __init__(self, services: Services, collection: Collection, rows: int) -> None:
        self._db: Database = services.db
        self._schema = services.schema.current
        self._collection = collection
        self._rows = rows
        self._samples: dict[tuple[str, str], Any] = {}

    async def for_questions(self, questions: Sequence[Question]) -> list[Advice]:
        best: dict[tuple[str, ...], Advice] = {}
        for question in questions:
            try:
                statements = await self._statements(question)
                made = [
                    await self._judged(question, statements, columns)
                    for columns in self._candidates(question)
                ]
            except (QueryError, GroundplaneError):
                continue  # a field that is gone by now, a rule that needs more than we know of the caller
            good = [(each, columns) for each, columns in made if each is not None and each.gain >= MIN_GAIN]
            for one, columns in sorted(good, key=lambda pair: -pair[0].gain)[:1]:
                before = best.get(columns)
                if before is None:
                    best[columns] = one
                else:
                    best[columns] = max(before, one, key=lambda each: each.gain)._replace(
                        questions=(*before.questions, question)
                    )
        # An index that is the beginning of another one is not needed beside it.
        return [
            one
            for columns, one in best.items()
            if not any(other != columns and other[: len(columns)] == columns for other in best)
        ]

    # Which indexes could help

    def _candidates(self, question: Question) -> list[tuple[str, ...]]:
        """Columns of indexes that could serve the question and are not there, each at most once."""
        bounds = self._bounds(question)
        keys = self._sort_columns(question.sort)
        wanted: list[tuple[str, ...]] = []
        if keys:
            wanted.append((*bounds.equal, *(key for key in keys if key not in bounds.equal)))
        for name in bounds.within[:2]:
            if name not in bounds.equal:
                wanted.append((*bounds.equal, name))
        if bounds.equal:
            wanted.append(bounds.equal)
        wanted += [(name,) for name in bounds.alternatives]
        there = self._existing()
        found: list[tuple[str, ...]] = []
        for columns in wanted:
            columns = columns[:MAX_COLUMNS]
            if columns not in found and not any(serves(index, columns, bounds.equal) for index in there):
                found.append(columns)
        return found

    def _bounds(self, question: Question) -> Bounds:
        equal: dict[str, None] = {}
        within: dict[str, None] = {}
        alternatives: dict[str, None] = {}
        rule = rule_of(self._schema, self._collection, "list")
        for text in (question.filter, rule if isinstance(rule, str) else ""):
            for item in items_of(parse(text)) if text else ():
                if isinstance(item, AnyOf):
                    for each in item.items:
                        if isinstance(each, Comparison) and (bound := self._bound(each)) and bound[1] == "=":
                            alternatives[bound[0].name] = None
                elif isinstance(item, Comparison) and (bound := self._bound(item)):
                    (equal if bound[1] == "=" else within)[bound[0].name] = None
        return Bounds(tuple(equal), tuple(within), tuple(alternatives))

    def _bound(self, comparison: Comparison) -> tuple[Field, str] | None:
        """The own column that is compared with something known, and how; None when an index is no use."""
        sign = comparison.sign
        if sign != "=" and sign not in RANGES:
            return None
        left, right = self._column(comparison.left), self._column(comparison.right)
        if (left is None) is (right is None):
            return None
        return (left, sign) if left is not None else (right, MIRRORED.get(sign, sign)) if right else None

    def _column(self, leaf: object) -> Field | None:
        if not isinstance(leaf, Identifier):
            return None
        field = self._collection.field(leaf.name)
        return field if field is not None and field.kind in INDEXABLE else None

    def _sort_columns(self, text: str) -> tuple[str, ...]:
        """The columns of a sort that an index can hold: all in one direction."""
        keys = entries(text)
        if any(key.descending is not keys[0].descending for key in keys):
            return ()
        if not all(self._column(Identifier(key.name, 0)) for key in keys):
            return ()
        return tuple(dict.fromkeys(key.name for key in keys))

    def _existing(self) -> list[tuple[str, ...]]:
        there: list[tuple[str, ...]] = [("id",)]
        there += [
            (field.name,)
            for field in self._collection.fields
            if field.type_name == "relation" and not field.is_multiple
        ]
        for text in self._collection.indexes:
            index = parse_index(text)
            if index is not None and not index.where:
                there.append(tuple(column.name for column in index.columns))
        return there

    # What they would save

    async def _judged(
        self, question: Question, statements: Sequence[Sql], columns: tuple[str, ...]
    ) -> tuple[Advice | None, tuple[str, ...]]:
        """What the index does for the statement, page or total, that it saves most of."""
        index = self._index(columns)
        now = [await self._cost(statement) for statement in statements]
        tried = self._rows <= MAX_TRIED_ROWS
        if tried:
            then = await self._costs_with(statements, translate_index(index, self._collection))
        else:
            keys = self._sort_columns(question.sort)
            is_ordered = bool(keys) and columns[-len(keys) :] == keys
            then = [estimated(min(left, PAGE) if is_ordered else left) for _, left in now]
        pairs = [(before, min(before, after)) for (before, _), after in zip(now, then, strict=False)]
        if not pairs:
            return None, columns
        before, after = max(pairs, key=lambda pair: pair[0] - pair[1])
        return Advice(self._collection.name, index, (question,), before, after, tried), columns

    def _index(self, columns: Sequence[str]) -> str:
        name = "_".join(("idx", self._collection.name, *columns))[:60]
        return Index(name, False, tuple(map(IndexColumn, columns)), table=self._collection.name).build()

    async def _cost(self, statement: Sql) -> tuple[float, float]:
        """The planner's cost of the statement, and how many rows it expects to match."""
        explained = await self._db.fetchval(f"EXPLAIN (FORMAT JSON) {statement.text}", *statement.args)
        plan = json.loads(explained)[0]["Plan"]
        return float(plan["Total Cost"]), matching(plan, self._collection.table)

    async def _costs_with(self, statements: Sequence[Sql], create_index: str) -> list[float]:
        """The costs with an index that is made for a moment; none when the table is in use for too long."""
        try:
            async with self._db.transaction() as connection:
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
                await connection.execute(create_index)
                raise Undone([(await self._cost(statement))[0] for statement in statements])
        except Undone as undone:
            return undone.costs
        except Busy:
            return []

    async def _statements(self, question: Question) -> list[Sql]:
        """The page, and the total, as the server would ask for them, with values that are in the table."""
        args = Args()
        info = RequestInfo(caller=await self._caller())
        rule = rule_of(self._schema, self._collection, "list")
        conditions = []
        if rule:
            conditions.append(rule_condition(self._schema, self._collection, rule, info, args))
        if question.filter:
            text = await self._with_values(question.filter)
            conditions.append(filter_condition(self._schema, self._collection, text, info, args))
        source = f"FROM {ident(self._collection.table)} r{where(all_of(*conditions))}"
        counting = args.bind(f"SELECT count(*) {source}")
        order = order_by(self._schema, self._collection, question.sort, info, args)
        page = args.bind(f'SELECT r."id" {source} ORDER BY {order} LIMIT {PAGE}')
        return [page, counting] if question.counted else [page]

    async def _caller(self) -> Caller | None:
        """A caller who owns something here, if a rule compares an own column with the caller's id."""
        rule = rule_of(self._schema, self._collection, "list")
        owner = next((each for each in self._schema if each.is_auth and not each.is_superusers), None)
        if owner is None:
            return None
        own_id = ""
        for item in walked(parse(rule)) if isinstance(rule, str) and rule else ():
            for side, other in ((item.left, item.right), (item.right, item.left)):
                is_own = isinstance(other, Identifier) and other.name == "@request.auth.id"
                if is_own and (field := self._column(side)):
                    own_id = str(await self._sample(field, "=") or "")
        return Caller(id=own_id or "nobody", collection_id=owner.id, collection_name=owner.name)

    async def _with_values(self, text: str) -> str:
        """The filter with values of the columns that its empty ones are compared with."""
        places: dict[int, tuple[int, str]] = {}
        for item in walked(parse(text)):
            for side, other, sign in (
                (item.left, item.right, item.sign),
                (item.right, item.left, MIRRORED.get(item.sign, item.sign)),
            ):
                field = self._column(side)
                if field is None or not isinstance(other, Text | Number):
                    continue
                value = await self._sample(field, sign)
                if isinstance(other, Text):
                    places[other.position] = 2, quoted(str(value if value is not None else ""))
                elif isinstance(value, int | float):
                    places[other.position] = 1, repr(value) if abs(value) < 1e15 else "0"
        for position, (length, value_text) in sorted(places.items(), reverse=True):
            text = text[:position] + value_text + text[position + length :]
        return text

    async def _sample(self, field: Field, sign: str) -> Any:
        """A value of the table as a filter writes it: from anywhere, of a range near the end that it leads to."""
        end = {">": "DESC", "<": "ASC"}.get(sign[:1], "")
        if (field.name, end) not in self._samples:
            column = ident(field.column)
            shown = f"gp.date_text({column})" if field.kind is Kind.DATE else column
            rows = min(self._rows, MAX_TRIED_ROWS)
            self._samples[field.name, end] = await self._db.fetchval(
                f"SELECT {shown} FROM {ident(self._collection.table)}"  # noqa: S608
                f"{f' ORDER BY {column} {end} NULLS LAST' if end else ''} OFFSET $1 LIMIT 1",
                rows // RANGE_SHARE if end else rows // 2,
            )
        return self._samples[field.name, end]


class Undone(Exception):
    """Rolls a transaction back that was only made to ask for costs."""

    def __init__(self, costs: list[float]) -> None:
        self.costs = costs


def items_of(node: Node) -> tuple[Node, ...]:
    """What must all hold."""
    return node.items if isinstance(node, All) else (node,)


def walked(node: Node) -> Iterator[Comparison]:
    waiting = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Comparison):
            yield each
        else:
            waiting.extend(each.items)


def serves(index: tuple[str, ...], columns: tuple[str, ...], equal: tuple[str, ...]) -> bool:
    """Whether an index begins with these columns; those compared for equality may come in any order."""
    count = len([name for name in columns if name in equal])
    return set(index[:count]) == set(columns[:count]) and index[count : len(columns)] == columns[count:]


def matching(plan: dict[str, Any], table: str) -> float:
    """The most rows that a part of the plan expects to take from the table."""
    found = float(plan["Plan Rows"]) if plan.get("Relation Name") == table else 0.0
    return max([found, *(matching(part, table) for part in plan.get("Plans", ()))])


def estimated(rows: float) -> float:
    """The cost of reading so many rows through an index, none of them beside another."""
    return DESCENT_COST + rows * (RANDOM_PAGE_COST + ROW_COST)


def quoted(text: str) -> str:
    """The text as a literal of the filter language."""
    return msgspec.json.encode(text).decode().replace("'", "\\u0027")
