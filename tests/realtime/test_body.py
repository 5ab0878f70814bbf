"""What the request for subscriptions refuses, and in which words (contract, realtime §3)."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.testing.server import Server

PATH = "/api/realtime"
FAILED = "Something went wrong while processing your request."


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        '{"clientId":',
        '{"clientId":5}',
        '{"clientId":"x","subscriptions":"a"}',
        '{"clientId":"x","subscriptions":[1]}',
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(server: Server, body: str) -> None:
    answer = await server.client.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json() == {"data": {}, "message": FAILED, "status": 400}


@pytest.mark.parametrize(
    ("body", "codes"),
    [
        ({}, {"clientId": "validation_required"}),
        ({"clientId": "x" * 256}, {"clientId": "validation_length_out_of_range"}),
        (
            {"clientId": "x", "subscriptions": ["a"] * 1001},
            {"subscriptions": "validation_length_too_long"},
        ),
        (
            {"clientId": "x", "subscriptions": ["a", "b" * 2501]},
            {"subscriptions": {"1": "validation_length_too_long"}},
        ),
    ],
)
async def test_what_is_missing_or_too_long_is_named(server: Server, body: Any, codes: Any) -> None:
    answer = await server.client.post(PATH, json=body)
    assert answer.status_code == 400

    def code_of(error: Any) -> Any:
        return error["code"] if "code" in error else {key: code_of(each) for key, each in error.items()}

    assert {key: code_of(error) for key, error in answer.json()["data"].items()} == codes


@pytest.mark.parametrize("client", ["x", "\x00", "0" * 40])
async def test_a_client_that_is_not_there_is_404(server: Server, client: str) -> None:
    answer = await server.client.post(PATH, json={"clientId": client, "subscriptions": [None, ""]})
    assert answer.status_code == 404
    assert answer.json()["message"] == "Missing or invalid client id."
