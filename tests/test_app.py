"""The whole server in one process."""

from __future__ import annotations

from groundplane.testing.server import Server


async def test_a_fresh_server_is_healthy_and_has_the_system_collections(server: Server) -> None:
    answer = await server.client.get("/api/health")
    assert answer.json() == {"message": "API is healthy.", "code": 200, "data": {}}
    names = {collection.name for collection in server.services.schema.current}
    assert names >= {"_superusers", "users"}


async def test_the_superuser_of_the_fixture_may_do_anything(server: Server) -> None:
    token = await server.superuser_token()
    answer = await server.client.get("/api/collections", headers={"Authorization": token})
    assert answer.status_code == 200, answer.text
    assert answer.json()["totalItems"] >= 6
