"""Where collections and their relations stand in the diagram: columns by depth, few crossings, right angles.

The layered drawing of Sugiyama, Tagawa and Toda (1981): what is referred to stands left of what refers to it,
relations over several columns pass through places of their own, and each column is put into the order of the
middle of its neighbours, again and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from groundplane.schema.collection import Collection

WIDTH, HEAD, LINE = 208, 32, 22
GAP_X, GAP_Y, MARGIN, PASSAGE = 88, 28, 24, 14
LANE, LANES = 11, 6  # distance of the vertical parts between two columns, and how many there are
MAX_FIELDS = 9
SWEEPS = 6


class Relation(NamedTuple):
    """A relation field: `source` and `target` are ids of collections."""

    source: str
    field: str
    target: str
    many: bool
    cascade: bool


class Line(NamedTuple):
    """A field in a box."""

    name: str
    type: str
    y: float


@dataclass
class Box:
    """A collection, or (without one) the place through which a long relation passes."""

    id: str
    rank: int
    collection: Collection | None = None
    names: list[tuple[str, str]] = field(default_factory=list)
    more: int = 0
    x: float = 0
    y: float = 0

    @property
    def height(self) -> float:
        if self.collection is None:
            return PASSAGE
        return HEAD + LINE * (len(self.names) + (1 if self.more else 0)) + 6

    @property
    def lines(self) -> list[Line]:
        return [Line(name, kind, self.y + HEAD + LINE * n) for n, (name, kind) in enumerate(self.names)]

    def port(self, name: str) -> float:
        """The height at which a field's relation begins."""
        for line in self.lines:
            if line.name == name:
                return line.y + LINE / 2
        return self.y + self.height - LINE / 2


class Edge(NamedTuple):
    relation: Relation
    path: str
    end: tuple[float, float]
    start: tuple[float, float]


class Diagram(NamedTuple):
    boxes: list[Box]
    edges: list[Edge]
    width: float
    height: float


def relations_of(collections: Iterable[Collection]) -> list[Relation]:
    """The relation fields between these collections."""
    listed = list(collections)
    known = {each.id for each in listed}
    return [
        Relation(
            each.id, field.name, target, field.is_multiple, bool(getattr(field, "cascade_delete", False))
        )
        for each in listed
        for field in each.fields
        if (target := getattr(field, "collection_id", "")) in known
    ]


def lay_out(collections: Sequence[Collection]) -> Diagram:
    """Place the collections; the same ones always get the same places."""
    relations = relations_of(collections)
    ranks = ranks_of([each.id for each in collections], relations)
    boxes = {each.id: box_of(each, ranks[each.id]) for each in collections}
    linked = {each.source for each in relations} | {each.target for each in relations}
    layers: list[list[Box]] = [[] for _ in range(max(ranks.values(), default=0) + 1)]
    for each in collections:
        if each.id in linked:
            layers[ranks[each.id]].append(boxes[each.id])
    chains = [chain_of(number, each, boxes, layers) for number, each in enumerate(relations)]
    order(layers, chains)
    place(layers)
    bottom = max((box.y + box.height for layer in layers for box in layer), default=MARGIN - GAP_Y)
    place_alone([boxes[each.id] for each in collections if each.id not in linked], len(layers), bottom)
    edges = [
        edge_of(number, each, chain)
        for number, (each, chain) in enumerate(zip(relations, chains, strict=True))
    ]
    shown = list(boxes.values())
    right = max((box.x + WIDTH for box in shown), default=MARGIN) + GAP_X
    height = max((box.y + box.height for box in shown), default=MARGIN) + MARGIN
    return Diagram(shown, edges, right, height)


def box_of(collection: Collection, rank: int) -> Box:
    """A collection with its relations first, and as many other fields as there is room for."""
    fields = [each for each in collection.fields if not each.system or each.name == "email"]
    fields.sort(key=lambda each: not getattr(each, "collection_id", ""))
    names = [(each.name, each.type_name) for each in fields]
    kept = names if len(names) <= MAX_FIELDS else names[: MAX_FIELDS - 1]
    return Box(collection.id, rank, collection, kept, len(names) - len(kept))


def ranks_of(ids: Sequence[str], relations: Iterable[Relation]) -> dict[str, int]:
    """The column of each collection: one further right than all that it refers to; circles are cut open."""
    targets: dict[str, list[str]] = {id: [] for id in ids}
    for each in relations:
        if each.target != each.source:
            targets[each.source].append(each.target)
    ranks: dict[str, int] = {}
    entered: set[str] = set()

    def rank(id: str) -> int:
        if id not in ranks:
            entered.add(id)
            below = [rank(target) for target in targets[id] if target in ranks or target not in entered]
            ranks[id] = 1 + max(below, default=-1)
        return ranks[id]

    for id in ids:
        rank(id)
    return ranks


def chain_of(number: int, relation: Relation, boxes: Mapping[str, Box], layers: list[list[Box]]) -> list[Box]:
    """The boxes that a relation goes through, from its source to its target."""
    source, target = boxes[relation.source], boxes[relation.target]
    passages = []
    for rank in range(source.rank - 1, target.rank, -1):
        passage = Box(f"{number}:{rank}", rank)
        layers[rank].append(passage)
        passages.append(passage)
    return [source, *passages, target]


def order(layers: list[list[Box]], chains: Iterable[Sequence[Box]]) -> None:
    """Sort each column by the middle of the neighbours on one side, then on the other."""
    near: dict[str, list[Box]] = {}
    for chain in chains:
        for one, other in pairwise(chain):
            if one.rank != other.rank:
                near.setdefault(one.id, []).append(other)
                near.setdefault(other.id, []).append(one)
    for sweep in range(SWEEPS):
        ranks = range(len(layers)) if sweep % 2 == 0 else range(len(layers) - 1, -1, -1)
        side = -1 if sweep % 2 == 0 else 1
        at = {box.id: n / max(1, len(layer) - 1) for layer in layers for n, box in enumerate(layer)}
        for rank in ranks:
            layers[rank].sort(key=partial(middle, near, at, rank + side))
            at |= {box.id: n / max(1, len(layers[rank]) - 1) for n, box in enumerate(layers[rank])}


def middle(near: Mapping[str, list[Box]], at: Mapping[str, float], rank: int, box: Box) -> float:
    """Where the neighbours of a box in one column stand on average; its own place without any."""
    places = [at[each.id] for each in near.get(box.id, ()) if each.rank == rank]
    return sum(places) / len(places) if places else at[box.id]


def place(layers: Sequence[Sequence[Box]]) -> None:
    heights = [sum(box.height for box in layer) + GAP_Y * max(0, len(layer) - 1) for layer in layers]
    tallest = max(heights, default=0)
    for rank, layer in enumerate(layers):
        y = MARGIN + (tallest - heights[rank]) / 2
        for box in layer:
            box.x, box.y = MARGIN + rank * (WIDTH + GAP_X), y
            y += box.height + GAP_Y


def place_alone(boxes: Sequence[Box], columns: int, bottom: float) -> None:
    """Collections without relations stand in rows below the others."""
    columns = max(columns, 4)
    y = bottom + GAP_Y
    for start in range(0, len(boxes), columns):
        row = boxes[start : start + columns]
        for number, box in enumerate(row):
            box.x, box.y = MARGIN + number * (WIDTH + GAP_X), y
        y += max(box.height for box in row) + GAP_Y


def edge_of(number: int, relation: Relation, chain: Sequence[Box]) -> Edge:
    source, target = chain[0], chain[-1]
    lane = 18 + LANE * (number % LANES)
    y = source.port(relation.field)
    end_y = target.y + HEAD / 2
    if source.rank <= target.rank:
        # To itself, or against the order: out to the right and back.
        turn = max(source.x, target.x) + WIDTH + lane
        start, end = (source.x + WIDTH, y), (target.x + WIDTH, end_y)
        return Edge(relation, f"M{start[0]:g} {y:g}H{turn:g}V{end_y:g}H{end[0]:g}", end, start)
    path = f"M{source.x:g} {y:g}"
    for box in chain[1:]:
        at = end_y if box is target else box.y + PASSAGE / 2
        path += f"H{box.x + WIDTH + lane:g}V{at:g}"
        path += f"H{box.x + (WIDTH if box is target else 0):g}"
    return Edge(relation, path, (target.x + WIDTH, end_y), (source.x, y))
