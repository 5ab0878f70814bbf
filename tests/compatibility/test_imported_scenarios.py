"""Requests over an imported PocketBase 0.39 folder: what each answers, by the wire contract.

Each row is one request against a fresh copy of the imported database: status, texts that must and must
not be in the body. The data is PocketBase's own sample, so ids and values below are its.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from tests.compatibility.imported import GENERIC, NOT_FOUND, ONLY_SUPERUSERS, Imported, imported_copy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    real_inputs: Path, postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Imported]:
    """For requests that change nothing."""
    async for imported in imported_copy(postgres_url, tmp_path_factory.mktemp("shared")):
        yield imported


@pytest_asyncio.fixture(loop_scope="module")
async def own(real_inputs: Path, postgres_url: str, tmp_path: Path) -> AsyncIterator[Imported]:
    """For a request that changes something."""
    async for imported in imported_copy(postgres_url, tmp_path):
        yield imported


class Scenario(NamedTuple):
    name: str
    request: str
    status: int
    caller: str = "guest"
    body: Any = None
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    exact: str | None = None
    headers: Mapping[str, str] = MappingProxyType({})


LIST = (
    Scenario(
        "an unknown collection",
        "GET /api/collections/missing/records",
        404,
        has=('"message":"Missing collection context."', '"data":{}', '"status":404'),
    ),
    Scenario(
        "a locked collection as a guest",
        "GET /api/collections/demo1/records",
        403,
        has=(ONLY_SUPERUSERS, '"data":{}'),
    ),
    Scenario(
        "a locked collection as a user",
        "GET /api/collections/demo1/records",
        403,
        "user",
        has=(ONLY_SUPERUSERS,),
    ),
    Scenario(
        "a locked collection as a superuser",
        "GET /api/collections/demo1/records",
        200,
        "superuser",
        has=(
            '"page":1',
            '"perPage":30',
            '"totalItems":3',
            '"totalPages":1',
            '"id":"84nmscqy84lsi1t"',
            '"json":[1,2,3]',
            '"point":{"lat":40.712728,"lon":-74.006015}'.replace(
                '"lat":40.712728,"lon":-74.006015', '"lon":-74.006015,"lat":40.712728'
            ),
        ),
    ),
    Scenario(
        "a rule that a guest fails gives an empty page",
        "GET /api/collections/demo3/records",
        200,
        has=('"items":[]', '"totalItems":0', '"totalPages":0'),
    ),
    Scenario(
        "the collection by id",
        "GET /api/collections/wzlqyes4orhoygb/records",
        200,
        "client",
        has=('"totalItems":4', '"id":"1tmknxy2868d869"'),
    ),
    Scenario(
        "the collection name in other case",
        "GET /api/collections/DEMO2/records",
        200,
        has=('"totalItems":3', '"collectionName":"demo2"'),
    ),
    Scenario("the id in other case is unknown", "GET /api/collections/WZLQYES4ORHOYGB/records", 404),
    Scenario(
        "a rule with comments", "GET /api/collections/demo3/records", 200, "client", has=('"totalItems":4',)
    ),
    Scenario(
        "a rule on the caller's collection name",
        "GET /api/collections/demo3/records",
        200,
        "user",
        has=('"totalItems":0',),
    ),
    Scenario("a trailing slash is no route", "GET /api/collections/demo2/records/", 404, has=(NOT_FOUND,)),
    Scenario("PUT is no route", "PUT /api/collections/demo2/records", 404, has=(NOT_FOUND,)),
    Scenario(
        "page and perPage",
        "GET /api/collections/demo2/records?page=2&perPage=2",
        200,
        has=('"page":2', '"perPage":2', '"totalItems":3', '"totalPages":2', '"id":"0yxhwia2amd8gec"'),
        lacks=("llvuca81nly1qls",),
    ),
    Scenario(
        "a page beyond the end",
        "GET /api/collections/demo2/records?page=9",
        200,
        has=('"items":[]', '"page":9', '"totalItems":3'),
    ),
    Scenario("page below one", "GET /api/collections/demo2/records?page=-5", 200, has=('"page":1',)),
    Scenario(
        "perPage zero is the default",
        "GET /api/collections/demo2/records?perPage=0",
        200,
        has=('"perPage":30',),
    ),
    Scenario(
        "perPage above the maximum",
        "GET /api/collections/demo2/records?perPage=5000",
        200,
        has=('"perPage":1000',),
    ),
    Scenario(
        "page that is no number", "GET /api/collections/demo2/records?page=a", 400, has=(GENERIC, '"data":{}')
    ),
    Scenario(
        "page with sign and zeros", "GET /api/collections/demo2/records?page=%2B001", 200, has=('"page":1',)
    ),
    Scenario(
        "page too large for 64 bits", "GET /api/collections/demo2/records?page=9223372036854775808", 400
    ),
    Scenario("an empty page parameter", "GET /api/collections/demo2/records?page=", 200, has=('"page":1',)),
    Scenario(
        "only the first page parameter counts",
        "GET /api/collections/demo2/records?perPage=1&perPage=2",
        200,
        has=('"perPage":1,',),
    ),
    Scenario(
        "skipTotal",
        "GET /api/collections/demo2/records?skipTotal=1",
        200,
        has=('"totalItems":-1', '"totalPages":-1', '"id":"llvuca81nly1qls"'),
    ),
    Scenario(
        "skipTotal false", "GET /api/collections/demo2/records?skipTotal=False", 200, has=('"totalItems":3',)
    ),
    Scenario("skipTotal of another word", "GET /api/collections/demo2/records?skipTotal=yes", 400),
    Scenario(
        "sort ascending",
        "GET /api/collections/demo2/records?sort=title",
        200,
        exact='["llvuca81nly1qls","achvryl401bhse3","0yxhwia2amd8gec"]',
    ),
    Scenario(
        "sort descending",
        "GET /api/collections/demo2/records?sort=-title",
        200,
        exact='["0yxhwia2amd8gec","achvryl401bhse3","llvuca81nly1qls"]',
    ),
    Scenario(
        "sort by several",
        "GET /api/collections/demo2/records?sort=-active,-title",
        200,
        exact='["0yxhwia2amd8gec","achvryl401bhse3","llvuca81nly1qls"]',
    ),
    Scenario(
        "sort with a plus",
        "GET /api/collections/demo2/records?sort=+title",
        200,
        exact='["llvuca81nly1qls","achvryl401bhse3","0yxhwia2amd8gec"]',
    ),
    Scenario(
        "sort by insertion order",
        "GET /api/collections/demo2/records?sort=-@rowid",
        200,
        exact='["0yxhwia2amd8gec","achvryl401bhse3","llvuca81nly1qls"]',
    ),
    Scenario(
        "sort at random", "GET /api/collections/demo2/records?sort=@random", 200, has=('"totalItems":3',)
    ),
    Scenario(
        "sort by an unknown field", "GET /api/collections/demo2/records?sort=missing", 400, has=(GENERIC,)
    ),
    Scenario("sort with an empty entry", "GET /api/collections/demo2/records?sort=title,", 400),
    Scenario("sort with two signs", "GET /api/collections/demo2/records?sort=--title", 400),
    Scenario("sort by a constant", "GET /api/collections/demo2/records?sort=@now", 400),
    Scenario(
        "sort by nine fields", "GET /api/collections/demo2/records?sort=" + ",".join(["title"] * 9), 400
    ),
    Scenario("sort a view by rowid", "GET /api/collections/view2/records?sort=@rowid", 400),
    Scenario(
        "sort by request data as a guest",
        "GET /api/collections/demo2/records?sort=@request.method",
        403,
        has=("Only superusers can filter by @request.",),
    ),
    Scenario(
        "sort by request data as a superuser",
        "GET /api/collections/demo2/records?sort=@request.method",
        400,
        "superuser",
    ),
    Scenario(
        "sort by a relation path",
        "GET /api/collections/demo4/records?sort=-self_rel_one.title",
        200,
        "superuser",
        exact='["qzaqccwrmva4o1n","i9naidtvr6qsgb4"]',
    ),
    Scenario(
        "filter equal",
        "GET /api/collections/demo2/records?filter=title='test2'",
        200,
        has=('"totalItems":1', '"id":"achvryl401bhse3"'),
    ),
    Scenario(
        "filter with bool",
        "GET /api/collections/demo2/records?filter=active=true",
        200,
        has=('"totalItems":2',),
    ),
    Scenario(
        "filter bool by a word matches nothing",
        "GET /api/collections/demo2/records?filter=active='true'",
        200,
        has=('"totalItems":0',),
    ),
    Scenario(
        "filter like", "GET /api/collections/demo2/records?filter=title~'TEST'", 200, has=('"totalItems":3',)
    ),
    Scenario(
        "filter like with own wildcard",
        "GET /api/collections/demo2/records?filter=title~'%253'",
        200,
        has=('"totalItems":1',),
    ),
    Scenario(
        "filter with or",
        "GET /api/collections/demo2/records?filter=title='test1'||title='test3'",
        200,
        has=('"totalItems":2',),
    ),
    Scenario(
        "filter with groups and and",
        "GET /api/collections/demo2/records?filter=(title='test1'||title='test3')%26%26active=true",
        200,
        has=('"totalItems":1', "0yxhwia2amd8gec"),
    ),
    Scenario(
        "filter by an unknown field",
        "GET /api/collections/demo2/records?filter=missing=1",
        400,
        has=(GENERIC, '"data":{}'),
    ),
    Scenario(
        "filter that does not parse",
        "GET /api/collections/demo2/records?filter=title%3D",
        400,
        has=(GENERIC,),
    ),
    Scenario(
        "filter longer than the limit",
        "GET /api/collections/demo2/records?filter=title='" + "a" * 3600 + "'",
        400,
    ),
    Scenario(
        "a guest filtering by request data",
        "GET /api/collections/demo2/records?filter=@request.auth.id=''",
        403,
        has=('"message":"Only superusers can filter by @request."',),
    ),
    Scenario(
        "a guest filtering by a collection",
        "GET /api/collections/demo2/records?filter=@collection.demo2.title='test1'",
        403,
        has=('"message":"Only superusers can filter by @collection."',),
    ),
    Scenario(
        "the words inside a literal count too",
        "GET /api/collections/demo2/records?filter=title='@request.x'",
        403,
    ),
    Scenario(
        "the collection test comes first",
        "GET /api/collections/demo2/records?filter=title='@request.x'||title='@collection.x'",
        403,
        has=("@collection.",),
    ),
    Scenario(
        "the 403 comes before the 400",
        "GET /api/collections/demo2/records?filter=missing=1%26%26@request.x=1",
        403,
    ),
    Scenario(
        "a superuser filtering by a collection",
        "GET /api/collections/demo2/records?filter=@collection.demo3.title?='test4'",
        200,
        "superuser",
        has=('"totalItems":3',),
    ),
    Scenario(
        "filter by a relation",
        "GET /api/collections/demo4/records?filter=self_rel_one.title='test1'",
        200,
        has=('"totalItems":1', "i9naidtvr6qsgb4"),
    ),
    Scenario(
        "filter through a collection whose rule the guest fails",
        "GET /api/collections/demo4/records?filter=rel_one_no_cascade_required.title='test2'",
        200,
        has=('"totalItems":0',),
    ),
    Scenario(
        "filter through a collection whose rule the caller meets",
        "GET /api/collections/demo4/records?filter=rel_one_no_cascade_required.title='test2'",
        200,
        "client",
        has=('"totalItems":2',),
    ),
    Scenario(
        "filter through a locked collection",
        "GET /api/collections/demo4/records?filter=demo5_via_rel_one.total=0",
        200,
        has=('"totalItems":',),
    ),
    Scenario(
        "filter plain on many relations means all",
        "GET /api/collections/demo4/records?filter=rel_many_no_cascade_required.title='test2'",
        200,
        "client",
        has=('"totalItems":0',),
    ),
    Scenario(
        "filter any on many relations",
        "GET /api/collections/demo4/records?filter=rel_many_no_cascade_required.title?='test2'",
        200,
        "client",
        has=('"totalItems":1', "qzaqccwrmva4o1n"),
    ),
    Scenario(
        "filter each",
        "GET /api/collections/demo5/records?filter=select_many:each?='b'",
        200,
        "superuser",
        has=('"totalItems":1', "qjeql998mtp1azp"),
    ),
    Scenario(
        "filter length",
        "GET /api/collections/demo5/records?filter=select_many:length=0",
        200,
        "superuser",
        has=('"totalItems":1', "la4y2w4o98acwuj"),
    ),
    Scenario(
        "filter lower",
        "GET /api/collections/demo2/records?filter=title:lower='test1'",
        200,
        has=('"totalItems":1',),
    ),
    Scenario(
        "filter by a json path",
        "GET /api/collections/demo4/records?filter=json_object.a.b='test'",
        200,
        has=('"totalItems":1', "i9naidtvr6qsgb4"),
    ),
    Scenario(
        "filter by a json index",
        "GET /api/collections/demo4/records?filter=json_array.0=1",
        200,
        has=('"totalItems":2',),
    ),
    Scenario(
        "filter json against text is never equal",
        "GET /api/collections/demo4/records?filter=json_array.0='1'",
        200,
        has=('"totalItems":0',),
    ),
    Scenario(
        "filter by a date prefix",
        "GET /api/collections/demo2/records?filter=created>='2022-10-12 11:42:55'",
        200,
        has=('"totalItems":2',),
    ),
    Scenario(
        "filter by a full date",
        "GET /api/collections/demo2/records?filter=created='2022-10-12 11:42:55.076Z'",
        200,
        has=('"totalItems":1',),
    ),
    Scenario(
        "filter an unset date",
        "GET /api/collections/demo1/records?filter=datetime=''",
        200,
        "superuser",
        has=('"totalItems":2',),
    ),
    Scenario(
        "filter by a geo distance",
        "GET /api/collections/demo1/records?filter=geoDistance(point.lon,point.lat,23.32,42.69)<25",
        200,
        "superuser",
        has=('"totalItems":1', "al1h9ijdeojtsjy"),
    ),
    Scenario(
        "filter by strftime",
        "GET /api/collections/demo2/records?filter=strftime('%25Y-%25m',created)='2022-10'",
        200,
        has=('"totalItems":3',),
    ),
    Scenario("filter with an unknown function", "GET /api/collections/demo2/records?filter=abs(1)=1", 400),
    Scenario("filter by a hidden field", "GET /api/collections/nologin/records?filter=tokenKey!=''", 400),
    Scenario(
        "a superuser filters by a hidden field",
        "GET /api/collections/nologin/records?filter=tokenKey!=''",
        200,
        "superuser",
        has=('"totalItems":3',),
    ),
    Scenario(
        "filter by email finds visible ones only",
        "GET /api/collections/nologin/records?filter=email~'example'",
        200,
        has=('"totalItems":1', "phhq3wr65cap535"),
    ),
    Scenario(
        "email is shown where visible only",
        "GET /api/collections/nologin/records",
        200,
        has=('"email":"test2@example.com"', '"totalItems":3'),
        lacks=('"test@example.com"', "tokenKey", "password"),
    ),
    Scenario(
        "a manager sees every email",
        "GET /api/collections/nologin/records",
        200,
        "user",
        has=('"email":"test@example.com"', '"email":"test3@example.com"'),
    ),
    Scenario(
        "a superuser sees every email and no secrets",
        "GET /api/collections/nologin/records",
        200,
        "superuser",
        has=('"email":"test@example.com"',),
        lacks=("tokenKey", '"password"'),
    ),
    Scenario(
        "a list rule with length",
        "GET /api/collections/demo5/records",
        200,
        has=('"totalItems":1', "qjeql998mtp1azp"),
    ),
    Scenario(
        "fields",
        "GET /api/collections/demo2/records?fields=id,title",
        200,
        has=('{"id":"llvuca81nly1qls","title":"test1"}', '"page":1', '"totalItems":3'),
        lacks=("created", "collectionId"),
    ),
    Scenario(
        "fields star and excerpt",
        "GET /api/collections/demo2/records?fields=*,title:excerpt(2,true)",
        200,
        has=('"title":"te..."', '"collectionName":"demo2"'),
    ),
    Scenario(
        "unknown fields",
        "GET /api/collections/demo2/records?fields=missing",
        200,
        has=('"items":[{},{},{}]',),
    ),
    Scenario(
        "expand a single relation",
        "GET /api/collections/demo4/records?expand=self_rel_one",
        200,
        has=('"expand":{"self_rel_one":{',),
    ),
    Scenario(
        "expand many in stored order",
        "GET /api/collections/demo4/records?expand=self_rel_many&filter=title='test1'&fields=expand.self_rel_many.id",
        200,
        has=('{"expand":{"self_rel_many":[{"id":"i9naidtvr6qsgb4"},{"id":"qzaqccwrmva4o1n"}]}}',),
    ),
    Scenario(
        "expand what the caller may not view",
        "GET /api/collections/demo4/records?expand=rel_one_no_cascade",
        200,
        has=('"expand":{}',),
        lacks=('"title":"test4"',),
    ),
    Scenario(
        "expand what the caller may view",
        "GET /api/collections/demo4/records?expand=rel_one_no_cascade",
        200,
        "client",
        has=('"expand":{"rel_one_no_cascade":{"collectionId":"wzlqyes4orhoygb"',),
    ),
    Scenario(
        "expand an unknown path is silent",
        "GET /api/collections/demo4/records?expand=missing",
        200,
        lacks=('"expand"',),
    ),
    Scenario(
        "expand with a failing deeper part drops the path",
        "GET /api/collections/demo4/records?expand=self_rel_one.missing",
        200,
        lacks=('"expand"',),
    ),
    Scenario(
        "expand a back relation",
        "GET /api/collections/demo4/records?expand=demo5_via_rel_one",
        200,
        "superuser",
        has=('"expand":{"demo5_via_rel_one":[{', '"qjeql998mtp1azp"'),
    ),
    Scenario(
        "expand a unique back relation gives one object or none",
        "GET /api/collections/demo3/records?expand=demo4_via_rel_one_unique",
        200,
        "superuser",
        has=('"expand":{}',),
    ),
    Scenario(
        "a view collection",
        "GET /api/collections/view2/records",
        200,
        has=('"collectionName":"view2"', '"state":true', '"totalItems":3'),
    ),
    Scenario(
        "a view over a view with a rule",
        "GET /api/collections/view1/records",
        200,
        "user",
        has=('"totalItems":1', '"json":[1,2,3]', '"number":123456'),
    ),
    Scenario(
        "a view with numbered rows",
        "GET /api/collections/numeric_id_view/records",
        200,
        has=('"id":"1"', '"id":"2"', '"totalItems":2'),
    ),
    Scenario(
        "own rows of system collections",
        "GET /api/collections/_externalAuths/records",
        200,
        "user",
        has=('"totalItems":2', '"clmflokuq1xl341"'),
    ),
    Scenario(
        "others' rows of system collections",
        "GET /api/collections/_externalAuths/records",
        200,
        has=('"totalItems":0',),
    ),
    Scenario(
        "superusers' list for a user",
        "GET /api/collections/_superusers/records",
        403,
        "user",
        has=(ONLY_SUPERUSERS,),
    ),
    Scenario(
        "superusers' list",
        "GET /api/collections/_superusers/records",
        200,
        "superuser",
        has=('"totalItems":4',),
        lacks=("tokenKey",),
    ),
    Scenario(
        "a broken token is a guest",
        "GET /api/collections/demo2/records",
        200,
        headers={"Authorization": "garbage"},
        has=('"totalItems":3',),
    ),
    Scenario("users see only themselves", "GET /api/collections/users/records", 403, "user"),
)

VIEW = (
    Scenario(
        "an unknown record", "GET /api/collections/demo2/records/missing", 404, has=(NOT_FOUND, '"data":{}')
    ),
    Scenario(
        "a record of an unknown collection",
        "GET /api/collections/missing/records/0yxhwia2amd8gec",
        404,
        has=("Missing collection context.",),
    ),
    Scenario(
        "a locked collection",
        "GET /api/collections/demo1/records/84nmscqy84lsi1t",
        403,
        has=(ONLY_SUPERUSERS,),
    ),
    Scenario(
        "a rule that fails is a missing record",
        "GET /api/collections/demo3/records/1tmknxy2868d869",
        404,
        has=(NOT_FOUND,),
    ),
    Scenario(
        "a rule that holds",
        "GET /api/collections/demo3/records/1tmknxy2868d869",
        200,
        "client",
        has=('"id":"1tmknxy2868d869"',),
    ),
    Scenario(
        "keys are sorted",
        "GET /api/collections/demo2/records/0yxhwia2amd8gec",
        200,
        exact='{"active":true,"collectionId":"sz5l5z67tg7gku0","collectionName":"demo2","created":"2022-10-12 11:42:58.215Z","id":"0yxhwia2amd8gec","title":"test3","updated":"2022-10-14 10:52:49.596Z"}\n',
    ),
    Scenario(
        "every type as stored",
        "GET /api/collections/demo1/records/84nmscqy84lsi1t",
        200,
        "superuser",
        has=(
            '"bool":true',
            '"number":123456,',
            '"datetime":"2022-10-01 12:00:00.000Z"',
            '"select_many":["optionB","optionC"]',
            '"rel_one":""',
            '"json":[1,2,3]',
            '"point":{"lon":0,"lat":0}',
        ),
    ),
    Scenario("an id in other case is unknown", "GET /api/collections/demo2/records/0YXHWIA2AMD8GEC", 404),
    Scenario(
        "HEAD like GET without a body", "HEAD /api/collections/demo2/records/0yxhwia2amd8gec", 200, exact=""
    ),
    Scenario(
        "a user's own email",
        "GET /api/collections/users/records/4q1xlclmfloku33",
        200,
        "user",
        has=('"email":"test@example.com"', '"emailVisibility":false', '"verified":false'),
    ),
    Scenario("another user", "GET /api/collections/users/records/bgs820n361vj1qd", 404, "user"),
    Scenario(
        "expand over six levels",
        "GET /api/collections/demo4/records/i9naidtvr6qsgb4?expand=self_rel_one.self_rel_one.self_rel_one.self_rel_one.self_rel_one.self_rel_one.self_rel_one",
        200,
        has=('"expand":{"self_rel_one":{',),
    ),
    Scenario("a rule through six hops", "GET /api/collections/demo5/records/qjeql998mtp1azp", 404),
    Scenario(
        "fields on a view",
        "GET /api/collections/demo2/records/0yxhwia2amd8gec?fields=title",
        200,
        exact='{"title":"test3"}\n',
    ),
)

CREATE = (
    Scenario(
        "an unknown collection",
        "POST /api/collections/missing/records",
        404,
        body={},
        has=("Missing or invalid collection context.",),
    ),
    Scenario(
        "a locked collection", "POST /api/collections/demo1/records", 403, body={}, has=(ONLY_SUPERUSERS,)
    ),
    Scenario(
        "a view",
        "POST /api/collections/view1/records",
        400,
        "superuser",
        body={},
        has=("Unsupported collection type.",),
    ),
    Scenario(
        "a view before its rule",
        "POST /api/collections/view1/records",
        400,
        body={},
        has=("Unsupported collection type.",),
    ),
    Scenario(
        "a required field missing",
        "POST /api/collections/demo2/records",
        400,
        body={},
        has=(
            '"data":{"title":{"code":"validation_required","message":"Cannot be blank."}}',
            "Failed to create record.",
        ),
    ),
    Scenario(
        "text too short",
        "POST /api/collections/demo2/records",
        400,
        body={"title": "a"},
        has=(
            '{"title":{"code":"validation_min_text_constraint","message":"Must be at least 2 character(s).","params":{"min":2}}}',
        ),
    ),
    Scenario(
        "a value that must be unique",
        "POST /api/collections/demo2/records",
        400,
        body={"title": "test2"},
        has=('"title":{"code":"validation_not_unique","message":"Value must be unique."}',),
    ),
    Scenario(
        "a new record",
        "POST /api/collections/demo2/records",
        200,
        body={"title": "new", "active": "t"},
        has=('"title":"new"', '"active":true', '"collectionName":"demo2"', '"created":"20'),
    ),
    Scenario(
        "unknown keys are ignored",
        "POST /api/collections/demo2/records",
        200,
        body={"title": "new", "nope": 1},
        lacks=("nope",),
    ),
    Scenario(
        "an own id",
        "POST /api/collections/demo2/records",
        200,
        body={"id": "a1b2c3d4e5f6g7h", "title": "new"},
        has=('"id":"a1b2c3d4e5f6g7h"',),
    ),
    Scenario(
        "an id too short",
        "POST /api/collections/demo2/records",
        400,
        body={"id": "abc", "title": "new"},
        has=('"id":{"code":"validation_min_text_constraint"', '"params":{"min":15}'),
    ),
    Scenario(
        "an id with wrong characters",
        "POST /api/collections/demo2/records",
        400,
        body={"id": "A1b2c3d4e5f6g7h", "title": "new"},
        has=('"id":{"code":"validation_invalid_format"',),
    ),
    Scenario(
        "an id in use",
        "POST /api/collections/demo2/records",
        400,
        body={"id": "0yxhwia2amd8gec", "title": "new"},
        has=('"id":{"code":"validation_not_unique"',),
    ),
    Scenario(
        "a body that is no JSON",
        "POST /api/collections/demo2/records",
        400,
        body=b"{",
        headers={"Content-Type": "application/json"},
        has=(GENERIC, '"data":{}'),
    ),
    Scenario(
        "a JSON list as body",
        "POST /api/collections/demo2/records",
        400,
        body=b"[]",
        headers={"Content-Type": "application/json"},
        has=(GENERIC,),
    ),
    Scenario(
        "JSON null as body",
        "POST /api/collections/demo2/records",
        400,
        body=b"null",
        headers={"Content-Type": "application/json"},
        has=('"title":{"code":"validation_required"',),
    ),
    Scenario(
        "anything after the first value is ignored",
        "POST /api/collections/demo2/records",
        200,
        body=b'{"title":"junk"} trailing',
        headers={"Content-Type": "application/json"},
        has=('"title":"junk"',),
    ),
    Scenario(
        "an unsupported content type",
        "POST /api/collections/demo2/records",
        400,
        body=b"x",
        headers={"Content-Type": "text/plain"},
        has=('"message":"Unsupported Content-Type."',),
    ),
    Scenario(
        "an upper-case content type",
        "POST /api/collections/demo2/records",
        400,
        body=b"{}",
        headers={"Content-Type": "APPLICATION/JSON"},
        has=('"message":"Unsupported Content-Type."',),
    ),
    Scenario(
        "a urlencoded body",
        "POST /api/collections/demo2/records",
        200,
        body=b"title=form&active=true",
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        has=('"title":"form"', '"active":true'),
    ),
    Scenario(
        "a create rule that fails hides the rest",
        "POST /api/collections/demo5/records",
        400,
        body={"total": 4},
        has=("Failed to create record.", '"data":{}'),
    ),
    Scenario(
        "a create rule on the body that holds",
        "POST /api/collections/demo5/records",
        200,
        body={"total": 3},
        has=('"total":3',),
    ),
    Scenario(
        "a number as text converts for the rule",
        "POST /api/collections/demo5/records",
        200,
        body={"total": "3"},
        has=('"total":3',),
    ),
    Scenario(
        "modifiers in key length order",
        "POST /api/collections/demo5/records",
        200,
        body={"total+": 2, "total": 1},
        has=('"total":3',),
    ),
    Scenario(
        "select values",
        "POST /api/collections/demo5/records",
        400,
        "superuser",
        body={"select_one": "zzz"},
        has=(
            '"select_one":{"code":"validation_invalid_value","message":"Invalid value zzz.","params":{"value":"zzz"}}',
        ),
    ),
    Scenario(
        "too many select values",
        "POST /api/collections/demo1/records",
        400,
        "superuser",
        body={"select_many": ["optionA", "optionB", "optionC", "x"]},
        has=(
            '"select_many":{"code":"validation_too_many_values","message":"Select no more than 3.","params":{"maxSelect":3}}',
        ),
    ),
    Scenario(
        "a missing relation",
        "POST /api/collections/demo1/records",
        400,
        "superuser",
        body={"rel_one": "missing"},
        has=('"rel_one":{"code":"validation_missing_rel_records"',),
    ),
    Scenario(
        "a single relation keeps the last",
        "POST /api/collections/demo1/records",
        200,
        "superuser",
        body={"rel_one": ["al1h9ijdeojtsjy", "84nmscqy84lsi1t"]},
        has=('"rel_one":"84nmscqy84lsi1t"',),
    ),
    Scenario(
        "all field errors together",
        "POST /api/collections/demo1/records",
        400,
        "superuser",
        body={"url": "x y", "email": "nope", "select_one": "zzz"},
        has=(
            '"email":{"code":"validation_is_email"',
            '"url":{"code":"validation_invalid_url","message":"Must be a valid url."}',
            '"select_one":',
        ),
    ),
    Scenario(
        "casts",
        "POST /api/collections/demo1/records",
        200,
        "superuser",
        body={
            "text": 12.5,
            "bool": 1,
            "number": "1e3",
            "datetime": "2022-01-02",
            "json": {"b": 1, "a": "<"},
            "select_many": "optionA",
            "point": {"lon": 1, "lat": 2.5},
        },
        has=(
            '"text":"12.5"',
            '"bool":true',
            '"number":1000',
            '"datetime":"2022-01-02 00:00:00.000Z"',
            '"json":{"a":"\\u003c","b":1}',
            '"select_many":["optionA"]',
            '"point":{"lon":1,"lat":2.5}',
        ),
    ),
    Scenario(
        "unusable values become zero",
        "POST /api/collections/demo1/records",
        200,
        "superuser",
        body={"text": {"a": 1}, "number": "abc", "datetime": 12345, "bool": "yes", "point": "1,2"},
        has=('"text":""', '"number":0', '"datetime":""', '"bool":false', '"point":{"lon":0,"lat":0}'),
    ),
    Scenario(
        "coordinates out of range",
        "POST /api/collections/demo1/records",
        400,
        "superuser",
        body={"point": {"lon": 1, "lat": 91}},
        has=('"point":{"code":"validation_invalid_latitude"',),
    ),
    Scenario(
        "a json string that holds json",
        "POST /api/collections/demo1/records",
        200,
        "superuser",
        body={"json": "[1, 2]"},
        has=('"json":[1,2]',),
    ),
    Scenario(
        "a new file name by JSON",
        "POST /api/collections/demo1/records",
        400,
        "superuser",
        body={"file_one": "test.txt"},
        has=(
            '"file_one":{"code":"validation_invalid_file","message":"Invalid new files: [test.txt].","params":{"invalidFiles":["test.txt"]}}',
        ),
    ),
    Scenario(
        "an auth record without password",
        "POST /api/collections/users/records",
        400,
        body={"email": "a@b.co"},
        has=('"password":{"code":"validation_required"', '"passwordConfirm":{"code":"validation_required"'),
    ),
    Scenario(
        "passwords that differ",
        "POST /api/collections/users/records",
        400,
        body={"password": "12345678", "passwordConfirm": "123456789"},
        has=('"passwordConfirm":{"code":"validation_values_mismatch","message":"Values don\'t match."}',),
    ),
    Scenario(
        "form checks come alone",
        "POST /api/collections/users/records",
        400,
        body={"password": "12345678", "passwordConfirm": "123456789", "email": "bad"},
        lacks=("validation_is_email",),
    ),
    Scenario(
        "a new user",
        "POST /api/collections/users/records",
        200,
        body={"password": "12345678", "passwordConfirm": "12345678", "email": "new@example.com"},
        has=('"verified":false', '"username":"users', '"emailVisibility":false'),
        lacks=('"email":', "password", "tokenKey"),
    ),
    Scenario(
        "verified needs rights",
        "POST /api/collections/users/records",
        400,
        body={"password": "12345678", "passwordConfirm": "12345678", "verified": True},
        has=('"verified":{"code":"validation_values_mismatch"',),
    ),
    Scenario(
        "a manager sets verified",
        "POST /api/collections/nologin/records",
        200,
        "user",
        body={
            "username": "abc1",
            "email": "m@example.com",
            "password": "12345678",
            "passwordConfirm": "12345678",
            "verified": True,
        },
        has=('"verified":true', '"email":"m@example.com"'),
    ),
    Scenario(
        "a short password",
        "POST /api/collections/users/records",
        400,
        body={"password": "123", "passwordConfirm": "123"},
        has=('"password":{"code":"validation_min_text_constraint"',),
    ),
    Scenario(
        "a password over 72 bytes by a guest",
        "POST /api/collections/users/records",
        400,
        body={"password": "a" * 73, "passwordConfirm": "a" * 73},
        has=("Failed to create record.", '"data":{}'),
    ),
    Scenario(
        "a password over 72 bytes by a superuser",
        "POST /api/collections/users/records",
        400,
        "superuser",
        body={"password": "a" * 73, "passwordConfirm": "a" * 73, "email": "x@example.com"},
        has=('"password":{"code":"validation_invalid_value","message":"Invalid value."}',),
    ),
    Scenario(
        "an email in use",
        "POST /api/collections/users/records",
        400,
        body={"password": "12345678", "passwordConfirm": "12345678", "email": "test@example.com"},
        has=('"email":{"code":"validation_not_unique"',),
    ),
    Scenario(
        "an auth id of another auth collection",
        "POST /api/collections/users/records",
        400,
        body={
            "id": "gk390qegs4y47wn",
            "password": "12345678",
            "passwordConfirm": "12345678",
            "email": "n@example.com",
        },
        has=('"id":{"code":"validation_invalid_auth_id"',),
    ),
    Scenario(
        "a create rule of a caller that fails",
        "POST /api/collections/demo4/records",
        400,
        body={"title": "x"},
        has=("Failed to create record.", '"data":{}'),
    ),
    Scenario(
        "required relations",
        "POST /api/collections/demo4/records",
        400,
        "user",
        body={"title": "x"},
        has=(
            '"rel_one_no_cascade_required":{"code":"validation_required"',
            '"rel_many_no_cascade_required":{"code":"validation_required"',
        ),
    ),
    Scenario(
        "unique relations",
        "POST /api/collections/demo4/records",
        200,
        "user",
        body={
            "rel_one_no_cascade_required": "1tmknxy2868d869",
            "rel_many_no_cascade_required": "1tmknxy2868d869",
            "rel_one_unique": "1tmknxy2868d869",
        },
        has=('"rel_many_no_cascade_required":["1tmknxy2868d869"]',),
    ),
    Scenario(
        "external auths are for superusers",
        "POST /api/collections/_externalAuths/records",
        403,
        "user",
        body={},
    ),
    Scenario(
        "external auths check their references",
        "POST /api/collections/_externalAuths/records",
        400,
        "superuser",
        body={"collectionRef": "demo1", "recordRef": "x", "provider": "nope", "providerId": "1"},
        has=('"collectionRef":{"code":"validation_invalid_collection_id"',),
    ),
    Scenario(
        "expand in the answer",
        "POST /api/collections/demo1/records?expand=rel_one&fields=expand.rel_one.id",
        200,
        "superuser",
        body={"rel_one": "84nmscqy84lsi1t"},
        exact='{"expand":{"rel_one":{"id":"84nmscqy84lsi1t"}}}\n',
    ),
)

UPDATE = (
    Scenario(
        "an unknown collection",
        "PATCH /api/collections/missing/records/x",
        404,
        body={},
        has=("Missing or invalid collection context.",),
    ),
    Scenario(
        "an unknown record", "PATCH /api/collections/demo2/records/missing", 404, body={}, has=(NOT_FOUND,)
    ),
    Scenario(
        "a locked collection",
        "PATCH /api/collections/demo1/records/84nmscqy84lsi1t",
        403,
        body={},
        has=(ONLY_SUPERUSERS,),
    ),
    Scenario(
        "a view",
        "PATCH /api/collections/view1/records/84nmscqy84lsi1t",
        400,
        "superuser",
        body={},
        has=("Unsupported collection type.",),
    ),
    Scenario(
        "a rule that fails",
        "PATCH /api/collections/demo3/records/mk5fmymtx4wsprk",
        404,
        body={"title": "x"},
        has=(NOT_FOUND,),
    ),
    Scenario(
        "one field",
        "PATCH /api/collections/demo2/records/0yxhwia2amd8gec",
        200,
        body={"title": "changed"},
        has=('"title":"changed"', '"active":true'),
        lacks=('"updated":"2022',),
    ),
    Scenario(
        "an empty body saves",
        "PATCH /api/collections/demo2/records/0yxhwia2amd8gec",
        200,
        body={},
        has=('"title":"test3"',),
        lacks=('"updated":"2022',),
    ),
    Scenario(
        "another id",
        "PATCH /api/collections/demo2/records/0yxhwia2amd8gec",
        400,
        body={"id": "a1b2c3d4e5f6g7h"},
        has=('"id":{"code":"validation_pk_change"', "Failed to update record."),
    ),
    Scenario(
        "the same id",
        "PATCH /api/collections/demo2/records/0yxhwia2amd8gec",
        200,
        body={"id": "0yxhwia2amd8gec"},
    ),
    Scenario(
        "null means zero",
        "PATCH /api/collections/demo2/records/0yxhwia2amd8gec",
        400,
        body={"title": None},
        has=("validation_required",),
    ),
    Scenario(
        "unique",
        "PATCH /api/collections/demo2/records/0yxhwia2amd8gec",
        400,
        body={"title": "test1"},
        has=('"title":{"code":"validation_not_unique"',),
    ),
    Scenario(
        "adding to a number",
        "PATCH /api/collections/demo5/records/la4y2w4o98acwuj",
        200,
        "superuser",
        body={"total+": 5},
        has=('"total":7',),
    ),
    Scenario(
        "the rule sees the resolved body",
        "PATCH /api/collections/demo5/records/la4y2w4o98acwuj",
        200,
        body={"total+": 1},
        has=('"total":3',),
    ),
    Scenario(
        "appending and removing",
        "PATCH /api/collections/demo5/records/qjeql998mtp1azp",
        200,
        "superuser",
        body={"select_many+": "d", "select_many-": ["b", "c"]},
        has=('"select_many":["a","d"]',),
    ),
    Scenario(
        "prepending",
        "PATCH /api/collections/demo5/records/qjeql998mtp1azp",
        200,
        "superuser",
        body={"+select_many": ["e", "d"]},
        has=('"select_many":["e","d","b","c","a"]',),
    ),
    Scenario(
        "prepending to a single keeps the old",
        "PATCH /api/collections/demo5/records/qjeql998mtp1azp",
        200,
        "superuser",
        body={"+select_one": "c"},
        has=('"select_one":"b"',),
    ),
    Scenario(
        "keeping one file removes the other",
        "PATCH /api/collections/demo3/records/lcl9d87w22ml6jy",
        200,
        "client",
        body={"files": ["test_FLurQTgrY8.txt"]},
        has=('"files":["test_FLurQTgrY8.txt"]',),
    ),
    Scenario(
        "removing a file by name",
        "PATCH /api/collections/demo3/records/lcl9d87w22ml6jy",
        200,
        "client",
        body={"files-": "test_FLurQTgrY8.txt"},
        has=('"files":["300_UhLKX91HVb.png"]',),
    ),
    Scenario(
        "a file name of another record",
        "PATCH /api/collections/demo3/records/lcl9d87w22ml6jy",
        400,
        "client",
        body={"files": ["test_JnXeKEwgwr.txt"]},
        has=('"files":{"code":"validation_invalid_file"',),
    ),
    Scenario(
        "own email is not changed directly",
        "PATCH /api/collections/users/records/4q1xlclmfloku33",
        400,
        "user",
        body={"email": "new@example.com"},
        has=('"email":{"code":"validation_values_mismatch"',),
    ),
    Scenario(
        "a password change needs the old one",
        "PATCH /api/collections/users/records/4q1xlclmfloku33",
        400,
        "user",
        body={"password": "123456789", "passwordConfirm": "123456789"},
        has=('"oldPassword":{"code":"validation_required"',),
    ),
    Scenario(
        "a wrong old password",
        "PATCH /api/collections/users/records/4q1xlclmfloku33",
        400,
        "user",
        body={"password": "123456789", "passwordConfirm": "123456789", "oldPassword": "nope"},
        has=('"oldPassword":{"code":"validation_invalid_old_password"',),
    ),
    Scenario(
        "the right old password",
        "PATCH /api/collections/users/records/4q1xlclmfloku33",
        200,
        "user",
        body={"password": "123456789", "passwordConfirm": "123456789", "oldPassword": "1234567890"},
    ),
    Scenario(
        "a superuser changes email and verified",
        "PATCH /api/collections/users/records/4q1xlclmfloku33",
        200,
        "superuser",
        body={"email": "new@example.com", "verified": True},
        has=('"email":"new@example.com"', '"verified":true'),
    ),
    Scenario(
        "a manager changes the password",
        "PATCH /api/collections/nologin/records/dc49k6jgejn40h3",
        200,
        "user",
        body={"password": "123456789", "passwordConfirm": "123456789"},
    ),
    Scenario(
        "another user",
        "PATCH /api/collections/users/records/bgs820n361vj1qd",
        404,
        "user",
        body={"name": "x"},
    ),
    Scenario(
        "a bad body before the rule",
        "PATCH /api/collections/demo2/records/0yxhwia2amd8gec",
        400,
        body=b"{",
        headers={"Content-Type": "application/json"},
        has=(GENERIC,),
    ),
)

DELETE = (
    Scenario(
        "an unknown collection",
        "DELETE /api/collections/missing/records/x",
        404,
        has=("Missing collection context.",),
    ),
    Scenario("an unknown record", "DELETE /api/collections/demo2/records/missing", 404, has=(NOT_FOUND,)),
    Scenario(
        "a locked collection",
        "DELETE /api/collections/demo1/records/84nmscqy84lsi1t",
        403,
        has=(ONLY_SUPERUSERS,),
    ),
    Scenario(
        "a view",
        "DELETE /api/collections/view1/records/84nmscqy84lsi1t",
        400,
        "superuser",
        has=("Unsupported collection type.",),
    ),
    Scenario("a rule that fails", "DELETE /api/collections/demo3/records/mk5fmymtx4wsprk", 404),
    Scenario("a record", "DELETE /api/collections/demo2/records/achvryl401bhse3", 204, exact=""),
    Scenario("a rule on the query", "DELETE /api/collections/demo5/records/la4y2w4o98acwuj", 404),
    Scenario(
        "a rule on the query that holds", "DELETE /api/collections/demo5/records/la4y2w4o98acwuj?test=1", 204
    ),
    Scenario(
        "a required reference",
        "DELETE /api/collections/demo3/records/lcl9d87w22ml6jy",
        400,
        "client",
        has=(
            "Failed to delete record. Make sure that the record is not part of a required relation reference.",
            '"data":{}',
        ),
    ),
    Scenario(
        "a trimmed multiple reference", "DELETE /api/collections/demo3/records/1tmknxy2868d869", 204, "client"
    ),
    Scenario("a cascade", "DELETE /api/collections/users/records/oap640cot4yru2s", 204, "superuser"),
    Scenario("a superuser", "DELETE /api/collections/_superusers/records/sbmbsdb40jyxf7h", 204, "superuser"),
)


def batch(*requests: dict[str, Any]) -> dict[str, Any]:
    return {"requests": list(requests)}


def post(collection: str, **body: Any) -> dict[str, Any]:
    return {"method": "POST", "url": f"/api/collections/{collection}/records", "body": body}


BATCH = (
    Scenario(
        "an empty body",
        "POST /api/batch",
        400,
        body={},
        has=('"message":"Invalid batch request data."', '"requests":{"code":"validation_required"'),
    ),
    Scenario(
        "items are checked first",
        "POST /api/batch",
        400,
        body=batch({"method": "post", "url": ""}),
        has=(
            '"requests":{"0":{"method":{"code":"validation_in_invalid"',
            '"url":{"code":"validation_required"',
        ),
    ),
    Scenario(
        "too many",
        "POST /api/batch",
        400,
        body=batch(*[post("demo2", title=f"t{n}") for n in range(51)]),
        has=('"requests":{"code":"validation_length_too_long"',),
    ),
    Scenario(
        "a body that is no JSON",
        "POST /api/batch",
        400,
        body=b"{",
        headers={"Content-Type": "application/json"},
        has=("Failed to read the submitted batch data.",),
    ),
    Scenario(
        "two creates",
        "POST /api/batch",
        200,
        body=batch(post("demo2", title="b1"), post("demo2", title="b2")),
        has=('[{"body":{"active":false,"collectionId":"sz5l5z67tg7gku0"', '"status":200}', '"title":"b2"'),
    ),
    Scenario(
        "update, upsert and delete",
        "POST /api/batch",
        200,
        body=batch(
            {
                "method": "PATCH",
                "url": "/api/collections/demo2/records/achvryl401bhse3?fields=title",
                "body": {"title": "u1"},
            },
            {
                "method": "PUT",
                "url": "/api/collections/demo2/records?fields=id,title",
                "body": {"id": "0yxhwia2amd8gec", "title": "u2"},
            },
            {
                "method": "PUT",
                "url": "/api/collections/demo2/records?fields=id,title",
                "body": {"id": "new000000000001", "title": "u3"},
            },
            {"method": "DELETE", "url": "/api/collections/demo2/records/llvuca81nly1qls"},
        ),
        exact='[{"body":{"title":"u1"},"status":200},{"body":{"id":"0yxhwia2amd8gec","title":"u2"},"status":200},{"body":{"id":"new000000000001","title":"u3"},"status":200},{"body":null,"status":204}]\n',
    ),
    Scenario(
        "a failure names its index",
        "POST /api/batch",
        400,
        body=batch(post("demo2", title="b1"), post("demo2", title="")),
        exact='{"data":{"requests":{"1":{"code":"batch_request_failed","message":"Batch request failed.","response":{"data":{"title":{"code":"validation_required","message":"Cannot be blank."}},"message":"Failed to create record.","status":400}}}},"message":"Batch transaction failed.","status":400}\n',
    ),
    Scenario(
        "later items see earlier writes",
        "POST /api/batch",
        400,
        body=batch(post("demo2", title="same"), post("demo2", title="same")),
        has=('"1":{"code":"batch_request_failed"', "validation_not_unique"),
    ),
    Scenario(
        "an unmatched first item",
        "POST /api/batch",
        400,
        body=batch({"method": "GET", "url": "/api/collections/demo2/records"}),
        has=('"0":{"code":"batch_request_failed"', '"status":400}}}}'),
    ),
    Scenario(
        "an unmatched later item",
        "POST /api/batch",
        400,
        body=batch(post("demo2", title="b1"), {"method": "GET", "url": "/api/collections/demo2/records"}),
        has=('"1":{"code":"batch_request_failed"', '"status":500}}}}'),
    ),
    Scenario(
        "an unknown collection inside",
        "POST /api/batch",
        400,
        body=batch(post("missing", a=1)),
        has=('"message":"Missing collection context.","status":404',),
    ),
    Scenario(
        "a forbidden item",
        "POST /api/batch",
        400,
        body=batch(post("demo1", text="x")),
        has=(ONLY_SUPERUSERS + ',"status":403',),
    ),
    Scenario(
        "rules see the outer caller",
        "POST /api/batch",
        200,
        "client",
        body=batch(post("demo3", title="b")),
        has=('"title":"b"',),
    ),
)

ALL = [
    pytest.param(scenario, group == "list", id=f"{group}: {scenario.name}")
    for group, rows in {
        "list": LIST,
        "view": VIEW,
        "create": CREATE,
        "update": UPDATE,
        "delete": DELETE,
        "batch": BATCH,
    }.items()
    for scenario in rows
]


def changes_something(scenario: Scenario) -> bool:
    return scenario.status < 400 and not scenario.request.startswith(("GET", "HEAD"))


async def check(imported: Imported, scenario: Scenario, *, by_ids: bool) -> None:
    method, url = scenario.request.split(" ", 1)
    response = await imported.send(
        method, url, caller=scenario.caller, body=scenario.body, headers=scenario.headers
    )
    text = response.text
    assert response.status_code == scenario.status, text
    for piece in scenario.has:
        assert piece in text
    for piece in scenario.lacks:
        assert piece not in text
    if scenario.exact is not None and by_ids:
        text = json.dumps([item["id"] for item in response.json()["items"]], separators=(",", ":"))
    assert scenario.exact is None or text == scenario.exact


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("scenario", "by_ids"), [row for row in ALL if not changes_something(row.values[0])])
async def test_an_answer_that_leaves_the_data_alone(
    shared: Imported, scenario: Scenario, by_ids: bool
) -> None:
    await check(shared, scenario, by_ids=by_ids)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("scenario", "by_ids"), [row for row in ALL if changes_something(row.values[0])])
async def test_an_answer_after_a_change(own: Imported, scenario: Scenario, by_ids: bool) -> None:
    await check(own, scenario, by_ids=by_ids)
