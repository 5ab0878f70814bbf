"""The page that makes the first superuser, and the account it makes."""

from __future__ import annotations

import re

from groundplane.testing.server import Server


async def test_the_console_answers_with_a_page_that_allows_nothing_from_elsewhere(server: Server) -> None:
    answer = await server.client.get("/_/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in answer.text
    assert " style=" not in answer.text


async def test_everything_that_the_page_loads_is_there(server: Server) -> None:
    page = (await server.client.get("/_/")).text
    loaded = re.findall(r'(?:src|href)="(/_/static/[^"]+)"', page)
    assert len(loaded) == 3
    for path in loaded:
        answer = await server.client.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_the_address_without_its_slash_leads_to_the_one_with_it(server: Server) -> None:
    answer = await server.client.get("/_")
    assert (answer.status_code, answer.headers["location"]) == (307, "/_/")


async def test_an_asset_that_is_not_there_is_not_found_whatever_its_name(server: Server) -> None:
    for name in ("nothing.js", "..%2F__init__.py", "__init__.py", "setup.html"):
        answer = await server.client.get(f"/_/static/{name}")
        assert answer.status_code == 404, name
        assert answer.json()["status"] == 404


async def test_the_token_of_the_set_up_link_makes_one_superuser_and_is_used_up(server: Server) -> None:
    link = await server.services.superusers.setup_link("http://server.test")
    assert link is not None
    token = link.partition("/_/#/pbinstall/")[2]
    body = {"email": "first@example.com", "password": "1234567890", "passwordConfirm": "1234567890"}
    path, headers = "/api/collections/_superusers/records", {"Authorization": token}
    assert (await server.client.post(path, json=body, headers=headers)).status_code == 200
    again = await server.client.post(path, json=body | {"email": "second@example.com"}, headers=headers)
    assert again.status_code == 403
