"""Whatever is asked together, each request gets its own answer: of its caller, its record, its page."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from groundplane.testing.live import LiveServer

USERS, NOTES, CONNECTIONS = 24, 1200, 48
RULE = "public = true || owner = @request.auth.id"
LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n")
PASSWORD = "1234567890"


class Note(NamedTuple):
    id: str
    number: int
    owner: int
    public: bool


class Case(NamedTuple):
    """A request and what its answer has to be: the status, and who is in it."""

    request: bytes
    status: int
    wanted: bytes
    total: int = -1
    numbers: tuple[int, ...] = ()


class Site(NamedTuple):
    port: int
    tokens: list[str]
    ids: list[str]
    notes: list[Note]


class Asker(asyncio.Protocol):
    """Asks one case after another on its connection, and looks at every answer."""

    def __init__(self, next_case: Callable[[], Case | None]) -> None:
        self.next_case = next_case
        self.buffer = b""
        self.case: Case | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        self.case = self.next_case()
        if self.case is None:
            self.done.set_result(None)
            self.transport.close()
        else:
            self.transport.write(self.case.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = LENGTH.search(head + b"\r\n")
        assert length is not None
        if len(body) < int(length[1]):
            return
        self.buffer = b""
        if self.case is not None and not self.done.done():
            try:
                check(self.case, int(head[9:12]), body)
            except (AssertionError, KeyError, ValueError) as error:
                self.done.set_exception(error)
                self.transport.close()
                return
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server has closed the connection"))


def check(case: Case, status: int, body: bytes) -> None:
    asked = case.request.split(b"\r\n", 1)[0]
    assert status == case.status, (asked, status, body[:300])
    assert case.wanted in body, (asked, body[:300])
    if case.total >= 0:
        found = json.loads(body)
        assert found["totalItems"] == case.total, (asked, found["totalItems"], case.total)
        assert tuple(item["number"] for item in found["items"]) == case.numbers, asked


def http(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    head = f"{method} /api/collections/notes/records{path} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


def view(site: Site, chosen: random.Random) -> Case:
    """A record by its id: the one asked for, or nothing where it is another's."""
    note, user = chosen.choice(site.notes), chosen.randrange(USERS)
    request = http("GET", f"/{note.id}", site.tokens[user])
    if note.public or note.owner == user:
        return Case(request, 200, b'"id":"%b","number":%d,' % (note.id.encode(), note.number))
    return Case(request, 404, b'"status":404')


def own_view(site: Site, chosen: random.Random) -> Case:
    note = chosen.choice(site.notes)
    request = http("GET", f"/{note.id}", site.tokens[note.owner])
    return Case(request, 200, b'"id":"%b","number":%d,' % (note.id.encode(), note.number))


def page(site: Site, chosen: random.Random) -> Case:
    """A page of a filter of its own, with the total; what the caller may see of it."""
    user, first = chosen.randrange(USERS), chosen.randrange(NOTES - 20)
    last = first + chosen.randrange(2, 20)
    numbers = [note.number for note in site.notes[first : last + 1] if note.public or note.owner == user]
    query = f"?filter=number>={first}.5%26%26number<={last}.5&sort=number&perPage=4"
    seen = [number for number in numbers if number != first]
    wanted = b'"items":[]' if not seen else b'"page":1'
    return Case(http("GET", query, site.tokens[user]), 200, wanted, total=len(seen), numbers=tuple(seen[:4]))


def create(site: Site, chosen: random.Random) -> Case:
    """A new private record beyond all that are looked for; the answer is what was sent."""
    user, tag = chosen.randrange(USERS), chosen.randrange(10**9)
    body = json.dumps({"number": 10**6 + tag, "owner": site.ids[user], "title": f"new {tag}"})
    wanted = b'"title":"new %d"' % tag
    return Case(http("POST", "", site.tokens[user], body.encode()), 200, wanted)


async def prepared(live: LiveServer) -> Site:
    url, client = live.url, live.client
    code, output = await live.command("superuser", "upsert", "admin@example.com", PASSWORD)
    assert code == 0, output
    signed_in = await client.post(
        f"{url}/api/collections/_superusers/auth-with-password",
        json={"identity": "admin@example.com", "password": PASSWORD},
    )
    headers = {"Authorization": signed_in.json()["token"]}

    async def ask(method: str, path: str, body: Any) -> Any:
        answer = await client.request(method, url + path, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    people = await ask("POST", "/api/collections", {"name": "people", "type": "auth"})
    fields = [
        {"name": "title", "type": "text"},
        {"name": "number", "type": "number"},
        {"name": "public", "type": "bool"},
        {"name": "owner", "type": "relation", "collectionId": people["id"], "maxSelect": 1},
    ]
    body = {"name": "notes", "type": "base", "fields": fields, "listRule": RULE, "viewRule": RULE}
    await ask("POST", "/api/collections", body | {"createRule": "owner = @request.auth.id"})
    await ask("PATCH", "/api/settings", {"batch": {"enabled": True, "maxRequests": 400, "timeout": 60}})
    ids, tokens = [], []
    for number in range(USERS):
        account = {"email": f"p{number}@example.com", "password": PASSWORD, "passwordConfirm": PASSWORD}
        ids.append((await ask("POST", "/api/collections/people/records", account))["id"])
        path = f"/api/collections/people/impersonate/{ids[-1]}"
        tokens.append((await ask("POST", path, {"duration": 3600}))["token"])
    notes: list[Note] = []
    for start in range(0, NOTES, 400):
        values = [
            {"title": f"n{n}", "number": n, "public": n % 3 == 0, "owner": ids[n * 7 % USERS]}
            for n in range(start, start + 400)
        ]
        requests = [
            {"method": "POST", "url": "/api/collections/notes/records", "body": each} for each in values
        ]
        for each in await ask("POST", "/api/batch", {"requests": requests}):
            n = int(each["body"]["number"])
            notes.append(Note(each["body"]["id"], n, n * 7 % USERS, n % 3 == 0))
    return Site(int(url.rsplit(":", 1)[1]), tokens, ids, notes)


async def ask_all(site: Site, count: int, seed: int) -> None:
    """Ask so many requests over many connections; some of the connections go away with an answer pending."""
    chosen = random.Random(seed)
    kinds = [own_view] * 66 + [view] * 20 + [page] * 10 + [create] * 4
    left = count

    def next_case() -> Case | None:
        nonlocal left
        left -= 1
        return chosen.choice(kinds)(site, chosen) if left >= 0 else None

    loop = asyncio.get_running_loop()
    askers = [
        (await loop.create_connection(lambda: Asker(next_case), "127.0.0.1", site.port))[1]
        for _ in range(CONNECTIONS)
    ]
    for _ in range(CONNECTIONS // 4):
        _, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(own_view(site, chosen).request * 2)
        await writer.drain()
        writer.transport.abort()
    await asyncio.gather(*(asker.done for asker in askers))


async def test_no_request_gets_the_answer_of_another(live_server: LiveServer) -> None:
    await ask_all(await prepared(live_server), 6_000, seed=1)


@pytest.mark.slow
async def test_no_request_of_a_million_gets_the_answer_of_another(live_server: LiveServer) -> None:
    site = await prepared(live_server)
    for batch in range(50):
        await ask_all(site, 20_000, seed=batch)
