"""The layout of the diagram: depth from left to right, nothing over anything else, circles no trap."""

from __future__ import annotations

from itertools import combinations

from groundplane.schema.collection import Collection
from groundplane.schema.fields.relation import RelationField
from groundplane_admin.diagram.layout import GAP_X, WIDTH, Diagram, lay_out


def collection(name: str, *targets: str) -> Collection:
    fields = [
        RelationField(id=f"f{n}", name=f"to_{target}", collection_id=target)
        for n, target in enumerate(targets)
    ]
    return Collection(id=name, name=name, fields=fields)


def refuse_overlaps(drawn: Diagram) -> None:
    for one, other in combinations(drawn.boxes, 2):
        apart = one.x + WIDTH <= other.x or other.x + WIDTH <= one.x
        assert apart or one.y + one.height <= other.y or other.y + other.height <= one.y
    for box in drawn.boxes:
        assert box.x + WIDTH <= drawn.width
        assert box.y + box.height <= drawn.height


def test_what_refers_stands_right_of_what_it_refers_to() -> None:
    drawn = lay_out(
        [collection("comments", "posts", "users"), collection("posts", "users"), collection("users")]
    )
    refuse_overlaps(drawn)
    x = {box.id: box.x for box in drawn.boxes}
    assert x["users"] < x["posts"] < x["comments"]
    assert len(drawn.edges) == 3


def test_a_long_relation_does_not_cross_a_box() -> None:
    drawn = lay_out([collection("c", "b", "a"), collection("b", "a"), collection("a")])
    box = next(box for box in drawn.boxes if box.id == "b")
    edge = next(edge for edge in drawn.edges if (edge.relation.source, edge.relation.target) == ("c", "a"))
    heights = [float(part.split("H")[0]) for part in edge.path.split("V")[1:]]
    assert all(not (box.y <= height <= box.y + box.height) for height in heights[:-1])


def test_circles_and_relations_to_itself_are_drawn() -> None:
    drawn = lay_out(
        [collection("a", "b"), collection("b", "a"), collection("tree", "tree"), collection("alone")]
    )
    refuse_overlaps(drawn)
    assert len(drawn.edges) == 3


def test_a_hundred_collections_are_placed_apart() -> None:
    made = [collection("c0")]
    made += [collection(f"c{n}", f"c{n // 3}", f"c{n // 7}") for n in range(1, 100)]
    drawn = lay_out(made)
    refuse_overlaps(drawn)
    assert drawn.width < 10 * (WIDTH + GAP_X)


def test_nothing_is_a_picture_too() -> None:
    assert lay_out([]).edges == []
