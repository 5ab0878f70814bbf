"""Superusers from the command line, and the first one."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.auth.superusers import INSTALLER_EMAIL, LAST_ONE
from groundplane.errors import Invalid, NotFound

PASSWORD = "1234567890"


async def sign_in(site: Any, email: str, password: str = PASSWORD) -> int:
    url = "/api/collections/_superusers/auth-with-password"
    response = await site.client.post(url, json={"identity": email, "password": password})
    return int(response.status_code)


async def test_upsert_makes_a_verified_superuser_that_can_sign_in(site: Any) -> None:
    superusers = site.services.superusers
    assert await superusers.upsert("root@example.com", PASSWORD) is True
    assert await sign_in(site, "root@example.com") == 200
    assert [each.email for each in await superusers.all()] == ["root@example.com"]
    assert await site.db.fetchval("SELECT verified FROM _superusers")


async def test_upsert_gives_a_new_password_and_ends_the_sessions(site: Any) -> None:
    header = await site.superuser()
    assert (await site.client.get("/api/settings", headers=header)).status_code == 200
    assert await site.services.superusers.upsert("root@example.com", "another-one") is False
    assert (await site.client.get("/api/settings", headers=header)).status_code == 401
    assert await sign_in(site, "root@example.com") == 400
    assert await sign_in(site, "root@example.com", "another-one") == 200


@pytest.mark.parametrize(
    ("email", "password"), [("x", PASSWORD), ("a@b.co", "short"), ("a@b.co", ""), ("a@b.co", "x" * 73)]
)
async def test_what_no_superuser_can_have_is_refused_with_a_sentence(
    site: Any, email: str, password: str
) -> None:
    with pytest.raises(Invalid) as caught:
        await site.services.superusers.upsert(email, password)
    assert caught.value.message.endswith(".")
    assert await site.services.superusers.all() == []


async def test_the_last_superuser_stays(site: Any) -> None:
    superusers = site.services.superusers
    await superusers.upsert("one@example.com", PASSWORD)
    with pytest.raises(Invalid, match=LAST_ONE):
        await superusers.delete("one@example.com")
    await superusers.upsert("two@example.com", PASSWORD)
    await superusers.delete("one@example.com")
    with pytest.raises(NotFound):
        await superusers.delete("one@example.com")
    assert [each.email for each in await superusers.all()] == ["two@example.com"]


async def test_the_set_up_link_makes_the_first_superuser_once(site: Any) -> None:
    superusers = site.services.superusers
    link = await superusers.setup_link("http://127.0.0.1:8090/")
    assert link.startswith("http://127.0.0.1:8090/_/#/pbinstall/")
    token = link.rpartition("/")[2]
    assert await superusers.setup_link("http://127.0.0.1:8090") is not None
    assert await site.db.fetchval("SELECT count(*) FROM _superusers") == 1
    body = {"email": "me@example.com", "password": PASSWORD, "passwordConfirm": PASSWORD}
    url = "/api/collections/_superusers/records"
    response = await site.client.post(url, json=body, headers={"Authorization": token})
    assert response.status_code == 200
    again = await site.client.post(url, json=body | {"email": "b@b.co"}, headers={"Authorization": token})
    assert again.status_code == 403, "the installer is gone, and its token with it"
    assert await site.db.fetch("SELECT email FROM _superusers WHERE email = $1", INSTALLER_EMAIL) == []
    assert await superusers.setup_link("http://x") is None


async def test_a_superuser_from_the_command_line_ends_the_set_up_as_well(site: Any) -> None:
    superusers = site.services.superusers
    token = (await superusers.setup_link("http://x")).rpartition("/")[2]
    header = {"Authorization": token}
    assert (await site.client.get("/api/settings", headers=header)).status_code == 200
    await superusers.upsert("root@example.com", PASSWORD)
    assert (await site.client.get("/api/settings", headers=header)).status_code == 401
