"""The operations that are measured: what is asked, by whom, and what must come back.

No two neighbouring requests of a case are the same: ids, filters, bodies and callers are drawn at random.
"""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable
from typing import NamedTuple

from bench_load import RequestMaker, http
from bench_server import PASSWORD, PEOPLE, PROJECTS, Data, Installation, post, row_id

POSTS, DRAFTS = "/api/collections/posts/records", "/api/collections/drafts/records"
MEMOS = "/api/collections/memos/records"
PAPERS = "/api/files/papers"
DELETABLE_PER_SECOND = 12_000  # drafts that are made for the deletions of a second
DUPLICATES = 0.02


class Case(NamedTuple):
    """`sql` names what has to be put right in the database around it."""

    key: str
    title: str
    make: Callable[[Data], RequestMaker]
    expect: tuple[int, ...] = (200,)
    writes: str = ""  # the table that it changes
    drafts: bool = False  # needs drafts to delete
    hooks: int = 0
    log: bool = True
    static: bool = False  # of the static file server, not of ours

    def prepare(self, installation: Installation, seconds: float) -> None:
        if self.drafts:
            count = int(DELETABLE_PER_SECOND * seconds)
            installation.sql(
                "INSERT INTO drafts (id, slug, title, body, category, score, published, owner, created, updated) "
                "SELECT 'd' || left(md5('draft' || n), 14), 'slug' || n, 'Draft ' || n, 'text', 'news', n, true, "
                f"'p' || left(md5('person' || n % {PEOPLE}), 14), now(), now() FROM generate_series(0, {count - 1}) n"
            )
            installation.sql("VACUUM ANALYZE drafts")
        if not self.log:
            installation.settings({"logs": {"maxDays": 0}})

    def clean(self, installation: Installation) -> None:
        if not self.log:
            installation.settings({"logs": {"maxDays": 5}})
        if self.writes == "posts":
            installation.sql("DELETE FROM posts WHERE created > timestamptz '2026-10-01'")
            installation.sql("VACUUM posts")
        elif self.writes:
            installation.sql(f"TRUNCATE {self.writes}")


def hello_case(_: Data | None = None) -> RequestMaker:
    count = itertools.count()
    return lambda: http("GET", f"/?n={next(count)}")


def view(data: Data) -> RequestMaker:
    """View a random post: a published one as anybody, another as its owner."""
    draw = random.Random(1).random

    def make() -> bytes:
        number = int(draw() * data.rows)
        reader = int(draw() * PEOPLE) if data.is_published(number) else data.owner(number)
        return http("GET", f"{POSTS}/{row_id('post', number)}", token=data.tokens[reader])

    return make


def view_memo(query: str) -> Callable[[Data], RequestMaker]:
    """View a memo, visible because of its project; three projects in four are open."""

    def maker(data: Data) -> RequestMaker:
        draw = random.Random(2).random
        memos = min(data.rows, 10_000)

        def make() -> bytes:
            number = int(draw() * memos)
            project = number % PROJECTS
            reader = int(draw() * PEOPLE) if project % 4 else project % PEOPLE
            return http("GET", f"{MEMOS}/{row_id('memo', number)}{query}", token=data.tokens[reader])

        return make

    return maker


def newest(path: str, query: str) -> Callable[[Data], RequestMaker]:
    """List the 30 newest above a random score; between half and all of the rows are."""

    def maker(data: Data) -> RequestMaker:
        draw = random.Random(3).random

        def make() -> bytes:
            target = f"{path}?perPage=30&sort=-created&filter=score%3E{draw() * 5000:.3f}{query}"
            return http("GET", target, token=data.tokens[int(draw() * PEOPLE)])

        return make

    return maker


def create(path: str, *, slug: bool = False, duplicates: float = 0.0) -> Callable[[Data], RequestMaker]:
    def maker(data: Data) -> RequestMaker:
        draw = random.Random(4).random
        # Every run has its own slugs.
        count = itertools.count(time.time_ns() // 1000)
        last = next(count)

        def make() -> bytes:
            nonlocal last
            if not duplicates or draw() >= duplicates:
                last = next(count)
            owner = int(draw() * PEOPLE)
            body = post(last, owner)
            if slug:
                body["slug"] = f"slug-{last}"
            return http("POST", path, token=data.tokens[owner], body=json.dumps(body).encode())

        return make

    return maker


def update(data: Data) -> RequestMaker:
    """Change title and score of a random post, as its owner."""
    draw = random.Random(5).random
    count = itertools.count()

    def make() -> bytes:
        number = int(draw() * data.rows)
        body = {"title": f"Changed {next(count)}", "score": int(draw() * 10_000)}
        token = data.tokens[data.owner(number)]
        return http("PATCH", f"{POSTS}/{row_id('post', number)}", token=token, body=json.dumps(body).encode())

    return make


def delete(data: Data) -> RequestMaker:
    count = itertools.count()

    def make() -> bytes:
        number = next(count)
        return http("DELETE", f"{DRAFTS}/{row_id('draft', number)}", token=data.tokens[data.owner(number)])

    return make


def mixed(data: Data) -> RequestMaker:
    """80 % views, 15 % lists, 5 % creates."""
    draw = random.Random(6).random
    views, lists, creates = view(data), newest(POSTS, "&skipTotal=1")(data), create(POSTS)(data)

    def make() -> bytes:
        kind = draw()
        return views() if kind < 0.8 else lists() if kind < 0.95 else creates()

    return make


def small_paper(data: Data) -> RequestMaker:
    draw = random.Random(7).random
    return lambda: http("GET", f"{PAPERS}/{data.papers[int(draw() * (len(data.papers) - 1))]}")


def large_paper(data: Data) -> RequestMaker:
    return lambda: http("GET", f"{PAPERS}/{data.papers[-1]}")


def static_small(data: Data) -> RequestMaker:
    draw = random.Random(7).random
    return lambda: http("GET", f"/{int(draw() * (len(data.papers) - 1))}.bin")


def static_large(data: Data) -> RequestMaker:
    return lambda: http("GET", f"/{len(data.papers) - 1}.bin")


def sign_in(data: Data) -> RequestMaker:
    numbers = itertools.cycle(range(PEOPLE))

    def make() -> bytes:
        body = json.dumps({"identity": f"person{next(numbers)}@example.com", "password": PASSWORD})
        return http("POST", "/api/collections/people/auth-with-password", body=body.encode())

    return make


LIST = newest(POSTS, "&skipTotal=1")

CASES = (
    Case("get", "get by random id", view),
    Case("list", "list of 30 newest, filter, no total", LIST),
    Case("list_total", "the same with total, distinct filters", newest(POSTS, "")),
    Case("create", "create", create(POSTS), writes="posts"),
    Case("mixed", "mixed 80/15/5 (get, list, create)", mixed, writes="posts"),
    Case("update", "update two fields", update, writes="posts"),
    Case("delete", "delete", delete, expect=(204,), writes="drafts", drafts=True),
    Case("sign_in", "sign-in", sign_in),
    Case("get_relation", "get, rule on a relation", view_memo("")),
    Case("get_expand", "the same with expand", view_memo("?expand=project")),
    Case("get_fields", "get, rule on a relation, with fields", view_memo("?fields=id,title,score")),
    Case("list_relation", "list, rule on a relation", newest(MEMOS, "&skipTotal=1")),
    Case("list_expand", "the same with expand", newest(MEMOS, "&skipTotal=1&expand=project")),
    Case("list_fields", "list with fields", newest(POSTS, "&skipTotal=1&fields=id,title,score")),
    Case("get_no_log", "get, request log off", view, log=False),
    Case("create_1_hook", "create, a plugin hears of it", create(POSTS), writes="posts", hooks=1),
    Case("create_10_hooks", "create, ten plugins hear of it", create(POSTS), writes="posts", hooks=10),
    Case("create_unique", "create, a unique field", create(DRAFTS, slug=True), writes="drafts"),
    Case(
        "create_duplicates",
        "the same, 2 % duplicates",
        create(DRAFTS, slug=True, duplicates=DUPLICATES),
        expect=(200, 400),
        writes="drafts",
    ),
    Case("file_small", "download of 100 KiB", small_paper),
    Case("static_small", "the same from a static file server", static_small, static=True),
    Case("file_large", "download of 50 MB", large_paper),
    Case("static_large", "the same from a static file server", static_large, static=True),
)
BY_KEY = {case.key: case for case in CASES}
