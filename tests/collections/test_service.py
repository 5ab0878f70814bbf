"""What the collections API promises, at the service: orders of checks, messages and bodies."""

from __future__ import annotations

from typing import Any

import pytest

from groundplane.collections.listing import PageRequest
from groundplane.collections.service import Collections
from groundplane.context import Caller, RequestInfo
from groundplane.db.engine import Database
from groundplane.errors import FieldError, Invalid, NotFound
from groundplane.schema.cache import SchemaCache
from groundplane.schema.collection import Collection
from groundplane.schema.wire import collection_to_json

SUPERUSER = RequestInfo(caller=Caller(id="s", collection_id="pbc_3142635823", collection_name="_superusers"))


async def refused(work: Any) -> Invalid:
    with pytest.raises(Invalid) as caught:
        await work
    return caught.value


def code(error: Invalid, *path: str) -> str:
    return leaf(error, *path).code


def leaf(error: Invalid, *path: str) -> FieldError:
    node: Any = error.data
    for step in path:
        node = node[step]
    assert isinstance(node, FieldError)
    return node


# Start and snapshot


async def test_the_first_start_makes_the_system_collections_and_users(collections: Collections) -> None:
    names = [collection.name for collection in collections.cache.current]
    assert names == ["_superusers", "_externalAuths", "_mfas", "_otps", "_authOrigins", "users"]


async def test_a_second_start_keeps_what_is_there(collections: Collections, db: Database) -> None:
    await collections.delete("users")
    secret = collections.view("_superusers").options
    again = Collections(db, SchemaCache())
    await again.load()
    assert again.cache.current.get("users") is None
    assert again.view("_superusers").options == secret


async def test_what_is_loaded_equals_what_was_saved(collections: Collections, db: Database) -> None:
    await collections.create(
        {
            "name": "posts",
            "listRule": "",
            "fields": [{"name": "title", "type": "text", "max": 7}],
            "indexes": ["create index if not exists `x` on `posts` (lower(title))"],
        }
    )
    again = Collections(db, SchemaCache())
    await again.load()
    for collection in collections.cache.current:
        loaded = again.view(collection.id)
        assert collection_to_json(loaded, secrets=True) == collection_to_json(collection, secrets=True)
    assert again.cache.current.version == collections.cache.current.version


async def test_another_process_has_the_change_before_the_answer(
    collections: Collections, other_process: Collections
) -> None:
    await other_process.load()
    collections.announce = other_process.refresh
    made = await collections.create({"name": "posts"})
    assert other_process.view("POSTS").id == made.id
    await collections.delete("posts")
    assert other_process.cache.current.get("posts") is None


async def test_a_change_that_is_rolled_back_is_not_announced(collections: Collections) -> None:
    announced: list[int] = []

    async def announce(version: int) -> None:
        announced.append(version)

    collections.announce = announce
    await refused(collections.create({"name": "not a name"}))
    assert announced == []
    await collections.create({"name": "fine"})
    assert announced == [collections.cache.current.version]


async def test_a_change_inside_a_transaction_is_seen_when_that_commits(
    collections: Collections, db: Database
) -> None:

    async def change_and_fail() -> None:
        async with db.transaction():
            await collections.create({"name": "first"})
            raise RuntimeError("changed my mind")

    with pytest.raises(RuntimeError):
        await change_and_fail()
    assert collections.cache.current.get("first") is None
    async with db.transaction():
        await collections.create({"name": "first"})
        await collections.create({"name": "second"})
    assert {"first", "second"} <= {each.name for each in collections.cache.current}


# Create


@pytest.mark.parametrize("raw", [[], "x", {"type": 5}])
async def test_a_body_without_a_readable_type_is_told_so(collections: Collections, raw: Any) -> None:
    error = await refused(collections.create(raw))
    assert error.message == "Failed to load the collection type data due to invalid formatting."


async def test_a_field_of_an_unknown_type_is_a_formatting_error(collections: Collections) -> None:
    error = await refused(collections.create({"name": "x", "fields": [{"name": "a", "type": "wat"}]}))
    assert error.message == "Failed to load the submitted data due to invalid formatting."
    assert error.data == {}


async def test_every_wrong_key_is_reported_together(collections: Collections) -> None:
    error = await refused(collections.create({"name": "a b", "type": "nope", "fields": [{"type": "text"}]}))
    assert error.message == "Failed to create collection."
    assert code(error, "name") == "validation_match_invalid"
    assert code(error, "type") == "validation_in_invalid"
    assert "fields" in error.data


async def test_the_dates_are_the_servers(collections: Collections) -> None:
    submitted = {"created": "2001-01-01 00:00:00.000Z", "updated": "2001-01-01 00:00:00.000Z"}
    made = await collections.create({"name": "posts", **submitted})
    await collections.import_all([{"name": "tags", **submitted}], False)
    for collection in (made, collections.view("tags")):
        assert collection.created is not None
        assert collection.created.year > 2001
        assert collection.updated == collection.created


async def test_names_are_unique_in_any_case(collections: Collections) -> None:
    await collections.create({"name": "Posts"})
    error = await refused(collections.create({"name": "pOSTS"}))
    assert code(error, "name") == "validation_collection_name_exists"


@pytest.mark.parametrize("name", ["_collections", "_Params", "_idempotency", "MINE"])
async def test_the_name_of_an_internal_table_is_refused(
    collections: Collections, db: Database, name: str
) -> None:
    await db.execute("CREATE TABLE mine (n int)")
    error = await refused(collections.create({"name": name}))
    assert code(error, "name") == "validation_collection_name_invalid"


async def test_a_collection_may_be_called_like_a_table_of_the_catalogue(
    collections: Collections, db: Database
) -> None:
    made = await collections.create({"name": "pg_class", "fields": [{"name": "oid", "type": "text"}]})
    await db.execute(f"INSERT INTO \"{made.table}\" (id, oid) VALUES ('r1', 'x')")
    await collections.update("pg_class", {"name": "pg_type"})
    assert await db.fetchval(f'SELECT oid FROM "{collections.view("pg_type").table}"') == "x"


async def test_a_name_that_sqlite_reserves_is_a_raw_error(collections: Collections) -> None:
    error = await refused(collections.create({"name": "sqlite_things"}))
    assert error.message.startswith("Failed to create collection. Raw error: \n")
    assert error.data == {}


async def test_an_index_the_database_refuses_is_reported_at_its_place(collections: Collections) -> None:
    error = await refused(
        collections.create(
            {
                "name": "posts",
                "indexes": ["CREATE INDEX `one` ON `posts` (`id`)", "CREATE INDEX `two` ON `posts` (`nope`)"],
            }
        )
    )
    assert error.message == "Failed to create collection."
    assert code(error, "indexes", "1") == "validation_invalid_index_expression"
    assert leaf(error, "indexes", "1").message.startswith("Failed to create index two - ")
    assert list(error.data["indexes"]) == ["1"]  # type: ignore[arg-type]  # a level of the tree


async def test_a_unique_index_over_existing_duplicates_quotes_no_values(
    collections: Collections, db: Database
) -> None:
    await collections.create({"name": "posts", "fields": [{"name": "title", "type": "text"}]})
    await db.execute("INSERT INTO posts (id, title) VALUES ('r1', 'private'), ('r2', 'private')")
    error = await refused(
        collections.update("posts", {"indexes": ["CREATE UNIQUE INDEX `one` ON `posts` (`title`)"]})
    )
    assert code(error, "indexes", "0") == "validation_invalid_index_expression"
    assert "private" not in leaf(error, "indexes", "0").message


async def test_an_index_named_like_those_of_the_server_is_refused(collections: Collections) -> None:
    error = await refused(
        collections.create({"name": "posts", "indexes": ["CREATE INDEX `gp$row$pbc_1` ON `posts` (`id`)"]})
    )
    assert code(error, "indexes", "0") == "validation_invalid_index_expression"


async def test_an_auth_collection_gets_its_fields_indexes_and_secrets(
    collections: Collections, db: Database
) -> None:
    made = await collections.create({"name": "members", "type": "auth"})
    assert [field.name for field in made.fields] == [
        "id",
        "password",
        "tokenKey",
        "email",
        "emailVisibility",
        "verified",
    ]
    assert made.options is not None
    assert len(made.options.auth_token.secret) == 50
    rows = await db.fetch("SELECT indexname FROM pg_indexes WHERE tablename = 'members'")
    assert {f"idx_email_{made.id}", f"idx_tokenKey_{made.id}"} <= {row["indexname"] for row in rows}


# Update


async def test_a_patch_keeps_what_it_does_not_name(collections: Collections) -> None:
    made = await collections.create(
        {"name": "posts", "listRule": "", "fields": [{"name": "a", "type": "text"}]}
    )
    changed = await collections.update("POSTS", {"viewRule": ""})
    assert (changed.list_rule, changed.view_rule) == ("", "")
    assert [field.name for field in changed.fields] == ["id", "a"]
    assert changed.created == made.created
    assert changed.updated is not None
    assert made.updated is not None
    assert changed.updated >= made.updated


async def test_an_unknown_collection_is_not_found(collections: Collections) -> None:
    for work in (
        collections.update("nope", {}),
        collections.delete("nope"),
        collections.truncate("nope"),
    ):
        with pytest.raises(NotFound):
            await work
    with pytest.raises(NotFound):
        collections.view("nope")


async def test_the_id_cannot_be_changed(collections: Collections) -> None:
    await collections.create({"name": "posts"})
    error = await refused(collections.update("posts", {"id": "other"}))
    assert error.message.startswith("Failed to update collection. Raw error: \n")
    assert error.data == {}


async def test_type_and_system_flag_cannot_be_changed(collections: Collections) -> None:
    await collections.create({"name": "posts"})
    error = await refused(collections.update("posts", {"type": "auth"}))
    assert code(error, "type") == "validation_collection_type_change"
    error = await refused(collections.update("posts", {"system": True}))
    assert code(error, "system") == "validation_collection_system_flag_change"


async def test_the_type_of_a_field_cannot_be_changed_under_its_id(collections: Collections) -> None:
    made = await collections.create({"name": "posts", "fields": [{"name": "a", "type": "text"}]})
    field = {"id": made.fields[1].id, "name": "a", "type": "number"}
    error = await refused(collections.update("posts", {"fields": [field]}))
    assert code(error, "fields", "1") == "validation_field_type_change"


async def test_names_and_rules_of_system_collections_stay(collections: Collections) -> None:
    error = await refused(collections.update("_superusers", {"name": "admins"}))
    assert code(error, "name") == "validation_collection_system_name_change"
    error = await refused(collections.update("_otps", {"listRule": None}))
    assert code(error, "listRule") == "validation_collection_system_rule_change"


async def test_system_collections_can_be_given_fields(collections: Collections, db: Database) -> None:
    fields = [field.to_json() for field in collections.view("_superusers").fields]
    await collections.update("_superusers", {"fields": [*fields, {"name": "note", "type": "text"}]})
    assert await db.fetchval("SELECT count(note) FROM _superusers") == 0


async def test_superusers_keep_passwords_and_otp_forces_a_second_factor(collections: Collections) -> None:
    changed = await collections.update(
        "_superusers",
        {"passwordAuth": {"enabled": False}, "otp": {"enabled": True}, "oauth2": {"enabled": True}},
    )
    assert changed.options is not None
    assert changed.options.password_auth.enabled
    assert changed.options.mfa.enabled
    assert not changed.options.oauth2.enabled


async def test_another_auth_rule_ends_every_session(collections: Collections) -> None:
    def secrets() -> list[str]:
        options = collections.view("users").options
        assert options is not None
        return [options.auth_token.secret, options.file_token.secret]

    before = secrets()
    await collections.update("users", {"listRule": ""})
    assert secrets() == before
    await collections.update("users", {"authRule": "verified = true"})
    assert secrets()[0] != before[0]
    assert secrets()[1] == before[1]


async def test_a_rename_is_told_to_who_keeps_names(collections: Collections) -> None:
    told: list[tuple[str, str]] = []

    async def renamed(old: str, new: str) -> None:
        told.append((old, new))

    collections.renamed = renamed
    await collections.create({"name": "posts"})
    await collections.update("posts", {"name": "articles"})
    await collections.update("articles", {"listRule": ""})
    assert told == [("posts", "articles")]


# Delete and truncate


async def test_a_system_collection_cannot_be_deleted(collections: Collections) -> None:
    assert (await refused(collections.delete("_otps"))).message == "Failed to delete collection."


async def test_a_referenced_collection_cannot_be_deleted_and_the_references_are_named(
    collections: Collections,
) -> None:
    target = await collections.create({"name": "target"})
    for name in ("a", "b"):
        field = {"name": "t", "type": "relation", "collectionId": target.id, "maxSelect": 1}
        await collections.create({"name": name, "fields": [field]})
    error = await refused(collections.delete("target"))
    assert error.message == "Failed to delete collection probably due to existing reference in a, b."


async def test_a_collection_may_be_deleted_although_it_refers_to_itself(collections: Collections) -> None:
    made = await collections.create({"name": "tree"})
    fields = [field.to_json() for field in made.fields]
    parent = {"name": "parent", "type": "relation", "collectionId": made.id, "maxSelect": 1}
    await collections.update("tree", {"fields": [*fields, parent]})
    await collections.delete("tree")
    assert collections.cache.current.get("tree") is None


async def test_a_collection_that_a_view_reads_cannot_be_deleted(
    collections: Collections, db: Database
) -> None:
    await collections.create({"name": "posts"})
    await collections.create({"name": "shown", "type": "view", "viewQuery": "SELECT id FROM posts"})
    assert (await refused(collections.delete("posts"))).message == "Failed to delete collection."
    assert await db.fetchval("SELECT count(*) FROM shown") == 0


async def test_deleting_an_auth_collection_takes_what_belongs_to_its_records(
    collections: Collections, db: Database
) -> None:
    users = collections.view("users")
    for owner in (users.id, "pbc_other"):
        await db.execute(
            'INSERT INTO "_mfas" (id, "collectionRef", "recordRef", method) VALUES ($1, $2, $3, $4)',
            f"m{owner}",
            owner,
            "r1",
            "password",
        )
    told: list[str] = []

    async def deleted(collection: Collection) -> None:
        told.append(collection.id)

    collections.deleted = deleted
    await collections.delete("users")
    assert [row["id"] for row in await db.fetch('SELECT id FROM "_mfas"')] == ["mpbc_other"]
    assert told == [users.id]
    assert await db.fetchval("SELECT to_regclass('users')") is None


async def test_truncating_deletes_every_record_through_the_records_service(
    collections: Collections, db: Database
) -> None:
    await collections.create({"name": "posts"})
    await db.execute("INSERT INTO posts (id) SELECT 'r' || n FROM generate_series(1, 1203) n")

    async def delete(collection: Collection, id: str) -> None:
        if not await db.fetchval("DELETE FROM posts WHERE id = $1 RETURNING id", id):
            raise NotFound()
        # As a cascade takes others along.
        await db.execute("DELETE FROM posts WHERE id = $1", f"{id}1")

    collections.delete_record = delete
    await collections.truncate("posts")
    assert await db.fetchval("SELECT count(*) FROM posts") == 0


async def test_a_blocked_truncate_deletes_nothing(collections: Collections, db: Database) -> None:
    await collections.create({"name": "posts"})
    await db.execute("INSERT INTO posts (id) VALUES ('r1'), ('r2')")

    async def delete(collection: Collection, id: str) -> None:
        if id == "r2":
            raise Invalid()
        await db.execute("DELETE FROM posts WHERE id = $1", id)

    collections.delete_record = delete
    error = await refused(collections.truncate("posts"))
    assert error.message == (
        "Failed to truncate collection (most likely due to required cascade delete record references)."
    )
    assert await db.fetchval("SELECT count(*) FROM posts") == 2


async def test_a_view_has_nothing_to_truncate(collections: Collections) -> None:
    await collections.create({"name": "shown", "type": "view", "viewQuery": "SELECT id FROM users"})
    error = await refused(collections.truncate("shown"))
    assert error.message == "View collections cannot be truncated since they don't store their own records."


# List and the rest


async def test_the_list_is_in_order_of_creation_and_filters_by_its_six_columns(
    collections: Collections,
) -> None:
    await collections.create({"name": "zebra"})
    await collections.create({"name": "apple"})
    page = await collections.page(PageRequest(per_page=2, page=4), SUPERUSER)
    assert [each.name for each in page.items] == ["zebra", "apple"]
    assert (page.total_items, page.total_pages) == (8, 4)
    page = await collections.page(PageRequest(filter="system = false", sort="-name"), SUPERUSER)
    assert [each.name for each in page.items] == ["zebra", "users", "apple"]
    page = await collections.page(
        PageRequest(filter="type = 'auth'", sort="-@rowid", skip_total=True), SUPERUSER
    )
    assert [each.name for each in page.items] == ["users", "_superusers"]
    assert (page.total_items, page.total_pages) == (-1, -1)
    page = await collections.page(PageRequest(filter="name = '@request.' || name = \"zebra\""), SUPERUSER)
    assert [each.name for each in page.items] == ["zebra"]


@pytest.mark.parametrize(
    "request_",
    [
        PageRequest(filter="fields = ''"),
        PageRequest(filter="name ="),
        PageRequest(filter="@collection.users.id != ''"),
        PageRequest(filter="@request.method = 'GET'"),
        PageRequest(sort="listRule"),
        PageRequest(filter="name = '" + "x" * 3500 + "'"),
    ],
)
async def test_a_wrong_filter_or_sort_gets_no_reason(collections: Collections, request_: PageRequest) -> None:
    error = await refused(collections.page(request_, SUPERUSER))
    assert error.message == "Something went wrong while processing your request."
    assert error.data == {}


async def test_scaffolds_are_blank(collections: Collections) -> None:
    scaffolds = collections.scaffolds()
    assert list(scaffolds) == ["auth", "base", "view"]
    assert all(each["id"] == each["name"] == each["created"] == "" for each in scaffolds.values())
    assert "secret" not in scaffolds["auth"]["authToken"]
