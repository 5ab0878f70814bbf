"""What a new collection has before its owner says anything: fields, auth options, mail texts."""

from __future__ import annotations

from groundplane.schema.fields.autodate import AutodateField
from groundplane.schema.fields.base import Field
from groundplane.schema.fields.boolean import BoolField
from groundplane.schema.fields.email import EmailField
from groundplane.schema.fields.password import PasswordField
from groundplane.schema.fields.text import DEFAULT_ID_PATTERN, TextField
from groundplane.schema.options import OTP, AuthAlert, AuthOptions, Template, TokenOptions
from groundplane.security.ids import secret

GREETING = "<p>Hello,</p>"
FAREWELL = "<p>Kind regards,<br>the {APP_NAME} team</p>"


def mail(*paragraphs: str) -> str:
    return "\n".join((GREETING, *(f"<p>{paragraph}</p>" for paragraph in paragraphs), FAREWELL))


def button(page: str, label: str) -> str:
    link = f"{{APP_URL}}/_/#/auth/{page}/{{TOKEN}}"
    return f'<a class="btn" href="{link}" target="_blank" rel="noopener">{label}</a>'


VERIFICATION = Template(
    subject="Verify your {APP_NAME} email",
    body=mail(
        "Welcome to {APP_NAME}. Please confirm that this e-mail address is yours:",
        button("confirm-verification", "Verify e-mail address"),
        "If you did not create an account, you can ignore this message.",
    ),
)
PASSWORD_RESET = Template(
    subject="Reset your {APP_NAME} password",
    body=mail(
        "Somebody, we hope you, asked for a new password for your {APP_NAME} account. Choose it here:",
        button("confirm-password-reset", "Set a new password"),
        "If it was not you, nothing has changed and you can ignore this message.",
    ),
)
EMAIL_CHANGE = Template(
    subject="Confirm your {APP_NAME} new email address",
    body=mail(
        "Please confirm that your {APP_NAME} account shall use this e-mail address from now on:",
        button("confirm-email-change", "Use this address"),
        "If you did not ask for this change, you can ignore this message.",
    ),
)
ONE_TIME_PASSWORD = Template(
    subject="OTP for {APP_NAME}",
    body=mail(
        "Your one-time password is <strong>{OTP}</strong>",
        "Nobody from {APP_NAME} will ever ask you for it. If you did not request it, ignore this message.",
    ),
)
SIGN_IN_LINK = Template(
    subject="Sign in to {APP_NAME}",
    body=mail(
        "Somebody, we hope you, wants to sign in to your {APP_NAME} account:",
        button("confirm-magic-link", "Sign in"),
        "The link works once and for a short time. If you did not ask for it, ignore this message.",
    ),
)
NEW_LOCATION = Template(
    subject="Login from a new location",
    body=mail(
        "Your {APP_NAME} account was just used to sign in from a new location:",
        "<em>{ALERT_INFO}</em>",
        "If this was you, there is nothing to do.",
        "<strong>If it was not you, change your {APP_NAME} password now, which also signs out every other "
        "device.</strong>",
    ),
)


def copy(template: Template) -> Template:
    return Template(subject=template.subject, body=template.body)


def auth_options(auth_token_duration_s: int = 432_000) -> AuthOptions:
    """The options of a new auth collection, each token with a secret of its own."""

    def token(duration_s: int) -> TokenOptions:
        return TokenOptions(secret=secret(), duration=duration_s)

    return AuthOptions(
        auth_alert=AuthAlert(email_template=copy(NEW_LOCATION)),
        otp=OTP(email_template=copy(ONE_TIME_PASSWORD)),
        auth_token=token(auth_token_duration_s),
        password_reset_token=token(1800),
        email_change_token=token(1800),
        verification_token=token(86_400),
        file_token=token(180),
        verification_template=copy(VERIFICATION),
        reset_password_template=copy(PASSWORD_RESET),
        confirm_email_change_template=copy(EMAIL_CHANGE),
    )


def blank_auth_options() -> AuthOptions:
    """Auth options with nothing set, for a collection that was something else."""
    options = AuthOptions(auth_rule=None)
    options.auth_alert.enabled = False
    options.password_auth.enabled = False
    options.password_auth.identity_fields = []
    options.mfa.duration = options.otp.duration = options.otp.length = 0
    return options


def id_field() -> TextField:
    return TextField(
        name="id",
        system=True,
        required=True,
        primary_key=True,
        min=15,
        max=15,
        pattern=DEFAULT_ID_PATTERN,
        autogenerate_pattern="[a-z0-9]{15}",
    )


def auth_fields() -> tuple[Field, ...]:
    """The system fields of auth collections, in their order."""
    return (
        PasswordField(name="password", system=True, hidden=True, required=True, min=8),
        TextField(
            name="tokenKey",
            system=True,
            hidden=True,
            required=True,
            min=30,
            max=60,
            autogenerate_pattern="[a-zA-Z0-9]{50}",
        ),
        EmailField(name="email", system=True, required=True),
        BoolField(name="emailVisibility", system=True),
        BoolField(name="verified", system=True),
    )


# What a save sets again on fields that are there already, whatever was submitted.
FORCED_OPTIONS: dict[str, dict[str, bool]] = {
    "password": {"system": True, "hidden": True, "required": True},
    "tokenKey": {"system": True, "hidden": True, "required": True},
    "email": {"system": True, "hidden": False},
    "emailVisibility": {"system": True},
    "verified": {"system": True},
}


def date_fields(*, system: bool) -> tuple[Field, Field]:
    """The `created` and `updated` fields."""
    return (
        AutodateField(name="created", system=system, on_create=True),
        AutodateField(name="updated", system=system, on_create=True, on_update=True),
    )
