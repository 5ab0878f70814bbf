"""The documentation page of the generated API: the OpenAPI document for people to read."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from groundplane.api.openapi_fields import JSON

METHODS = ("get", "post", "put", "patch", "delete")
EXAMPLE_DEPTH = 3  # levels of a body that an example spells out

templates = Environment(
    loader=PackageLoader("groundplane.api"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def marked(text: str) -> Markup:
    """Show what stands between backticks as code; everything is escaped first."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


templates.filters["marked"] = marked


class Row(msgspec.Struct, frozen=True):
    """One parameter, or one field of a body."""

    name: str
    place: str  # path, query, header or body
    type: str
    required: bool
    description: str


class Answer(msgspec.Struct, frozen=True):
    status: str
    description: str


class Operation(msgspec.Struct, frozen=True):
    id: str
    method: str
    path: str
    summary: str
    description: str
    needs_token: bool
    rows: tuple[Row, ...]
    body: str  # an example, "" when there is none
    answers: tuple[Answer, ...]
    curl: str
    javascript: str


class Group(msgspec.Struct, frozen=True):
    name: str
    description: str
    operations: tuple[Operation, ...]


class Page(msgspec.Struct, frozen=True):
    title: str
    version: str
    description: str
    origin: str
    groups: tuple[Group, ...]


def render(document: JSON, origin: str) -> str:
    """Return the page as HTML; `origin` (no slash at the end) is the address that the examples show."""
    return templates.get_template("api_docs.html").render(page=read(document, origin))


def read(document: JSON, origin: str) -> Page:
    """Turn the document into what the template shows, grouped by tag in the document's order."""
    reader = Reader(document, origin)
    found: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method in METHODS:
            if method in methods:
                raw = methods[method]
                operation = reader.operation(path, method, raw, methods.get("parameters", []))
                found.setdefault(raw["tags"][0], []).append(operation)
    info = document["info"]
    groups = tuple(
        Group(tag["name"], tag["description"], tuple(found[tag["name"]]))
        for tag in document["tags"]
        if tag["name"] in found
    )
    return Page(info["title"], info["version"], info["description"], origin, groups)


class Reader:
    """Reads operations out of a document, following its references."""

    def __init__(self, document: JSON, origin: str) -> None:
        self.document = document
        self.origin = origin

    def resolve(self, node: JSON) -> JSON:
        """Follow `$ref`, which in our documents is always local."""
        while "$ref" in node:
            target: Any = self.document
            for step in node["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            node = target
        return node

    def operation(self, path: str, method: str, raw: JSON, shared: list[JSON]) -> Operation:
        given = [self.resolve(node) for node in [*shared, *raw.get("parameters", [])]]
        rows = [
            Row(
                node["name"],
                node["in"],
                type_of(node["schema"]),
                node.get("required", False),
                node.get("description", ""),
            )
            for node in given
        ]
        content = raw.get("requestBody", {}).get("content", {})
        body = ""
        if "application/json" in content:  # other bodies are nothing but bytes
            widest = content.get("multipart/form-data") or content["application/json"]
            rows += self.body_rows(self.resolve(widest["schema"]))
            body = json.dumps(
                self.example(content["application/json"]["schema"]), indent=2, ensure_ascii=False
            )
        answers = tuple(
            Answer(status, self.resolve(node)["description"]) for status, node in raw["responses"].items()
        )
        return Operation(
            id=raw["operationId"],
            method=method.upper(),
            path=path,
            summary=raw["summary"],
            description=raw.get("description", ""),
            needs_token={} not in raw["security"],
            rows=tuple(rows),
            body=body,
            answers=answers,
            curl=self.curl(path, method, raw, body),
            javascript=next((sample["source"] for sample in raw.get("x-codeSamples", ())), ""),
        )

    def body_rows(self, schema: JSON) -> list[Row]:
        required = schema.get("required", ())
        return [
            Row(
                name,
                "body",
                type_of(self.resolve(part)),
                name in required,
                self.resolve(part).get("description", ""),
            )
            for name, part in schema.get("properties", {}).items()
        ]

    def example(self, schema: JSON, depth: int = EXAMPLE_DEPTH) -> Any:
        """Make a small value of the schema's shape: what must be there, or the first few members."""
        schema = self.resolve(schema)
        if "examples" in schema:
            return schema["examples"][0]
        if "enum" in schema:
            return schema["enum"][0] if schema["enum"] else ""
        match schema.get("type"):
            case "object":
                properties: JSON = schema.get("properties", {})
                names = schema.get("required") or list(properties)[:3]
                if depth == 0:
                    return {}
                return {name: self.example(properties[name], depth - 1) for name in names}
            case "array":
                return [self.example(schema["items"], depth)]
            case "integer" | "number":
                return schema.get("minimum", 1)
            case "boolean":
                return True
            case _:
                return "…"

    def curl(self, path: str, method: str, raw: JSON, body: str) -> str:
        words = ["curl"]
        if method != "get":
            words.append(f"-X {method.upper()}")
        if {} not in raw["security"]:
            words.append('-H "Authorization: $TOKEN"')
        if body:
            words.append("-H 'Content-Type: application/json'")
            compact = json.dumps(json.loads(body), ensure_ascii=False)
            words.append(f"-d {shlex.quote(compact)}")
        address = self.origin + path.replace("{", "").replace("}", "")
        return " \\\n  ".join([" ".join(words[:2]), *words[2:], shlex.quote(address)])


def type_of(schema: JSON) -> str:
    """Name a schema's type for people, e.g. `array of string`."""
    found = schema.get("type", "any")
    if isinstance(found, list):
        return " or ".join(found)
    if found == "array":
        return f"array of {type_of(schema['items'])}"
    if "contentMediaType" in schema and schema["contentMediaType"] == "application/octet-stream":
        return "file"
    return str(found)
