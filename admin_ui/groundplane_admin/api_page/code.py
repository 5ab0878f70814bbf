"""The same request in JavaScript, Dart, Python and for curl."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pprint import pformat
from typing import Any
from urllib.parse import quote

import msgspec

LANGUAGES = {"js": "JavaScript", "dart": "Dart", "python": "Python", "curl": "curl"}
SIGN_IN, SUBSCRIBE = "sign-in", "subscribe"
METHODS = {"list": "GET", "view": "GET", "create": "POST", "update": "PATCH", "delete": "DELETE"}
MADE_UP = "PASSWORD"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request to a collection's API.

    `action`   one of METHODS, SIGN_IN or SUBSCRIBE
    `account`  the collection and address of who asks; two empty texts are a guest
    """

    base: str
    collection: str
    action: str
    id: str = ""
    query: Mapping[str, str] = {}
    body: Mapping[str, Any] = {}
    account: tuple[str, str] = ("", "")

    @property
    def path(self) -> str:
        root = f"/api/collections/{quote(self.collection, safe='')}"
        if self.action == SIGN_IN:
            return f"{root}/auth-with-password"
        end = f"/{quote(self.id, safe='')}" if self.action in ("view", "update", "delete") else ""
        return f"{root}/records{end}"


def code(call: Call) -> dict[str, str]:
    """The call in each of LANGUAGES."""
    return {"js": javascript(call), "dart": dart(call), "python": python(call), "curl": curl(call)}


def literal(value: Any) -> str:
    """JSON, which JavaScript reads as it is."""
    return (
        json.dumps(value, indent=2, ensure_ascii=False)
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )


def dart_literal(value: Any) -> str:
    """As `literal`; in Dart a dollar sign would begin an expression, and true JSON is no constant map."""
    return literal(value).replace("$", "\\$")


def options(query: Mapping[str, str]) -> str:
    return literal({name: value for name, value in query.items() if name not in ("page", "perPage")})


def javascript(call: Call) -> str:
    lines = ['import PocketBase from "pocketbase";', "", f"const pb = new PocketBase({literal(call.base)});"]
    owner, address = call.account
    if owner and call.action != SIGN_IN:
        lines.append(
            f"await pb.collection({literal(owner)}).authWithPassword({literal(address)}, {literal(MADE_UP)});"
        )
    lines.append("")
    records = f"pb.collection({literal(call.collection)})"
    match call.action:
        case "list":
            extra = f", {options(call.query)}" if set(call.query) - {"page", "perPage"} else ""
            numbers = f"{call.query.get('page', '1')}, {call.query.get('perPage', '20')}"
            lines += [f"const page = await {records}.getList({numbers}{extra});", "console.log(page.items);"]
        case "view":
            extra = f", {options(call.query)}" if call.query else ""
            lines += [
                f"const record = await {records}.getOne({literal(call.id)}{extra});",
                "console.log(record);",
            ]
        case "create":
            lines += [f"const record = await {records}.create({literal(call.body)});", "console.log(record);"]
        case "update":
            given = f"{literal(call.id)}, {literal(call.body)}"
            lines += [f"const record = await {records}.update({given});", "console.log(record);"]
        case "delete":
            lines.append(f"await {records}.delete({literal(call.id)});")
        case "sign-in":
            lines += [
                f"const {{ record }} = await {records}.authWithPassword({literal(address)}, {literal(MADE_UP)});",
                "console.log(record);",
            ]
        case _:
            lines += [
                f'await {records}.subscribe("*", (change) => {{',
                "  console.log(change.action, change.record);",
                "});",
            ]
    return "\n".join(lines)


def dart(call: Call) -> str:
    lines = ["import 'package:pocketbase/pocketbase.dart';", "", "Future<void> main() async {"]
    lines.append(f"  final pb = PocketBase({dart_literal(call.base)});")
    owner, address = call.account
    if owner and call.action != SIGN_IN:
        lines.append(
            f"  await pb.collection({dart_literal(owner)})"
            f".authWithPassword({dart_literal(address)}, {dart_literal(MADE_UP)});"
        )
    records = f"pb.collection({dart_literal(call.collection)})"
    match call.action:
        case "list":
            given = [f"page: {call.query.get('page', '1')}", f"perPage: {call.query.get('perPage', '20')}"]
            given += named(call.query)
            lines += [f"  final page = await {records}.getList({', '.join(given)});", "  print(page.items);"]
        case "view":
            given = [dart_literal(call.id), *named(call.query)]
            lines += [f"  final record = await {records}.getOne({', '.join(given)});", "  print(record);"]
        case "create":
            lines += [
                f"  final record = await {records}.create(body: <String, dynamic>{inside(call.body)});",
                "  print(record);",
            ]
        case "update":
            body = f"body: <String, dynamic>{inside(call.body)}"
            lines += [
                f"  final record = await {records}.update({dart_literal(call.id)}, {body});",
                "  print(record);",
            ]
        case "delete":
            lines.append(f"  await {records}.delete({dart_literal(call.id)});")
        case "sign-in":
            lines += [
                f"  final auth = await {records}.authWithPassword({dart_literal(address)}, {dart_literal(MADE_UP)});",
                "  print(auth.record);",
            ]
        case _:
            lines += [
                f"  await {records}.subscribe('*', (change) {{",
                "    print('${change.action} ${change.record}');",
                "  });",
            ]
    return "\n".join([*lines, "}"])


def named(query: Mapping[str, str]) -> list[str]:
    known = [f"{name}: {dart_literal(query[name])}" for name in ("filter", "sort", "expand") if name in query]
    rest = {
        name: value
        for name, value in query.items()
        if name not in ("page", "perPage", "filter", "sort", "expand")
    }
    return [*known, f"query: {dart_literal(rest)}"] if rest else known


def inside(body: Mapping[str, Any]) -> str:
    return dart_literal(body).replace("\n", "\n  ")


def python(call: Call) -> str:
    lines = ["import httpx", ""]
    owner, address = call.account
    lines.append(f"api = httpx.Client(base_url={call.base!r})")
    if owner and call.action != SIGN_IN:
        path = f"/api/collections/{quote(owner, safe='')}/auth-with-password"
        lines += [
            "signed_in = api.post(",
            f"    {path!r},",
            f"    json={{'identity': {address!r}, 'password': {MADE_UP!r}}},",
            ")",
            'api.headers["Authorization"] = signed_in.raise_for_status().json()["token"]',
        ]
    if call.action == SUBSCRIBE:
        topic = f"{call.collection}/*"
        lines += [
            'with api.stream("GET", "/api/realtime", timeout=None) as stream:',
            "    for line in stream.iter_lines():",
            '        if line.startswith("id:"):',
            "            id = line[3:].strip()",
            f"            wanted = {{'clientId': id, 'subscriptions': [{topic!r}]}}",
            f"            httpx.post({call.base + '/api/realtime'!r}, headers=api.headers, json=wanted)",
            "            break",
            "    for line in stream.iter_lines():",
            '        if line.startswith("data:"):',
            "            print(line[5:])",
        ]
        return "\n".join(lines)
    method = METHODS.get(call.action, "POST")
    given = [repr(call.path)]
    if call.query:
        given.append(f"params={pformat(dict(call.query), sort_dicts=False, width=90)}")
    if method in ("POST", "PATCH"):
        body = {"identity": address, "password": MADE_UP} if call.action == SIGN_IN else dict(call.body)
        given.append(f"json={pformat(body, sort_dicts=False, width=90)}")
    lines.append(f"answer = api.{method.lower()}(" + ",\n    ".join(given) + ")")
    lines.append("answer.raise_for_status()")
    if method != "DELETE":
        lines.append("print(answer.json())")
    return "\n".join(lines)


def curl(call: Call) -> str:
    owner, address = call.account
    parts = []
    method = METHODS.get(call.action, "POST")
    if call.action == SUBSCRIBE:
        topic = f"{call.collection}/*"
        body = literal({"clientId": "CLIENT_ID", "subscriptions": [topic]}).replace("\n", "")
        return "\n".join(
            [
                "# The first event tells the client's id.",
                f"curl -N {shlex.quote(call.base + '/api/realtime')} &",
                f"curl {shlex.quote(call.base + '/api/realtime')} -H 'Content-Type: application/json' \\",
                f"  -d {shlex.quote(body)}",
            ]
        )
    if method == "GET":
        parts.append(f"curl --get {shlex.quote(call.base + call.path)}")
    elif method == "POST":
        parts.append(f"curl {shlex.quote(call.base + call.path)}")
    else:
        parts.append(f"curl -X {method} {shlex.quote(call.base + call.path)}")
    if owner and call.action != SIGN_IN:
        parts.append('-H "Authorization: $TOKEN"')
    parts += [f"--data-urlencode {shlex.quote(f'{name}={value}')}" for name, value in call.query.items()]
    if method in ("POST", "PATCH"):
        given = {"identity": address, "password": MADE_UP} if call.action == SIGN_IN else dict(call.body)
        parts += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(literal(given))}"]
    return " \\\n  ".join(parts)
