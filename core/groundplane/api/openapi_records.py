"""The part of the API document that one collection adds: its record and sign-in operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from groundplane.api.openapi_fields import JSON, accepted, accepted_upload, shown
from groundplane.api.openapi_sign_in import own_sign_in_paths
from groundplane.schema.collection import Collection
from groundplane.schema.fields.base import Field

NEVER_SHOWN = frozenset({"password", "tokenKey"})  # of auth collections, not even to superusers

ERRORS = {
    "400": "The request is wrong: see `message`, and `data` for each field.",
    "401": "The request needs a valid token.",
    "403": "The caller may not do this.",
    "404": "There is no such record, or the rule hides it.",
    "409": "The same `Idempotency-Key` came with another body.",
    "412": "`If-Match` names a version that is no longer the stored one.",
    "413": "The body is too large.",
    "429": "Too many requests; try again later.",
    "503": "The database does not answer; try again later.",
}


def errors(*codes: str) -> JSON:
    """Return the error answers of an operation; every operation may also meet the rate limit and an outage."""
    return {code: {"$ref": f"#/components/responses/Error{code}"} for code in sorted({*codes, "429", "503"})}


def answer(description: str, schema: JSON | None = None, **more: Any) -> JSON:
    body: JSON = {"description": description}
    if schema is not None:
        body["content"] = {"application/json": {"schema": schema}}
    return body | more


def ref(name: str) -> JSON:
    return {"$ref": f"#/components/schemas/{name}"}


def parameters(*names: str) -> list[JSON]:
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


class CollectionPart:
    """Describes one collection, as a superuser (`everything`) or as anybody else may know it.

    Anybody else is told of the operations that have a rule, and of fields that are not hidden; never of
    the rules themselves.
    """

    def __init__(self, collection: Collection, *, everything: bool, described: Mapping[str, str]) -> None:
        """`described` maps ids to names of the collections that are in the document."""
        self.collection = collection
        self.everything = everything
        self.described = described
        self.name = collection.name
        self.path = f"/api/collections/{collection.name}/records"
        self.client = f"pb.collection('{collection.name}')"

    # Schemas

    def visible_fields(self) -> list[Field]:
        auth = self.collection.is_auth
        return [
            field
            for field in self.collection.fields
            if (self.everything or not field.hidden) and not (auth and field.name in NEVER_SHOWN)
        ]

    def schemas(self) -> dict[str, JSON]:
        found: dict[str, JSON] = {f"{self.name}_record": self.record(), f"{self.name}_page": self.page()}
        if not self.collection.is_view:
            found[f"{self.name}_create"] = self.body(new=True, uploads=False)
            found[f"{self.name}_update"] = self.body(new=False, uploads=False)
            if self.has_files():
                found[f"{self.name}_create_form"] = self.body(new=True, uploads=True)
                found[f"{self.name}_update_form"] = self.body(new=False, uploads=True)
        if self.collection.is_auth:
            found[f"{self.name}_signed_in"] = {
                "type": "object",
                "properties": {"record": ref(f"{self.name}_record"), "token": {"type": "string"}},
                "required": ["record", "token"],
            }
        return found

    def record(self) -> JSON:
        fields = self.visible_fields()
        properties: JSON = {
            "collectionId": {"type": "string", "const": self.collection.id},
            "collectionName": {"type": "string", "const": self.name},
        }
        properties |= {field.name: shown(field) for field in fields}
        properties["expand"] = self.expand(fields)
        # An address is shown only to those who may see it, so a client must not rely on it.
        hidden_at_times = {"email"} if self.collection.is_auth and not self.everything else set()
        required = [name for name in properties if name != "expand" and name not in hidden_at_times]
        return {"type": "object", "properties": properties, "required": required}

    def expand(self, fields: list[Field]) -> JSON:
        inside: JSON = {}
        for field in fields:
            target = self.described.get(getattr(field, "collection_id", ""))
            if field.type_name != "relation" or target is None:
                continue
            related = ref(f"{target}_record")
            inside[field.name] = {"type": "array", "items": related} if field.is_multiple else related
        return {
            "type": "object",
            "description": "Related records, when `expand` asked for them.",
            "properties": inside,
        }

    def page(self) -> JSON:
        number = {"type": "integer"}
        return {
            "type": "object",
            "properties": {
                "items": {"type": "array", "items": ref(f"{self.name}_record")},
                "nextCursor": {
                    "type": "string",
                    "description": "With `cursor`: what leads to the next page, empty after the last one.",
                },
                "page": number,
                "perPage": number,
                "totalItems": number | {"description": "-1 with `skipTotal`."},
                "totalPages": number | {"description": "-1 with `skipTotal`."},
            },
            "required": ["items", "page", "perPage", "totalItems", "totalPages"],
        }

    def has_files(self) -> bool:
        return any(field.type_name == "file" for field in self.visible_fields())

    def body(self, *, new: bool, uploads: bool) -> JSON:
        """Return the create or update body; `uploads` gives its multipart form, where files can be sent."""
        properties: JSON = {}
        required: list[str] = []
        for field in self.visible_fields():
            if field.name == "id" and not new:
                continue
            is_file = field.type_name == "file"
            if is_file and new and not uploads:
                continue  # JSON can keep and remove stored files, never add one
            schema = accepted_upload(field) if is_file and uploads else accepted(field)
            if schema is None:
                continue
            properties[field.name] = schema
            options = field.to_json()
            if new and options.get("required") and not options.get("autogeneratePattern"):
                required.append(field.name)
        if self.collection.is_auth:
            secret = {"type": "string", "format": "password", "writeOnly": True, "maxLength": 71}
            properties |= {"password": secret, "passwordConfirm": secret}
            if new:
                required += ["password", "passwordConfirm"]
            else:
                properties["oldPassword"] = secret | {"description": "Needed to change one's own password."}
        schema = {"type": "object", "properties": properties}
        return schema | {"required": required} if required else schema

    # Operations

    def tag(self) -> JSON:
        kind = {"auth": "Records that can sign in.", "view": "Records computed by a query."}
        return {"name": self.name, "description": kind.get(self.collection.type, "Records.")}

    def offered(self, rule: str | None) -> bool:
        return self.everything or rule is not None

    def operation(self, action: str, summary: str, rule: str | None, client: str, **more: Any) -> JSON:
        operation: JSON = {
            "operationId": f"{self.name}_{action}",
            "tags": [self.name],
            "summary": summary,
            "security": [{"token": []}] if rule is None else [{}, {"token": []}],
            "x-codeSamples": [{"lang": "JavaScript", "source": client}],
        }
        if self.everything:
            words = {None: "Superusers only.", "": "Open to everyone."}
            operation["description"] = words.get(rule, f"Allowed where `{rule}` holds.")
        return operation | more

    def paths(self) -> dict[str, JSON]:
        paths: dict[str, JSON] = {}
        many, one = self.many(), self.one()
        if many:
            paths[self.path] = many
        if one:
            paths[self.path + "/{id}"] = one
        if self.collection.is_auth:
            paths |= self.sign_in_paths() | own_sign_in_paths(self.collection)
        return paths

    def many(self) -> JSON:
        operations: JSON = {}
        collection = self.collection
        if self.offered(collection.list_rule):
            operations["get"] = self.operation(
                "list",
                f"List {self.name}",
                collection.list_rule,
                f"const page = await {self.client}.getList(1, 30, {{ sort: '@random' }})",
                parameters=parameters(
                    "page", "perPage", "cursor", "sort", "filter", "expand", "fields", "skipTotal", "total"
                ),
                responses={"200": answer("One page of records.", ref(f"{self.name}_page"))}
                | errors("400", "403", "404"),
            )
        if not collection.is_view and self.offered(collection.create_rule):
            operations["post"] = self.operation(
                "create",
                f"Create one of {self.name}",
                collection.create_rule,
                f"const record = await {self.client}.create({self.example_body()})",
                parameters=parameters("expand", "fields", "idempotencyKey"),
                requestBody=self.request_body("create"),
                responses={"200": self.one_record("The new record.")}
                | errors("400", "403", "404", "409", "413"),
            )
        return operations

    def one(self) -> JSON:
        operations: JSON = {}
        collection = self.collection
        if self.offered(collection.view_rule):
            operations["get"] = self.operation(
                "view",
                f"View one of {self.name}",
                collection.view_rule,
                f"const record = await {self.client}.getOne('RECORD_ID')",
                parameters=parameters("expand", "fields"),
                responses={"200": self.one_record("The record.")} | errors("400", "403", "404"),
            )
        if not collection.is_view and self.offered(collection.update_rule):
            operations["patch"] = self.operation(
                "update",
                f"Update one of {self.name}",
                collection.update_rule,
                f"const record = await {self.client}.update('RECORD_ID', {self.example_body()})",
                parameters=parameters("expand", "fields", "ifMatch"),
                requestBody=self.request_body("update"),
                responses={"200": self.one_record("The record after the change.")}
                | errors("400", "403", "404", "412", "413"),
            )
        if not collection.is_view and self.offered(collection.delete_rule):
            operations["delete"] = self.operation(
                "delete",
                f"Delete one of {self.name}",
                collection.delete_rule,
                f"await {self.client}.delete('RECORD_ID')",
                parameters=parameters("ifMatch"),
                responses={"204": {"description": "Deleted."}} | errors("400", "403", "404", "412"),
            )
        if operations:
            operations = {"parameters": parameters("id")} | operations
        return operations

    def one_record(self, description: str) -> JSON:
        return answer(
            description,
            ref(f"{self.name}_record"),
            headers={"ETag": {"$ref": "#/components/headers/ETag"}},
        )

    def request_body(self, action: str) -> JSON:
        content: JSON = {"application/json": {"schema": ref(f"{self.name}_{action}")}}
        if self.has_files():
            content["multipart/form-data"] = {"schema": ref(f"{self.name}_{action}_form")}
        return {"required": True, "content": content}

    def example_body(self) -> str:
        """Return a short JavaScript object: the first writable field that is not the id."""
        samples: dict[str, str] = {
            "number": "1",
            "bool": "true",
            "json": "{}",
            "geoPoint": "{ lon: 0, lat: 0 }",
        }
        for field in self.visible_fields():
            if field.name != "id" and field.type_name not in {"autodate", "file"} and not field.system:
                value = samples.get(field.type_name, "['…']" if field.is_multiple else "'…'")
                return f"{{ {field.name}: {value} }}"
        return "{ email: '…', password: '…', passwordConfirm: '…' }" if self.collection.is_auth else "{}"

    # Sign-in

    def sign_in_paths(self) -> dict[str, JSON]:
        base = f"/api/collections/{self.name}"
        signed_in = {"200": answer("Signed in.", ref(f"{self.name}_signed_in"))}
        paths: dict[str, JSON] = {
            f"{base}/auth-methods": {
                "get": self.operation(
                    "auth_methods",
                    "How one can sign in",
                    "",
                    f"const methods = await {self.client}.listAuthMethods()",
                    parameters=parameters("fields"),
                    responses={"200": answer("The methods that are on.", ref("AuthMethods"))} | errors("404"),
                )
            },
            f"{base}/auth-with-password": {
                "post": self.operation(
                    "auth_with_password",
                    "Sign in with a password",
                    "",
                    f"const {{ token, record }} = await {self.client}.authWithPassword('ann@example.com', '…')",
                    parameters=parameters("expand", "fields"),
                    requestBody={
                        "required": True,
                        "content": {"application/json": {"schema": ref("PasswordSignIn")}},
                    },
                    responses=signed_in
                    | {"401": answer("A second factor is needed.", ref("SecondFactor"))}
                    | errors("400", "403", "404", "413"),
                )
            },
            f"{base}/auth-refresh": {
                "post": self.operation(
                    "auth_refresh",
                    "Exchange a valid token for a new one",
                    None,
                    f"await {self.client}.authRefresh()",
                    description="For a signed-in record of this collection.",
                    parameters=parameters("expand", "fields"),
                    responses=signed_in | errors("400", "401", "403", "404", "413"),
                )
            },
        }
        if self.everything:
            paths[base + "/impersonate/{id}"] = {
                "parameters": parameters("id"),
                "post": self.operation(
                    "impersonate",
                    "Get a token that acts as a record",
                    None,
                    f"const client = await {self.client}.impersonate('RECORD_ID', 3600)",
                    parameters=parameters("expand", "fields"),
                    requestBody={
                        "content": {
                            "application/json": {
                                "schema": {
                                    "type": "object",
                                    "properties": {"duration": {"type": "integer", "minimum": 0}},
                                    "description": "`duration` in seconds; 0 means the collection's own.",
                                }
                            }
                        }
                    },
                    responses=signed_in | errors("400", "401", "403", "404", "413"),
                ),
            }
        return paths
