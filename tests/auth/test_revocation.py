"""Whoever was thrown out is out: every way of it, every kind of token, in every process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from email import message_from_bytes
from email.policy import default
from typing import Any

import httpx
import pytest

from groundplane.app import open_services
from groundplane.auth.callers import AUTH, EMAIL_CHANGE, FILE, PASSWORD_RESET, TYPES, VERIFICATION, issue
from groundplane.config import Config
from groundplane.context import RequestInfo
from groundplane.errors import GroundplaneError
from groundplane.security.passwords import hash_password
from groundplane.services import Services
from groundplane.testing.live import LiveServer

COLLECTIONS = """
[[collections]]
name = "notes"
listRule = "@request.auth.id != ''"
viewRule = "@request.auth.id != ''"
createRule = ""

[[collections]]
name = "news"
listRule = ""
createRule = ""
"""
WITH_CODES = """
[[collections]]
name = "users"
type = "auth"
createRule = ""

[collections.otp]
enabled = true
"""
USERS = "/api/collections/users"
MAIL_S = 60.0
ALL = frozenset(TYPES)
MAILED = frozenset({VERIFICATION, PASSWORD_RESET, EMAIL_CHANGE})


class Nodes:
    """Two processes' worth of a server on one database, with one person who is signed in."""

    def __init__(self, here: Services, there: Services) -> None:
        self.here, self.there = here, there
        self.record: dict[str, Any] = {}
        self.tokens: dict[str, str] = {}
        self.other = ""  # another session of the same person

    @property
    def users(self) -> Any:
        return self.here.schema.current.find("users")

    async def prepare(self) -> None:
        values = {"email": "a@example.com", "password": await hash_password("1234567890")}
        self.record = await self.here.records.create_internal(self.users, values)
        info = RequestInfo(ip="10.0.0.1")
        self.tokens = {
            kind: issue(
                self.users, self.record, kind, **({"newEmail": "b@x.io"} if kind == EMAIL_CHANGE else {})
            )
            for kind in TYPES
        }
        self.tokens[AUTH] = await self.here.sessions.begin(self.users, self.record, "password", info)
        self.other = await self.here.sessions.begin(self.users, self.record, "password", info)
        for node in (self.here, self.there):
            assert await self.taken(node) == ALL
            # As plain reads find it, without looking anything up.
            assert node.auth.callers.remembered(self.tokens[AUTH]) is not None

    async def taken(self, node: Services) -> frozenset[str]:
        """The kinds of tokens that a process takes."""
        found = set()
        for kind, token in self.tokens.items():
            caller = await node.auth.callers.caller(token, kind)
            if caller is not None:
                found.add(kind)
        return frozenset(found)

    async def remembers(self, node: Services) -> bool:
        """Whether a plain read would still be answered for the token."""
        asker = node.auth.callers.remembered(self.tokens[AUTH])
        if asker is None:
            return False
        key = await node.db.fetchval('SELECT "tokenKey" FROM users WHERE id = $1', self.record["id"])
        return bool(asker.proof == key)

    # What may happen

    async def password_change(self) -> None:
        await self._save(password=await hash_password("another one"))

    async def email_change(self) -> None:
        await self._save(email="b@example.com", verified=True)

    async def deletion(self) -> None:
        await self.here.records.delete_internal(self.users, self.record["id"])

    async def rule_change(self) -> None:
        await self.here.collections.update("users", {"authRule": "verified = true"})

    async def new_file_secret(self) -> None:
        await self.here.collections.update("users", {"fileToken": {"secret": "n" * 40}})

    async def sign_out_everywhere(self) -> None:
        await self.here.sessions.end_all(self.users, self.record["id"])

    async def sign_out_here(self) -> None:
        caller = await self.here.auth.callers.caller(self.tokens[AUTH])
        assert caller is not None
        session = await self.here.sessions.current(caller)
        await self.here.sessions.end(self.users, self.record["id"], session)

    async def _save(self, **changes: Any) -> None:
        await self.here.records.save_fields(self.users, self.record["id"], changes)


@pytest.fixture
async def nodes(server_database_url: str, tmp_path: Any) -> AsyncIterator[Nodes]:
    async with AsyncExitStack() as stack:
        config = Config(data_dir=str(tmp_path))
        opened = [
            await stack.enter_async_context(open_services(config, server_database_url)) for _ in range(2)
        ]
        nodes = Nodes(*opened)
        await nodes.prepare()
        yield nodes


@pytest.mark.parametrize(
    ("event", "left"),
    [
        ("password_change", frozenset()),
        ("email_change", frozenset()),
        ("deletion", frozenset()),
        ("sign_out_everywhere", frozenset()),
        ("rule_change", ALL - {AUTH}),
        ("new_file_secret", ALL - {FILE}),
        ("sign_out_here", MAILED),
    ],
)
async def test_what_ends_which_tokens(nodes: Nodes, event: str, left: frozenset[str]) -> None:
    happen: Callable[[], Awaitable[None]] = getattr(nodes, event)
    await happen()
    for node in (nodes.here, nodes.there):
        assert await nodes.taken(node) == left
        assert await nodes.remembers(node) is (AUTH in left)


async def test_another_session_goes_on_and_gets_new_file_tokens(nodes: Nodes) -> None:
    await nodes.sign_out_here()
    for node in (nodes.here, nodes.there):
        caller = await node.auth.callers.caller(nodes.other)
        assert caller is not None
        fresh = node.auth.callers.file_token(node.schema.current.find("users"), caller.record)
        for other in (nodes.here, nodes.there):
            assert await other.auth.callers.caller(fresh, FILE) is not None


async def test_a_process_that_may_have_missed_a_message_looks_again(nodes: Nodes) -> None:
    # As if the message had been lost: written past the other process.
    await nodes.there.db.execute(
        """INSERT INTO _refused_tokens SELECT mark, 'infinity', expires FROM _session_tokens"""
    )
    assert nodes.here.auth.callers.remembered(nodes.tokens[AUTH]) is not None
    await nodes.here.catch_up()
    assert nodes.here.auth.callers.remembered(nodes.tokens[AUTH]) is None
    assert await nodes.here.auth.callers.caller(nodes.tokens[AUTH]) is None


async def test_a_look_that_was_under_way_when_the_session_ended_is_not_remembered(nodes: Nodes) -> None:
    callers = nodes.there.auth.callers
    for _ in range(20):
        callers.forget()
        looking = asyncio.create_task(callers.caller(nodes.tokens[AUTH]))
        await asyncio.sleep(0)
        callers.forget(nodes.users.id, nodes.record["id"])
        await looking
        assert callers.remembered(nodes.tokens[AUTH]) is None


async def test_a_revoked_key_is_unknown_everywhere(nodes: Nodes) -> None:
    key, text = await nodes.here.keys.create({"name": "robot", "access": "superuser"})
    assert await nodes.there.keys.caller(text) is not None
    await nodes.here.keys.revoke(key.id)
    assert await nodes.here.keys.caller(text) is None
    assert await nodes.there.keys.caller(text) is None


async def test_a_stream_that_another_process_holds_becomes_a_guests_with_the_session(nodes: Nodes) -> None:
    client = await nodes.there.realtime.open("10.0.0.1", "10.0.0.1")
    caller = await nodes.here.auth.callers.caller(nodes.tokens[AUTH])
    await nodes.here.streams.subscribe(client.id, "10.0.0.1", caller, ["users/*"])
    assert client.caller is not None
    assert client.caller.mark == caller.mark
    await nodes.sign_out_here()
    assert client.caller is None


async def test_a_stream_that_another_process_holds_acts_with_a_key_until_it_is_revoked(nodes: Nodes) -> None:
    scopes = [{"collections": ["users"], "actions": ["list"]}]
    key, text = await nodes.here.keys.create({"name": "robot", "access": "full", "scopes": scopes})
    caller = await nodes.here.keys.caller(text)
    for node in (nodes.here, nodes.there):
        client = await node.realtime.open("10.0.0.1", "10.0.0.1")
        for wrong in ("_superusers/*", "users/abc", "nothing/*", '*?options={"query":{"expand":"x"}}'):
            with pytest.raises(GroundplaneError, match="not allowed"):
                await nodes.here.streams.subscribe(client.id, "10.0.0.1", caller, [wrong])
        await nodes.here.streams.subscribe(client.id, "10.0.0.1", caller, ["users/*"])
        assert client.caller == caller
    await nodes.here.keys.revoke(key.id)
    for node in (nodes.here, nodes.there):
        assert [each.caller for each in node.realtime.clients] == [None]


async def each_worker(live: LiveServer, method: str, path: str, header: dict[str, str]) -> set[int]:
    """The statuses over connections of their own, which reach both workers."""

    async def once() -> int:
        async with httpx.AsyncClient(base_url=live.url, timeout=60) as client:
            return (await client.request(method, path, headers=header)).status_code

    return set(await asyncio.gather(*(once() for _ in range(12))))


async def test_every_worker_refuses_who_signed_out_and_the_stream_becomes_a_guests(
    server_database_url: str, tmp_path: Any
) -> None:
    async with LiveServer(tmp_path / "live", server_database_url, config=COLLECTIONS) as live:
        body = {"email": "a@example.com", "password": "1234567890", "passwordConfirm": "1234567890"}
        assert (await live.client.post("/api/collections/users/records", json=body)).status_code == 200
        sign_in = {"identity": "a@example.com", "password": "1234567890"}
        url = "/api/collections/users/auth-with-password"
        answers = [await live.client.post(url, json=sign_in) for _ in range(2)]
        first, second = ({"Authorization": answer.json()["token"]} for answer in answers)
        refresh = "/api/collections/users/auth-refresh"
        assert await each_worker(live, "POST", refresh, first) == {200}
        note = (await live.client.post("/api/collections/notes/records", json={})).json()
        plain = f"/api/collections/notes/records/{note['id']}"
        async with live.client.stream("GET", "/api/realtime") as stream:
            lines = stream.aiter_lines()
            hello = [await anext(lines) for _ in range(4)]
            wish = {"clientId": hello[0].removeprefix("id:"), "subscriptions": ["notes/*", "news/*"]}
            answer = await live.client.post("/api/realtime", json=wish, headers=first)
            assert answer.status_code == 204, answer.text

            async def hears_of_notes() -> bool:
                """Whether the stream tells of a note, which not everybody hears of, before news of later."""
                for name in ("notes", "news"):
                    made = await live.client.post(f"/api/collections/{name}/records", json={})
                    assert made.status_code == 200, made.text
                heard = []
                while "event:news/*" not in heard:
                    heard.append(await anext(lines))
                return "event:notes/*" in heard

            assert await hears_of_notes()
            for _ in range(2):  # once to look the token up, then from memory
                assert await each_worker(live, "GET", plain, first) == {200}
            ended = await live.client.delete("/api/collections/users/sessions/current", headers=first)
            assert ended.status_code == 204
            assert await each_worker(live, "GET", plain, first) == {404}
            assert await each_worker(live, "GET", plain, second) == {200}
            assert await each_worker(live, "POST", refresh, first) == {401}
            assert await each_worker(live, "POST", refresh, second) == {200}
            assert not await hears_of_notes()


class People:
    """Accounts of a running server with two workers, and the mails that they get."""

    def __init__(self, live: LiveServer) -> None:
        self.live = live

    async def post(self, path: str, body: dict[str, Any], header: dict[str, str] | None = None) -> Any:
        answer = await self.live.client.post(f"{USERS}/{path}", json=body, headers=header)
        assert answer.status_code in (200, 204), answer.text
        return answer.json() if answer.content else None

    async def sign_up(self, address: str) -> dict[str, str]:
        """Make an account; returns the header of its requests."""
        password = {"password": "1234567890", "passwordConfirm": "1234567890"}
        await self.post("records", {"email": address, **password})
        signed_in = await self.post("auth-with-password", {"identity": address, "password": "1234567890"})
        return {"Authorization": signed_in["token"]}

    async def mailed(self, address: str, pattern: str) -> str:
        """What stands in the mail to an address, which a job sends at any time."""
        folder = self.live.data_dir / "outbox"
        async with asyncio.timeout(MAIL_S):
            while True:
                for path in folder.glob("*.eml"):
                    mail = message_from_bytes(path.read_bytes(), policy=default)
                    body = mail.get_body(("plain",))
                    if mail["to"] != address or body is None:
                        continue
                    if found := re.search(pattern, body.get_content()):
                        return found[1]
                await asyncio.sleep(0.05)

    async def password_reset(self, address: str, header: dict[str, str]) -> None:
        await self.post("request-password-reset", {"email": address})
        token = await self.mailed(address, r"confirm-password-reset/([\w.-]+)")
        passwords = {"password": "another one", "passwordConfirm": "another one"}
        await self.post("confirm-password-reset", {"token": token, **passwords})

    async def email_change(self, address: str, header: dict[str, str]) -> None:
        await self.post("request-email-change", {"newEmail": f"new-{address}"}, header)
        token = await self.mailed(f"new-{address}", r"confirm-email-change/([\w.-]+)")
        await self.post("confirm-email-change", {"token": token, "password": "1234567890"})

    async def one_time_password(self, address: str, header: dict[str, str]) -> None:
        """Whoever reads the mails of an address that nobody has proven yet has the account from then on."""
        asked = await self.post("request-otp", {"email": address})
        code = await self.mailed(address, r"\b(\d{8})\b")
        signed_in = await self.post("auth-with-otp", {"otpId": asked["otpId"], "password": code})
        mine = {"Authorization": signed_in["token"]}
        assert await each_worker(self.live, "POST", f"{USERS}/auth-refresh", mine) == {200}


async def test_every_worker_refuses_who_signed_in_before_the_account_changed_hands(
    server_database_url: str, tmp_path: Any
) -> None:
    async with LiveServer(tmp_path / "live", server_database_url, config=COLLECTIONS + WITH_CODES) as live:
        people = People(live)
        note = (await live.client.post("/api/collections/notes/records", json={})).json()
        plain = f"/api/collections/notes/records/{note['id']}"
        other = await people.sign_up("other@example.com")

        async def lose(number: int, happen: Callable[[str, dict[str, str]], Awaitable[None]]) -> None:
            address = f"a{number}@example.com"
            header = await people.sign_up(address)
            for _ in range(2):  # once to look the token up, then from memory
                assert await each_worker(live, "GET", plain, header) == {200}
            await happen(address, header)
            assert await each_worker(live, "GET", plain, header) == {404}, address
            assert await each_worker(live, "POST", f"{USERS}/auth-refresh", header) == {401}, address

        ways = (people.password_reset, people.email_change, people.one_time_password)
        await asyncio.gather(*(lose(number, happen) for number, happen in enumerate(ways)))
        assert await each_worker(live, "GET", plain, other) == {200}


@pytest.mark.slow  # a process for each command
async def test_keys_are_made_and_revoked_on_the_command_line_beside_a_running_server(
    server_database_url: str, tmp_path: Any
) -> None:
    async with LiveServer(tmp_path / "live", server_database_url, config=COLLECTIONS) as live:
        made, key = await live.command("keys", "create", "robot", "--scope", "notes,news:list")
        assert made == 0, key
        robot = {"Authorization": f"Bearer {key.strip()}"}
        assert await each_worker(live, "GET", "/api/collections/notes/records", robot) == {200}
        assert await each_worker(live, "GET", "/api/collections/users/records", robot) == {403}
        _, listed = await live.command("keys", "list")
        assert "robot" in listed
        revoked, said = await live.command("keys", "revoke", listed.split()[0])
        assert revoked == 0, said
        assert await each_worker(live, "GET", "/api/collections/users/records", robot) == {200}, "a guest"
        failed, said = await live.command("keys", "create", "robot", "--scope", "nothing:list")
        assert failed == 1
        assert "collections: Missing or invalid collection." in said
