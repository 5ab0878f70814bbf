"""Fields that a plugin keeps from callers: on every path that shows, filters, sorts or follows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from groundplane.context import RequestInfo
from groundplane.hooks import hookimpl
from groundplane.hooks.events import FieldVisibility
from groundplane.schema.collection import Collection
from groundplane.testing.plugins import GUEST, PASSWORD, AppWith, PluginApp, User, make_plugin

OWN = "@request.auth.id != '' && owner = @request.auth.id"


def discreet(*said: Any, name: str = "discreet") -> Any:
    @hookimpl
    def field_visibility(collection: Collection) -> Any:
        if collection.name != "people":
            return None
        answer = said[0] if len(said) == 1 and callable(said[0]) else list(said)
        return answer() if callable(answer) else answer

    return make_plugin(name, field_visibility)


SALARY = FieldVisibility("salary", OWN)
PHONE = FieldVisibility("phone", OWN, mask="***")
BOSS = FieldVisibility("boss", OWN)
NOTES = FieldVisibility("notes")  # nobody but superusers

FIELDS = [
    {"name": "name", "type": "text"},
    {"name": "salary", "type": "number"},
    {"name": "phone", "type": "text"},
    {"name": "notes", "type": "json"},
    {"name": "born", "type": "date"},
    {"name": "at", "type": "geoPoint"},
    {"name": "tags", "type": "select", "values": ["a", "b"], "maxSelect": 2},
]


class Office:
    """Two people, one of them the user's own, and a desk that points to them."""

    def __init__(self, app: PluginApp) -> None:
        self.app = app
        self.user = GUEST
        self.ids: list[str] = []
        self.desk = ""

    async def open(self) -> Office:
        app = self.app
        self.user = await app.as_user()
        users = app.services.schema.current.find("users").id
        owner = {"name": "owner", "type": "relation", "collectionId": users}
        people = await app.make_collection("people", [*FIELDS, owner])
        boss = {"name": "boss", "type": "relation", "collectionId": people.id}
        shown = [field.to_json() for field in people.fields]
        await app.services.collections.update("people", {"fields": [*shown, boss]})
        for name, owner_id in (("own", self.user.id), ("other", "")):
            more = {"born": "2000-01-01 00:00:00.000Z", "tags": ["a"], "at": {"lon": 1, "lat": 2}}
            values = {"name": name, "salary": 5, "phone": "123", "notes": {"a": 1}, "owner": owner_id, **more}
            if self.ids:
                values["boss"] = self.ids[0]
            self.ids.append((await app.make_record("people", **values))["id"])
        target = {"name": "who", "type": "relation", "collectionId": people.id, "maxSelect": 9}
        await app.make_collection("desks", [target])
        self.desk = (await app.make_record("desks", who=self.ids))["id"]
        return self

    async def get(self, path: str, user: User | None = None, **params: str) -> Any:
        return await self.app.ask(
            "GET", f"/api/collections/{path}", user=self.user if user is None else user, params=params
        )


@pytest.fixture
def office(app_with: AppWith) -> Callable[..., Any]:
    async def open_office(*said: Any) -> Office:
        app = await app_with(discreet(*(said or (SALARY, PHONE, BOSS, NOTES))))
        return await Office(app).open()

    return open_office


def check(own: dict[str, Any], other: dict[str, Any]) -> None:
    """Compare what the owner of the first sees of both."""
    assert (own["salary"], own["phone"]) == (5, "123")
    assert (other.get("salary"), other["phone"], other.get("boss")) == (None, "***", None)
    assert "salary" not in other
    assert "notes" not in own
    assert "notes" not in other
    assert other["name"] == "other"


async def test_lists_views_and_expands_show_what_the_caller_may_see(office: Any) -> None:
    here = await office()
    for _ in range(5):  # also when statements were learnt
        items = (await here.get("people/records", sort="@rowid")).json()["items"]
        check(*items)
        check(*[(await here.get(f"people/records/{each}")).json() for each in here.ids])
        desk = (await here.get(f"desks/records/{here.desk}", expand="who.boss,who.owner")).json()
        check(*desk["expand"]["who"])
        assert "boss" not in desk["expand"]["who"][1].get("expand", {})
    guest = (await here.get("people/records", GUEST)).json()["items"]
    assert [item["phone"] for item in guest] == ["***", "***"]
    assert not any("salary" in item for item in guest)
    superuser = (await here.get("people/records", await here.app.as_superuser())).json()["items"]
    assert [(item["salary"], item["notes"]) for item in superuser] == [(5, {"a": 1})] * 2


async def test_what_a_write_answers_shows_no_more(office: Any) -> None:
    here = await office()
    for _ in range(5):
        made = await here.app.send("POST", "people", user=here.user, json={"name": "new", "salary": 9})
        assert (made.status_code, made.json()["phone"]) == (200, "***")
        assert "salary" not in made.json()
    changed = await here.app.send("PATCH", "people", here.ids[1], user=here.user, json={"name": "x"})
    assert changed.status_code == 200
    assert "salary" not in changed.json()
    own = await here.app.send("PATCH", "people", here.ids[0], user=here.user, json={"name": "y"})
    assert own.json()["salary"] == 5
    requests = [{"method": "POST", "url": "/api/collections/people/records", "body": {"salary": 1}}]
    await here.app.services.settings.change({"batch": {"enabled": True}})
    batch = await here.app.ask("POST", "/api/batch", user=here.user, json={"requests": requests})
    assert batch.status_code == 200, batch.text
    assert "salary" not in batch.json()[0]["body"]


@pytest.mark.parametrize(
    "params",
    [
        {"filter": "salary > 1"},
        {"filter": "name = salary"},
        {"filter": "boss.name = 'own'"},
        {"filter": "boss = 'x' || name != ''"},
        {"filter": "people_via_boss.name ?= 'other'"},
        {"filter": "phone:lower = '123'"},
        {"filter": "strftime('%Y', notes.a) = '1'"},
        {"sort": "salary"},
        {"sort": "-boss.name"},
    ],
)
async def test_nobody_filters_or_sorts_by_such_a_field(office: Any, params: dict[str, str]) -> None:
    here = await office()
    for _ in range(4):
        assert (await here.get("people/records", **params)).status_code == 400
    assert (await here.get("desks/records", filter="who.salary ?> 1")).status_code == 400
    superuser = await here.app.as_superuser()
    assert (await here.get("people/records", superuser, **params)).status_code == 200


async def test_nobody_follows_such_a_field_backwards(office: Any) -> None:
    here = await office()
    record = (await here.get(f"people/records/{here.ids[0]}", expand="people_via_boss")).json()
    assert "expand" not in record or record["expand"] == {}


async def test_a_file_of_such_a_field_is_sent_to_those_who_see_its_name(app_with: AppWith) -> None:
    @hookimpl(collections=["papers"])
    def field_visibility(collection: Collection) -> list[FieldVisibility]:
        return [FieldVisibility("scan", OWN)]

    app = await app_with(make_plugin("discreet", field_visibility))
    user, other = await app.as_user(), await app.as_user("other@example.com")
    await app.make_collection("papers", [{"name": "owner", "type": "text"}, {"name": "scan", "type": "file"}])
    superuser = await app.as_superuser()
    more = {"data": {"owner": user.id}, "files": {"scan": ("a.txt", b"text")}}
    made = (await app.send("POST", "papers", user=superuser, **more)).json()
    path = f"/api/files/papers/{made['id']}/{made['scan']}"
    for who, status in ((user, 200), (other, 404), (superuser, 200)):
        token = (await app.ask("POST", "/api/files/token", user=who)).json()["token"]
        assert (await app.ask("GET", path, params={"token": token})).status_code == status
    assert (await app.ask("GET", path)).status_code == 404


async def test_realtime_tells_no_more(office: Any) -> None:
    here = await office()
    services = here.app.services
    people = services.schema.current.find("people")
    caller = await services.auth.callers.caller(here.user.token)
    rows = [await services.records.find_one(people, 'r."id" = $1', each) for each in here.ids]
    check(*await services.records.enrich(people, rows, RequestInfo(caller=caller)))
    # A record that is gone is judged by what it was.
    for each in here.ids:
        await services.records.delete_internal(people, each)
    check(*await services.records.enrich(people, rows, RequestInfo(caller=caller)))


async def test_a_sign_in_shows_the_own_record_in_the_same_way(app_with: AppWith) -> None:
    @hookimpl(collections=["users"])
    def field_visibility(collection: Collection) -> list[FieldVisibility]:
        return [FieldVisibility("name", "verified = true"), FieldVisibility("avatar", "", mask="")]

    app = await app_with(make_plugin("discreet", field_visibility))
    await app.as_user(name="Ada")
    for verified in (False, True):
        await app.services.db.execute("UPDATE users SET verified = $1", verified)
        form = {"identity": "user@example.com", "password": PASSWORD}
        answer = await app.ask("POST", "/api/collections/users/auth-with-password", json=form)
        assert answer.json()["record"].get("name") == ("Ada" if verified else None)


async def test_of_two_plugins_both_have_to_agree(app_with: AppWith) -> None:
    one = discreet(FieldVisibility("salary", "name = 'own'", mask=0), name="one")
    two = discreet(FieldVisibility("salary", OWN, mask=-1), name="two")
    here = await Office(await app_with(one, two)).open()
    items = (await here.get("people/records", sort="@rowid")).json()["items"]
    assert [item["salary"] for item in items] == [5, -1]
    await here.app.services.db.execute("UPDATE people SET name = 'renamed'")
    items = (await here.get("people/records")).json()["items"]
    assert [item["salary"] for item in items] == [-1, -1]


def raising() -> Any:
    raise RuntimeError("no")


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (raising, {"id"}),
        ("rubbish", {"id"}),
        ([FieldVisibility("salry", OWN)], {"id"}),
        ([FieldVisibility("id", OWN)], {"id"}),
        ([FieldVisibility("salary", OWN, mask=object())], {"id"}),
        ([FieldVisibility("salary", "nowhere = 1")], None),
        ([FieldVisibility("salary", "@request.auth.nothing ~")], None),
    ],
)
async def test_a_plugin_that_answers_nonsense_shows_less_and_never_more(
    app_with: AppWith, said: Any, seen: set[str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    answer = said if callable(said) else (lambda: said)
    here = await Office(await app_with(discreet(answer))).open()
    item = (await here.get("people/records")).json()["items"][0]
    assert "salary" not in item
    if seen is not None:
        assert item.keys() == seen | {"collectionId", "collectionName"}
    else:
        assert item["name"] == "own"
    assert "discreet" in caplog.text


async def test_a_plugin_that_cannot_start_shows_ids_only(app_with: AppWith) -> None:
    @hookimpl
    async def startup() -> None:
        raise RuntimeError("no")

    plugin = discreet(SALARY)
    plugin.startup = startup
    app = await app_with(plugin)
    await app.make_collection("notes", [{"name": "title", "type": "text"}])
    record = await app.make_record("notes", title="a")
    for _ in range(4):
        shown = (await app.send("GET", "notes", record["id"])).json()
        assert shown.keys() == {"collectionId", "collectionName", "id"}
    superuser = await app.as_superuser()
    assert (await app.send("GET", "notes", record["id"], user=superuser)).json()["title"] == "a"
