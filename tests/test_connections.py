"""What carries requests: proxies, certificates of one's own, servers that speak no HTTP, and the end."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from anthropic.types import TextBlock
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agentlab.errors import StepFailed
from agentlab.models import MessagesClient
from agentlab.models import connections as carried
from agentlab.models.connections import Connections, encoded, proxy_for
from agentlab.sim import Simulator
from tests.simulated import user

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def anyio_backend() -> str:
    """The client is asyncio's."""
    return "asyncio"


@pytest.fixture
async def sim() -> AsyncIterator[Simulator]:
    """A running simulator."""
    async with Simulator() as simulator:
        yield simulator


@asynccontextmanager
async def server(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Somebody who listens on this machine; gives the port."""
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as listening:
        yield listening.sockets[0].getsockname()[1]


def passes_on(sim: Simulator, seen: list[bytes]) -> Serve:
    """Takes a connection, notes the first line that comes in, and hands all on to the simulator and back."""
    port = int(sim.base_url.rpartition(":")[2])

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65_536):
            writer.write(piece)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readline()
        seen.append(first)
        there, here = await asyncio.open_connection("127.0.0.1", port)
        here.write(first.replace(b"http://model.example", b""))
        await asyncio.gather(copy(reader, here), copy(there, writer), return_exceptions=True)

    return serve


async def said(client: MessagesClient, text: str = "hello") -> str:
    """What the model answers."""
    try:
        message = await client.create(messages=[user(text)], max_tokens=9)
    finally:
        await client.close()
    return str(message["content"][0]["text"])


async def test_a_proxy_of_the_environment_is_used(sim, monkeypatch):
    """It is asked for the whole address, as proxies are."""
    seen: list[bytes] = []
    async with server(passes_on(sim, seen)) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        text = await said(MessagesClient("http://model.example", sim.api_key))

    assert text == "hello"
    assert seen == [b"POST http://model.example/v1/messages HTTP/1.1\r\n"]


async def test_the_simulator_is_not_asked_through_a_proxy(sim, monkeypatch):
    """Nor is any server of this machine."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")

    assert await said(MessagesClient(sim.base_url, sim.api_key)) == "hello"


@pytest.mark.parametrize(
    ("setting", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ({"HTTPS_PROXY": "p:1"}, "http://p:1"),
        ({"ALL_PROXY": "http://all:1"}, "http://all:1"),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.com"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.com"}, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".com:8443"}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "api.example.com:443"}, "http://p:1"),
    ],
)
def test_which_proxy_an_address_has(setting, proxy, monkeypatch):
    """By the scheme, for all, for none."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in setting.items():
        monkeypatch.setenv(name, value)

    assert proxy_for("https://api.example.com:8443/v1/messages") == proxy


def authority(folder: Path) -> ssl.SSLContext:
    """A server's certificate for this machine that nobody knows; ``ca.pem`` in the folder is for those who trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "here")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, secret = folder / "ca.pem", folder / "key.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, secret)
    return context


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_a_certificate_of_ones_own_is_trusted_if_the_environment_says_so(sim, monkeypatch, tmp_path, is_trusted):
    """``SSL_CERT_FILE``, as for the library; without it nothing is sent."""
    seen: list[bytes] = []
    carried.certificates.cache_clear()
    async with server(passes_on(sim, seen), authority(tmp_path)) as port:
        if is_trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        client = MessagesClient(f"https://127.0.0.1:{port}", sim.api_key)
        if is_trusted:
            assert await said(client) == "hello"
        else:
            with pytest.raises(StepFailed) as caught:
                await said(client)
            assert caught.value.fault.kind == "connection"
            assert "certificate" in str(caught.value)
            assert seen == []
    carried.certificates.cache_clear()


@pytest.mark.parametrize("answer", [b"\x00\x01\x02\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n", b""])
async def test_a_server_that_speaks_no_http_is_a_connection_fault(answer):
    """It may be the wrong port, or a proxy in trouble; the request may be made again."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with server(serve) as port:
        with pytest.raises(StepFailed) as caught:
            await said(MessagesClient(f"http://127.0.0.1:{port}", "key"))

    assert caught.value.fault.kind == "connection"


async def test_headers_queries_and_fields_of_ones_own_are_sent(sim):
    """And kept apart: the next request without them has none."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        heard.append(head + await reader.readexactly(length))
        writer.write(b"HTTP/1.1 529 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with server(serve) as port:
        client = MessagesClient(f"http://127.0.0.1:{port}", "key")
        for own in (
            {"extra_headers": {"X-Mine": "yes"}, "extra_query": {"beta": "true"}, "extra_body": {"max_tokens": 7}}, {},
        ):  # fmt: skip
            with pytest.raises(StepFailed):
                await client.create(messages=[user("hi")], max_tokens=5, **own)
        await client.close()

    with_own, without = heard
    assert with_own.startswith(b"POST /v1/messages?beta=true HTTP/1.1\r\n")
    assert b"x-mine: yes" in with_own.lower()
    assert b'"max_tokens":7' in with_own
    assert without.startswith(b"POST /v1/messages HTTP/1.1\r\n")
    assert b"x-mine" not in without.lower()
    assert b" key\r\n" in without  # in the header of the library's choice
    assert b"x-stainless-timeout: 600" in without.lower()
    assert b"anthropic-version: " in without.lower()


async def test_a_key_is_asked_for_again_when_it_is_refused(sim):
    """The library may have got another by then."""
    connections = Connections(sim.base_url, "expired", 600.0)
    body = {"model": "sim", "messages": [user("hi")], "max_tokens": 5}
    with pytest.raises(Exception, match="401"):
        async with connections.post("/v1/messages", body):
            pass
    connections._library.api_key = sim.api_key

    async with connections.post("/v1/messages", body) as answer:
        assert answer.status == 200
    await connections.close()


async def test_a_conversation_of_megabytes_is_sent_whole(sim):
    """In pieces; the simulator has read all of it when it refuses it."""
    text = "word " * 500_000
    with pytest.raises(StepFailed, match=r"prompt is too long: (\d+)") as caught:
        await said(MessagesClient(sim.base_url, sim.api_key), text)

    assert int(str(caught.value).partition("too long: ")[2].split()[0]) > len(text) / 5


async def test_a_client_that_is_left_behind_closes_its_connections_in_silence(sim, caplog):
    """As notebooks leave them."""
    client = MessagesClient(sim.base_url, sim.api_key)
    await client.create(messages=[user("hello")], max_tokens=9)
    (pool,) = client._connections._session.connector._conns.values()
    ((protocol, _),) = pool

    with caplog.at_level(logging.DEBUG):
        del client, pool
        gc.collect()

    assert protocol.transport is None or protocol.transport.is_closing()
    assert not caplog.records


def answers(answer: bytes, heard: list[bytes]) -> Serve:
    """Reads a request, notes its head and answers always the same."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        heard.append(head)
        writer.write(answer)
        writer.close()

    return serve


async def test_a_name_and_a_password_in_the_address_are_sent():
    """Once, as the library words them."""
    heard: list[bytes] = []
    async with server(answers(b"HTTP/1.1 529 No\r\nContent-Length: 0\r\n\r\n", heard)) as port:
        with pytest.raises(StepFailed) as caught:
            await said(MessagesClient(f"http://me:secret@127.0.0.1:{port}", "key"))

    assert caught.value.fault.kind == "overloaded"
    assert heard[0].lower().count(b"authorization: ") == 1
    assert b"Basic bWU6c2VjcmV0\r\n" in heard[0]


@pytest.mark.parametrize("status", [300, 301, 304, 307])
async def test_a_redirect_to_nowhere_is_an_error_that_names_its_status(status):
    """It is no stream that broke."""
    async with server(answers(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status, [])) as port:
        with pytest.raises(StepFailed, match=f"Error code: {status}") as caught:
            await said(MessagesClient(f"http://127.0.0.1:{port}", "key"))

    assert caught.value.fault.kind == "server_error"


async def test_an_error_with_a_header_beyond_ascii_keeps_its_status():
    """A gateway may say who it is in its own tongue."""
    answer = b"HTTP/1.1 429 No\r\nServer: caf\xe9\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n"
    async with server(answers(answer, [])) as port:
        with pytest.raises(StepFailed) as caught:
            await said(MessagesClient(f"http://127.0.0.1:{port}", "key"))

    assert (caught.value.fault.kind, caught.value.fault.retry_after) == ("rate_limit", 3.0)


@pytest.mark.parametrize(
    ("address", "key"),
    [("127.0.0.1:80", "key"), ("ftp://x", "key"), ("http://h:99999", "key"), ("http://127.0.0.1:{port}", "hush\n")],
)
async def test_an_address_or_a_key_that_cannot_be_sent_is_a_connection_fault(address, key):
    """Its text says where to look, and not what the key is."""
    async with server(answers(b"", [])) as port:
        with pytest.raises(StepFailed, match="look for what is odd") as caught:
            await said(MessagesClient(address.format(port=port), key))

    assert caught.value.fault.kind == "connection"
    assert "hush" not in str(caught.value)


def test_a_client_serves_a_second_loop_once_the_first_is_closed():
    """As scripts use it that call ``asyncio.run`` for each question."""
    heard: list[bytes] = []
    client = MessagesClient("http://127.0.0.1:9", "key")

    async def ask() -> str:
        async with server(answers(b"HTTP/1.1 529 No\r\nContent-Length: 0\r\n\r\n", heard)) as port:
            client._connections._library.base_url = f"http://127.0.0.1:{port}"
            client._connections._wordings.clear()
            with pytest.raises(StepFailed) as caught:
                await client.create(messages=[user("hello")], max_tokens=9)
        return caught.value.fault.kind

    assert [asyncio.run(ask()) for _ in range(2)] == ["overloaded", "overloaded"]
    asyncio.run(client.close())


def test_blocks_of_the_library_dates_and_sets_are_sent_as_json():
    """What the library's own way of sending took."""
    body = {"content": [TextBlock(type="text", text="hi")], "day": datetime(2020, 1, 2, tzinfo=UTC), "only": {1}}

    assert json.loads(encoded(body)) == {
        "content": [{"type": "text", "text": "hi"}],
        "day": "2020-01-02T00:00:00+00:00",
        "only": [1],
    }
    with pytest.raises(TypeError, match="which bytes is not"):
        encoded({"content": b"hi"})
