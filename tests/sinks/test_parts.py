"""Names made of parts of an event, addresses without passwords, and the sections of the three plugins."""

from __future__ import annotations

import builtins
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from groundplane.config import Config, load_config
from groundplane.hooks.loading import Status, load
from groundplane.sinks.address import secrets_of, without_password
from groundplane.sinks.sink import Message
from groundplane.sinks.template import Template
from groundplane.sinks.tls import TLS
from groundplane.testing.plugins import AppWith
from groundplane_plugins import kafka, nats, rabbitmq

MESSAGE = Message(
    id="e1", type="record.created", action="create", collection="posts", record="a.b*>", at=0, body=b"{}"
)
LIBRARIES = {"rabbitmq": "aio_pika", "kafka": "aiokafka", "nats": "nats"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("events", "events"),
        ("x.{collection}.{action}", "x.posts.create"),
        ("{type}/{record}", "record.created/a_b__"),
    ],
)
def test_a_template_is_filled_with_parts_of_the_event(text: str, filled: str) -> None:
    assert Template(text).fill(MESSAGE) == filled


@pytest.mark.parametrize(
    "text", ["", "{body}", "{collection", "a}", "{}", "{{collection}}", "{record.__class__}"]
)
def test_what_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="template"):
        Template(text)


def test_a_message_survives_the_queue() -> None:
    assert Message.of(MESSAGE.payload()) == MESSAGE


@pytest.mark.parametrize(
    ("url", "shown", "secrets"),
    [
        ("amqp://host:5672/v", "amqp://host:5672/v", set()),
        ("amqp://me:p%40ss@host/v?heartbeat=5", "amqp://me:…@host/v", {"p%40ss", "p@ss"}),
        ("nats://token@host", "nats://token@host", set()),
        ("amqp://[bad", "…", {"amqp://[bad"}),
    ],
)
def test_an_address_is_shown_without_its_password(url: str, shown: str, secrets: set[str]) -> None:
    assert without_password(url) == shown
    assert secrets <= set(secrets_of(url))


def test_a_certificate_that_cannot_be_read_is_an_error_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    for wrong in (TLS(ca=str(tmp_path / "ca.pem")), TLS(cert=str(tmp_path / "missing.pem"))):
        with pytest.raises(OSError):  # noqa: PT011  # whatever OpenSSL calls it
            wrong.context()


@pytest.mark.parametrize(
    "config",
    [
        rabbitmq.Config(url="amqp://me:hunter2@host/"),
        kafka.Config(user="me", password="hunter2"),
        nats.Config(servers=("nats://me:hunter2@host",), token="hunter2"),
    ],
)
def test_no_secret_is_in_what_a_configuration_is_printed_as(config: Any) -> None:
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_bundled_sink_is_off_until_it_has_a_section(name: str) -> None:
    def status(config: Config) -> Status:
        return next(plugin.status for plugin in load(config) if plugin.name == name)

    assert status(Config(plugins_dir="")) is Status.DISABLED
    assert status(Config(plugins_dir="", plugins={name: {}})) is Status.LOADED


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_sink_without_its_library_is_broken_and_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.delitem(sys.modules, f"groundplane_plugins.{name}")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda wanted: None if wanted == LIBRARIES[name] else find(wanted)
    )
    [plugin] = [each for each in load(Config(plugins_dir="", plugins={name: {}})) if each.name == name]
    assert plugin.status is Status.BROKEN
    assert f'pip install "groundplane[{name}]"' in plugin.reason


@pytest.mark.parametrize(
    ("module", "section", "reason"),
    [
        (rabbitmq, {"url": "http://host"}, "url must begin with amqp:// or amqps://"),
        (rabbitmq, {"routing_key": "{body}"}, "is no template"),
        (rabbitmq, {"exchange_type": "loud"}, "its configuration is wrong"),
        (rabbitmq, {"actions": ["read"]}, "its configuration is wrong"),
        (rabbitmq, {"colections": ["posts"]}, "it has no setting colections"),
        (kafka, {"servers": []}, "servers must name at least one broker"),
        (kafka, {"security": "none"}, "its configuration is wrong"),
        (nats, {"subject": "{collection}"}, "subject must begin with a word of its own"),
        (nats, {"servers": []}, "servers must name at least one server"),
    ],
)
async def test_a_section_that_makes_no_sense_breaks_the_plugin_with_a_sentence(
    app_with: AppWith, module: Any, section: dict[str, Any], reason: str
) -> None:
    name = module.__name__.rpartition(".")[2]
    app = await app_with(module, config={name: section})
    [plugin] = app.plugins.broken
    assert reason in plugin.reason


@pytest.mark.parametrize(
    ("template", "subjects"),
    [("a.b", "a.b"), ("a.{collection}", "a.>"), ("a.b{collection}.{action}", "a.>")],
)
def test_a_stream_takes_every_subject_of_the_template(template: str, subjects: str) -> None:
    assert nats.subjects_of(template) == subjects


def test_the_address_of_a_broker_can_come_from_the_environment(tmp_path: Path) -> None:
    environment = {"GROUNDPLANE_PLUGINS__RABBITMQ__URL": "amqp://me:hunter2@host/"}
    (tmp_path / "groundplane.toml").write_text('[plugins.rabbitmq]\ncollections = ["posts"]\n')
    config = load_config(tmp_path / "groundplane.toml", environment=environment)
    [plugin] = [each for each in load(config) if each.name == "rabbitmq"]
    assert plugin.config.url == "amqp://me:hunter2@host/"
    assert plugin.config.collections == ("posts",)


@pytest.mark.parametrize("module", [rabbitmq, kafka, nats])
async def test_no_client_library_is_loaded_before_something_is_sent(
    app_with: AppWith, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Web workers shall not carry what only job workers use."""
    name = module.__name__.rpartition(".")[2]
    imported, real = [], builtins.__import__

    def watching(wanted: str, *args: Any, **more: Any) -> Any:
        imported.append(wanted.partition(".")[0])
        return real(wanted, *args, **more)

    monkeypatch.setattr(builtins, "__import__", watching)
    app = await app_with(module, config={name: {}})
    assert name in app.services.sinks.deliveries
    assert LIBRARIES[name] not in imported


@pytest.mark.parametrize("module", [rabbitmq, kafka, nats])
def test_the_guide_has_every_setting_with_its_default(module: Any) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "event-sinks.md").read_text(encoding="utf-8")
    defaults = msgspec.to_builtins(module.Config())
    missing = [
        name
        for name, value in defaults.items()
        if f"| `{name}` | `{json.dumps(value)}` |" not in guide
        and name not in {"actions", "user", "password", "tls", "token", "credentials"}
    ]
    assert missing == []
    assert all(f"`{name}`" in guide for name in (*defaults, "tls.ca", "tls.cert", "tls.key") if name != "tls")
