"""Request bodies as the contract reads them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundplane.api import body
from groundplane.api.exchange import Exchange
from groundplane.errors import GroundplaneError, Invalid, TooLarge


def make(
    raw: bytes, content_type: str = "application/json", *, length: str | None = None, cut: int = 7
) -> Exchange:
    """An exchange whose body comes in pieces of `cut` bytes."""
    headers = [(b"content-type", content_type.encode("latin-1", "replace"))] if content_type else []
    if length is not None:
        headers.append((b"content-length", length.encode()))
    pieces = [raw[at : at + cut] for at in range(0, len(raw), cut)] or [b""]

    async def receive() -> Any:
        piece = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    scope: Any = {
        "type": "http",
        "method": "POST",
        "path": "/x",
        "raw_path": b"/x",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
    }
    return Exchange(scope, receive)


async def values(raw: bytes, content_type: str = "application/json") -> dict[str, Any]:
    return (await make(raw, content_type).form()).values


DEFAULT = "Something went wrong while processing your request."
UNSUPPORTED = "Unsupported Content-Type."


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", {}),
        (b"null", {}),
        (b"{}", {}),
        (b' \t\r\n{"a":1} trailing { junk', {"a": 1}),
        (b'{"a":1}{"a":2}', {"a": 1}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"a":"\xff\xfe"}', {"a": "\ufffd\ufffd"}),
        (b'{"a":"\xe2\x82"}', {"a": "\ufffd\ufffd"}),
        (b'{"a":"\\ud800"}', {"a": "\ufffd"}),
        (b'{"\\udc00":["\\ud83d\\ude00"]}', {"\ufffd": ["😀"]}),
        (b'{"a":"\\u0000"}', {"a": "\0"}),
        (b'{"a":1e3}', {"a": 1000.0}),
        (b'{"a":9007199254740993}', {"a": 9007199254740992.0}),
        (b'{"a":123456789012345}', {"a": 123456789012345}),
        (b'{"a":1e-400}', {"a": 0.0}),
        (b'{"a":' + b"1" * 300 + b"}", {"a": float("1" * 300)}),
    ],
)
async def test_json_bodies_that_are_read(raw: bytes, expected: dict[str, Any]) -> None:
    assert await values(raw) == expected


async def test_a_negative_zero_keeps_its_sign() -> None:
    assert math.copysign(1, (await values(b'{"a":-0}'))["a"]) == -1


@pytest.mark.parametrize(
    "raw",
    [
        b" ",
        b"\xef\xbb\xbf{}",
        b"[]",
        b'"a"',
        b"1",
        b"true",
        b"{",
        b'{"a":}',
        b"{'a':1}",
        b'{"a":01}',
        b'{"a":1,}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":' + b"9" * 400 + b"}",
        b'{"a":' + b"9" * 9000 + b"}",
        b'{"a":"\n"}',
        b'{"a":"\\x"}',
        b'{"a":' * 300 + b"1" + b"}" * 300,
        b"[" * 200_000,
        b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
)
async def test_json_bodies_that_are_refused(raw: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        await values(raw)
    assert caught.value.message == DEFAULT


async def test_a_body_of_very_many_small_objects_is_refused_before_it_is_built() -> None:
    with pytest.raises(Invalid):
        body.json_value(b"[" + b"{}," * 1_000_001 + b"{}]")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/jsonx", "application/json"])
async def test_the_content_type_is_compared_by_its_beginning(kind: str) -> None:
    assert await values(b'{"a":1}', kind) == {"a": 1}


@pytest.mark.parametrize("kind", ["", "text/plain", "APPLICATION/JSON", " application/json"])
async def test_another_content_type_is_unsupported_only_when_there_is_a_body(kind: str) -> None:
    assert await values(b"", kind) == {}
    with pytest.raises(Invalid) as caught:
        await values(b"{}", kind)
    assert caught.value.message == UNSUPPORTED


async def test_a_declared_length_of_zero_means_no_body_whatever_the_type() -> None:
    for kind in ("multipart/form-data; boundary=x", "text/plain", "application/json"):
        assert (await make(b"", kind, length="0").form()).values == {}


async def test_xml_is_accepted_by_type_and_refused_by_content() -> None:
    with pytest.raises(Invalid) as caught:
        await values(b"<a/>", "text/xml")
    assert caught.value.message == DEFAULT


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("true", True),
        ("false", False),
        ("True", "True"),
        ("12", 12),
        ("-0.5", -0.5),
        ("0.0000001", 1e-7),
        ("0012", "0012"),
        ("1.0", "1.0"),
        ("1.10", "1.10"),
        (".5", ".5"),
        ("-.5", "-.5"),
        ("1e3", "1e3"),
        ("+1", "+1"),
        ("9007199254740993", "9007199254740993"),
        ("9007199254740992", 9007199254740992.0),
        ("100000000000000000000000", 1e23),
        ("-", "-"),
        ("1-2", "1-2"),
        ("1.2.3", "1.2.3"),
        ("null", "null"),
        ("[1]", "[1]"),
        (" 1", " 1"),
    ],
)
async def test_a_forms_text_becomes_the_value_it_looks_like(text: str, expected: Any) -> None:
    found = body.infer(text)
    assert found == expected
    assert isinstance(found, str) == isinstance(expected, str)
    assert isinstance(found, bool) == isinstance(expected, bool)


async def test_a_negative_zero_in_a_form_is_a_number() -> None:
    assert math.copysign(1, body.infer("-0")) == -1


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_in_normal_form_is_always_inferred(number: float) -> None:
    text = body.plain_decimal(number)
    assert "e" not in text
    assert float(text) == number
    assert body.infer(text) == number


async def test_a_repeated_key_is_a_list_and_a_payload_replaces_keys() -> None:
    raw = b"a=1&b=x&a=true&c[]=5&%40jsonPayload=%7B%22b%22%3A%221%22%7D&d=+%2B"
    assert await values(raw, FORM) == {"a": [1, True], "b": "1", "c[]": 5, "d": " +"}


@pytest.mark.parametrize(
    "raw", [b"@jsonPayload=[]", b"@jsonPayload=x", b"a=%zz", b"a=1;b=2", b"a" + b"&a" * 10_001]
)
async def test_a_malformed_form_is_refused(raw: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        await values(raw, FORM)
    assert caught.value.message == DEFAULT


async def test_a_malformed_query_parameter_is_left_out() -> None:
    ask = make(b"")
    ask.raw_query = b"a=1&b=%zz&a=2&c=x;y&d&=e"
    assert ask.query == {"a": "1", "d": "", "": "e"}


def multipart(*parts: tuple[str, bytes], end: str = "--x--\r\n") -> bytes:
    """Parts of (headers, content) with the boundary x."""
    lines = b"".join(b"--x\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    return lines + end.encode()


NAMED = 'Content-Disposition: form-data; name="{}"'
FILE = 'Content-Disposition: form-data; name="{}"; filename="{}"\r\nContent-Type: text/css'
MULTIPART = "multipart/form-data; boundary=x"


async def test_multipart_text_and_files() -> None:
    raw = multipart(
        (NAMED.format("title"), "grün".encode()),
        (NAMED.format("n"), b"12"),
        (FILE.format("doc", "C:/a/b.css"), b"body { }\r\n--xx"),
        (FILE.format("doc", "ü.css"), b""),
        (NAMED.format("@jsonPayload"), b'{"n":"12","list":[1]}'),
        (NAMED.format("n"), b"13"),
        ("Content-Disposition: attachment", b"no name"),
    )
    for cut in (1, 5, 10_000):
        ask = make(raw, MULTIPART, cut=cut)
        found, uploads = await ask.form()
        assert found == {"title": "grün", "n": "12", "list": [1]}
        assert [(key, up.filename, up.size, up.content_type) for key, up in uploads] == [
            ("doc", "b.css", 14, "text/css"),
            ("doc", "ü.css", 0, "text/css"),
        ]
        assert uploads[0][1].file.read() == b"body { }\r\n--xx"
        ask.close()
        assert uploads[0][1].file.closed


async def test_a_large_upload_arrives_whole() -> None:
    content = bytes(range(256)) * 8192
    ask = make(multipart((FILE.format("f", "a.bin"), content)), MULTIPART, cut=700_000)
    _, uploads = await ask.form()
    assert uploads[0][1].size == len(content)
    assert uploads[0][1].file.read() == content
    ask.close()


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (multipart((NAMED.format("a"), b"1"), end=""), MULTIPART),
        (multipart((NAMED.format("a"), b"1"), end="--x"), MULTIPART),
        (b"no boundary at all", MULTIPART),
        (b"", MULTIPART),
        (multipart((NAMED.format("a"), b"1")), "multipart/form-data"),
        (multipart((NAMED.format("a"), b"1")), "multipart/form-data; boundary=" + "y" * 300),
        (multipart(("Broken header", b"1")), MULTIPART),
        (multipart(*[(NAMED.format("a"), b"1")] * 1001), MULTIPART),
        (multipart((NAMED.format("a") + "\r\nX: " + "y" * 20_000, b"1")), MULTIPART),
        (multipart((NAMED.format("n" * 2000), b"1")), MULTIPART),
    ],
)
async def test_malformed_or_excessive_multipart_is_refused(raw: bytes, kind: str) -> None:
    with pytest.raises(Invalid) as caught:
        await make(raw, kind).form()
    assert caught.value.message == DEFAULT


async def test_a_body_over_the_limit_is_refused_at_once_or_while_it_is_read() -> None:
    declared = make(b"x" * 100, length="100")
    declared.max_body = 99
    with pytest.raises(TooLarge):
        await declared.body()
    for kind in ("application/json", FORM, MULTIPART):
        streamed = make(multipart((NAMED.format("a"), b"x" * 100)), kind)
        streamed.max_body = 99
        with pytest.raises(TooLarge):
            await streamed.form()
    exact = make(b"x" * 100, length="100")
    exact.max_body = 100
    assert len(await exact.body()) == 100


FIXED: dict[str, type] = {"identity": str, "duration": int, "flag": bool}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"{}", {"identity": "", "duration": 0, "flag": False}),
        (b'{"IDENTITY":"a","Duration":5,"x":[]}', {"identity": "a", "duration": 5, "flag": False}),
        (b'{"identity":null,"duration":null}', {"identity": "", "duration": 0, "flag": False}),
        (b'{"identity":"a","Identity":"b"}', {"identity": "b", "duration": 0, "flag": False}),
    ],
)
async def test_fixed_forms_take_their_keys_in_any_case(raw: bytes, expected: dict[str, Any]) -> None:
    assert await make(raw).json_form(FIXED) == expected


@pytest.mark.parametrize(
    "raw",
    [
        b'{"identity":1}',
        b'{"duration":"5"}',
        b'{"duration":1.5}',
        b'{"duration":true}',
        b'{"flag":1}',
        b"[]",
        b"{",
    ],
)
async def test_a_fixed_form_with_another_type_is_not_loaded(raw: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        await make(raw).json_form(FIXED)
    assert caught.value.message == "An error occurred while loading the submitted data."


async def test_a_fixed_form_as_form_data_keeps_texts_and_reads_numbers() -> None:
    found = await make(b"identity=0012&identity=x&duration=7&flag=true", FORM).json_form(FIXED)
    assert found == {"identity": "0012", "duration": 7, "flag": True}
    assert (await make(b"identity=12", FORM).json_form(FIXED))["identity"] == "12"
    with pytest.raises(Invalid):
        await make(b"duration=x", FORM).json_form(FIXED)


async def test_an_unsupported_type_of_a_fixed_form_has_its_own_message_unless_hidden() -> None:
    with pytest.raises(Invalid) as caught:
        await make(b"x", "text/plain").json_form(FIXED)
    assert caught.value.message == UNSUPPORTED
    with pytest.raises(Invalid) as caught:
        await make(b"x", "text/plain").json_form(FIXED, hide_cause=True)
    assert caught.value.message == "An error occurred while loading the submitted data."


KINDS = st.sampled_from([FORM, MULTIPART, "application/json", "multipart/form-data", "text/xml", "", "a/b"])
PIECES = st.sampled_from(
    [b"--x", b"--x--", b"\r\n", b"Content-Disposition: form-data; name=a", b'; filename="f"', b"{", b"}", b'"',
     b":", b"[", b"\\u", b"d800", b"%", b"=", b"&", b"@jsonPayload", b"1e", b"-", b"9" * 20, b"\0", b"\xff"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(PIECES, st.binary(max_size=12)), max_size=20).map(b"".join), KINDS)
async def test_no_body_whatever_it_holds_is_an_unexpected_failure(raw: bytes, kind: str) -> None:
    ask = make(raw, kind)
    status = 200
    try:
        await ask.form()
    except GroundplaneError as error:
        status = error.status
    assert status in (200, 400)
    ask.close()


async def test_a_multipart_body_that_ends_early_leaves_no_file_open() -> None:
    async def ending() -> AsyncIterator[bytes]:
        yield b"--x\r\n" + FILE.format("f", "a.bin").encode() + b"\r\n\r\nhalf"
        raise TooLarge()

    with pytest.raises(TooLarge):
        await body.read_multipart(MULTIPART, ending())
