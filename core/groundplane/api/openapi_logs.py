"""The part of the API document that is about the log, for superusers."""

from __future__ import annotations

from typing import Any

from groundplane.api.openapi_fields import DATE_PATTERN, JSON
from groundplane.api.openapi_records import answer, errors, parameters, ref

TAG: JSON = {"name": "Logs", "description": "What requests happened, and what went wrong. Superusers only."}
TEXT: JSON = {"type": "string"}
NUMBER: JSON = {"type": "integer"}


def operation(id: str, summary: str, client: str, **more: Any) -> JSON:
    return {
        "operationId": id,
        "tags": ["Logs"],
        "summary": summary,
        "security": [{"token": []}],
        "x-codeSamples": [{"lang": "JavaScript", "source": client}],
    } | more


def log_paths() -> dict[str, JSON]:
    entry_id: JSON = {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
        "description": "The id of the entry.",
    }
    return {
        "/api/logs": {
            "get": operation(
                "logsList",
                "List entries of the log",
                "await pb.logs.getList(1, 50, { filter: 'data.status >= 400', sort: '-created' })",
                parameters=parameters("page", "perPage", "sort", "filter", "skipTotal", "fields"),
                responses={"200": answer("A page of entries.", ref("LogPage"))} | errors("400", "401", "403"),
            ),
            "delete": operation(
                "logsForget",
                "Forget every entry",
                "await pb.send('/api/logs', { method: 'DELETE' })",
                responses={"204": {"description": "Done."}} | errors("401", "403"),
            ),
        },
        "/api/logs/stats": {
            "get": operation(
                "logsStats",
                "Count entries by hour",
                "await pb.logs.getStats({ filter: 'data.auth != \"_superusers\"' })",
                parameters=parameters("filter", "fields"),
                responses={
                    "200": answer(
                        "Hours with entries, in their order.", {"type": "array", "items": ref("LogHour")}
                    )
                }
                | errors("400", "401", "403"),
            )
        },
        "/api/logs/{id}": {
            "parameters": [entry_id],
            "get": operation(
                "logsView",
                "Show one entry",
                "await pb.logs.getOne('LOG_ID')",
                parameters=parameters("fields"),
                responses={"200": answer("The entry.", ref("Log"))} | errors("401", "403", "404"),
            ),
        },
    }


def log_schemas() -> dict[str, JSON]:
    date: JSON = {"type": "string", "pattern": DATE_PATTERN}
    page = {name: NUMBER for name in ("page", "perPage", "totalItems", "totalPages")}
    return {
        "Log": {
            "type": "object",
            "properties": {
                "id": TEXT,
                "created": date,
                "data": {"type": "object"},
                "message": TEXT,
                "level": {"type": "integer", "description": "-4 debug, 0 info, 4 warning, 8 error"},
            },
        },
        "LogHour": {"type": "object", "properties": {"date": date, "total": NUMBER}},
        "LogPage": {
            "type": "object",
            "properties": {"items": {"type": "array", "items": ref("Log")}} | page,
        },
    }
