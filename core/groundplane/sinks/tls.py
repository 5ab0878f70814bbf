"""TLS to a broker: whom to trust, and who we are."""

from __future__ import annotations

import ssl

import msgspec


class TLS(msgspec.Struct, frozen=True, kw_only=True):
    """Files in PEM form; the broker's name is always verified.

    `ca`     who may vouch for the broker; "" is whom this machine trusts
    `cert`   our own certificate, where the broker asks for one; its key is in the same file or in `key`
    """

    ca: str = ""
    cert: str = ""
    key: str = ""

    def context(self) -> ssl.SSLContext:
        """Raises OSError (ssl.SSLError is one) for files that cannot be read."""
        context = ssl.create_default_context(cafile=self.ca or None)
        if self.cert:
            context.load_cert_chain(self.cert, self.key or None)
        return context
