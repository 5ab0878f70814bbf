"""The hooks about signing in with other services, a part of the contract with plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from groundplane.hooks import hookspec

if TYPE_CHECKING:
    from groundplane.auth.providers import OAuthProvider
    from groundplane.hooks.events_oauth import OAuthLink, OAuthProfile
    from groundplane.services import Services


@hookspec("collect")
def register_oauth_providers(config: object, services: Services) -> Sequence[OAuthProvider]:
    """Services with which people can sign in, as `groundplane.auth.providers` describes them.

    Asked in every process once all plugins are started. A plugin that raises, or returns something else, or
    a provider whose name is taken, is broken and stays out.

    `config`   the plugin's configuration, as in `startup`

    Called by: groundplane/hooks/manager.py
    """
    raise NotImplementedError


@hookspec("before")
async def oauth_profile(event: OAuthProfile, services: Services) -> None:
    """A provider has said who signs in, and nobody has been looked for yet.

    Change `event.user`, or raise a `GroundplaneError` to refuse. `event.user.email` is trusted: accounts are
    found by it and become verified, so set no address that the provider has not verified. An account keeps
    to `event.user.id`, so change it in the same way each time. Runs outside of the transaction.
    Called by: groundplane/auth/oauth2.py
    """


@hookspec("before")
async def oauth_link(event: OAuthLink, services: Services) -> None:
    """Somebody at a provider is about to be linked to an account, for the first time.

    Raise a `GroundplaneError` to refuse: the client gets its status and message, and nothing is written, also
    no account that was only made for this. Runs inside the transaction.
    Called by: groundplane/auth/oauth_accounts.py
    """
