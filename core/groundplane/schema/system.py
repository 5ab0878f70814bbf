"""The collections that every installation has."""

from __future__ import annotations

from groundplane.context import SUPERUSERS
from groundplane.schema import defaults
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.completion import completed, with_fields
from groundplane.schema.fields.base import Field
from groundplane.schema.fields.file import FileField
from groundplane.schema.fields.password import PasswordField
from groundplane.schema.fields.text import TextField

OWNER = "@request.auth.id != '' && recordRef = @request.auth.id && collectionRef = @request.auth.collectionId"
SELF = "id = @request.auth.id"
USERS_ID = "_pb_users_auth_"
AVATAR_TYPES = ["image/jpeg", "image/png", "image/svg+xml", "image/gif", "image/webp"]
SUPERUSER_TOKEN_DURATION_S = 86_400


def installed_collections() -> list[Collection]:
    """The five system collections and `users`, with new secrets and without dates."""
    return [superusers(), external_auths(), mfas(), otps(), auth_origins(), users()]


def finished(collection: Collection) -> Collection:
    fields = with_fields(collection.fields)
    return completed(collection.replaced(fields=fields), Schema(), None)


def reference(name: str) -> Field:
    return TextField(name=name, system=True, required=True)


def superusers() -> Collection:
    return finished(
        Collection(
            id="",
            name=SUPERUSERS,
            type="auth",
            system=True,
            fields=[defaults.id_field(), *defaults.auth_fields(), *defaults.date_fields(system=True)],
            options=defaults.auth_options(SUPERUSER_TOKEN_DURATION_S),
        )
    )


def reference_collection(
    name: str, *fields: Field, index: tuple[str, bool, str], deletable: bool = False
) -> Collection:
    """One of the collections that hold what belongs to a record of any auth collection."""
    index_name, unique, columns = index
    return finished(
        Collection(
            id="",
            name=name,
            system=True,
            fields=[
                defaults.id_field(),
                reference("collectionRef"),
                reference("recordRef"),
                *fields,
                *defaults.date_fields(system=True),
            ],
            indexes=[f"CREATE {'UNIQUE ' if unique else ''}INDEX `{index_name}` ON `{name}` ({columns})"],
            list_rule=OWNER,
            view_rule=OWNER,
            delete_rule=OWNER if deletable else None,
        )
    )


def external_auths() -> Collection:
    collection = reference_collection(
        "_externalAuths",
        reference("provider"),
        reference("providerId"),
        index=("idx_externalAuths_record_provider", True, "collectionRef, recordRef, provider"),
        deletable=True,
    )
    second = (
        "CREATE UNIQUE INDEX `idx_externalAuths_collection_provider` ON `_externalAuths` "
        "(collectionRef, provider, providerId)"
    )
    return collection.replaced(indexes=[*collection.indexes, second])


def mfas() -> Collection:
    index = ("idx_mfas_collectionRef_recordRef", False, "collectionRef, recordRef")
    return reference_collection("_mfas", reference("method"), index=index)


def otps() -> Collection:
    return reference_collection(
        "_otps",
        PasswordField(name="password", system=True, hidden=True, required=True, cost=8),
        TextField(name="sentTo", system=True, hidden=True),
        index=("idx_otps_collectionRef_recordRef", False, "collectionRef, recordRef"),
    )


def auth_origins() -> Collection:
    index = ("idx_authOrigins_unique_pairs", True, "collectionRef, recordRef, fingerprint")
    return reference_collection("_authOrigins", reference("fingerprint"), index=index, deletable=True)


def users() -> Collection:
    options = defaults.auth_options()
    options.oauth2.mappedFields.name = "name"
    options.oauth2.mappedFields.avatarURL = "avatar"
    return finished(
        Collection(
            id=USERS_ID,
            name="users",
            type="auth",
            fields=[
                defaults.id_field(),
                *defaults.auth_fields(),
                TextField(name="name", max=255),
                FileField(name="avatar", max_select=1, mime_types=list(AVATAR_TYPES)),
                *defaults.date_fields(system=False),
            ],
            list_rule=SELF,
            view_rule=SELF,
            create_rule="",
            update_rule=SELF,
            delete_rule=SELF,
            options=options,
        )
    )
