"""What makes settings invalid."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.errors import FieldError
from groundplane.settings.checks import settings_errors
from groundplane.settings.formats import cron_error, is_email, is_host, is_url
from groundplane.settings.merge import merged
from groundplane.settings.values import SettingsValues


def codes(node: Any) -> Any:
    return node.code if isinstance(node, FieldError) else {key: codes(each) for key, each in node.items()}


def errors(raw: dict[str, Any]) -> Any:
    return codes(settings_errors(merged(SettingsValues(), raw)))


REQUIRED = "validation_required"
RULE = {"label": "/x", "audience": "", "duration": 1, "maxRequests": 1}


def rules(*several: dict[str, Any]) -> dict[str, Any]:
    """Rules as sent over an empty list, so nothing comes from the defaults."""
    return {"rateLimits": {"rules": [RULE | {"audience": ""} | each for each in several]}}


def test_the_defaults_are_valid() -> None:
    assert errors({}) == {}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"superuserIPs": ["1.1.1.1", "", "x"]},
         {"superuserIPs": {"1": REQUIRED, "2": "validation_invlaid_ip_or_subnet"}}),
        ({"rateLimits": {"excludedIPs": ["10.0.0.0/8", "10.0.0.0/99"]}},
         {"rateLimits": {"excludedIPs": {"1": "validation_invlaid_ip_or_subnet"}}}),
        ({"smtp": {"host": ""}}, {}),
        ({"smtp": {"enabled": True, "host": "", "port": 0}}, {"smtp": {"host": REQUIRED, "port": REQUIRED}}),
        ({"smtp": {"host": "a b", "localName": "-x", "port": -1, "authMethod": "plain"}},
         {"smtp": {"host": "validation_is_host", "localName": "validation_is_host",
                   "port": "validation_min_greater_equal_than_required",
                   "authMethod": "validation_in_invalid"}}),
        ({"smtp": {"authMethod": "LOGIN", "localName": "::1"}}, {}),
        ({"s3": {"enabled": True}},
         {"s3": dict.fromkeys(["endpoint", "bucket", "region", "accessKey", "secret"], REQUIRED)}),
        ({"s3": {"endpoint": "not a url"}}, {"s3": {"endpoint": "validation_is_url"}}),
        ({"backups": {"s3": {"enabled": True, "endpoint": "x y", "bucket": "b", "region": "r",
                             "accessKey": "a", "secret": "s"}}},
         {"backups": {"s3": {"endpoint": "validation_is_url"}}}),
        ({"backups": {"cron": "x", "cronMaxKeep": 0}},
         {"backups": {"cron": "validation_invalid_cron", "cronMaxKeep": REQUIRED}}),
        ({"backups": {"cronMaxKeep": 0}}, {}),
        ({"backups": {"cronMaxKeep": -1}},
         {"backups": {"cronMaxKeep": "validation_min_greater_equal_than_required"}}),
        ({"meta": {"accentColor": "", "appName": "x" * 255}}, {}),
        ({"meta": {"accentColor": "#12345", "appName": "ä" * 128}},
         {"meta": {"accentColor": "validation_length_invalid", "appName": "validation_length_out_of_range"}}),
        ({"meta": {"appName": "", "senderName": "", "senderAddress": "", "appURL": ""}},
         {"meta": dict.fromkeys(["appName", "senderName", "senderAddress", "appURL"], REQUIRED)}),
        ({"meta": {"senderAddress": "x@", "appURL": "://"}},
         {"meta": {"senderAddress": "validation_is_email", "appURL": "validation_is_url"}}),
        ({"logs": {"maxDays": -1, "minLevel": -4}},
         {"logs": {"maxDays": "validation_min_greater_equal_than_required"}}),
        ({"batch": {"maxRequests": 0, "timeout": 0}}, {}),
        ({"batch": {"enabled": True, "maxRequests": 0, "timeout": 0, "maxBodySize": -1}},
         {"batch": {"maxRequests": REQUIRED, "timeout": REQUIRED,
                    "maxBodySize": "validation_min_greater_equal_than_required"}}),
        ({"rateLimits": {"rules": []}}, {}),
        ({"rateLimits": {"rules": [], "enabled": True}}, {"rateLimits": {"rules": REQUIRED}}),
        (rules({"label": ""}, {"label": "a b c"}, {"audience": "@x"}, {"label": "z", "duration": 0}),
         {"rateLimits": {"rules": {"0": {"label": REQUIRED}, "1": {"label": "validation_match_invalid"},
                                   "2": {"audience": "validation_in_invalid"}, "3": {"duration": REQUIRED}}}}),
        (rules({}, {"audience": "@guest"}),
         {"rateLimits": {"rules": {"1": {"label": "validation_conflicting_rate_limit_rule"}}}}),
        (rules({"audience": "@auth"}, {"audience": "@guest"}), {}),
        (rules({"audience": "@auth"}, {"audience": "@guest"}, {}),
         {"rateLimits": {"rules": {"2": {"label": "validation_conflicting_rate_limit_rule"}}}}),
    ],
)  # fmt: skip
def test_codes(raw: dict[str, Any], expected: dict[str, Any]) -> None:
    assert errors(raw) == expected


@pytest.mark.parametrize(
    ("label", "valid"),
    [
        ("create", True),
        ("posts:create", True),
        ("*:create", True),
        ("/", True),
        ("/api/x-y/", True),
        ("GET /api/", True),
        ("get /api", True),
        ("GET  /api", False),
        ("/api/x.y", False),
        ("*:", False),
        ("a:b:c", False),
        ("*", False),
    ],
)
def test_labels(label: str, valid: bool) -> None:
    assert (errors(rules({"label": label})) == {}) is valid


def test_a_conflict_names_the_label() -> None:
    found = settings_errors(merged(SettingsValues(), rules({}, {})))["rateLimits"]["rules"]["1"]["label"]
    assert found.params == {"label": "/x"}
    assert found.message == (
        "Rate limit rule configuration with label /x already exists or conflicts with another rule."
    )


@pytest.mark.parametrize(
    ("expression", "valid"),
    [
        ("* * * * *", True),
        ("0 0 1 1 0", True),
        ("*/5 1-5/2 1,15 12 0-6", True),
        ("@daily", True),
        ("@never", False),
        ("", False),
        ("* * * *", False),
        ("*  * * * *", False),
        ("60 * * * *", False),
        ("* 24 * * *", False),
        ("* * 0 * *", False),
        ("* * * 13 *", False),
        ("* * * * 7", False),
        ("5/2 * * * *", False),
        ("*/0 * * * *", False),
        ("*/60 * * * *", False),
        ("5-1 * * * *", False),
        ("*-5 * * * *", False),
        (", * * * *", False),
        ("a * * * *", False),
    ],
)
def test_cron_expressions(expression: str, valid: bool) -> None:
    assert (cron_error(expression) is None) is valid


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:8090",
        "https://a.b/c?d#e",
        "example.com",
        "http://[::1]:80/",
        "1.2.3.4",
        "https://u:p@x.y",
    ],
)
def test_urls(text: str) -> None:
    assert is_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "localhost",
        "http://",
        "http:// x",
        "javascript:alert(1)",
        "//x.y",
        "x." * 3000,
        "mailto:a@b.c d",
        "http://a..b",
    ],
)
def test_no_urls(text: str) -> None:
    assert not is_url(text)


def test_hosts_and_addresses() -> None:
    assert all(is_host(text) for text in ("localhost", "a.b.c.", "1.1.1.1", "::1", "_x.y"))
    assert not any(is_host(text) for text in ("", "a b", ".", "a..b", "-a", "a" * 64, "http://x"))
    assert all(is_email(text) for text in ("a@b.co", "a.b+c@d.e.fr", "grün@ö.de"))
    assert not any(
        is_email(text) for text in ("", "@", "a@b", "a b@c.de", "a@b.c1", "a@b..de", ".a@b.de", "a@@b.de")
    )
