"""A real SMTP server for tests: what it receives, and how it can be made to refuse."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Postbox:
    """Listens on a free port of this machine between `start` and `stop`; `mails` is what came."""

    def __init__(self, *, password: str = "", mechanism: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.mails: list[EmailMessage] = []
        self.envelopes: list[Envelope] = []
        self.sessions: list[Session] = []
        self.answer = ""  # instead of taking a mail
        self.port = 0
        self._password = password
        self._mechanism = mechanism
        self._tls = tls
        self._arrived = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def start(self) -> Postbox:
        self._server = await asyncio.get_running_loop().create_server(self._session, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def _session(self) -> SMTP:
        others = {"LOGIN", "PLAIN"} - {self._mechanism} if self._mechanism else set()
        return SMTP(
            self,
            hostname="mail.test",
            enable_SMTPUTF8=True,
            tls_context=self._tls,
            authenticator=self._authenticated if self._password else None,
            auth_required=self._tls is not None,
            auth_require_tls=self._tls is not None,
            auth_exclude_mechanism=others,
            loop=asyncio.get_running_loop(),
        )

    def _authenticated(
        self, server: Any, session: Any, envelope: Any, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        good = (data.login, data.password) == (b"anna", self._password.encode())
        # "handled" would mean that the client has its answer already.
        return AuthResult(success=good, handled=False)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answer:
            return self.answer
        raw = envelope.original_content or b""
        mail = message_from_bytes(raw, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        self.envelopes.append(envelope)
        self.sessions.append(session)
        self._arrived.set()
        return "250 OK"

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def wait_for(self, count: int) -> list[EmailMessage]:
        """Return when so many mails have come."""
        async with asyncio.timeout(60):
            while len(self.mails) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return self.mails

    @property
    def settings(self) -> dict[str, Any]:
        """For `PATCH /api/settings`."""
        return {
            "enabled": True,
            "host": "127.0.0.1",
            "port": self.port,
            "username": "",
            "password": "",
            "authMethod": "",
            "tls": False,
        }


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def html_of(mail: EmailMessage) -> str:
    part = mail.get_body(("html",))
    assert part is not None
    return str(part.get_content())


def own_certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that nobody has signed: its file, and what a server needs to show it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
    moment = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - datetime.timedelta(hours=1))
        .not_valid_after(moment + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "mail.crt", folder / "mail.key"
    certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, private)
    return certificate, context
