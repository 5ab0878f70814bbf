"""A code for an access token, at the provider's token endpoint (RFC 6749 §4.1.3, RFC 7636 §4.5)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, quote_plus, urlencode

from groundplane.auth.providers import ProviderSettings
from groundplane.clock import now, wire_date
from groundplane.outgoing.client import Client, Fetched, NotFetched

FORM = "application/x-www-form-urlencoded"
FORM_ANSWERS = frozenset({FORM, "text/plain"})
MAX_SHOWN = 100  # characters of what a provider says of a failure
LONGEST_LIFE_S = 100 * 365 * 24 * 3600


async def exchange_code(
    client: Client, settings: ProviderSettings, secret: str, code: str, verifier: str, redirect_url: str
) -> dict[str, Any]:
    """The provider's answer, which has an `access_token`; raises NotFetched.

    The client's id and secret go into a header first, as the standard wants it; if the answer is no token,
    the request is repeated with them in the form, as some providers want it.
    """
    if not settings.token_url:
        raise NotFetched("The provider has no tokenURL.")
    form = {"grant_type": "authorization_code", "code": code}
    if redirect_url:
        form["redirect_uri"] = redirect_url
    if settings.pkce:
        form["code_verifier"] = verifier
    pair = f"{quote_plus(settings.client_id)}:{quote_plus(secret)}"
    basic = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    answer = await post(client, settings.token_url, basic, form)
    try:
        return tokens_of(answer)
    except NotFetched:
        whole = form | {"client_id": settings.client_id, "client_secret": secret}
        return tokens_of(await post(client, settings.token_url, {}, whole))


async def post(client: Client, url: str, headers: Mapping[str, str], form: Mapping[str, str]) -> Fetched:
    sent = {"Content-Type": FORM, **headers}
    return await client.post(url, sent, urlencode(form).encode())


def tokens_of(fetched: Fetched) -> dict[str, Any]:
    """Read an answer, JSON or a form; raises NotFetched when there is no access token in it."""
    if fetched.content_type in FORM_ANSWERS:
        try:
            found: Any = dict(parse_qsl(fetched.body.decode("utf-8", "replace"), max_num_fields=100))
        except ValueError:
            raise NotFetched("The answer is not a form.") from None
    elif fetched.is_success or fetched.content_type.endswith("json"):
        found = fetched.json()
    else:
        raise NotFetched(f"The provider answered with {fetched.status}.")
    if not isinstance(found, dict):
        raise NotFetched("The answer is no JSON object.")
    if not fetched.is_success or found.get("error"):
        # A word of the standard (`invalid_grant`), so it may be shown; the rest of the answer may not.
        raise NotFetched(
            f"The provider refused with {fetched.status} {str(found.get('error', ''))[:MAX_SHOWN]!r}."
        )
    token = found.get("access_token")
    if not isinstance(token, str) or not token:
        raise NotFetched("There is no access token in the answer.")
    return found


def expiry_of(tokens: Mapping[str, Any]) -> str:
    """When the access token ends, as a date of the wire; "" when the provider does not say so."""
    given = tokens.get("expires_in")
    try:
        seconds = int(given) if isinstance(given, int | float | str) and not isinstance(given, bool) else 0
    except (ValueError, OverflowError):
        return ""
    return wire_date(now() + timedelta(seconds=seconds)) if 0 < seconds < LONGEST_LIFE_S else ""
