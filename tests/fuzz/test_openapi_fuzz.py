"""Generated requests, valid and not, by the OpenAPI document, against a running server of two workers.

No request may end in a 500, and every answer must be one that the document describes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
# More for a longer look: GROUNDPLANE_TEST_FUZZ=200 pytest tests/fuzz
EXAMPLES = int(os.environ.get("GROUNDPLANE_TEST_FUZZ", "5"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
QUIETLY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
# What changes the server for the requests after it comes last.
LAST = (
    "people_sessions_end",
    "people_sessions_revoke_others",
    "people_sessions_revoke_all",
    "settingsUpdate",
    "collectionsDelete",
    "collectionsImport",
    "collectionsUpdate",
)
EMAIL, PASSWORD = "admin@example.com", "correct horse"


class Place(NamedTuple):
    """A server with records in it; `known` maps collections to ids that exist."""

    url: str
    superuser: str
    user: str
    known: dict[str, list[str]]


FIELDS = [
    {"name": "title", "type": "text", "required": True, "max": 30},
    {"name": "body", "type": "editor"},
    {"name": "count", "type": "number", "max": 1000},
    {"name": "done", "type": "bool"},
    {"name": "at", "type": "date"},
    {"name": "kind", "type": "select", "values": ["a", "b"], "maxSelect": 1},
    {"name": "kinds", "type": "select", "values": ["a", "b", "c"], "maxSelect": 3},
    {"name": "mail", "type": "email"},
    {"name": "link", "type": "url"},
    {"name": "meta", "type": "json"},
    {"name": "place", "type": "geoPoint"},
    {"name": "files", "type": "file", "maxSelect": 3},
    {"name": "created", "type": "autodate", "onCreate": True},
]


def fill(url: str) -> Place:
    """Make an auth collection, a collection of every field type, a view, and records in them."""
    with httpx.Client(base_url=url, timeout=60) as client:

        def send(method: str, path: str, body: Any) -> Any:
            answer = client.request(method, path, json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        def sign_in(collection: str, email: str) -> str:
            path = f"/api/collections/{collection}/auth-with-password"
            return str(send("POST", path, {"identity": email, "password": PASSWORD})["token"])

        token = sign_in("_superusers", EMAIL)
        client.headers["Authorization"] = token
        send("PATCH", "/api/settings", {"batch": {"enabled": True}})
        rules = {"listRule": "", "viewRule": "", "createRule": "", "updateRule": ""}
        methods: dict[str, Any] = {name: {"enabled": True} for name in ("totp", "passkeys", "magicLink")}
        # Where nobody is asked: what is sent there is refused before it leaves.
        nowhere = {"name": "google", "clientId": "x", "clientSecret": "x", "tokenURL": "https://127.0.0.1:1/"}
        methods["oauth2"] = {"enabled": True, "providers": [nowhere]}
        people = send("POST", "/api/collections", {"name": "people", "type": "auth", **methods, **rules})
        relation = {"name": "owner", "type": "relation", "collectionId": people["id"], "maxSelect": 1}
        things = {"name": "things", "type": "base", "fields": [*FIELDS, relation], **rules}
        send("POST", "/api/collections", {**things, "deleteRule": "count > 5"})
        view = {"name": "titles", "type": "view", "viewQuery": "SELECT id, title, count FROM things"}
        send("POST", "/api/collections", {**view, "listRule": "", "viewRule": ""})
        person = {"email": "ann@example.com", "password": PASSWORD, "passwordConfirm": PASSWORD}
        ann = send("POST", "/api/collections/people/records", person)["id"]
        ids = [
            send(
                "POST",
                "/api/collections/things/records",
                {"title": f"t{number}", "count": number, "owner": ann},
            )["id"]
            for number in range(20)
        ]
        known = {"people": [ann], "things": ids, "titles": list(ids)}
        return Place(url, token, sign_in("people", "ann@example.com"), known)


def described(url: str, token: str) -> Any:
    """Return the document, as far as the token's owner is told of it."""
    headers = {"Authorization": token} if token else {}
    return httpx.get(f"{url}/api/openapi.json", headers=headers).raise_for_status().json()


def operations(document: Any) -> list[Any]:
    """Return the document's operations, those that change the server for the others last."""
    schema = schemathesis.openapi.from_dict(document)
    found = [result.ok() for result in schema.get_all_operations()]

    def order(operation: Any) -> int:
        id = operation.definition.raw["operationId"]
        return LAST.index(id) if id in LAST else -1

    # System collections take the same way as all others, and a stream has no end to wait for.
    chosen = [
        operation
        for operation in found
        if "/collections/_" not in operation.path
        and operation.definition.raw["operationId"] != "realtimeConnect"
    ]
    return sorted(chosen, key=order)


def strategies(operation: Any, place: Place) -> Iterator[Any]:
    """Yield ways to make requests: valid ones, invalid ones, and ones for a record that exists."""
    yield operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    yield operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    collection = operation.path.split("/")[3] if operation.path.startswith("/api/collections/") else ""
    if "{id}" in operation.path and place.known.get(collection):
        known = {
            "id": place.known[collection].pop()
            if operation.method == "delete"
            else place.known[collection][0]
        }
        yield operation.as_strategy(generation_mode=GenerationMode.POSITIVE, path_parameters=known)


def tried(operation: Any, place: Place, token: str) -> list[str]:
    """Send generated requests of one operation and return what was wrong with the answers."""
    problems: list[str] = []
    headers = {"Authorization": token} if token else {}

    def attempt(case: Any) -> None:
        if case.query:
            # Selected keys are what the document says less what was not selected; it has no words for that.
            case.query.pop("fields", None)
        response = case.call(base_url=place.url, headers=headers)
        try:
            case.validate_response(response, checks=CHECKS)
        except (Failure, FailureGroup) as failure:
            problems.append(f"{operation.label}: {failure}")

    for strategy in strategies(operation, place):
        run: Callable[[], None] = QUIETLY(given(strategy)(attempt))
        try:
            run()
        except Unsatisfiable:
            continue  # nothing about this operation can be sent wrong
        if problems:
            break
    return problems


def fuzz(url: str) -> list[str]:
    """Try everything as a guest, as a user and as a superuser; return what was wrong."""
    place = fill(url)
    problems: list[str] = []
    for caller, token in (("guest", ""), ("user", place.user), ("superuser", place.superuser)):
        for operation in operations(described(url, token)):
            problems += [f"As a {caller}: {problem}" for problem in tried(operation, place, token)]
    return problems


async def test_generated_requests_get_answers_that_the_document_describes(live_server: Any) -> None:
    code, said = await live_server.command("superuser", "upsert", EMAIL, PASSWORD)
    assert code == 0, said
    # In a thread, because what the server prints is read on this loop meanwhile.
    problems = await asyncio.to_thread(fuzz, live_server.url)
    assert problems == [], "\n\n".join(problems) + "\n" + live_server.output.decode()[-4000:]


async def test_an_answer_that_the_document_does_not_describe_is_noticed(server: Any) -> None:
    document = (await server.client.get("/api/openapi.json")).json()
    answer = await server.client.get("/api/health")

    def check(document: Any) -> None:
        health = next(each for each in operations(document) if each.path == "/api/health")
        health.Case().validate_response(answer, checks=CHECKS)

    check(document)
    document["components"]["schemas"]["Health"]["properties"]["code"] = {"type": "string"}
    with pytest.raises(FailureGroup, match='200 is not of type "string"'):
        check(document)
