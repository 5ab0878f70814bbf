"""The structs that hooks about sign-in providers receive; what may be changed in them is said at the hook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from groundplane.auth.providers import OAuthUser
    from groundplane.context import RequestInfo
    from groundplane.schema.collection import Collection


class OAuthProfile(msgspec.Struct):
    """`provider` is the provider's name, `user` whom it says to have signed in; tokens are not in here."""

    collection: Collection
    provider: str
    user: OAuthUser
    info: RequestInfo


class OAuthLink(msgspec.Struct):
    """`record` holds the stored values of the account that `user` of `provider` may sign in to from now on.

    `by` says why this one: `sign_up` (it has just been made), `caller` (its owner asks for it) or `email`
    (it has the address that the provider has verified).
    """

    collection: Collection
    provider: str
    user: OAuthUser
    record: Mapping[str, Any]
    by: Literal["sign_up", "caller", "email"]
    info: RequestInfo
