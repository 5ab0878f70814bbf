"""/api/settings over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.settings.values import SettingsValues, to_json
from groundplane.testing.server import Server

NO_TOKEN = "The request requires valid record authorization token."
NOT_LOADED = "An error occurred while loading the submitted data."
NOT_SAVED = "An error occurred while saving the new settings."


@pytest.fixture
async def root(server: Server) -> dict[str, str]:
    return {"Authorization": await server.superuser_token()}


async def test_a_superuser_sees_the_settings_in_order_and_without_secrets(server: Server, root: Any) -> None:
    response = await server.client.get("/api/settings", headers=root)
    assert response.status_code == 200
    assert response.json() == to_json(SettingsValues())
    assert list(response.json()) == list(to_json(SettingsValues()))
    response = await server.client.get("/api/settings?fields=meta.appName,logs", headers=root)
    assert response.json() == {"meta": {"appName": "Acme"}, "logs": to_json(SettingsValues())["logs"]}


async def test_nobody_else_sees_or_changes_them(server: Server) -> None:
    for method in ("GET", "PATCH"):
        # The guard comes before the body.
        response = await server.client.request(method, "/api/settings", content=b"{")
        assert (response.status_code, response.json()["message"]) == (401, NO_TOKEN)
    await server.services.records.create_internal(
        server.services.schema.current.find("users"), {"email": "a@example.com"}
    )
    token = await server.token("users", "a@example.com")
    response = await server.client.get("/api/settings", headers={"Authorization": token})
    assert response.status_code == 403
    assert response.json()["message"] == "The authorized record is not allowed to perform this action."


async def test_a_change_is_answered_with_all_settings(server: Server, root: Any) -> None:
    change = {"meta": {"appName": "Mine"}, "smtp": {"password": "geheim"}}
    response = await server.client.patch("/api/settings", json=change, headers=root)
    assert response.status_code == 200
    expected = to_json(SettingsValues())
    expected["meta"]["appName"] = "Mine"
    assert response.json() == expected
    assert server.services.settings.current.smtp.password == "geheim"
    assert "geheim" not in (await server.client.get("/api/settings", headers=root)).text
    response = await server.client.patch("/api/settings", json={"meta": {"senderName": "Me"}}, headers=root)
    assert response.json()["meta"]["appName"] == "Mine"
    assert server.services.settings.current.smtp.password == "geheim"


async def test_an_empty_change_saves_again(server: Server, root: Any) -> None:
    before = server.services.settings.version
    response = await server.client.patch("/api/settings", headers=root)
    assert (response.status_code, response.json()) == (200, to_json(SettingsValues()))
    assert server.services.settings.version > before


async def test_a_form_with_a_payload_changes_settings(server: Server, root: Any) -> None:
    data = {"@jsonPayload": '{"meta":{"appName":"Form"}}'}
    response = await server.client.patch("/api/settings", data=data, headers=root)
    assert response.json()["meta"]["appName"] == "Form"


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"meta":[]}', b'{"smtp":{"port":"x"}}', b"1", b" "])
async def test_a_change_that_cannot_be_read(server: Server, root: Any, content: bytes) -> None:
    headers = root | {"Content-Type": "application/json"}
    response = await server.client.patch("/api/settings", content=content, headers=headers)
    assert response.status_code == 400
    assert response.json() == {"data": {}, "message": NOT_LOADED, "status": 400}


async def test_an_invalid_change_names_each_place(server: Server, root: Any) -> None:
    change = {"meta": {"appName": ""}, "superuserIPs": ["x"]}
    response = await server.client.patch("/api/settings", json=change, headers=root)
    assert response.status_code == 400
    assert response.json() == {
        "data": {
            "meta": {"appName": {"code": "validation_required", "message": "Cannot be blank."}},
            "superuserIPs": {
                "0": {"code": "validation_invlaid_ip_or_subnet", "message": "Invalid IP or CIDR subnet."}
            },
        },
        "message": NOT_SAVED,
        "status": 400,
    }


async def test_a_body_that_is_too_large_is_refused(server: Server, root: Any) -> None:
    headers = root | {"Content-Length": str(33_554_433), "Content-Type": "application/json"}
    response = await server.client.patch("/api/settings", content=b"{}", headers=headers)
    assert (response.status_code, response.json()["message"]) == (413, "Request entity too large.")
