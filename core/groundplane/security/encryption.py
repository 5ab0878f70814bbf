"""Secrets at rest: AES-256-GCM under the key of the configuration, in PocketBase's own format."""

from __future__ import annotations

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from groundplane.errors import GroundplaneError

KEY_BYTES = 32
NONCE_BYTES = 12
SEALED = "gp1:"  # how a single sealed text begins


class BadKey(GroundplaneError):
    """The encryption key has the wrong size, or is not the one the data was sealed with.

    The message is for whoever starts the server; a request that meets it can do nothing but come later.
    """

    status = 503


class Seal:
    """Seals and opens texts with one key of 32 bytes.

    `encrypt` and `decrypt` use the format of PocketBase's encrypted settings: base64 of a 12-byte nonce
    and the ciphertext with its tag.
    """

    def __init__(self, key: str) -> None:
        raw = key.encode()
        if len(raw) != KEY_BYTES:
            raise BadKey(f"The encryption key must have exactly {KEY_BYTES} bytes; this one has {len(raw)}.")
        self._cipher = AESGCM(raw)

    def encrypt(self, plain: bytes) -> str:
        nonce = os.urandom(NONCE_BYTES)
        return base64.b64encode(nonce + self._cipher.encrypt(nonce, plain, None)).decode()

    def decrypt(self, sealed: str) -> bytes:
        """Open what `encrypt` made; raises BadKey for another key or damaged data."""
        try:
            raw = base64.b64decode(sealed, validate=True)
            return self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], None)
        except (binascii.Error, InvalidTag, ValueError):
            raise BadKey("The encrypted data cannot be read with this encryption key.") from None

    def seal(self, text: str) -> str:
        """Return a text that shows it is sealed; an empty one stays empty."""
        return SEALED + self.encrypt(text.encode()) if text else ""

    def open(self, text: str) -> str:
        """Return the text behind `seal`; one that was never sealed is returned as it is."""
        return self.decrypt(text.removeprefix(SEALED)).decode() if text.startswith(SEALED) else text


class Vault:
    """Seals what is secret with the key of the configuration; without one it is stored as it is.

    What was stored before there was a key stays readable, and is sealed when it is stored the next time.
    """

    def __init__(self, encryption_key: str, what: str) -> None:
        """`what` is stored here, for the message: "settings", "webhooks", …"""
        self._seal = Seal(encryption_key) if encryption_key else None
        self._what = what

    def seal(self, text: str) -> str:
        return text if self._seal is None else self._seal.seal(text)

    def open(self, text: str) -> str:
        """Return the text behind `seal`; raises BadKey when it was sealed with another key, or there is none."""
        if not text.startswith(SEALED):
            return text
        if self._seal is None:
            raise BadKey(
                f"The stored {self._what} are encrypted: set security.encryption_key to the key used before."
            )
        return self._seal.open(text)
