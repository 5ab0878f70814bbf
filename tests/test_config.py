"""Where settings come from, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from groundplane.config import Config, ConfigError, load_config


def loaded(
    tmp_path: Path, text: str = "", environment: dict[str, str] | None = None, **flags: object
) -> Config:
    file = tmp_path / "app.toml"
    file.write_text(text)
    return load_config(
        file, environment=environment or {}, flags={k.replace("__", "."): v for k, v in flags.items()}
    )


def test_a_flag_is_stronger_than_the_environment_and_that_than_the_file(tmp_path: Path) -> None:
    text = "[server]\nport = 1001\nworkers = 3\nhost = '::1'"
    config = loaded(
        tmp_path,
        text,
        {"GROUNDPLANE_SERVER__PORT": "1002", "GROUNDPLANE_SERVER__WORKERS": "4"},
        server__port=1003,
    )
    assert (config.server.port, config.server.workers, config.server.host) == (1003, 4, "::1")


def test_without_a_file_the_defaults_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(environment={})
    assert config == Config()
    assert config.data_folder == tmp_path / "gp_data"
    assert config.files_folder == tmp_path / "gp_data" / "storage"


def test_a_flag_that_was_not_given_changes_nothing(tmp_path: Path) -> None:
    assert loaded(tmp_path, "[server]\nport = 1001", server__port=None).server.port == 1001


def test_the_environment_holds_lists_and_tables_as_json(tmp_path: Path) -> None:
    config = loaded(tmp_path, environment={"GROUNDPLANE_SETTINGS": '{"meta": {"appName": "Shop"}}'})
    assert config.settings == {"meta": {"appName": "Shop"}}


def test_a_setting_below_the_free_settings_can_come_from_the_environment(tmp_path: Path) -> None:
    config = loaded(tmp_path, environment={"GROUNDPLANE_DATABASE__URL": "postgresql://h/d"})
    assert config.database.url == "postgresql://h/d"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nprot = 1", "There is no setting server.prot: did you mean server.port?"),
        ("[sever]\nport = 1", "There is no setting sever: did you mean server?"),
        ("[log]\nxyz = 1", "There is no setting log.xyz: known are format, level."),
        ("[server]\nport = 'x'", "server.port must be a whole number."),
        ("[server]\nport = 70000", "server.port must be between 0 and 65535."),
        ("[log]\nlevel = 'loud'", "log.level must be one of debug, info, warning, error."),
        ("server = 5", "server must be a table: write [server] above its settings."),
        ("collections = 5", "collections must be a list."),
        (
            "[security]\nencryption_key = 'short'",
            "security.encryption_key must have 32 characters, or be empty.",
        ),
    ],
)
def test_a_wrong_setting_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("GROUNDPLANE_SERVER__PROT", "1", "There is no setting server.prot: did you mean server.port?"),
        ("GROUNDPLANE_SERVER__PORT", "x", "GROUNDPLANE_SERVER__PORT must be a whole number."),
        ("GROUNDPLANE_SETTINGS", "{", "GROUNDPLANE_SETTINGS is not valid JSON"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, environment={variable: value})
    assert str(caught.value).startswith(message)


def test_a_file_that_is_named_must_be_there_and_be_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no file"):
        load_config(tmp_path / "nothing.toml", environment={})
    with pytest.raises(ConfigError, match="is not valid TOML"):
        loaded(tmp_path, "port = ")


def test_secrets_do_not_show_in_a_repr(tmp_path: Path) -> None:
    text = f"""
        [database]
        url = "postgresql://u:hidden@h/d"
        [security]
        encryption_key = "{"hidden".ljust(32, "x")}"
        [settings.smtp]
        password = "hidden"
    """
    config = loaded(tmp_path, text)
    assert "hidden" in config.database.url
    assert "hidden" not in repr(config) + repr(config.database) + repr(config.security)
