"""The part of the API document that is about uploads that may be interrupted."""

from __future__ import annotations

from typing import Any

from groundplane.api.openapi_fields import JSON
from groundplane.api.openapi_records import ref
from groundplane.api.uploads import BYTES, VERSION

TAG: JSON = {"name": "Uploads", "description": "Large files in pieces, by the tus protocol 1.0."}
CLIENT = (
    "const upload = new tus.Upload(file, {\n"
    "  endpoint: '/api/files/uploads',\n"
    "  headers: { Authorization: pb.authStore.token },\n"
    "  metadata: { filename: file.name },\n"
    "  onSuccess: () => pb.collection('posts').create({ cover: `@upload:${upload.url}` }),\n"
    "})\n"
    "upload.start()"
)
NUMBER: JSON = {"type": "string", "pattern": "^[0-9]{1,16}$"}
REFUSALS = {
    "400": "A header is missing or cannot be read, or there is no such field.",
    "401": "Guests may not upload there.",
    "403": "The caller may not upload there.",
    "404": "There is no such upload, or it is somebody else's.",
    "409": "The upload ends elsewhere.",
    "410": "The upload has expired.",
    "412": "Another version of the protocol was asked for.",
    "413": "The file is too large, or more bytes were sent than it has.",
    "415": f"The bytes were not sent as `{BYTES}`.",
    "423": "Another request is writing to the upload.",
    "429": "Too many requests, or too many uploads.",
    "460": "The bytes do not have the checksum.",
    "503": "The file store or the database does not answer. Try again later.",
    "507": "There is no room for more uploads.",
}
ALWAYS = ("404", "412", "429", "503")


def refusals(*codes: str) -> JSON:
    content: JSON = {"application/json": {"schema": ref("Error")}}
    return {code: {"description": REFUSALS[code], "content": content} for code in sorted({*codes, *ALWAYS})}


def header(name: str, schema: JSON, description: str, *, required: bool = False) -> JSON:
    return {"name": name, "in": "header", "required": required, "schema": schema, "description": description}


def told(**names: str) -> JSON:
    """Headers of an answer with what they say."""
    return {
        name.replace("_", "-"): {"schema": {"type": "string"}, "description": text}
        for name, text in names.items()
    }


def operation(id: str, summary: str, **more: Any) -> JSON:
    return {
        "operationId": id,
        "tags": ["Uploads"],
        "summary": summary,
        "security": [{}, {"token": []}],
    } | more


def upload_paths() -> dict[str, JSON]:
    version = header("Tus-Resumable", {"type": "string", "const": VERSION}, "The version.", required=True)
    checksum = header("Upload-Checksum", {"type": "string"}, "An algorithm, a space and the sum in Base64.")
    body: JSON = {"content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}}
    progress = told(Upload_Offset="Bytes that are safe.", Upload_Expires="When the upload expires.")
    token: JSON = {
        "name": "token",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "minLength": 1},
        "description": "The last part of the `Location` that the upload was given.",
    }
    return {
        "/api/files/uploads": {
            "post": operation(
                "uploadCreate",
                "Begin an upload, with its first bytes or without",
                description=(
                    "A record takes the finished upload as the value `@upload:` and this address, in place "
                    "of a file."
                ),
                parameters=[
                    version,
                    header("Upload-Length", NUMBER, "The size of the file in bytes.", required=True),
                    header(
                        "Upload-Metadata",
                        {"type": "string", "maxLength": 4096},
                        "`filename`, `filetype`, and `collection` and `field` that the file is for; values "
                        "in Base64. Guests must name the last two.",
                    ),
                    checksum,
                ],
                requestBody=body,
                **{"x-codeSamples": [{"lang": "JavaScript", "source": CLIENT}]},
                responses={
                    "201": {
                        "description": "It has begun.",
                        "headers": progress | told(Location="Its address."),
                    }
                }
                | refusals("400", "401", "403", "413", "415", "460", "507"),
            )
        },
        "/api/files/uploads/{token}": {
            "parameters": [token, version],
            "head": operation(
                "uploadOffset",
                "How far an upload is",
                responses={
                    "200": {
                        "description": "In the headers.",
                        "headers": progress
                        | told(Upload_Length="The size of the file.", Upload_Metadata="As it was sent."),
                    }
                }
                | {code: {"description": REFUSALS[code]} for code in (*ALWAYS, "410")},
            ),
            "patch": operation(
                "uploadAppend",
                "Add bytes to an upload",
                parameters=[
                    header("Upload-Offset", NUMBER, "Where the bytes belong: its end.", required=True),
                    checksum,
                ],
                requestBody=body,
                responses={"204": {"description": "They are safe.", "headers": progress}}
                | refusals("400", "409", "410", "413", "415", "423", "460"),
            ),
            "delete": operation(
                "uploadDelete",
                "Give an upload up",
                responses={"204": {"description": "It is deleted."}} | refusals("410"),
            ),
        },
    }
