"""What each section of the settings asks for, by the names that the API has."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["text", "url", "email", "colour", "number", "switch", "secret", "lines", "choice", "rules"]


class Input(NamedTuple):
    """One setting; `path` is its place in the settings, with dots. `options` are the values of a choice."""

    path: str
    kind: Kind = "text"
    options: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """Its name in the catalogue, below `settings.label` and `settings.hint`."""
        return self.path.replace(".", "_")


class Group(NamedTuple):
    """Settings that stand together; `name` is "" where there is only one group."""

    name: str
    inputs: tuple[Input, ...]


def object_store(path: str) -> tuple[Input, ...]:
    return (
        Input(f"{path}.enabled", "switch"),
        Input(f"{path}.endpoint", "url"),
        Input(f"{path}.bucket"),
        Input(f"{path}.region"),
        Input(f"{path}.accessKey"),
        Input(f"{path}.secret", "secret"),
        Input(f"{path}.forcePathStyle", "switch"),
    )


SECTIONS: dict[str, tuple[Group, ...]] = {
    "application": (
        Group(
            "",
            (
                Input("meta.appName"),
                Input("meta.appURL", "url"),
                Input("meta.accentColor", "colour"),
                Input("meta.hideControls", "switch"),
            ),
        ),
    ),
    "mail": (
        Group("sender", (Input("meta.senderName"), Input("meta.senderAddress", "email"))),
        Group(
            "smtp",
            (
                Input("smtp.enabled", "switch"),
                Input("smtp.host"),
                Input("smtp.port", "number"),
                Input("smtp.username"),
                Input("smtp.password", "secret"),
                Input("smtp.tls", "switch"),
                Input("smtp.authMethod", "choice", ("", "PLAIN", "LOGIN")),
                Input("smtp.localName"),
            ),
        ),
    ),
    "storage": (Group("", object_store("s3")),),
    "backups": (
        Group("plan", (Input("backups.cron"), Input("backups.cronMaxKeep", "number"))),
        Group("backup_store", object_store("backups.s3")),
    ),
    "rate-limits": (
        Group(
            "",
            (
                Input("rateLimits.enabled", "switch"),
                Input("rateLimits.rules", "rules"),
                Input("rateLimits.excludedIPs", "lines"),
            ),
        ),
    ),
    "batch": (
        Group(
            "",
            (
                Input("batch.enabled", "switch"),
                Input("batch.maxRequests", "number"),
                Input("batch.timeout", "number"),
                Input("batch.maxBodySize", "number"),
            ),
        ),
    ),
    "logs": (
        Group(
            "",
            (
                Input("logs.maxDays", "number"),
                Input("logs.minLevel", "choice", ("-4", "0", "4", "8")),
                Input("logs.logIP", "switch"),
                Input("logs.logAuthId", "switch"),
            ),
        ),
    ),
    "network": (
        Group(
            "proxy", (Input("trustedProxy.headers", "lines"), Input("trustedProxy.useLeftmostIP", "switch"))
        ),
        Group("superusers", (Input("superuserIPs", "lines"),)),
    ),
}
SERVER = "server"
STORES = {"storage": "s3", "backups": "backups.s3"}
"""The sections with an object store that can be tried out."""


class Preset(NamedTuple):
    """Limits to begin with: label, audience, seconds and requests of each."""

    name: str
    rules: tuple[tuple[str, str, str, str], ...]


PRESETS = (
    Preset(
        "usual",
        (
            ("*:auth", "", "3", "2"),
            ("*:create", "", "5", "20"),
            ("/api/batch", "", "1", "3"),
            ("/api/", "", "10", "300"),
        ),
    ),
    Preset(
        "strict",
        (
            ("*:auth", "", "60", "5"),
            ("*:create", "@guest", "60", "10"),
            ("*:create", "@auth", "10", "20"),
            ("/api/batch", "", "10", "5"),
            ("/api/", "@guest", "10", "60"),
            ("/api/", "@auth", "10", "200"),
        ),
    ),
    Preset("sign_in", (("*:auth", "", "60", "10"),)),
)
