"""How mails leave: over real SMTP, with retries, into the outbox, through plugins."""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.mail.mail_site import MailSite, mail_site
from tests.mail.postbox import Postbox, html_of, own_certificate, text_of

from groundplane.config import Config, MailConfig
from groundplane.hooks import hookimpl
from groundplane.hooks.events_mail import MailCompose, MailSend
from groundplane.mail.assembled import as_email
from groundplane.mail.message import MailNotSent, Message
from groundplane.mail.smtp import SmtpMailer
from groundplane.settings.values import Smtp
from groundplane.testing.captured import run_due
from groundplane.testing.plugins import make_plugin
from groundplane.testing.server import INSTALLED, own_database, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


PostOffice = Callable[..., Awaitable[Postbox]]


@pytest_asyncio.fixture(loop_scope="module")
async def post_office() -> AsyncIterator[PostOffice]:
    """`await post_office(…)` starts an SMTP server, which is stopped in the end."""
    boxes: list[Postbox] = []

    async def start(**more: Any) -> Postbox:
        boxes.append(await Postbox(**more).start())
        return boxes[-1]

    yield start
    for box in boxes:
        await box.stop()


def message(**changed: Any) -> Message:
    values = {
        "to": "a@example.com",
        "subject": "Hello",
        "html": "<p>Grüße</p>",
        "text": "Grüße\n",
        "sender_name": 'The "Club"',
        "sender_address": "club@example.com",
    }
    return Message(**(values | changed))


def smtp(box: Postbox, **more: Any) -> Smtp:
    return Smtp(enabled=True, host="127.0.0.1", port=box.port, **more)


async def send(box: Postbox, mail: Message | None = None, ca_file: str = "", **more: Any) -> None:
    await SmtpMailer(smtp(box, **more), 20.0, ca_file).send(mail or message())


# SMTP


async def test_a_mail_has_both_parts_and_tells_what_it_is(post_office: PostOffice) -> None:
    box = await post_office()
    await send(box)
    (mail,) = box.mails
    assert mail["From"] == '"The \\"Club\\"" <club@example.com>'
    assert (mail["To"], mail["Subject"], mail["Auto-Submitted"]) == (
        "a@example.com",
        "Hello",
        "auto-generated",
    )
    assert mail["Message-ID"].endswith("@example.com>")
    assert mail["Date"]
    assert (text_of(mail).strip(), html_of(mail).strip()) == ("Grüße", "<p>Grüße</p>")
    assert box.envelopes[0].rcpt_tos == ["a@example.com"]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_the_password_is_shown_by_the_chosen_method(post_office: PostOffice, mechanism: str) -> None:
    box = await post_office(password="s3cret", mechanism=mechanism)
    await send(box, username="anna", password="s3cret", auth_method=mechanism)
    assert len(box.mails) == 1
    with pytest.raises(MailNotSent, match="code 535") as failed:
        await send(box, username="anna", password="wrong", auth_method=mechanism)
    # An administrator may correct the password before the next attempt.
    assert not failed.value.is_final
    assert "wrong" not in str(failed.value)


async def test_starttls_is_used_where_it_is_offered_and_its_certificate_is_checked(
    post_office: PostOffice, tmp_path: Path
) -> None:
    certificate, context = own_certificate(tmp_path)
    box = await post_office(password="s3cret", tls=context)
    with pytest.raises(MailNotSent, match="certificate is not trusted"):
        await send(box, username="anna", password="s3cret")
    assert box.mails == []
    await send(box, ca_file=str(certificate), username="anna", password="s3cret")
    assert box.sessions[0].ssl is not None


async def test_a_password_is_not_sent_in_the_clear_to_another_machine(
    post_office: PostOffice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    box = await post_office(password="s3cret")
    monkeypatch.setattr("groundplane.mail.smtp.is_this_machine", lambda host: False)
    with pytest.raises(MailNotSent, match="offers no TLS"):
        await send(box, username="anna", password="s3cret")


async def test_a_server_that_is_silent_or_away_is_given_up_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(MailNotSent, match=r"longer than 0\.2 s|cannot be used"):
        await SmtpMailer(Smtp(host="127.0.0.1", port=port), 0.2).send(message())
    server.close()
    await server.wait_closed()
    with pytest.raises(MailNotSent, match="cannot be used") as failed:
        await SmtpMailer(Smtp(host="127.0.0.1", port=port), 20.0).send(message())
    assert not failed.value.is_final


async def test_a_refusal_for_good_is_final_and_one_for_now_is_not(post_office: PostOffice) -> None:
    box = await post_office()
    for answer, is_final in (("550 no such user", True), ("451 greylisted", False)):
        box.answer = answer
        with pytest.raises(MailNotSent) as failed:
            await send(box)
        assert failed.value.is_final == is_final
        assert answer[4:] not in str(failed.value)


# What may stand in a mail


@pytest.mark.parametrize("text", ["Hi\r\nBcc: evil@example.com", "Hi\nX: y", "Hi\x00\x0b\u2028there"])
async def test_no_value_begins_another_header(post_office: PostOffice, text: str) -> None:
    box = await post_office()
    await send(box, message(subject=text, sender_name=text, headers={"X-Club": text}))
    (mail,) = box.mails
    assert mail["Bcc"] is None
    assert mail["X"] is None
    assert "\n" not in mail["Subject"]
    assert set(mail.keys()) == {
        *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "X-Club", "MIME-Version"),
        *({"Content-Type", "X-Peer", "X-MailFrom", "X-RcptTo"} & set(mail.keys())),
    }


@pytest.mark.parametrize(
    "address",
    ["", "nobody", "a@x.io\r\nBcc: b@x.io", "a@x.io, b@x.io", "<a@x.io>", "a@", "@x.io", "a b@x.io"],
)
async def test_an_address_that_is_not_one_is_refused_for_good(address: str) -> None:
    for mail in (message(to=address), message(sender_address=address)):
        with pytest.raises(MailNotSent) as failed:
            as_email(mail)
        assert failed.value.is_final


async def test_addresses_beyond_ascii_arrive(post_office: PostOffice) -> None:
    box = await post_office()
    await send(box, message(to="jörg@bücher.example", subject="Grüße 🎉"))
    assert box.envelopes[0].rcpt_tos == ["jörg@xn--bcher-kva.example"]
    assert box.mails[0]["Subject"] == "Grüße 🎉"


# Jobs


async def test_a_mail_waits_for_its_server_and_goes_out_when_it_is_back(
    mailed: MailSite, caplog: pytest.LogCaptureFixture
) -> None:
    await mailed.user("a@example.com")
    await mailed.box.stop()
    with caplog.at_level(logging.WARNING):
        await mailed.post("request-verification", {"email": "a@example.com"})
        (job,) = await mailed.run_jobs()
    seen = await mailed.services.jobs.view(job.id)
    assert seen.state == "waiting"
    assert "The SMTP server cannot be used" in seen.error
    assert "The SMTP server cannot be used" in caplog.text
    await mailed.box.start()
    await mailed.services.jobs.retry(job.id)
    await mailed.run_jobs()
    assert len(mailed.box.mails) == 1
    assert (await mailed.services.jobs.view(job.id)).state == "done"


async def test_a_mail_that_fails_for_good_is_a_dead_job_and_in_the_log(
    mailed: MailSite, caplog: pytest.LogCaptureFixture
) -> None:
    await mailed.user("a@example.com")
    mailed.box.answer = "550 nobody here"
    await mailed.post("request-password-reset", {"email": "a@example.com"})
    (job,) = await mailed.run_jobs()
    header = await mailed.superuser()
    response = await mailed.client.get(f"/api/jobs/{job.id}", headers=header)
    assert (response.json()["state"], response.json()["error"]) == (
        "dead",
        "The SMTP server refused with code 550.",
    )
    assert "refused with code 550" in caplog.text
    # Nothing was sent, so nothing holds back the next one.
    mailed.box.answer = ""
    await mailed.token_for("request-password-reset", "a@example.com")


async def test_a_queued_mail_survives_a_restart(postgres_url: str, tmp_path: Path) -> None:
    async for url in own_database(postgres_url, INSTALLED):
        async with mail_site(url, tmp_path) as site:
            await site.user("a@example.com")
            await site.post("request-verification", {"email": "a@example.com"})
        async with mail_site(url, tmp_path) as site:
            await site.run_jobs()
            assert [mail["To"] for mail in site.box.mails] == ["a@example.com"]


async def test_a_deleted_account_or_collection_gets_no_mail(mailed: MailSite) -> None:
    await mailed.services.collections.create({"name": "others", "type": "auth"})
    user = await mailed.user("a@example.com")
    await mailed.record("others", email="b@example.com")
    await mailed.post("request-verification", {"email": "a@example.com"})
    await mailed.post("request-verification", {"email": "b@example.com"}, collection="others")
    await mailed.services.records.delete_internal(mailed.services.schema.current.find("users"), user["id"])
    await mailed.services.collections.delete("others")
    jobs = await mailed.run_jobs()
    assert len(jobs) == 2
    assert [(await mailed.services.jobs.view(job.id)).state for job in jobs] == ["done", "done"]
    assert mailed.box.mails == []


# The outbox


async def test_without_a_mail_server_mails_are_files_and_a_line_in_the_log(
    mailed: MailSite, caplog: pytest.LogCaptureFixture
) -> None:
    await mailed.services.settings.change({"smtp": {"enabled": False}})
    user = await mailed.user("a@example.com")
    await mailed.post("request-verification", {"email": "a@example.com"})
    await mailed.run_jobs()
    folder = mailed.services.config.outbox_folder
    (file,) = folder.glob("*.eml")
    mail = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert (mail["To"], mail["Subject"]) == ("a@example.com", "Verify your Club email")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert str(file) in caplog.text
    # The log is read by more people than the mail.
    assert "eyJ" not in caplog.text
    assert user["email"] not in caplog.text
    file.unlink()


# The mail to try it with


async def test_the_trial_mail_shows_each_template(mailed: MailSite) -> None:
    header = await mailed.superuser()
    for template, word in (
        ("verification", "/_/#/auth/confirm-verification/ey"),
        ("password-reset", "/_/#/auth/confirm-password-reset/ey"),
        ("email-change", "/_/#/auth/confirm-email-change/ey"),
        ("otp", "123456"),
        ("login-alert", "TEST_IP TEST_USER_AGENT"),
    ):
        body = {"email": "me@example.com", "template": template, "collection": "users"}
        response = await mailed.client.post("/api/settings/test/email", json=body, headers=header)
        assert response.status_code == 204, response.text
        assert word in text_of(mailed.box.mails[-1])
        assert mailed.box.mails[-1]["To"] == "me@example.com"
    mailed.box.answer = "550 no"
    response = await mailed.client.post("/api/settings/test/email", json=body, headers=header)
    message = "Failed to send the test email. Raw error: \nThe SMTP server refused with code 550."
    assert response.json() == {"data": {}, "message": message, "status": 400}


async def test_the_trial_mail_says_what_is_missing(mailed: MailSite) -> None:
    header = await mailed.superuser()
    for body, expected in (
        ({}, {"email": "validation_required", "template": "validation_required"}),
        (
            {"email": "x", "template": "y", "collection": "z"},
            {
                "email": "validation_is_email",
                "template": "validation_in_invalid",
                "collection": "validation_invalid_auth_collection",
            },
        ),
    ):
        response = await mailed.client.post("/api/settings/test/email", json=body, headers=header)
        assert response.status_code == 400
        assert {name: each["code"] for name, each in response.json()["data"].items()} == expected
    assert (await mailed.client.post("/api/settings/test/email", json={})).status_code == 401


# Plugins


class Remembering:
    """A mailer that keeps what it is given."""

    name = "memory"

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.problem: Exception | None = None

    async def send(self, message: Message) -> None:
        if self.problem is not None:
            raise self.problem
        self.sent.append(message)


def mailing(mailer: Remembering, order: list[str]) -> Any:
    @hookimpl
    def register_mailers() -> Any:
        return [mailer]

    @hookimpl
    async def mail_compose(event: MailCompose) -> None:
        if event.record["email"].startswith("quiet"):
            event.is_dropped = True
        event.message.subject = f"[{event.purpose}] {event.message.subject}"
        event.message.headers["X-Club"] = event.collection.name

    @hookimpl
    async def mail_send(event: MailSend) -> AsyncIterator[None]:
        order.append(f"before {event.mailer}")
        try:
            yield
        except MailNotSent as error:
            order.append(f"failed {error}")
            raise
        order.append("after")

    return make_plugin("mailing", register_mailers, mail_compose, mail_send)


async def test_plugins_change_drop_watch_and_send_mails(postgres_url: str, tmp_path: Path) -> None:
    mailer, order = Remembering(), list[str]()
    config = MailConfig(mailer="memory")
    async for url in own_database(postgres_url, INSTALLED):
        async with mail_site(url, tmp_path, [mailing(mailer, order)], mail=config) as site:
            for email in ("a@example.com", "quiet@example.com"):
                await site.user(email)
                await site.post("request-verification", {"email": email})
            jobs = await site.run_jobs()
            (sent,) = mailer.sent
            assert sent.subject == "[verification] Verify your Club email"
            assert sent.headers == {"X-Club": "users"}
            assert order == ["before memory", "after"]
            assert "confirm-verification" not in repr(sent)
            mailer.problem = RuntimeError("the token is eyJ")
            await site.post("request-password-reset", {"email": "a@example.com"})
            (job,) = [each for each in await site.run_jobs() if each.id not in {old.id for old in jobs}]
            assert (await site.services.jobs.view(job.id)).error == (
                "MailNotSent: memory failed: RuntimeError."
            )
            assert site.box.mails == []


async def test_a_mailer_that_is_not_there_is_a_failure_that_everybody_sees(
    server_database_url: str, tmp_path: Path
) -> None:
    config = Config(data_dir=str(tmp_path), mail=MailConfig(mailer="pigeon"))
    async with running(config, server_database_url) as server:
        site = MailSite(server, Postbox())
        await site.user("a@example.com")
        await site.post("request-verification", {"email": "a@example.com"})
        (job,) = await run_due(server.services)
        assert (await server.services.jobs.view(job.id)).error == (
            "MailNotSent: mail.mailer names 'pigeon', which no plugin offers."
        )
