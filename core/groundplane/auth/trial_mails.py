"""Mails to try the templates and the mail server with (contract, admin-api §2.6)."""

from __future__ import annotations

import html
from typing import Any

from groundplane.auth.callers import EMAIL_CHANGE, PASSWORD_RESET, VERIFICATION, issue
from groundplane.auth.mails import AccountMails
from groundplane.clock import now, wire_date
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Kind
from groundplane.schema.options import AuthOptions, Template
from groundplane.security.ids import secret

OTP, LOGIN_ALERT = "otp", "login-alert"
PURPOSES = ("verification", "password-reset", "email-change", OTP, LOGIN_ALERT)
TOKEN_TYPES = {
    "verification": VERIFICATION,
    "password-reset": PASSWORD_RESET,
    "email-change": EMAIL_CHANGE,
}


def template_of(options: AuthOptions, purpose: str) -> Template:
    return {
        "verification": options.verification_template,
        "password-reset": options.reset_password_template,
        "email-change": options.confirm_email_change_template,
        OTP: options.otp.email_template,
        LOGIN_ALERT: options.auth_alert.email_template,
    }[purpose]


def dummy(collection: Collection, email: str) -> dict[str, Any]:
    """A record that nobody has: its texts name their fields, and its tokens are no one's."""
    record = {
        field.name: f"__pb_test_{field.name}__" if field.kind is Kind.TEXT else field.zero
        for field in collection.fields
    }
    return record | {"id": "__pb_test_id__", "email": email, "tokenKey": secret()}


def trial_values(collection: Collection, record: dict[str, Any], purpose: str, email: str) -> dict[str, str]:
    """The placeholders that only this mail has, for a record of `dummy`."""
    if purpose in TOKEN_TYPES:
        claims: dict[str, Any] = {"newEmail": email} if purpose == "email-change" else {}
        return {"{TOKEN}": issue(collection, record, TOKEN_TYPES[purpose], **claims)}
    values = {"{OTP}": "123456", "{OTP_ID}": "__pb_test_otp_id__"}
    values["{ALERT_INFO}"] = html.escape(f"{wire_date(now())} - TEST_IP TEST_USER_AGENT")
    return values


async def send_trial(mails: AccountMails, collection: Collection, purpose: str, email: str) -> None:
    """Send the collection's mail of this purpose for a record that is not there; raises MailNotSent."""
    options = collection.options
    if options is None:
        raise ValueError("only collections that sign in have such mails")
    record = dummy(collection, email)
    values = trial_values(collection, record, purpose, email)
    await mails.send(purpose, collection, record, template_of(options, purpose), values, email)
