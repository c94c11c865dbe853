"""Requests to one server, worded by ``anthropic`` and carried by aiohttp.

The library knows what a request is (address, key, headers, the environment's settings) and which of its errors a bad
status is. What it says of a request is the same for every call, so it is asked once a minute; a call adds its body.
Its own way of sending takes a millisecond of processor time a call with fifty under way, and more with a thousand;
this one takes a sixth of that with fifty, and a whole turn little more with 5,000 (``tests/benchmarks/turns.py``).
"""

from __future__ import annotations

import asyncio
import functools
import io
import json
import resource
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from agentlab.ground.preload import note_need
from agentlab.models.accumulator import JSON, without_surrogates

if TYPE_CHECKING:
    import aiohttp
    import httpx2

_WORDED_S = 60.0  # seconds after which the library is asked again; a key that expires is changed well before
# A connection is made in milliseconds, but the loop that waits for it may be busy with a thousand others.
_CONNECT_S = 30.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LONGEST_LINE = 65_536  # bytes of a header; gateways send more than aiohttp takes by itself
_LONGEST_PIECE = 2**20  # bytes of a body that are sent without looking at anything else
_UNSENDABLE = (
    "The request cannot be sent: look for what is odd in the server's address, the proxy's (it speaks HTTP), or the "
    "key."
)
_EACH_TIME = frozenset({"accept-encoding", "content-length", "host"})  # headers that aiohttp sets
_OF_THE_WAY = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})  # how an answer came, not what


class _Wording(NamedTuple):
    """What is the same for all requests to one path."""

    url: str
    headers: Mapping[str, str]
    proxy: str | None
    until: float


class _Reply(NamedTuple):
    """An answer from the network, for the library to make of it what it makes of answers."""

    status: int
    headers: Iterable[tuple[bytes, bytes]] = ()
    body: bytes = b""


_reply: ContextVar[_Reply] = ContextVar("agentlab_reply")


class Connections:
    """The connections to one server, with one key.

    Args:
        base_url: As the library takes it.
        api_key: The same.
        timeout: Seconds that the caller waits for an answer, to tell the server.

    Raises:
        anthropic.AnthropicError, ValueError: These cannot be used.
    """

    def __init__(self, base_url: str | None, api_key: str | None, timeout: float) -> None:
        import anthropic  # here: a second and 30 MB that only those who call a model pay
        import httpx2

        note_need("anthropic")
        address = urlsplit(base_url or "")
        # A loopback server is never asked for through the environment's proxies.
        self._is_near = address.hostname in _LOOPBACK
        self._ssl = certificates() if not self._is_near or address.scheme == "https" else _none()
        ends_here = httpx2.AsyncClient(transport=httpx2.MockTransport(_answered), trust_env=False)
        self._library = anthropic.AsyncAnthropic(
            base_url=base_url, api_key=api_key, timeout=timeout, max_retries=0, http_client=ends_here
        )
        self._wordings: dict[str, _Wording] = {}
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None  # the session's

    @property
    def secrets(self) -> list[str]:
        """What proves who asks."""
        return [secret for secret in (self._library.api_key, self._library.auth_token) if secret]

    @asynccontextmanager
    async def post(
        self, path: str, body: JSON, *, headers: Mapping[str, str] | None = None,
        query: Mapping[str, object] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:  # fmt: skip
        """Send a request and give its answer, once that has begun.

        Args:
            path: Where to, from the base address.
            body: What to send.
            headers: Headers beside those of every request.
            query: What to add to the address.

        Raises:
            anthropic.APIStatusError: The status is no success; the class says which.
            aiohttp.ClientError: There is no connection, or what came through it is no answer.
        """
        import aiohttp

        worded = await self._worded(path, headers, query)
        sent = encoded(body)
        data = sent if len(sent) < _LONGEST_PIECE else io.BytesIO(sent)
        try:
            answer = await self._opened().post(worded.url, data=data, headers=worded.headers, proxy=worded.proxy)
        except aiohttp.ClientResponseError as wrong:  # its status is aiohttp's own
            raise aiohttp.ClientConnectionError(f"What came is no answer: {type(wrong).__name__}: {wrong}") from None
        except aiohttp.ClientConnectionError:
            raise  # some are a ValueError too
        except (ValueError, aiohttp.NonHttpUrlClientError):  # its text may hold a password
            raise aiohttp.ClientConnectionError(_UNSENDABLE) from None
        async with answer:
            if not 200 <= answer.status < 300:
                if answer.status == 401:
                    self._wordings.clear()  # the key may be another by now
                said = [(name, value) for name, value in answer.raw_headers if name.lower() not in _OF_THE_WAY]
                await self._ask_library(path, _Reply(answer.status, said, await answer.read()))
            yield answer

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        await self._library.close()

    def __del__(self) -> None:
        self._leave()

    def _leave(self) -> None:
        # aiohttp tells the log of each session that is left to the collector; this one's connections are just closed.
        session, self._session = getattr(self, "_session", None), None
        if session is not None and (connector := session.connector) is not None:
            session.detach()
            connector.__exit__()  # as ``close``, without waiting, for which there may be no loop

    async def _worded(
        self, path: str, headers: Mapping[str, str] | None, query: Mapping[str, object] | None
    ) -> _Wording:
        key = path if headers is None and query is None else json.dumps([path, headers, query])
        found = self._wordings.get(key)
        if found is None or time.monotonic() > found.until:
            options = {"headers": headers or {}, "params": query or {}}
            request = await self._ask_library(path, _Reply(200), **options)
            kept = {name: value for name, value in request.headers.items() if name not in _EACH_TIME}
            proxy = None if self._is_near else proxy_for(str(request.url))
            url = request.url.copy_with(userinfo=b"")  # the library made a header of it, and aiohttp would of another
            found = _Wording(str(url), kept, proxy, time.monotonic() + _WORDED_S)
            self._wordings[key] = found
        return found

    async def _ask_library(self, path: str, reply: _Reply, **options: Any) -> httpx2.Request:
        """What the library would send; raises what it makes of a reply."""
        import httpx2

        _reply.set(reply)
        asked: Any = {"timeout": self._library.timeout, **options}
        response: httpx2.Response = await self._library.post(path, body={}, cast_to=httpx2.Response, options=asked)
        return response.request

    def _opened(self) -> aiohttp.ClientSession:
        if self._loop is not None and self._loop.is_closed():
            self._leave()  # its connections went with their loop
        if self._session is None:
            import aiohttp

            self._loop = asyncio.get_running_loop()
            most = max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=most, ssl=self._ssl),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(sock_connect=_CONNECT_S),  # how long an answer takes is the caller's
                max_line_size=_LONGEST_LINE,
                max_field_size=_LONGEST_LINE,
            )
        return self._session


def encoded(body: JSON) -> bytes:
    """A request's body. In one that cannot be UTF-8 the model reads U+FFFD for lone surrogates."""
    try:
        return _json(body).encode()
    except UnicodeEncodeError:
        return _json(without_surrogates(body)).encode()


def _json(body: JSON) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain)


def _plain(value: Any) -> object:  # what JSON does not know
    """What the library sends for its own blocks, for dates and for sets."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return list(value)
    if callable(dump := getattr(value, "model_dump", None)):
        plain: object = dump(mode="json", exclude_unset=True, by_alias=True)
        return plain
    raise TypeError(f"A request to a model is JSON, which {type(value).__name__} is not: {value!r:.100}")


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for an address."""
    address = urlsplit(url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(address.netloc.rpartition("@")[2]):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _answered(request: httpx2.Request) -> httpx2.Response:
    """The end of the library's own way: nothing leaves here."""
    import httpx2

    reply = _reply.get()
    return httpx2.Response(reply.status, headers=[*reply.headers], content=reply.body, request=request)


@functools.cache
def certificates() -> ssl.SSLContext:
    """The TLS settings of all connections: reading the certificates takes 40 ms and 5 MB."""
    import httpx2

    return httpx2.create_ssl_context()


@functools.cache
def _none() -> ssl.SSLContext:
    """Those for a server on this machine that speaks in the clear: nobody is trusted who is met on the way."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
