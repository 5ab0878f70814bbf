"""The part of the API document about mails: addresses, passwords and one-time passwords."""

from __future__ import annotations

from typing import Any

from groundplane.api.openapi_fields import JSON
from groundplane.api.openapi_records import CollectionPart, answer, errors, parameters, ref
from groundplane.context import SUPERUSERS

STRING: JSON = {"type": "string"}
EMAIL: JSON = {"type": "string", "format": "email", "maxLength": 255}
TOKEN: JSON = STRING | {"description": "The one in the mail."}
SAME_FOR_ALL = "The answer is the same for every address."


def form(**properties: JSON) -> JSON:
    """A JSON body in which every key is needed, but `mfaId`."""
    schema: JSON = {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name != "mfaId"],
    }
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def mail_sign_in(part: CollectionPart) -> dict[str, JSON]:
    """The endpoints of one auth collection, as far as its options allow them."""
    options = part.collection.options
    if options is None:
        return {}
    paths: dict[str, JSON] = {}

    def add(action: str, name: str, summary: str, about: str, call: str, body: JSON, **more: Any) -> None:
        responses = more.pop("responses", {"204": answer("Done.")})
        paths[f"/api/collections/{part.name}/{action}"] = {
            "post": part.operation(
                name,
                summary,
                "",
                f"await {part.client}.{call}",
                requestBody=body,
                responses=responses | errors("400", "401", "403", "404", "413"),
                **({"description": about} if about else {}),
                **more,
            )
        }

    if part.name != SUPERUSERS:
        add(
            "request-verification",
            "request_verification",
            "Send a mail that proves an address",
            SAME_FOR_ALL,
            "requestVerification(email)",
            form(email=EMAIL),
        )
        add(
            "confirm-verification",
            "confirm_verification",
            "Prove an address",
            "",
            "confirmVerification(token)",
            form(token=TOKEN),
        )
        add(
            "request-email-change",
            "request_email_change",
            "Send a mail to a new address of the caller",
            "Answered when the mail is handed over.",
            "requestEmailChange(newEmail)",
            form(newEmail=EMAIL),
        )
        add(
            "confirm-email-change",
            "confirm_email_change",
            "Take the new address",
            "Ends all sessions.",
            "confirmEmailChange(token, password)",
            form(token=TOKEN, password=STRING | {"description": "The current one."}),
        )
    if options.password_auth.enabled:
        add(
            "request-password-reset",
            "request_password_reset",
            "Send a mail to choose a new password",
            SAME_FOR_ALL,
            "requestPasswordReset(email)",
            form(email=EMAIL),
        )
    add(
        "confirm-password-reset",
        "confirm_password_reset",
        "Set a new password",
        "Ends all sessions.",
        "confirmPasswordReset(token, password, password)",
        form(token=TOKEN, password=STRING, passwordConfirm=STRING),
    )
    if options.otp.enabled:
        made: JSON = {"type": "object", "properties": {"otpId": STRING}, "required": ["otpId"]}
        add(
            "request-otp",
            "request_otp",
            "Send a one-time password",
            SAME_FOR_ALL,
            "requestOTP(email)",
            form(email=EMAIL),
            parameters=parameters("fields"),
            responses={"200": answer("The id to sign in with.", made)} | errors("429"),
        )
        add(
            "auth-with-otp",
            "auth_with_otp",
            "Sign in with a one-time password",
            "",
            "authWithOTP(otpId, password)",
            form(otpId=STRING, password=STRING, mfaId=STRING),
            parameters=parameters("expand", "fields"),
            responses={
                "200": answer("Signed in.", ref(f"{part.name}_signed_in")),
                "401": answer("A second factor is needed.", ref("SecondFactor")),
            },
        )
    return paths
