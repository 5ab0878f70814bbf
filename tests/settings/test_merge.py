"""Changes over the settings there are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundplane.settings.checks import settings_errors
from groundplane.settings.merge import BadType, merged
from groundplane.settings.values import RateLimitRule, SettingsValues, to_json


def changed(raw: Any, current: SettingsValues | None = None) -> SettingsValues:
    return merged(current or SettingsValues(), raw)


def test_the_defaults_in_the_order_of_the_wire() -> None:
    assert msgspec.json.encode(to_json(SettingsValues())).decode() == (
        '{"superuserIPs":[],'
        '"smtp":{"enabled":false,"port":587,"host":"smtp.example.com","username":"","authMethod":"",'
        '"tls":false,"localName":""},'
        '"backups":{"cron":"","cronMaxKeep":3,"s3":{"enabled":false,"bucket":"","region":"","endpoint":"",'
        '"accessKey":"","forcePathStyle":false}},'
        '"s3":{"enabled":false,"bucket":"","region":"","endpoint":"","accessKey":"","forcePathStyle":false},'
        '"meta":{"accentColor":"#1055c9","appName":"Acme","appURL":"http://localhost:8090",'
        '"senderName":"Support","senderAddress":"support@example.com","hideControls":false},'
        '"rateLimits":{"rules":[{"label":"*:auth","audience":"","duration":3,"maxRequests":2},'
        '{"label":"*:create","audience":"","duration":5,"maxRequests":20},'
        '{"label":"/api/batch","audience":"","duration":1,"maxRequests":3},'
        '{"label":"/api/","audience":"","duration":10,"maxRequests":300}],"excludedIPs":[],"enabled":false},'
        '"trustedProxy":{"headers":[],"useLeftmostIP":false},'
        '"batch":{"enabled":false,"maxRequests":50,"timeout":3,"maxBodySize":0},'
        '"logs":{"maxDays":5,"minLevel":0,"logIP":true,"logAuthId":false}}'
    )


def test_secrets_are_left_out_not_masked() -> None:
    values = changed({"smtp": {"password": "p"}, "s3": {"secret": "s"}, "backups": {"s3": {"secret": "b"}}})
    shown = to_json(values)
    assert "password" not in shown["smtp"]
    assert "secret" not in shown["s3"]
    assert "secret" not in shown["backups"]["s3"]
    assert to_json(values, secrets=True)["smtp"]["password"] == "p"
    assert list(to_json(values, secrets=True)["smtp"])[3:5] == ["username", "password"]


def test_absent_keys_keep_their_value_and_an_empty_text_clears() -> None:
    before = changed({"smtp": {"password": "p", "username": "u"}, "meta": {"appName": "Mine"}})
    after = changed({"smtp": {"username": ""}}, before)
    assert (after.smtp.password, after.smtp.username, after.meta.app_name) == ("p", "", "Mine")
    assert before.smtp.username == "u"


def test_lists_merge_by_position_and_take_the_new_length() -> None:
    after = changed({"rateLimits": {"rules": [{"label": "/x"}, {"maxRequests": 7}]}})
    assert after.rate_limits.rules == [
        RateLimitRule(label="/x", duration=3, max_requests=2),
        RateLimitRule(label="*:create", duration=5, max_requests=7),
    ]
    assert SettingsValues().rate_limits.rules[0].label == "*:auth"
    longer = changed({"rateLimits": {"rules": [{}, {}, {}, {}, {"label": "/y"}]}})
    assert longer.rate_limits.rules[4] == RateLimitRule(label="/y")


def test_null_empties_a_list_and_leaves_the_rest_as_it_is() -> None:
    before = changed({"superuserIPs": ["1.1.1.1"]})
    after = changed({"superuserIPs": None, "meta": None, "smtp": {"host": None}}, before)
    assert after.superuser_ips == []
    assert after.smtp.host == "smtp.example.com"


def test_keys_match_in_any_case_and_unknown_ones_are_ignored() -> None:
    assert changed({"META": {"APPname": "x", "y": 1}, "z": []}).meta.app_name == "x"


@pytest.mark.parametrize(
    "raw",
    [
        [],
        "x",
        {"meta": []},
        {"meta": "x"},
        {"meta": {"appName": 1}},
        {"smtp": {"port": "587"}},
        {"smtp": {"port": 1.5}},
        {"smtp": {"port": True}},
        {"smtp": {"enabled": 1}},
        {"superuserIPs": "1.1.1.1"},
        {"superuserIPs": [1]},
        {"rateLimits": {"rules": {"0": {}}}},
        {"rateLimits": {"rules": ["x"]}},
    ],
)
def test_another_type_is_refused(raw: Any) -> None:
    with pytest.raises(BadType):
        changed(raw)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["meta", "smtp", "rateLimits", "rules", "label", "port", "cron", "backups", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_is_sent_is_merged_and_checked_or_refused(raw: Any) -> None:
    try:
        values = changed(raw)
    except BadType:
        return
    settings_errors(values)
