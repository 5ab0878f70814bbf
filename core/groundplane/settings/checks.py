"""What makes settings invalid, with the codes of the wire (contract, admin-api §2.3)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from groundplane.errors import REQUIRED, FieldError
from groundplane.security.addresses import parse_network
from groundplane.settings.formats import cron_error, is_email, is_host, is_url
from groundplane.settings.values import S3, Backups, Meta, RateLimitRule, RateLimits, SettingsValues, Smtp

HOST = FieldError("validation_is_host", "Must be a valid IP address or DNS name.")
URL = FieldError("validation_is_url", "Must be a valid URL.")
EMAIL = FieldError("validation_is_email", "Must be a valid email address.")
CHOICE = FieldError("validation_in_invalid", "Must be a valid value.")
SHAPE = FieldError("validation_match_invalid", "Must be in a valid format.")
COLOUR = FieldError("validation_is_hexcolor", "Must be a valid hexadecimal color code.")
# The code is misspelt on the wire.
NETWORK = FieldError("validation_invlaid_ip_or_subnet", "Invalid IP or CIDR subnet.")

AUDIENCES = frozenset({"", "@guest", "@auth"})
AUTH_METHODS = frozenset({"", "PLAIN", "LOGIN"})
LABEL = re.compile(r"\w+ /[\w/-]*|/[\w/-]*|\w+:\w+|\*:\w+|\w+", re.ASCII)


def settings_errors(values: SettingsValues) -> dict[str, Any]:
    """All that is wrong, as the tree of the error body; empty when the settings may be saved."""
    return only_wrong(
        {
            "superuserIPs": network_errors(values.superuser_ips),
            "smtp": smtp_errors(values.smtp),
            "backups": backup_errors(values.backups),
            "s3": s3_errors(values.s3),
            "meta": meta_errors(values.meta),
            "rateLimits": rate_limit_errors(values.rate_limits),
            "batch": only_wrong(
                {
                    "maxRequests": number_error(values.batch.max_requests, required=values.batch.enabled),
                    "timeout": number_error(values.batch.timeout, required=values.batch.enabled),
                    "maxBodySize": number_error(values.batch.max_body_size),
                }
            ),
            "logs": only_wrong({"maxDays": number_error(values.logs.max_days)}),
        }
    )


def only_wrong(found: dict[str, Any]) -> dict[str, Any]:
    return {name: error for name, error in found.items() if error}


def number_error(value: int, *, least: int = 0, required: bool = False) -> FieldError | None:
    """Zero counts as "not set": it is only wrong where a value is required."""
    if value == 0:
        return REQUIRED if required else None
    if value < least:
        return FieldError(
            "validation_min_greater_equal_than_required",
            f"Must be no less than {least}.",
            {"threshold": least},
        )
    return None


def length_error(value: str, low: int, high: int) -> FieldError | None:
    """Lengths of settings are counted in bytes; an empty text is not checked."""
    if not value or low <= len(value.encode()) <= high:
        return None
    if low == high:
        return FieldError(
            "validation_length_invalid", f"The length must be exactly {low}.", {"max": high, "min": low}
        )
    return FieldError(
        "validation_length_out_of_range",
        f"The length must be between {low} and {high}.",
        {"max": high, "min": low},
    )


def network_errors(entries: Iterable[str]) -> dict[str, Any]:
    return only_wrong(
        {
            str(position): REQUIRED if not entry else None if parse_network(entry) else NETWORK
            for position, entry in enumerate(entries)
        }
    )


def smtp_errors(smtp: Smtp) -> dict[str, Any]:
    def host_error(text: str, *, required: bool = False) -> FieldError | None:
        if not text:
            return REQUIRED if required else None
        return None if is_host(text) else HOST

    return only_wrong(
        {
            "host": host_error(smtp.host, required=smtp.enabled),
            "port": number_error(smtp.port, required=smtp.enabled),
            "authMethod": None if smtp.auth_method in AUTH_METHODS else CHOICE,
            "localName": host_error(smtp.local_name),
        }
    )


def s3_errors(s3: S3) -> dict[str, Any]:
    needed = {
        "endpoint": s3.endpoint,
        "bucket": s3.bucket,
        "region": s3.region,
        "accessKey": s3.access_key,
        "secret": s3.secret,
    }
    errors: dict[str, Any] = {name: REQUIRED for name, value in needed.items() if s3.enabled and not value}
    if s3.endpoint and not is_url(s3.endpoint):
        errors["endpoint"] = URL
    return errors


def backup_errors(backups: Backups) -> dict[str, Any]:
    reason = cron_error(backups.cron) if backups.cron else None
    return only_wrong(
        {
            "s3": s3_errors(backups.s3),
            "cron": FieldError("validation_invalid_cron", reason) if reason else None,
            "cronMaxKeep": number_error(backups.cron_max_keep, least=1, required=bool(backups.cron)),
        }
    )


def meta_errors(meta: Meta) -> dict[str, Any]:
    colour = length_error(meta.accent_color, 7, 7)
    if colour is None and meta.accent_color and not re.fullmatch(r"#[0-9A-Fa-f]{6}", meta.accent_color):
        colour = COLOUR
    return only_wrong(
        {
            "accentColor": colour,
            "appName": length_error(meta.app_name, 1, 255) if meta.app_name else REQUIRED,
            "senderName": length_error(meta.sender_name, 1, 255) if meta.sender_name else REQUIRED,
            "appURL": None if is_url(meta.app_url) else URL if meta.app_url else REQUIRED,
            "senderAddress": None
            if is_email(meta.sender_address)
            else EMAIL
            if meta.sender_address
            else REQUIRED,
        }
    )


def rate_limit_errors(limits: RateLimits) -> dict[str, Any]:
    return only_wrong(
        {
            "rules": rules_errors(limits.rules) if limits.rules else REQUIRED if limits.enabled else None,
            "excludedIPs": network_errors(limits.excluded_ips),
        }
    )


def rules_errors(rules: list[RateLimitRule]) -> dict[str, Any]:
    """The first conflict alone, else what is wrong with each rule."""
    seen: dict[str, set[str]] = {}
    for position, rule in enumerate(rules):
        audiences = seen.setdefault(rule.label, set())
        # A rule for everybody overlaps with any other; one for guests goes with one for callers.
        if audiences and (rule.audience == "" or "" in audiences or rule.audience in audiences):
            conflict = FieldError(
                "validation_conflicting_rate_limit_rule",
                f"Rate limit rule configuration with label {rule.label} already exists or conflicts with another rule.",
                {"label": rule.label},
            )
            return {str(position): {"label": conflict}}
        audiences.add(rule.audience)
    return only_wrong({str(position): rule_errors(rule) for position, rule in enumerate(rules)})


def rule_errors(rule: RateLimitRule) -> dict[str, Any]:
    return only_wrong(
        {
            "label": REQUIRED if not rule.label else None if LABEL.fullmatch(rule.label) else SHAPE,
            "audience": None if rule.audience in AUDIENCES else CHOICE,
            "duration": number_error(rule.duration, least=1, required=True),
            "maxRequests": number_error(rule.max_requests, least=1, required=True),
        }
    )
