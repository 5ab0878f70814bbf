"""Where the values of the configuration come from, as people are told."""

from __future__ import annotations

from pathlib import Path

from groundplane.config_sources import DEFAULT, Source, is_secret, origin_of

TEXT = '''data_dir = "x"  # not port = 1
[server]
port = 1
allowed_origins = [
  "a", # ]
  "port = 9",
]
host = """
workers = 3
"""
"keep_alive_s" = 5
[settings.smtp]
host = "smtp.example.com"
[settings]
meta.appName = "A"
[[collections]]
name = "x"
[[collections]]
name = "y"
'''


def lines(file: Path, **more: dict[str, str]) -> dict[str, int]:
    return {name: each.line for name, each in origin_of(file, environment={}, **more).sources.items()}


def test_each_key_of_the_file_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "groundplane.toml"
    file.write_text(TEXT, encoding="utf-8")
    assert lines(file) == {
        "data_dir": 1,
        "server.port": 3,
        "server.allowed_origins": 4,
        "server.host": 8,
        "server.keep_alive_s": 11,
        "settings.smtp.host": 13,
        "settings.meta.appname": 15,
        "collections": 16,
    }


def test_a_flag_is_stronger_than_a_variable_and_that_is_stronger_than_the_file(tmp_path: Path) -> None:
    file = tmp_path / "groundplane.toml"
    file.write_text(TEXT, encoding="utf-8")
    origin = origin_of(
        file,
        environment={"GROUNDPLANE_SERVER__PORT": "2", "GROUNDPLANE_SETTINGS": "{}", "PATH": "/bin"},
        flags={"server.port": 3, "data_dir": None},
    )
    assert origin.of("server.port") == Source("flag", "--port")
    assert origin.of("data_dir") == Source("file", str(file), 1)
    assert origin.of("settings.smtp.host") == Source("environment", "GROUNDPLANE_SETTINGS")
    assert origin.of("server.workers") == DEFAULT


def test_a_file_that_is_not_there_or_no_toml_has_no_lines(tmp_path: Path) -> None:
    assert origin_of(tmp_path / "none.toml", environment={}).sources == {}
    file = tmp_path / "bad.toml"
    file.write_text("a = = b", encoding="utf-8")
    assert origin_of(file, environment={}).file == ""


def test_names_of_secrets_are_known() -> None:
    assert is_secret("database.url")
    assert is_secret("security.encryption_key")
    assert not is_secret("server.public_url")
    assert not is_secret("server.port")
