"""The start page without a browser: what a new installation reads, and what somebody did behind the server's back."""

from __future__ import annotations

from groundplane.testing.server import Server


async def signed_in(server: Server) -> dict[str, str]:
    return {"Cookie": f"gp_session={await server.superuser_token()}"}


async def test_a_new_installation_is_taught_what_to_do_first(server: Server) -> None:
    headers = await signed_in(server)
    page = (await server.client.get("/_/", headers=headers)).text
    assert "Start here" in page
    assert "new PocketBase(" in page
    root = {"Authorization": await server.superuser_token()}
    made = {"name": "posts", "type": "base", "fields": [{"name": "title", "type": "text"}]}
    assert (await server.client.post("/api/collections", json=made, headers=root)).status_code == 200
    assert "Start here" not in (await server.client.get("/_/", headers=headers)).text


async def test_a_table_that_somebody_changed_by_sql_is_told(server: Server) -> None:
    headers = await signed_in(server) | {"HX-Request": "true"}
    before = (await server.client.get("/_/?part=findings", headers=headers)).text
    assert "differs from the configuration" not in before
    table = server.services.schema.current.find("users").table
    await server.services.db.execute(f'ALTER TABLE "{table}" ADD COLUMN smuggled text')
    after = (await server.client.get("/_/?part=findings", headers=headers)).text
    assert "differs from the configuration" in after
    assert "smuggled" in after
