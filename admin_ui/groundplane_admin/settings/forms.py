"""Settings as a form shows and sends them: texts, sources and errors by the settings' own names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from groundplane.config_sources import Source, known_origin
from groundplane.errors import FieldError
from groundplane.settings.values import SettingsValues, to_json
from groundplane_admin.catalogue import say
from groundplane_admin.settings.sections import Group, Input
from groundplane_admin.visits import Form

MAX_DIGITS = 15
RULE_PARTS = ("label", "audience", "duration", "maxRequests")


class Rule(NamedTuple):
    """A rate limit as texts; `errors` by the parts' names."""

    label: str
    audience: str
    duration: str
    max_requests: str
    errors: dict[str, str] = {}  # noqa: RUF012  # a default that nobody changes


class Shown(NamedTuple):
    """One setting on the page. `value` is its text, `is_set` says of a secret that there is one.

    `source` is a sentence; `is_fixed` says that only the environment can change it.
    """

    input: Input
    value: str
    rules: list[Rule]
    is_set: bool
    source: str
    kind: str
    is_fixed: bool
    error: str


class ShownGroup(NamedTuple):
    name: str
    settings: list[Shown]


def place(document: Mapping[str, Any], path: str) -> Any:
    """The value at a path; raises LookupError."""
    found: Any = document
    for step in path.split("."):
        found = found[step]
    return found


def source_of(path: str, values: SettingsValues) -> Source:
    """Where a setting comes from; `console` for those that were set while the server ran."""
    given = known_origin().of(f"settings.{path}")
    if given.kind != "default":
        return given
    default = place(to_json(SettingsValues(), secrets=True), path)
    is_default = place(to_json(values, secrets=True), path) == default
    return Source("default") if is_default else Source("default", "console")


def said(source: Source) -> str:
    """A source as a sentence."""
    match source.kind:
        case "file" if source.line:
            return say("settings.source_line", file=Path(source.where).name, line=source.line)
        case "file":
            return say("settings.source_file", file=Path(source.where).name)
        case "environment":
            return say("settings.source_environment", name=source.where)
        case "flag":
            return say("settings.source_flag", name=source.where)
    return say("settings.source_console" if source.where else "settings.source_default")


def shown_groups(
    groups: tuple[Group, ...], values: SettingsValues, errors: Mapping[str, str], form: Form | None = None
) -> list[ShownGroup]:
    """The settings of a section, as they are stored or as a form has sent them. Secrets stay behind."""
    document = to_json(values, secrets=True)
    return [
        ShownGroup(
            group.name,
            [shown(each, document, source_of(each.path, values), errors, form) for each in group.inputs],
        )
        for group in groups
    ]


def shown(
    entry: Input, document: dict[str, Any], source: Source, errors: Mapping[str, str], form: Form | None
) -> Shown:
    stored = place(document, entry.path)
    is_fixed = source.kind == "environment"
    text, rules = "", list[Rule]()
    if entry.kind == "rules":
        rules = sent_rules(form) if form is not None else [rule_of(each) for each in stored]
        if form is not None:
            rules = with_errors(rules, entry.path, errors)
    elif entry.kind != "secret":
        text = form.text(entry.path) if form is not None and not is_fixed else as_text(stored)
    kind = source.where if source.kind == "default" and source.where else source.kind
    is_set = entry.kind == "secret" and bool(stored)
    return Shown(entry, text, rules, is_set, said(source), kind, is_fixed, error_of(entry, errors))


def as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "\n".join(value) if isinstance(value, list) else str(value)


def error_of(entry: Input, errors: Mapping[str, str]) -> str:
    if entry.path in errors:
        return errors[entry.path]
    if entry.kind == "lines":
        for name, message in errors.items():
            number = name.removeprefix(f"{entry.path}.")
            if name != number and number.isdecimal():
                return say("settings.in_line", n=int(number) + 1, message=message)
    return ""


def rule_of(stored: Mapping[str, Any]) -> Rule:
    label, audience, duration, most = (str(stored[part]) for part in RULE_PARTS)
    return Rule(label, audience, duration, most)


def sent_rules(form: Form) -> list[Rule]:
    """The limits of a form; a row without a label and without numbers is none."""
    columns = [[text.strip() for text in form.all(f"rule.{part}")] for part in RULE_PARTS]
    rows = [Rule(*row) for row in zip(columns[0], columns[1], columns[2], columns[3], strict=False)]
    return [row for row in rows if row.label or row.duration or row.max_requests]


def with_errors(rules: list[Rule], path: str, errors: Mapping[str, str]) -> list[Rule]:
    return [
        rule._replace(
            errors={
                part: errors[name] for part in RULE_PARTS if (name := f"{path}.{number}.{part}") in errors
            }
        )
        for number, rule in enumerate(rules)
    ]


def change_of(groups: tuple[Group, ...], form: Form) -> tuple[dict[str, Any], dict[str, str]]:
    """What the settings' service takes, and what is wrong before it is asked. Empty secrets are kept."""
    change: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for entry in (each for group in groups for each in group.inputs):
        if source_is_fixed(entry):
            continue
        if entry.kind == "rules":
            put(change, entry.path, read_rules(entry.path, form, errors))
            continue
        if entry.kind == "secret":
            secret = form.text(entry.path)
            if form.text(f"{entry.path}.remove") == "true":
                put(change, entry.path, "")
            elif secret:
                put(change, entry.path, secret)
            continue
        if not form.has(entry.path):
            continue
        text = form.text(entry.path).strip()
        if entry.kind == "number" or (entry.kind == "choice" and entry.path == "logs.minLevel"):
            put(change, entry.path, read_number(entry.path, text, errors))
        elif entry.kind == "switch":
            put(change, entry.path, text == "true")
        elif entry.kind == "lines":
            put(change, entry.path, [line.strip() for line in text.splitlines() if line.strip()])
        else:
            put(change, entry.path, text)
    return change, errors


def source_is_fixed(entry: Input) -> bool:
    return known_origin().of(f"settings.{entry.path}").kind == "environment"


def read_rules(path: str, form: Form, errors: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "label": rule.label,
            "audience": rule.audience,
            "duration": read_number(f"{path}.{number}.duration", rule.duration, errors),
            "maxRequests": read_number(f"{path}.{number}.maxRequests", rule.max_requests, errors),
        }
        for number, rule in enumerate(sent_rules(form))
    ]


def read_number(name: str, text: str, errors: dict[str, str]) -> int:
    """An empty text is 0, which the settings take as not set."""
    if not text:
        return 0
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > MAX_DIGITS:
        errors[name] = say("settings.not_a_number")
        return 0
    return int(text)


def put(document: dict[str, Any], path: str, value: Any) -> None:
    *steps, name = path.split(".")
    for step in steps:
        document = document.setdefault(step, {})
    document[name] = value


def flat_errors(data: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """The messages of an error's tree by their paths with dots."""
    for name, each in data.items():
        if isinstance(each, FieldError):
            yield f"{before}{name}", each.message
        elif isinstance(each, Mapping):
            yield from flat_errors(each, f"{before}{name}.")
