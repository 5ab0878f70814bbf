"""Mails through an SMTP server."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from email.message import EmailMessage
from pathlib import Path

from aiosmtplib import SMTP, SMTPException, SMTPRecipientsRefused, SMTPResponseException

from groundplane.mail.assembled import address, as_email
from groundplane.mail.message import MailNotSent, Message
from groundplane.settings.values import Smtp

NO_TLS = "The server offers no TLS, and the password is not sent without it."


def trusted(ca_file: str) -> ssl.SSLContext:
    """Which certificates count: those that the system trusts, and those in the file; raises MailNotSent."""
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(Path(ca_file))
        except (OSError, ssl.SSLError):
            raise MailNotSent("The file of mail.ca_file cannot be read as certificates.") from None
    return context


def is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class SmtpMailer:
    """Opens a connection for each mail; `timeout_s` bounds all of it.

    With `tls` the connection begins encrypted, without it becomes so where the server offers it. A certificate
    that nobody trusts is refused either way.
    """

    name = "smtp"

    def __init__(self, smtp: Smtp, timeout_s: float, ca_file: str = "") -> None:
        self._smtp = smtp
        self._timeout_s = timeout_s
        self._ca_file = ca_file

    async def send(self, message: Message) -> None:
        mail = as_email(message)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._send(mail, message)
        except TimeoutError:
            raise MailNotSent(f"The SMTP server took longer than {self._timeout_s:g} s.") from None
        except SMTPRecipientsRefused as error:
            refusal = error.recipients[0]
            raise self._refused(refusal.code) from None
        except SMTPResponseException as error:
            raise self._refused(error.code) from None
        except ssl.SSLCertVerificationError as error:
            raise MailNotSent(
                f"The SMTP server's certificate is not trusted: {error.verify_message}."
            ) from None
        except (SMTPException, OSError, ValueError) as error:
            raise MailNotSent(f"The SMTP server cannot be used: {type(error).__name__}.") from None

    async def _send(self, mail: EmailMessage, message: Message) -> None:
        smtp = self._smtp
        client = SMTP(
            hostname=smtp.host,
            port=smtp.port,
            use_tls=smtp.tls,
            start_tls=False if smtp.tls else None,
            tls_context=await asyncio.to_thread(trusted, self._ca_file),
            timeout=self._timeout_s,
            local_hostname=smtp.local_name or "localhost",
        )
        try:
            await client.connect()
            await client.ehlo()  # what it offers after STARTTLS counts, not what it said before
            if smtp.username or smtp.password:
                if client.get_transport_info("sslcontext") is None and not is_this_machine(smtp.host):
                    raise MailNotSent(NO_TLS)
                log_in = client.auth_login if smtp.auth_method == "LOGIN" else client.auth_plain
                await log_in(smtp.username, smtp.password)
            sender, receiver = address(message.sender_address), address(message.to)
            await client.send_message(mail, sender=sender.addr_spec, recipients=[receiver.addr_spec])
            await client.quit()
        finally:
            client.close()

    def _refused(self, code: int) -> MailNotSent:
        # The server's own words may repeat addresses and passwords; its number says enough.
        reason = f"The SMTP server refused with code {code}."
        # 535 and its kin are about our account: the next attempt may have a better password.
        return MailNotSent(reason, is_final=500 <= code < 600 and code not in (530, 534, 535, 538))
