"""A server whose mails arrive, one for each module of tests and as new for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.mail.mail_site import MailSite, mail_site

from groundplane.testing.server import INSTALLED, own_database


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_mail_site(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[MailSite]:
    async for url in own_database(postgres_url, INSTALLED):
        async with mail_site(url, tmp_path_factory.mktemp("mailed")) as site:
            yield site


@pytest_asyncio.fixture(loop_scope="module")
async def mailed(shared_mail_site: MailSite) -> MailSite:
    await shared_mail_site.reset()
    return shared_mail_site
