"""The command line: exit codes, sentences, and what the commands do to an installation."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from groundplane.testing.live import LiveServer

CONFIG = """
# A small shop.
[[collections]]
name = "goods"
listRule = ""
[collections.fields]
title = {type = "text", required = true}
"""


@pytest.fixture
def shop(server_database_url: str, tmp_path: Path) -> LiveServer:
    """An installation that is not running; its commands use the database alone."""
    return LiveServer(tmp_path / "shop", server_database_url, config=CONFIG)


async def test_plan_shows_the_difference_and_apply_makes_it(shop: LiveServer) -> None:
    code, said = await shop.command("plan")
    assert (code, "goods" in said) == (3, True), said
    code, said = await shop.command("apply")
    assert (code, "goods" in said) == (0, True), said
    assert await shop.command("plan") == (0, "The database is as the file says.\n")


async def test_apply_does_not_destroy_data_unless_told_to(shop: LiveServer) -> None:
    assert (await shop.command("apply"))[0] == 0
    shop.config_file.write_text(
        "[schema]\nexclusive = true\n[[collections]]\nname = 'users'\ntype = 'auth'\n"
    )
    code, said = await shop.command("apply")
    assert (code, "destroy data" in said) == (1, True), said
    code, said = await shop.command("apply", "--allow-destructive")
    assert code == 0, said
    assert (await shop.command("plan"))[0] == 0


async def test_pull_writes_the_database_into_the_file_and_keeps_comments(shop: LiveServer) -> None:
    assert (await shop.command("apply"))[0] == 0
    shop.config_file.write_text("# A small shop.\n")
    code, said = await shop.command("pull")
    assert code == 0, said
    text = shop.config_file.read_text()
    assert text.startswith("# A small shop.\n")
    assert 'name = "goods"' in text
    assert (await shop.command("plan"))[0] == 0


async def test_superusers_are_made_listed_and_deleted(shop: LiveServer) -> None:
    assert "no superuser" in (await shop.command("superuser", "list"))[1]
    for email in ("a@example.com", "b@example.com"):
        assert (await shop.command("superuser", "upsert", email, "1234567890"))[0] == 0
    code, said = await shop.command("superuser", "otp", "a@example.com")
    assert (code, said) == (1, "Error: The collection is not configured to allow OTP authentication.\n")
    assert (await shop.command("superuser", "delete", "a@example.com"))[0] == 0
    code, said = await shop.command("superuser", "list")
    assert (code, said.split()[0]) == (0, "b@example.com")
    code, said = await shop.command("superuser", "delete", "b@example.com")
    assert (code, said) == (1, "Error: You can't delete the only existing superuser.\n")


async def test_rows_of_a_file_become_records(shop: LiveServer) -> None:
    (shop.folder / "birds.csv").write_text("name,wings\nOwl,2\nRobin,2\n")
    code, said = await shop.command("import", "birds.csv")
    assert code == 0, said
    assert "2 records" in said
    code, said = await shop.command("openapi", "--all")
    assert "/api/collections/birds/records" in said


async def test_stored_files_that_no_record_names_are_listed_and_deleted(shop: LiveServer) -> None:
    code, said = await shop.command("files", "orphans")
    assert (code, said) == (0, "No orphans.\n"), said
    left = shop.folder / "data" / "storage" / "pbc_123" / "aaaaaaaaaaaaaaa" / "left.txt"
    left.parent.mkdir(parents=True)
    left.write_text("hello")
    assert (await shop.command("files", "orphans"))[1] == "No orphans.\n"
    shown = "pbc_123/aaaaaaaaaaaaaaa/left.txt  5  no such collection\n1 files of 5 bytes "
    code, said = await shop.command("files", "orphans", "--min-age", "0")
    assert (code, said) == (0, f"{shown}found; --delete removes them.\n")
    code, said = await shop.command("files", "orphans", "--min-age", "0", "--delete")
    assert (code, said) == (0, f"{shown}deleted.\n")
    assert not left.exists()


async def test_how_much_is_stored_is_counted_and_shown(shop: LiveServer) -> None:
    file = shop.folder / "data" / "storage" / "pbc_123" / "aaaaaaaaaaaaaaa" / "file.txt"
    file.parent.mkdir(parents=True)
    file.write_text("hello")
    assert await shop.command("files", "usage") == (0, "Nobody has counted yet: --count does.\n")
    code, said = await shop.command("files", "usage", "--count")
    shown = "pbc_123 (no such collection): 1 files of 5 bytes\n1 files of 5 bytes, counted at "
    assert (code, said.startswith(shown)) == (0, True), said
    file.unlink()
    assert await shop.command("files", "usage") == (0, said)


async def test_files_do_not_move_to_a_store_that_nobody_named(shop: LiveServer) -> None:
    code, said = await shop.command("files", "migrate", "--to", "s3")
    assert code == 1
    assert said.startswith("Error: The files were not all moved (")
    assert "Traceback" not in said


async def test_doctor_names_what_is_wrong(shop: LiveServer) -> None:
    code, said = await shop.command("doctor")
    assert (code, "WRONG superusers: 0" in said, "WRONG file and database differ" in said) == (
        1,
        True,
        True,
    ), said
    assert (await shop.command("apply"))[0] == 0
    assert (await shop.command("superuser", "upsert", "a@example.com", "1234567890"))[0] == 0
    code, said = await shop.command("doctor")
    assert (code, "WRONG" in said) == (0, False), said


async def test_commands_share_the_embedded_database_of_a_running_server(tmp_path: Path) -> None:
    async with LiveServer(tmp_path / "live", config=CONFIG, workers=1) as server:
        assert (await server.command("superuser", "upsert", "a@example.com", "1234567890"))[0] == 0
        (tmp_path / "live" / "birds.csv").write_text("name\nOwl\n")
        assert (await server.command("import", "birds.csv"))[0] == 0
        answer = await server.client.post(
            "/api/collections/_superusers/auth-with-password",
            json={"identity": "a@example.com", "password": "1234567890"},
        )
        token = {"Authorization": answer.json()["token"]}
        # The command changed the schema, and the server knew before the command ended.
        answer = await server.client.get("/api/collections/birds/records", headers=token)
        assert answer.json()["totalItems"] == 1


async def said_by(*words: str, folder: Path, **environment: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "groundplane", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env=os.environ | environment,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_a_taken_port_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = await said_by("serve", "--port", str(port), folder=tmp_path)
    assert (code, said) == (
        1,
        f"Error: Port {port} is in use by another program: stop it, or choose another one with --port.\n",
    )
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


async def test_an_unreachable_database_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    url = "postgresql://me:hidden@127.0.0.1:1/shop"
    code, said = await said_by("serve", "--port", "0", folder=tmp_path, GROUNDPLANE_DATABASE__URL=url)
    assert code == 1
    assert said.startswith("Error: The database at 127.0.0.1:1/shop cannot be reached")
    assert said.count("\n") == 1
    assert "hidden" not in said


async def test_a_wrong_setting_is_one_sentence_and_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "groundplane.toml").write_text("[server]\nprot = 1\n")
    assert await said_by("serve", folder=tmp_path) == (
        1,
        "Error: There is no setting server.prot: did you mean server.port?\n",
    )


async def test_wrong_usage_is_exit_code_2(tmp_path: Path) -> None:
    assert (await said_by("serve", "--no-such-flag", folder=tmp_path))[0] == 2
    assert (await said_by("serve", "--workers", "many", folder=tmp_path))[0] == 2


def test_help_and_version_do_not_load_the_server(tmp_path: Path) -> None:
    script = (
        "import sys; from groundplane.cli import groundplane\n"
        "try: groundplane(['serve', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'litestar', 'piccolo', 'asyncpg', 'sqlglot'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "--port" in done.stdout
    assert done.stdout.rstrip().endswith("[]")
