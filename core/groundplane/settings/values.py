"""What an administrator can set while the server runs, in the order and with the defaults of the wire."""

from __future__ import annotations

from typing import Any

import msgspec

SECRETS = (("smtp", "password"), ("s3", "secret"), ("backups", "s3", "secret"))
"""Where the secrets are; they are kept sealed and never shown."""


class Smtp(msgspec.Struct, kw_only=True, rename="camel"):
    """`auth_method` "" acts as PLAIN; `local_name` is what we call ourselves in HELO."""

    enabled: bool = False
    port: int = 587
    host: str = "smtp.example.com"
    username: str = ""
    password: str = ""
    auth_method: str = ""
    tls: bool = False
    local_name: str = ""

    def __repr__(self) -> str:
        # The password is for the mail server alone.
        return f"Smtp(enabled={self.enabled}, host={self.host!r}, port={self.port})"


class S3(msgspec.Struct, kw_only=True, rename="camel"):
    enabled: bool = False
    bucket: str = ""
    region: str = ""
    endpoint: str = ""
    access_key: str = ""
    secret: str = ""
    force_path_style: bool = False

    def __repr__(self) -> str:
        # The rest is for the store alone.
        return f"S3(enabled={self.enabled}, endpoint={self.endpoint!r}, bucket={self.bucket!r})"


class Backups(msgspec.Struct, kw_only=True, rename="camel"):
    """`cron` "" makes no automatic backups; `cron_max_keep` is how many of those are kept."""

    cron: str = ""
    cron_max_keep: int = 3
    s3: S3 = msgspec.field(default_factory=S3)


class Meta(msgspec.Struct, kw_only=True, rename="camel"):
    accent_color: str = "#1055c9"
    app_name: str = "Acme"
    app_url: str = msgspec.field(default="http://localhost:8090", name="appURL")
    sender_name: str = "Support"
    sender_address: str = "support@example.com"
    hide_controls: bool = False


class RateLimitRule(msgspec.Struct, kw_only=True, rename="camel"):
    """At most `max_requests` in `duration` seconds for what `label` names; `audience` is "", @guest or @auth."""

    label: str = ""
    audience: str = ""
    duration: int = 0
    max_requests: int = 0


def default_rules() -> list[RateLimitRule]:
    return [
        RateLimitRule(label="*:auth", duration=3, max_requests=2),
        RateLimitRule(label="*:create", duration=5, max_requests=20),
        RateLimitRule(label="/api/batch", duration=1, max_requests=3),
        RateLimitRule(label="/api/", duration=10, max_requests=300),
    ]


class RateLimits(msgspec.Struct, kw_only=True):
    rules: list[RateLimitRule] = msgspec.field(default_factory=default_rules)
    excluded_ips: list[str] = msgspec.field(default_factory=list, name="excludedIPs")
    enabled: bool = False


class TrustedProxy(msgspec.Struct, kw_only=True):
    """Headers that our own proxies write; see `security/addresses.py` for how they are read."""

    headers: list[str] = msgspec.field(default_factory=list)
    use_leftmost_ip: bool = msgspec.field(default=False, name="useLeftmostIP")


class Batch(msgspec.Struct, kw_only=True, rename="camel"):
    """`timeout` in seconds, 0 means 3; `max_body_size` in bytes, 0 means 128 MiB."""

    enabled: bool = False
    max_requests: int = 50
    timeout: int = 3
    max_body_size: int = 0


class Logs(msgspec.Struct, kw_only=True):
    """Levels: -4 debug, 0 info, 4 warn, 8 error; `max_days` 0 keeps nothing."""

    max_days: int = msgspec.field(default=5, name="maxDays")
    min_level: int = msgspec.field(default=0, name="minLevel")
    log_ip: bool = msgspec.field(default=True, name="logIP")
    log_auth_id: bool = msgspec.field(default=False, name="logAuthId")


class SettingsValues(msgspec.Struct, kw_only=True):
    """All settings. Treat one that the service handed out as immutable."""

    superuser_ips: list[str] = msgspec.field(default_factory=list, name="superuserIPs")
    smtp: Smtp = msgspec.field(default_factory=Smtp)
    backups: Backups = msgspec.field(default_factory=Backups)
    s3: S3 = msgspec.field(default_factory=S3)
    meta: Meta = msgspec.field(default_factory=Meta)
    rate_limits: RateLimits = msgspec.field(default_factory=RateLimits, name="rateLimits")
    trusted_proxy: TrustedProxy = msgspec.field(default_factory=TrustedProxy, name="trustedProxy")
    batch: Batch = msgspec.field(default_factory=Batch)
    logs: Logs = msgspec.field(default_factory=Logs)


def to_json(values: SettingsValues, *, secrets: bool = False) -> dict[str, Any]:
    """The settings as the API shows them; `secrets` are left out, not masked, unless asked for."""
    shown: dict[str, Any] = msgspec.to_builtins(values)
    if not secrets:
        for *path, name in SECRETS:
            place = shown
            for step in path:
                place = place[step]
            del place[name]
    return shown
