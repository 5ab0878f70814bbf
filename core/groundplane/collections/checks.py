"""What makes a collection invalid, as far as it can be told without asking the database (contract §6.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from groundplane.collections.option_checks import option_errors
from groundplane.errors import REQUIRED, ErrorData, FieldError, sentence
from groundplane.query.errors import QueryError
from groundplane.query.rules import check_rule
from groundplane.schema import limits
from groundplane.schema.cache import Schema
from groundplane.schema.collection import Collection
from groundplane.schema.defaults import auth_fields
from groundplane.schema.fields.base import Field
from groundplane.schema.fields.text import TextField
from groundplane.schema.indexes import parse_index, single_unique_index
from groundplane.schema.wire import RULE_ATTRIBUTES, TYPES

LONGEST_ID = 100  # bytes, of collections and fields; the same for field names
LONGEST_NAME = 255
LONGEST_HELP = 300
INTERNAL_TABLES = frozenset({"_collections", "_params", "_migrations", "_idempotency"})
RESERVED_FIELD_NAMES = frozenset(
    {"null", "true", "false", "_rowid_", "collectionId", "collectionName", "expand"}
)
RESERVED_AUTH_FIELD_NAMES = frozenset({"passwordConfirm", "oldPassword"})

ID_TAKEN = FieldError("validation_invalid_or_existing_id", "The model id is invalid or already exists.")
NAME_TAKEN = FieldError(
    "validation_collection_name_exists", "Collection name must be unique (case insensitive)."
)
NAME_IS_ID = FieldError(
    "validation_collection_name_id_duplicate", "The name must not match an existing collection id."
)
NAME_IS_TABLE = FieldError(
    "validation_collection_name_invalid", "The name shouldn't match with an existing internal table."
)
SYSTEM_NAME = FieldError(
    "validation_collection_system_name_change", "System collection name cannot be changed."
)
SYSTEM_FLAG = FieldError(
    "validation_collection_system_flag_change", "System collection state cannot be changed."
)
SYSTEM_RULE = FieldError(
    "validation_collection_system_rule_change", "System collection API rule cannot be changed."
)
TYPE_CHANGED = FieldError("validation_collection_type_change", "Collection type cannot be changed.")
MUST_BE_NULL = FieldError("validation_nil", "Must be blank.")
NULL_OR_FILLED = FieldError("validation_nil_or_not_empty_required", "Cannot be blank.")

NO_PRIMARY_KEY = FieldError("validation_missing_primary_key", 'Missing or invalid "id" PK field.')
SYSTEM_FIELD_CHANGED = FieldError(
    "validation_system_field_change", "System fields cannot be deleted or renamed."
)
FIELD_TYPE_CHANGED = FieldError("validation_field_type_change", "Field type cannot be changed.")
RESERVED_NAME = FieldError("validation_reserved_field_name", "The field name is reserved and cannot be used.")
MUST_BE_SYSTEM = FieldError("validation_must_be_system", 'The field must be marked as "System".')
MUST_BE_SYSTEM_AND_HIDDEN = FieldError(
    "validation_must_be_system_and_hidden", 'The field must be marked as "System" and "Hidden".'
)

NO_INDEXES_ON_VIEWS = FieldError(
    "validation_indexes_not_supported", "View collections don't support indexes."
)
BAD_INDEX = FieldError("validation_invalid_index_expression", "Invalid CREATE INDEX expression.")
INDEX_NAME_TWICE = FieldError("validation_duplicated_index_name", "The index name already exists.")
INDEX_TWICE = FieldError("validation_duplicated_index_definition", "The index definition already exists.")


def collection_errors(new: Collection, old: Collection | None, schema: Schema) -> ErrorData:
    """Check a completed collection; the answer is empty when it is fine.

    `old` is what is stored under its id now, None for a new one. `schema` has the other collections as they
    will be; whether it holds `old`, `new` or neither of them does not matter. The fields of a view must have
    been derived from its query, and stay empty when that failed.
    """
    others = [each for each in schema if each.id != new.id]
    before = Schema(others if old is None else [*others, old], schema.version)
    after = Schema([*others, new], schema.version)
    errors: dict[str, Any] = {
        "id": id_error(new, old, schema),
        "name": name_error(new, old, others),
        "type": type_error(new, old),
        "system": SYSTEM_FLAG if old is not None and old.system != new.system else None,
        "fields": fields_errors(new, old, before),
        "indexes": indexes_errors(new, old, others),
        "viewQuery": limits.required(new.view_query.strip() or not new.is_view),
    }

    def rule_error(rule: str | None, stored: str | None) -> FieldError | None:
        if rule:
            try:
                check_rule(after, new, rule)
            except QueryError as error:
                return FieldError("validation_invalid_rule", sentence(f"Invalid rule. Raw error: {error}"))
        return SYSTEM_RULE if old is not None and old.system and rule != stored else None

    errors |= rules_errors(new, old, rule_error)
    if new.options is not None:
        errors |= option_errors(new, new.options)
        errors |= auth_rules_errors(new, old, rule_error, errors)
    return {key: error for key, error in errors.items() if error}


RuleCheck = Callable[[str | None, str | None], FieldError | None]


def id_error(new: Collection, old: Collection | None, schema: Schema) -> FieldError | None:
    """Check a new id; that a stored one stays is for the caller, who answers otherwise."""
    if not new.id:
        return REQUIRED
    if old is not None:
        return None
    wrong = limits.length(new.id, 1, LONGEST_ID) or limits.word(new.id)
    return wrong or (ID_TAKEN if schema.by_id.get(new.id, new) is not new else None)


def name_error(new: Collection, old: Collection | None, others: list[Collection]) -> FieldError | None:
    name = new.name
    wrong = (
        limits.required(name)
        or limits.length(name, 1, LONGEST_NAME)
        or limits.without_via(name)
        or limits.word(name)
    )
    if wrong is not None:
        return wrong
    if old is not None and old.system and old.name != name:
        return SYSTEM_NAME
    lower = name.lower()
    for other in others:
        if other.name.lower() == lower:
            return NAME_TAKEN
    for other in others:
        if other.id == name:
            return NAME_IS_ID
    return NAME_IS_TABLE if lower in INTERNAL_TABLES else None


def type_error(new: Collection, old: Collection | None) -> FieldError | None:
    if new.type not in TYPES:
        return limits.NOT_ALLOWED
    return TYPE_CHANGED if old is not None and old.type != new.type else None


def rules_errors(new: Collection, old: Collection | None, check: RuleCheck) -> dict[str, Any]:
    errors: dict[str, Any] = {}
    for key, attribute in RULE_ATTRIBUTES.items():
        rule = getattr(new, attribute)
        if new.is_view and key in ("createRule", "updateRule", "deleteRule") and rule is not None:
            errors[key] = MUST_BE_NULL
        else:
            errors[key] = check(rule, getattr(old, attribute) if old is not None else None)
    return errors


def auth_rules_errors(
    new: Collection, old: Collection | None, check: RuleCheck, found: Mapping[str, Any]
) -> dict[str, Any]:
    """Check the rules among the auth options; `found` has the errors of the other options."""
    options = new.options
    if options is None:
        return {}
    stored = old.options if old is not None else None
    errors: dict[str, Any] = {
        "authRule": check(options.auth_rule, stored.auth_rule if stored else None),
        "manageRule": NULL_OR_FILLED
        if options.manage_rule == ""
        else check(options.manage_rule, stored.manage_rule if stored else None),
    }
    mfa_rule = check(options.mfa.rule, stored.mfa.rule if stored else "")
    if mfa_rule is not None:
        errors["mfa"] = {**(found.get("mfa") or {}), "rule": mfa_rule}
    return errors


def fields_errors(new: Collection, old: Collection | None, before: Schema) -> Any:
    """Check the fields; the first kind of failure that occurs is the whole answer."""
    return (
        duplicates(new)
        or limits.required(new.fields)
        or primary_key_error(new)
        or auth_fields_error(new, old)
        or changes_error(new, old)
        or reserved_names(new)
        or settings_errors(new, before)
    )


def duplicates(new: Collection) -> dict[str, Any]:
    ids: set[str] = set()
    names: set[str] = set()
    for position, field in enumerate(new.fields):
        if field.id in ids:
            message = f'Duplicated or invalid field id "{field.id}".'
            return {str(position): {"id": FieldError("validation_duplicated_field_id", message)}}
        lower = field.name.lower()
        if lower in names:
            message = f"Duplicated or invalid field name {field.name}."
            error = FieldError("validation_duplicated_field_name", message, {"fieldName": field.name})
            return {str(position): {"name": error}}
        ids.add(field.id)
        names.add(lower)
    return {}


def primary_key_error(new: Collection) -> FieldError | None:
    field = new.field("id")
    return None if isinstance(field, TextField) and field.primary_key else NO_PRIMARY_KEY


def auth_fields_error(new: Collection, old: Collection | None) -> Any:
    """Check that the system fields of an auth collection are there with their flags.

    Completion sees to it, so this only finds renamed ones, which the next check explains better.
    """
    if not new.is_auth:
        return None
    for default in auth_fields():
        field = new.field(default.name)
        if not isinstance(field, type(default)):
            if old is not None and old.field(default.name) is not None:
                return None
            name = default.name
            return FieldError(f"validation_missing_{name}_field", f'System "{name}" field is required.')
        if default.hidden and not (field.system and field.hidden):
            return {default.name: MUST_BE_SYSTEM_AND_HIDDEN}
        if not field.system:
            return {default.name: MUST_BE_SYSTEM}
    return None


def changes_error(new: Collection, old: Collection | None) -> Any:
    """Check that the stored system fields are still there, and that no field has become of another type."""
    # The fields of a view follow from its query, so they may come and go.
    if old is None or new.is_view:
        return None
    for field in old.fields:
        now = new.by_field_id.get(field.id)
        if field.system and (now is None or now.name != field.name):
            return SYSTEM_FIELD_CHANGED
    return {
        str(position): FIELD_TYPE_CHANGED
        for position, field in enumerate(new.fields)
        if field.id in old.by_field_id and old.by_field_id[field.id].type_name != field.type_name
    }


def reserved_names(new: Collection) -> dict[str, Any]:
    if not new.is_auth:
        return {}
    return {
        str(position): {"name": RESERVED_NAME}
        for position, field in enumerate(new.fields)
        if field.name in RESERVED_AUTH_FIELD_NAMES
    }


def settings_errors(new: Collection, before: Schema) -> dict[str, Any]:
    errors = {}
    for position, field in enumerate(new.fields):
        found = {**field.option_errors(new, before), **common_errors(field)}
        if found:
            errors[str(position)] = found
    return errors


def common_errors(field: Field) -> dict[str, FieldError]:
    """Check the options that every field has."""
    name = field.name
    return limits.only_errors(
        {
            "id": limits.required(field.id) or limits.length(field.id, 1, LONGEST_ID),
            "name": limits.required(name)
            or limits.length(name, 1, LONGEST_ID)
            or limits.word(name)
            or (limits.RESERVED if name in RESERVED_FIELD_NAMES else None)
            or limits.without_via(name),
            "help": limits.length(getattr(field, "help", ""), 1, LONGEST_HELP),
        }
    )


def indexes_errors(new: Collection, old: Collection | None, others: list[Collection]) -> Any:
    """Check the statements themselves; what only the database can refuse comes when they are executed."""
    if new.is_view:
        return NO_INDEXES_ON_VIEWS if new.indexes else None
    return statement_errors(new, others) or changed_system_index(new, old) or missing_auth_index(new)


def statement_errors(new: Collection, others: list[Collection]) -> dict[str, Any]:
    taken = {
        index.name.lower(): other.name
        for other in others
        for text in other.indexes
        if (index := parse_index(text)) is not None
    }
    names: set[str] = set()
    definitions: set[object] = set()
    for position, text in enumerate(new.indexes):
        index = parse_index(text)
        error: FieldError | None = None
        if index is None or not index.name:
            error = BAD_INDEX
        elif index.name.lower() in names:
            error = INDEX_NAME_TWICE
        elif index.name.lower() in taken:
            table = taken[index.name.lower()]
            message = f"The index name is already used in {table} collection."
            error = FieldError("validation_existing_index_name", message, {"usedTableName": table})
        elif index.definition in definitions:
            error = INDEX_TWICE
        if error is not None or index is None:
            return {str(position): error}
        names.add(index.name.lower())
        definitions.add(index.definition)
    return {}


def changed_system_index(new: Collection, old: Collection | None) -> FieldError | None:
    """Check that every stored unique index over a system field still exists in some form."""
    if old is None:
        return None
    system = {field.name.lower(): field.name for field in old.fields if field.system}
    kept = {unique_columns(text) for text in new.indexes}
    for text in old.indexes:
        columns = unique_columns(text)
        name = next((system[column] for column in columns or () if column in system), None)
        if name is not None and columns not in kept:
            message = f"Unique index definition on system fields ({name}) is invalid or missing."
            return FieldError("validation_invalid_unique_system_field_index", message, {"fieldName": name})
    return None


def unique_columns(text: str) -> tuple[str, ...] | None:
    """The lower-case columns of a unique index; None for any other."""
    index = parse_index(text)
    if index is None or not index.unique:
        return None
    return tuple(column.name.lower() for column in index.columns)


def missing_auth_index(new: Collection) -> FieldError | None:
    if not new.is_auth:
        return None
    for name in ("tokenKey", "email"):
        if single_unique_index(new.indexes, name) is None:
            message = f'Missing required unique index for field "{name}".'
            return FieldError("validation_missing_required_unique_index", message, {"fieldName": name})
    return None
