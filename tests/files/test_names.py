"""Stored names of uploads."""

from __future__ import annotations

import re

import pytest

from groundplane.files.names import stored_name

R = "[a-z0-9]{10}"


@pytest.mark.parametrize(
    ("client_name", "pattern"),
    [
        ("MyPhoto (1).JPG", f"my_photo_1_{R}\\.JPG"),
        ("db.dump.tar.gz", f"db_dump_{R}\\.tar\\.gz"),
        ("отчёт.pdf", f"{R}_{R}\\.pdf"),
        ("x", f"x{R}_{R}\\.txt"),
        ("", f"{R}_{R}\\.txt"),
        (".htaccess", f"{R}_{R}\\.htaccess"),
        ("foo.", f"foo_{R}\\.txt"),
        ("HTMLParser2Foo.txt", f"htmlparser2_foo_{R}\\.txt"),
        ("Über.txt", f"ber_{R}\\.txt"),
        ("v1.2.3-beta.zip", f"v1_2_{R}\\.3-beta\\.zip"),
        ("b\\c.txt", f"b_c_{R}\\.txt"),
        ("a.b.c", f"a{R}_{R}\\.b\\.c"),
        ("../../etc/passwd", f"etc_passwd_{R}\\.txt|.*"),
        ("n" * 400 + ".txt", f"n{{100}}_{R}\\.txt"),
        ("name." + "e" * 40, f"name_{R}\\.e{{20}}"),
        ("a\x00b\n.txt", f"a_b_{R}\\.txt"),
        ("test.t<x>t", f"test_{R}\\.txt"),
    ],
)
def test_a_name_is_cleaned_and_made_unguessable(client_name: str, pattern: str) -> None:
    assert re.fullmatch(pattern, stored_name(client_name, ".txt"))


@pytest.mark.parametrize(
    "client_name", ["../../x", "a/b/../c.txt", "\x00", ".", "..", "...", "/", "\\", "\ud800.txt", "a.\n/x"]
)
def test_a_stored_name_is_safe_in_a_path(client_name: str) -> None:
    name = stored_name(client_name)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.*\-+=#]*", name)
    assert 1 <= len(name) <= 150


def test_two_uploads_of_one_name_are_two_files() -> None:
    assert stored_name("a.txt") != stored_name("a.txt")
