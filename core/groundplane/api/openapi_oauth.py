"""The part of the API document that is about signing in with other services."""

from __future__ import annotations

from groundplane.api.openapi_fields import JSON
from groundplane.api.openapi_records import CollectionPart, answer, errors, parameters, ref

STRING: JSON = {"type": "string"}
WORDS: JSON = {
    "state": "What the provider was given: the id of the stream that waits.",
    "code": "What the client exchanges.",
    "error": "Why there is no code.",
}


def oauth_paths() -> dict[str, JSON]:
    """The address that providers send people back to."""
    query = [
        {"name": name, "in": "query", "schema": STRING, "description": text} for name, text in WORDS.items()
    ]
    properties = {name: STRING | {"description": text} for name, text in WORDS.items()}
    form: JSON = {"type": "object", "properties": properties | {"user": STRING}}
    summary = "Hand a code to the client that waits for it"
    end: JSON = {
        "description": "To a page that says how it went.",
        "headers": {"Location": {"schema": STRING}},
    }
    return {
        "/api/oauth2-redirect": {
            "get": {
                "operationId": "oauth2_redirect",
                "tags": ["Sign-in"],
                "summary": summary,
                "security": [{}],
                "parameters": query,
                "responses": {"307": end} | errors("429"),
            },
            "post": {
                "operationId": "oauth2_redirect_form",
                "tags": ["Sign-in"],
                "summary": f"{summary}, for providers that send a form",
                "security": [{}],
                "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": form}}},
                "responses": {"303": end} | errors("429"),
            },
        }
    }


TAG: JSON = {"name": "Sign-in", "description": "Signing in with other services."}


def oauth_schemas() -> JSON:
    return {
        "OAuth2SignIn": {
            "type": "object",
            "properties": {
                "provider": STRING | {"description": "The name of a provider in `auth-methods`."},
                "code": STRING | {"description": "What the provider sent back."},
                "codeVerifier": STRING | {"description": "The one that belongs to the address gone to."},
                "redirectURL": STRING | {"description": "Where the provider sent people back to."},
                "createData": {
                    "type": "object",
                    "description": "What a new account is made of, beside the profile.",
                },
                "mfaId": STRING | {"description": "From the 401 answer to the first of two sign-ins."},
            },
            "required": ["provider", "code"],
        },
        "OAuth2Meta": {
            "type": "object",
            "description": "The person as the provider knows them; `rawUser` is its own answer.",
            "properties": {
                "id": STRING,
                "name": STRING,
                "username": STRING,
                "email": STRING | {"description": "Empty unless the provider has verified it."},
                "avatarURL": STRING,
                "avatarUrl": STRING,
                "accessToken": STRING,
                "refreshToken": STRING,
                "expiry": STRING,
                "isNew": {"type": "boolean"},
                "rawUser": {"type": "object"},
            },
        },
    }


def oauth_sign_in(part: CollectionPart) -> dict[str, JSON]:
    """The endpoint of one collection, where it lets people in through providers."""
    options = part.collection.options
    if options is None or not options.oauth2.enabled:
        return {}
    signed_in: JSON = {
        "allOf": [
            ref(f"{part.name}_signed_in"),
            {"type": "object", "properties": {"meta": ref("OAuth2Meta")}},
        ]
    }
    return {
        f"/api/collections/{part.name}/auth-with-oauth2": {
            "post": part.operation(
                "auth_with_oauth2",
                "Sign in with another service",
                "",
                f"const {{ token, record, meta }} = await {part.client}.authWithOAuth2({{ provider: 'google' }})",
                parameters=parameters("expand", "fields"),
                requestBody={
                    "required": True,
                    "content": {"application/json": {"schema": ref("OAuth2SignIn")}},
                },
                responses={
                    "200": answer("Signed in.", signed_in),
                    "401": answer("A second factor is needed.", ref("SecondFactor")),
                }
                | errors("400", "403", "404", "413"),
            )
        }
    }
