"""Ways to sign in that plugins add: who is asked, and what becomes of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from groundplane.auth.service import FAILED, Auth, FirstFactor, SignIn
from groundplane.context import RequestInfo
from groundplane.errors import Invalid, NotFound
from groundplane.hooks import Options
from groundplane.hooks.auth_methods import METHOD_NAME, AuthMethod, AuthProof
from groundplane.hooks.calls import Hooks
from groundplane.hooks.events import AuthAttempt
from groundplane.hooks.implementation import Implementation
from groundplane.schema.collection import Collection

PROVE_S = 30.0  # seconds that a plugin may take
# What `auth-methods` or the second factor calls its own.
TAKEN = frozenset(
    {"password", "oauth2", "mfa", "otp", "totp", "passkey", "passkeys", "refresh", "impersonation"}
)


class AddedMethods:
    """Knows the methods by name and lets their plugins prove; the rest is `Auth.proven`, as for all methods."""

    def __init__(self, auth: Auth, hooks: Hooks) -> None:
        self._auth = auth
        self._hooks = hooks
        self._known: dict[str, tuple[AuthMethod, Implementation]] = {}

    def register(self, plugin: str, given: object) -> None:
        """Take a plugin's methods; raises ValueError with a sentence, and then takes none of them."""
        if not isinstance(given, list | tuple) or not all(isinstance(each, AuthMethod) for each in given):
            raise ValueError("register_auth_methods returned something else than a list of AuthMethod")
        fresh: dict[str, tuple[AuthMethod, Implementation]] = {}
        for method in given:
            if METHOD_NAME.fullmatch(method.name) is None:
                raise ValueError(f"the way to sign in {method.name!r} is not named as one can be")
            if method.name in TAKEN or method.name in self._known or method.name in fresh:
                raise ValueError(f"there is a way to sign in {method.name} already")
            fresh[method.name] = method, prover_of(plugin, method)
        self._known |= fresh

    def shown(self, collection: Collection) -> dict[str, Any]:
        """What `auth-methods` tells of them."""
        return {
            name: {"enabled": True} for name, (method, _) in self._known.items() if method.applies(collection)
        }

    async def sign_in(
        self, name_or_id: str, name: str, values: Mapping[str, Any], info: RequestInfo, *, expand: str = ""
    ) -> SignIn | FirstFactor:
        """Sign in as whom the plugin says; raises NotFound for a method that the collection does not have."""
        collection = self._auth.collection(name_or_id)
        found = self._known.get(name)
        if found is None or not found[0].applies(collection):
            raise NotFound()
        async with self._hooks.auth_attempt(collection, event=AuthAttempt(collection, name, "", info)):
            given = {
                "proof": AuthProof(collection, values, info),
                "services": self._hooks.surroundings.services,
            }
            record_id = await found[1].answer(self._hooks.surroundings, given, PROVE_S)
            if record_id is not None and not isinstance(record_id, str):
                raise found[1].failed("it answered something else than the id of a record")
            record = await self._auth.callers.record(collection, record_id) if record_id else None
            if record is None:
                raise Invalid(FAILED)
            mfa_id = values.get("mfaId", "")
            mfa_id = mfa_id if isinstance(mfa_id, str) else ""
            return await self._auth.proven(collection, record, name, mfa_id, info, expand)


def prover_of(plugin: str, method: AuthMethod) -> Implementation:
    """What proves, to be called like the implementation of a hook."""

    async def prove(proof: AuthProof, services: Any) -> Any:
        return await method.prove(proof, services)

    return Implementation(plugin, f"auth-with/{method.name}", prove, ("proof", "services"), Options())
