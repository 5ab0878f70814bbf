"""Webhooks reach what the configuration lets them reach, whatever a name resolves to, and no more."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from groundplane.outgoing.addresses import Reach, url_error
from groundplane.webhooks.http import HttpSender
from groundplane.webhooks.sender import MAX_ANSWER_BYTES, Message, NotSent

PRIVATE = [
    "0.0.0.0",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:0.0.0.0",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "5f00::1",
    "no address",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700:4700::1111", "64:ff9b::8.8.8.8", "::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", PRIVATE)
def test_no_private_address_is_reached_unless_allowed(address: str) -> None:
    assert not Reach().permits(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_reached(address: str) -> None:
    assert Reach().permits(address)


def test_networks_are_allowed_one_by_one_also_where_an_address_carries_another() -> None:
    reach = Reach(networks=("10.1.0.0/16", "fd00::1"))
    assert [reach.permits(each) for each in ("10.1.2.3", "10.2.0.1", "fd00::1", "fd00::2")] == [
        True,
        False,
        True,
        False,
    ]
    assert reach.permits("::ffff:10.1.2.3")
    assert not reach.permits("::ffff:10.2.0.1")
    assert Reach(allow_private=True).permits("127.0.0.1")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://example.com/",
        "https://",
        "https:///path",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://:password@example.com/",
        "https://example.com/#part",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com/a b",
        "https://example.com/\r\nX-Evil: 1",
        "https://example.com\\@127.0.0.1/",
        "https://ex\u00e4mple.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://example.com/" + "a" * 2048,
    ],
)
def test_a_url_that_cannot_be_right_is_refused_when_it_is_saved(url: str) -> None:
    assert url_error(url, Reach()) is not None


def test_usual_urls_are_taken() -> None:
    for url in ("https://example.com", "https://example.com:8443/a/b?c=d%20e", "https://1.1.1.1/"):
        assert url_error(url, Reach()) is None
    assert url_error("http://example.com/", Reach(allow_http=True)) is None


class Names:
    """A resolver that gives one list of addresses after another, the last one for ever."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def message(url: str, timeout_s: float = 5.0) -> Message:
    return Message(url=url, headers=[("content-type", "application/json")], body=b"{}", timeout_s=timeout_s)


LOCAL = Reach(allow_http=True, networks=("127.0.0.1",))
STRICT = Reach(allow_http=True)


@pytest.fixture
async def send() -> AsyncIterator[Any]:
    senders: list[HttpSender] = []

    async def one(url: str, reach: Reach = LOCAL, names: Names | None = None, timeout_s: float = 5.0) -> Any:
        sender = HttpSender(reach) if names is None else HttpSender(reach, resolve=names)
        senders.append(sender)
        return await sender.send(message(url, timeout_s))

    yield one
    for sender in senders:
        await sender.close()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "0.0.0.0",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
    ],
)
async def test_this_machine_is_not_reached_however_it_is_spelt(host: str, send: Any, receiver: Any) -> None:
    with pytest.raises(NotSent):
        await send(f"http://{host}:{receiver.port}/", STRICT)
    assert receiver.connections == 0


async def test_a_name_that_leads_to_a_private_address_is_refused_with_a_reason(
    send: Any, receiver: Any
) -> None:
    with pytest.raises(NotSent, match="private or local"):
        await send(f"http://inside.example:{receiver.port}/", STRICT, Names(["127.0.0.1"]))
    with pytest.raises(NotSent, match="private or local"):
        await send("http://metadata.example/", STRICT, Names(["169.254.169.254", "fd00:ec2::254"]))
    assert receiver.connections == 0


async def test_a_name_is_resolved_once_and_the_connection_goes_to_what_was_looked_at(
    send: Any, receiver: Any
) -> None:
    # The second answer would be for whoever resolves again between the look and the connection.
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    answer = await send(f"http://rebinding.example:{receiver.port}/x", LOCAL, names)
    assert (answer.status, names.asked) == (204, 1)
    assert receiver.heard[0].headers["host"] == f"rebinding.example:{receiver.port}"


async def test_a_name_that_changes_to_a_private_address_is_refused_from_then_on(receiver: Any) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    sender = HttpSender(LOCAL, resolve=names)
    url = f"http://rebinding.example:{receiver.port}/"
    assert (await sender.send(message(url))).status == 204
    await receiver.stop()  # so that the open connection is of no use
    await receiver.start()
    with pytest.raises(NotSent):
        await sender.send(message(url))
    assert len(receiver.heard) == 1
    await sender.close()


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".example", "a..example"])
async def test_a_name_that_nobody_knows_is_a_receiver_that_cannot_be_reached(host: str, send: Any) -> None:
    with pytest.raises(NotSent, match=r"cannot be reached|within 5 seconds"):
        await send(f"http://{host}/")


async def test_of_mixed_addresses_only_the_allowed_ones_are_tried(send: Any, receiver: Any) -> None:
    names = Names(["10.0.0.1", "127.0.0.1", "::1"])
    assert (await send(f"http://mixed.example:{receiver.port}/", LOCAL, names)).status == 204


async def test_the_next_address_is_tried_when_one_does_not_answer(send: Any, receiver: Any) -> None:
    reach = Reach(allow_http=True, networks=("127.0.0.0/8",))
    names = Names(["127.0.0.9", "127.0.0.1"])
    assert (await send(f"http://two.example:{receiver.port}/", reach, names)).status == 204


async def test_a_redirect_is_an_answer_and_is_not_followed(send: Any, receiver: Any, reply: Any) -> None:
    receiver.otherwise = reply(302, {"Location": receiver.url})
    answer = await send(receiver.url)
    assert (answer.status, answer.header("location")) == (302, receiver.url)
    assert len(receiver.heard) == 1


async def test_the_environment_names_no_proxy(send: Any, receiver: Any, monkeypatch: Any) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    assert (await send(receiver.url)).status == 204


async def test_http_is_refused_unless_allowed(send: Any, receiver: Any) -> None:
    with pytest.raises(NotSent, match="https"):
        await send(receiver.url, Reach(networks=("127.0.0.1",)))


async def test_a_receiver_that_does_not_answer_costs_the_timeout(send: Any, receiver: Any) -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await writer.drain()
        await asyncio.sleep(30)

    receiver.otherwise = silent
    with pytest.raises(NotSent, match=r"within 0\.3 seconds"):
        await send(receiver.url, timeout_s=0.3)


async def test_a_head_that_trickles_costs_the_timeout_of_the_whole(send: Any, receiver: Any) -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"x-slow: 1\r\n" * 100:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    receiver.otherwise = trickle
    with pytest.raises(NotSent, match=r"within 0\.5 seconds"):
        await send(receiver.url, timeout_s=0.5)


async def test_a_body_that_trickles_or_breaks_off_does_not_take_back_the_status(
    send: Any, receiver: Any
) -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def broken(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegun")
        await writer.drain()
        writer.transport.abort()

    receiver.answers = [trickle, broken]
    slow = await send(receiver.url, timeout_s=0.5)
    assert (slow.status, set(slow.text)) == (200, {"x"})
    assert (await send(receiver.url)).status == 200


async def test_of_an_endless_answer_only_the_beginning_is_read(send: Any, receiver: Any) -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"y" * 65536 + b"\r\n")
            await writer.drain()
            sent += 65536

    receiver.otherwise = endless
    answer = await send(receiver.url)
    assert len(answer.text) == MAX_ANSWER_BYTES
    await receiver.stop()
    assert sent < 50_000_000


async def test_an_endless_head_is_given_up(send: Any, receiver: Any) -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x-more: " + b"z" * 8000 + b"\r\n")
            await writer.drain()

    receiver.otherwise = endless
    with pytest.raises(NotSent):
        await send(receiver.url)


@pytest.mark.parametrize("bytes_sent", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x00" * 100])
async def test_what_is_no_http_is_a_failed_connection(send: Any, receiver: Any, bytes_sent: bytes) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(bytes_sent)
        await writer.drain()

    receiver.otherwise = answer
    with pytest.raises(NotSent, match="failed"):
        await send(receiver.url)


async def test_what_the_receiver_says_is_stored_whatever_bytes_it_holds(hooks: Any, reply: Any) -> None:
    hook = await hooks.make()
    hooks.receiver.answers = [reply(200, {"X-Odd": "\x7f"}, b"a\x00b\xff\xfe")]
    await hooks.post(title="a")
    await hooks.work()
    (delivery,) = await hooks.deliveries(hook["id"])
    shown = await hooks.delivery(hook["id"], delivery["id"])
    assert shown["state"] == "delivered"
    assert shown["history"][0]["answer"]["body"] == "a\ufffdb\ufffd\ufffd"
    json.dumps(shown)


@pytest.fixture
async def secure(tmp_path: Path, monkeypatch: Any) -> AsyncIterator[int]:
    """The port of a receiver with a certificate for `secure.example`, whose issuer this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "secure.example")])
    moment = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("secure.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain = tmp_path / "certificate.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain.write_bytes(certificate.public_bytes(Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    monkeypatch.setenv("SSL_CERT_FILE", str(chain))
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def test_the_certificate_is_that_of_the_name_although_the_address_was_looked_up_by_us(
    send: Any, secure: int
) -> None:
    names = Names(["127.0.0.1"])
    assert (await send(f"https://secure.example:{secure}/", LOCAL, names)).status == 204
    with pytest.raises(NotSent, match="certificate"):
        await send(f"https://other.example:{secure}/", LOCAL, names)


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    send: Any, secure: int, monkeypatch: Any
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(NotSent, match="certificate"):
        await send(f"https://secure.example:{secure}/", LOCAL, Names(["127.0.0.1"]))
