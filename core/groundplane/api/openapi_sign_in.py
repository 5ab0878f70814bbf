"""The part of the API document about sessions, service keys, and the methods that PocketBase does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from groundplane.api.openapi_fields import DATE_PATTERN, JSON
from groundplane.auth.scopes import ACTIONS, EVERYTHING, Access

if TYPE_CHECKING:
    from groundplane.schema.collection import Collection

TAG: JSON = {"name": "Service keys", "description": "How programs sign in. Superusers only."}
TEXT: JSON = {"type": "string"}
NUMBER: JSON = {"type": "integer"}
BOOL: JSON = {"type": "boolean"}
DATE: JSON = {"type": "string", "pattern": DATE_PATTERN}
CREDENTIAL: JSON = {"type": "object", "description": "What `toJSON()` of the browser's credential gives."}
DONE: JSON = {"204": {"description": "Done."}}
RECORD: JSON = {
    "name": "record",
    "in": "query",
    "schema": TEXT,
    "description": "For superusers: whose it is.",
}


def shaped(properties: JSON, *, required: bool = True) -> JSON:
    found: JSON = {"type": "object", "properties": properties}
    return found | {"required": list(properties)} if required else found


def ref(name: str) -> JSON:
    return {"$ref": f"#/components/schemas/{name}"}


def errors(*codes: str) -> JSON:
    return {code: {"$ref": f"#/components/responses/Error{code}"} for code in sorted({*codes, "429", "503"})}


def answer(description: str, schema: JSON) -> JSON:
    return {"200": {"description": description, "content": {"application/json": {"schema": schema}}}}


def body(properties: JSON, *, required: bool = False) -> JSON:
    schema = shaped(properties, required=False)
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def in_path(name: str, description: str) -> list[JSON]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
            "description": description,
        }
    ]


def own_sign_in_paths(collection: Collection) -> dict[str, JSON]:
    """Sessions of an auth collection, and those methods that it has switched on."""
    part = Part(collection.name)
    paths = part.sessions()
    options = collection.options
    if options is not None and options.totp.enabled:
        paths |= part.totp()
    if options is not None and options.passkeys.enabled:
        paths |= part.passkeys()
    if options is not None and options.magic_link.enabled:
        paths |= part.magic_links()
    return paths


class Part:
    """One collection's paths."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.base = f"/api/collections/{name}"
        self.signed_in = answer("Signed in.", ref(f"{name}_signed_in"))

    def operation(
        self, id: str, summary: str, method: str, path: str, *, guest: bool = False, **more: Any
    ) -> JSON:
        """One operation; `path` is for the example, below the collection's."""
        source = f"await pb.send('{self.base}{path}', {{ method: '{method}' }})"
        return {
            "operationId": f"{self.name}_{id}",
            "tags": [self.name],
            "summary": summary,
            "security": [{}, {"token": []}] if guest else [{"token": []}],
            "x-codeSamples": [{"lang": "JavaScript", "source": source}],
        } | more

    def sign_in(self, id: str, summary: str, path: str, properties: JSON) -> JSON:
        second = {"description": "A second factor is needed."}
        second["content"] = {"application/json": {"schema": ref("SecondFactor")}}  # type: ignore[assignment]
        return {
            "post": self.operation(
                id,
                summary,
                "POST",
                path,
                guest=True,
                requestBody=body(properties, required=True),
                responses=self.signed_in | {"401": second} | errors("400", "403", "404", "413"),
            )
        }

    def sessions(self) -> dict[str, JSON]:
        refused = errors("400", "401", "403", "404")
        return {
            f"{self.base}/sessions": {
                "get": self.operation(
                    "sessions_list",
                    "Where one is signed in",
                    "GET",
                    "/sessions",
                    parameters=[RECORD],
                    responses=answer("A page of sessions, the last used first.", ref("SessionPage"))
                    | refused,
                )
            },
            f"{self.base}/sessions/{{id}}": {
                "parameters": in_path("id", "The id of the session, or `current`."),
                "delete": self.operation(
                    "sessions_end",
                    "Sign out one session",
                    "DELETE",
                    "/sessions/current",
                    parameters=[RECORD],
                    responses=DONE | refused,
                ),
            },
            f"{self.base}/sessions/revoke-others": {
                "post": self.operation(
                    "sessions_revoke_others",
                    "Sign out everywhere else; the answer has the token to go on with",
                    "POST",
                    "/sessions/revoke-others",
                    responses=self.signed_in | errors("400", "401", "403", "404", "413"),
                )
            },
            f"{self.base}/sessions/revoke-all": {
                "post": self.operation(
                    "sessions_revoke_all",
                    "Sign out everywhere",
                    "POST",
                    "/sessions/revoke-all",
                    parameters=[RECORD],
                    responses=DONE | errors("400", "401", "403", "404", "413"),
                )
            },
        }

    def totp(self) -> dict[str, JSON]:
        refused = errors("400", "401", "403", "404", "413")
        codes = answer("Not shown again.", shaped({"recoveryCodes": {"type": "array", "items": TEXT}}))
        standing = shaped({"enabled": BOOL, "since": DATE, "recoveryCodes": NUMBER})
        return {
            f"{self.base}/totp": {
                "get": self.operation(
                    "totp_view",
                    "Whether one has a code generator",
                    "GET",
                    "/totp",
                    parameters=[RECORD],
                    responses=answer("What there is.", standing) | errors("400", "401", "403", "404"),
                ),
                "post": self.operation(
                    "totp_begin",
                    "Make a secret for a code generator",
                    "POST",
                    "/totp",
                    requestBody=body({"password": TEXT}),
                    responses=answer("Not shown again.", shaped({"secret": TEXT, "url": TEXT})) | refused,
                ),
                "delete": self.operation(
                    "totp_reset",
                    "Take a lost code generator from a record; superusers only",
                    "DELETE",
                    "/totp",
                    parameters=[RECORD],
                    responses=DONE | refused,
                ),
            },
            f"{self.base}/totp/confirm": {
                "post": self.operation(
                    "totp_confirm",
                    "Have the code generator count",
                    "POST",
                    "/totp/confirm",
                    requestBody=body({"code": TEXT}, required=True),
                    responses=codes | refused,
                )
            },
            f"{self.base}/totp/recovery-codes": {
                "post": self.operation(
                    "totp_recovery_codes",
                    "Replace the recovery codes",
                    "POST",
                    "/totp/recovery-codes",
                    requestBody=body({"code": TEXT}, required=True),
                    responses=codes | refused,
                )
            },
            f"{self.base}/totp/disable": {
                "post": self.operation(
                    "totp_disable",
                    "Do without the code generator",
                    "POST",
                    "/totp/disable",
                    requestBody=body({"code": TEXT, "recoveryCode": TEXT}, required=True),
                    responses=DONE | refused,
                )
            },
            f"{self.base}/auth-with-totp": self.sign_in(
                "auth_with_totp",
                "Complete a sign-in with a code",
                "/auth-with-totp",
                {"mfaId": TEXT, "code": TEXT, "recoveryCode": TEXT},
            ),
        }

    def passkeys(self) -> dict[str, JSON]:
        refused = errors("400", "401", "403", "404", "413")
        challenge = answer("For the browser.", shaped({"id": TEXT, "options": {"type": "object"}}))
        of_one = in_path("id", "The id of the passkey.")
        return {
            f"{self.base}/passkeys": {
                "get": self.operation(
                    "passkeys_list",
                    "List one's passkeys",
                    "GET",
                    "/passkeys",
                    parameters=[RECORD],
                    responses=answer("Oldest first.", {"type": "array", "items": ref("Passkey")})
                    | errors("400", "401", "403", "404"),
                ),
                "post": self.operation(
                    "passkeys_register",
                    "Keep a passkey that the browser has made",
                    "POST",
                    "/passkeys",
                    requestBody=body({"id": TEXT, "credential": CREDENTIAL, "name": TEXT}, required=True),
                    responses=answer("The passkey.", ref("Passkey")) | refused,
                ),
            },
            f"{self.base}/passkeys/options": {
                "post": self.operation(
                    "passkeys_options",
                    "What the browser needs to make a passkey",
                    "POST",
                    "/passkeys/options",
                    requestBody=body({"password": TEXT}),
                    responses=challenge | refused,
                )
            },
            f"{self.base}/passkeys/{{id}}": {
                "parameters": of_one,
                "patch": self.operation(
                    "passkeys_rename",
                    "Rename a passkey",
                    "PATCH",
                    "/passkeys/PASSKEY_ID",
                    requestBody=body({"name": TEXT}, required=True),
                    responses=answer("The passkey.", ref("Passkey")) | refused,
                ),
                "delete": self.operation(
                    "passkeys_delete",
                    "Forget a passkey",
                    "DELETE",
                    "/passkeys/PASSKEY_ID",
                    parameters=[RECORD],
                    responses=DONE | refused,
                ),
            },
            f"{self.base}/request-passkey": {
                "post": self.operation(
                    "request_passkey",
                    "What the browser is to sign",
                    "POST",
                    "/request-passkey",
                    guest=True,
                    requestBody=body({"mfaId": TEXT}),
                    responses=challenge | errors("400", "403", "404", "413"),
                )
            },
            f"{self.base}/auth-with-passkey": self.sign_in(
                "auth_with_passkey",
                "Sign in with a passkey",
                "/auth-with-passkey",
                {"id": TEXT, "credential": CREDENTIAL, "mfaId": TEXT},
            ),
        }

    def magic_links(self) -> dict[str, JSON]:
        return {
            f"{self.base}/request-magic-link": {
                "post": self.operation(
                    "request_magic_link",
                    "Have a link mailed that signs in",
                    "POST",
                    "/request-magic-link",
                    guest=True,
                    requestBody=body({"email": TEXT, "sameBrowser": BOOL}, required=True),
                    responses=answer("Also for unknown addresses.", shaped({"browserKey": TEXT}))
                    | errors("400", "403", "404", "413"),
                )
            },
            f"{self.base}/auth-with-magic-link": self.sign_in(
                "auth_with_magic_link",
                "Sign in with a mailed link",
                "/auth-with-magic-link",
                {"token": TEXT, "browserKey": TEXT, "mfaId": TEXT},
            ),
        }


def sign_in_schemas() -> JSON:
    """Shapes of sessions and passkeys."""
    session = {
        **{name: TEXT for name in ("id", "collectionId", "recordId", "method", "ip", "userAgent")},
        "current": BOOL,
        **{name: DATE for name in ("created", "lastUsed", "expires")},
    }
    page = {name: NUMBER for name in ("page", "perPage", "totalItems", "totalPages")}
    passkey = {
        **{name: TEXT for name in ("id", "name", "model")},
        "transports": {"type": "array", "items": TEXT},
        "synced": BOOL,
        **{name: DATE for name in ("created", "lastUsed")},
    }
    return {
        "Session": shaped(session),
        "SessionPage": shaped({"items": {"type": "array", "items": ref("Session")}, **page}),
        "Passkey": shaped(passkey),
    }


def service_key_paths() -> dict[str, JSON]:
    """The operations on service keys."""
    of_one = in_path("id", "The id of the service key.")
    refused = errors("400", "401", "403", "404", "413")

    def operation(id: str, summary: str, method: str, path: str, **more: Any) -> JSON:
        source = f"await pb.send('/api/service-keys{path}', {{ method: '{method}' }})"
        return {
            "operationId": f"serviceKeys{id}",
            "tags": ["Service keys"],
            "summary": summary,
            "security": [{"token": []}],
            "x-codeSamples": [{"lang": "JavaScript", "source": source}],
        } | more

    wanted = {"name": TEXT, "access": {"type": "string", "enum": [each.value for each in Access]}}
    wanted |= {"record": {"type": "object"}, "scopes": {"type": "array", "items": ref("Scope")}}
    return {
        "/api/service-keys": {
            "get": operation(
                "List",
                "List the service keys, newest first",
                "GET",
                "",
                responses=answer("All of them.", {"type": "array", "items": ref("ServiceKey")})
                | errors("400", "401", "403"),
            ),
            "post": operation(
                "Create",
                "Make a service key; it is shown this once",
                "POST",
                "",
                requestBody=body(wanted | {"expires": TEXT}, required=True),
                responses=answer("The key.", ref("ServiceKeyOnce")) | refused,
            ),
        },
        "/api/service-keys/{id}": {
            "parameters": of_one,
            "get": operation(
                "View",
                "Show a service key",
                "GET",
                "/KEY_ID",
                responses=answer("The key.", ref("ServiceKey")) | errors("400", "401", "403", "404"),
            ),
            "delete": operation(
                "Revoke", "Revoke a service key", "DELETE", "/KEY_ID", responses=DONE | refused
            ),
        },
        "/api/service-keys/{id}/rotate": {
            "parameters": of_one,
            "post": operation(
                "Rotate",
                "Replace a service key; the new one is shown this once",
                "POST",
                "/KEY_ID/rotate",
                requestBody=body({"grace": NUMBER}),
                responses=answer("The key.", ref("ServiceKeyOnce")) | refused,
            ),
        },
    }


def service_key_schemas() -> JSON:
    """Shapes of service keys."""
    actions: JSON = {"type": "string", "enum": [*ACTIONS, EVERYTHING]}
    scope = {"collections": {"type": "array", "items": TEXT}, "actions": {"type": "array", "items": actions}}
    key = {
        **{name: TEXT for name in ("id", "name", "hint", "access")},
        "record": {"type": ["object", "null"]},
        "scopes": {"type": "array", "items": ref("Scope")},
        "valid": BOOL,
        **{name: DATE for name in ("expires", "previousUntil", "lastUsed", "created", "updated")},
    }
    return {"Scope": shaped(scope), "ServiceKey": shaped(key), "ServiceKeyOnce": shaped(key | {"key": TEXT})}
