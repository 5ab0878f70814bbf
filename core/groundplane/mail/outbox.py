"""Mails as files in a folder, where no SMTP server is set: to be looked at, and to be sent by nobody."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from groundplane.clock import now
from groundplane.mail.message import MailNotSent, Message

log = logging.getLogger(__name__)

MAX_FILES = 1000  # the oldest make room


class OutboxMailer:
    """Writes `<time>-<id>.eml`, which mail programs open; only this user may read them."""

    name = "outbox"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, message: Message) -> None:
        # Loaded with the first mail.
        from groundplane.mail.assembled import as_email

        raw = bytes(as_email(message))
        name = f"{now():%Y%m%d-%H%M%S-%f}-{message.id}.eml"
        try:
            await asyncio.to_thread(self._write, name, raw)
        except OSError as error:
            raise MailNotSent(f"The outbox cannot be written: {error.strerror}.") from None
        log.warning("No SMTP server is set: a mail is in %s instead of being sent", self._folder / name)

    def _write(self, name: str, raw: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = self._folder / f"{name}.part"
        # It holds links that let one in.
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(raw)
        part.replace(self._folder / name)
        for old in sorted(self._folder.glob("*.eml"))[:-MAX_FILES]:
            old.unlink(missing_ok=True)
