"""OpenID Connect: what an issuer says of itself, its keys, and whether an ID token is one of its own.

After OpenID Connect Core 1.0 §3.1.3.7 and Discovery 1.0 §4, with RFC 7515, 7517 and 7519 left to joserfc.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from joserfc import jws, jwt
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from groundplane.clock import unix_time
from groundplane.outgoing.addresses import split
from groundplane.outgoing.client import Client, NotFetched

log = logging.getLogger(__name__)

# Signatures with a public key only: with any other algorithm a published key would be the whole secret.
ALGORITHMS = (
    "Ed25519",
    "EdDSA",
    "ES256",
    "ES384",
    "ES512",
    "PS256",
    "PS384",
    "PS512",
    "RS256",
    "RS384",
    "RS512",
)
KEY_TYPES: dict[str, Any] = {"EC": ECKey, "OKP": OKPKey, "RSA": RSAKey}
LEAST_RSA_BITS = 2048  # RFC 7518 §3.3
MAX_KEYS = 100
MAX_TOKEN_CHARS = 100_000
MAX_HEADER_BYTES = 16 * 1024  # some issuers put their certificates there
LEEWAY_S = 60
KEPT_S = 3600.0  # after which documents and keys are fetched again
STALE_S = 24 * 3600.0  # for which they are used on while that fails
RETRY_S = 5.0  # after a fetch that failed
REFETCH_S = 30.0  # between two fetches for keys that are not known
MAX_KEPT = 100  # issuers, and sets of keys

T = TypeVar("T")


class BadIdToken(Exception):
    """An ID token that proves nothing to us; a sentence that says why."""


class Expected(NamedTuple):
    """What an ID token must say.

    `issuers` and `nonce` are not compared when empty. `access_token` is what came with the token.
    `is_strict` asks for everything that the standard does, not only for an audience and an end.
    """

    audience: str
    issuers: tuple[str, ...] = ()
    nonce: str = ""
    access_token: str = ""
    is_strict: bool = False
    leeway_s: int = LEEWAY_S


class Issuer(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an issuer's document that we use; absent addresses are empty."""

    issuer: str
    authorization_endpoint: str = ""
    token_endpoint: str = ""
    userinfo_endpoint: str = ""
    jwks_uri: str = ""


class PublicKey(NamedTuple):
    """A key for signatures; `algorithm` "" says that the set does not name one."""

    id: str
    algorithm: str
    key: Key


class Headers(jws.JWSRegistry):
    """Takes headers with parameters that nobody has registered, as long as they are not critical."""

    max_header_length = MAX_HEADER_BYTES

    def get_alg(self, name: str) -> Any:
        """As there, without the warning that EdDSA has a newer name."""
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError(f"{name} is not the algorithm of the header")
        return self.algorithms[name]


class Kept(Generic[T]):
    """What is fetched from one address, and fetched again when it is old; one fetch at a time."""

    def __init__(self, fetch: Callable[[], Awaitable[T]]) -> None:
        self._fetch = fetch
        self._lock = asyncio.Lock()
        self._value: T | None = None
        self._failure: NotFetched | None = None
        self._at = self._refetched = self._failed = float("-inf")

    async def get(self) -> T:
        """The value, at most an hour old unless its server fails; raises NotFetched."""
        if self._value is not None and time.monotonic() - self._at < KEPT_S:
            return self._value
        return await self._again(self._at)

    async def newer(self, than: T) -> T:
        """The value anew, unless that was tried just now; raises NotFetched."""
        moment = time.monotonic()
        if self._value is not than and self._value is not None:
            return self._value
        if moment - self._refetched < REFETCH_S:
            return than
        self._refetched = moment
        return await self._again(self._at)

    async def _again(self, seen: float) -> T:
        async with self._lock:
            if self._value is not None and self._at != seen:
                return self._value  # somebody else has just fetched it
            if self._failure is None or time.monotonic() - self._failed >= RETRY_S:
                try:
                    self._value, self._failure = await self._fetch(), None
                    self._at = time.monotonic()
                    return self._value
                except NotFetched as error:
                    log.warning("An issuer cannot be asked: %s", error)
                    self._failure, self._failed = error, time.monotonic()
            # Whoever has waited for an attempt that failed does not make the next one at once.
            if self._value is None or time.monotonic() - self._at >= STALE_S:
                raise NotFetched(str(self._failure))
            return self._value


class OpenID:
    """Documents and keys of issuers, each process for itself, and the check of ID tokens against them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._issuers: OrderedDict[str, Kept[Issuer]] = OrderedDict()
        self._keys: OrderedDict[str, Kept[tuple[PublicKey, ...]]] = OrderedDict()

    async def issuer(self, url: str) -> Issuer:
        """What an issuer says of itself (Discovery §4); raises NotFetched."""
        return await kept(self._issuers, url, lambda: self._fetch_issuer(url)).get()

    async def claims(self, token: str, expected: Expected, keys_url: str = "") -> dict[str, Any]:
        """The claims of an ID token that is as expected; raises BadIdToken and NotFetched.

        Without the address of keys the signature is not looked at. That is for tokens that came straight
        from the token endpoint, whose certificate stands in for it (Core §3.1.3.7, point 6).
        """
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            raise BadIdToken("It is too long, or no token.")
        header = header_of(token)
        if keys_url:
            key = await self._key_for(keys_url, header)
            try:
                # The one algorithm of the header that was looked at, so that no other one can be meant.
                registry = Headers(algorithms=[header["alg"]], strict_check_header=False)
                signed = jwt.decode(token, key.key, registry=registry)
            except (JoseError, ValueError, TypeError) as error:
                raise BadIdToken(f"Its signature is not right ({type(error).__name__}).") from None
            claims = signed.claims
        else:
            claims = payload_of(token)
        check(claims, expected, header["alg"])
        return claims

    async def _key_for(self, url: str, header: dict[str, Any]) -> PublicKey:
        """The key that a token names, from a set that is fetched again when it has no such key."""
        known = kept(self._keys, url, lambda: self._fetch_keys(url))
        keys = await known.get()
        found = choose(keys, header)
        if found is None:
            found = choose(await known.newer(keys), header)
        if found is None:
            raise BadIdToken("None of the issuer's keys has signed it.")
        return found

    async def _fetch_issuer(self, url: str) -> Issuer:
        fetched = await self._client.get(url.rstrip("/") + "/.well-known/openid-configuration")
        if fetched.status != 200:
            raise NotFetched(f"The issuer's document was answered with {fetched.status}.")
        try:
            document = msgspec.json.decode(fetched.body, type=Issuer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise NotFetched("The issuer's document is not one.") from None
        # Or one issuer could speak for another.
        if document.issuer.rstrip("/") != url.rstrip("/"):
            raise NotFetched("The issuer's document is about another issuer.")
        for address in document.__struct_fields__:
            if (value := getattr(document, address)) and split(value) is None:
                raise NotFetched(f"The issuer's document has an unusable {address}.")
        return document

    async def _fetch_keys(self, url: str) -> tuple[PublicKey, ...]:
        fetched = await self._client.get(url)
        if fetched.status != 200:
            raise NotFetched(f"The issuer's keys were answered with {fetched.status}.")
        raw = fetched.json()
        entries = raw.get("keys") if isinstance(raw, dict) else None
        if not isinstance(entries, list):
            raise NotFetched("The issuer's keys are not a set of keys.")
        return tuple(key for each in entries[:MAX_KEYS] if (key := public_key(each)) is not None)


def kept(shelf: OrderedDict[str, Kept[T]], url: str, fetch: Callable[[], Awaitable[T]]) -> Kept[T]:
    found = shelf.get(url)
    if found is None:
        found = shelf[url] = Kept(fetch)
        if len(shelf) > MAX_KEPT:
            shelf.popitem(last=False)
    shelf.move_to_end(url)
    return found


def public_key(entry: Any) -> PublicKey | None:
    """A key of a set that signatures can be checked with; None for any other one (RFC 7517 §5)."""
    kind = KEY_TYPES.get(str(entry.get("kty"))) if isinstance(entry, dict) else None
    if kind is None or entry.get("use", "sig") != "sig":
        return None
    id, algorithm = entry.get("kid", ""), entry.get("alg", "")
    if not isinstance(id, str) or not isinstance(algorithm, str):
        return None
    try:
        # Before the library sees it: it only warns of small keys.
        if kind is RSAKey and len(base64.urlsafe_b64decode(entry["n"] + "==")) * 8 < LEAST_RSA_BITS:
            return None
        key = kind.import_key(
            {name: entry[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in entry}
        )
    except (JoseError, KeyError, ValueError, TypeError):
        return None
    return PublicKey(id, algorithm, key)


def choose(keys: tuple[PublicKey, ...], header: dict[str, Any]) -> PublicKey | None:
    """The key with the id of the header; without one, the only key that its algorithm can be of."""
    wanted = header.get("kid")
    fitting = [each for each in keys if fits(each, header["alg"])]
    if wanted is not None:
        return next((each for each in fitting if each.id == wanted), None)
    return fitting[0] if len(fitting) == 1 else None


def fits(key: PublicKey, algorithm: str) -> bool:
    if key.algorithm and key.algorithm != algorithm and {key.algorithm, algorithm} != {"EdDSA", "Ed25519"}:
        return False
    kind = {"R": RSAKey, "P": RSAKey}.get(algorithm[0]) or (ECKey if algorithm.startswith("ES") else OKPKey)
    return isinstance(key.key, kind)


def header_of(token: str) -> dict[str, Any]:
    header = part_of(token, 0)
    if header.get("alg") not in ALGORITHMS:
        raise BadIdToken("Its algorithm is not allowed.")
    return header


def payload_of(token: str) -> dict[str, Any]:
    return part_of(token, 1)


def part_of(token: str, position: int) -> dict[str, Any]:
    """A part of a token as it stands there; raises BadIdToken."""
    parts = token.split(".")
    if len(parts) != 3:
        raise BadIdToken("It has not three parts.")
    text = parts[position]
    try:
        value = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise BadIdToken("It is not readable.") from None
    if not isinstance(value, dict):
        raise BadIdToken("It is not readable.")
    return value


def check(claims: dict[str, Any], expected: Expected, algorithm: str) -> None:
    """Compare the claims with what they must say; raises BadIdToken."""
    needed: dict[str, Any] = {
        "aud": {"essential": True, "value": expected.audience},
        "exp": {"essential": True},
    }
    if expected.issuers:
        needed["iss"] = {"essential": True, "values": list(expected.issuers)}
    if expected.is_strict:
        needed |= {"iat": {"essential": True}, "sub": {"essential": True}}
    try:
        registry = jwt.JWTClaimsRegistry(now=int(unix_time()), leeway=expected.leeway_s, **needed)
        registry.validate(claims)
    except (JoseError, ValueError, TypeError) as error:
        raise BadIdToken(f"{str(error).rstrip('.') or type(error).__name__}.") from None
    if expected.nonce and not same(claims.get("nonce"), expected.nonce):
        raise BadIdToken("It answers another request (nonce).")
    if not expected.is_strict:
        return
    audience = claims["aud"]
    party = claims.get("azp")
    if party != expected.audience and (
        party is not None or (isinstance(audience, list) and len(audience) > 1)
    ):
        raise BadIdToken("It was made for another client (azp).")
    digest = claims.get("at_hash")
    if digest is not None and not same(digest, half_hash(expected.access_token, algorithm)):
        raise BadIdToken("It belongs to another access token (at_hash).")


def same(given: Any, wanted: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(), wanted.encode())


def half_hash(text: str, algorithm: str) -> str:
    """The left half of a hash, as an `at_hash` has it (Core §3.1.3.6); Ed25519 hashes with SHA-512."""
    name = f"sha{algorithm[2:]}" if algorithm[2:] in ("256", "384", "512") else "sha512"
    digest = hashlib.new(name, text.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


def nonce_of(verifier: str) -> str:
    """The nonce of a sign-in, from the verifier that only who began it knows.

    So nothing has to be remembered between the two requests, and the provider, which sees the nonce,
    learns nothing of the verifier.
    """
    digest = hashlib.sha256(b"groundplane nonce\0" + verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
