"""Connections for thousands of agents.

The library's connection pool looks at every connection and every waiting request whenever one of them changes: with
1,000 calls under way in one pool each call cost 9 ms of processor time, with 50 in each of twenty pools under 3 ms.
So calls are spread over *lanes*, small pools that are opened when the ones before are full. With 8 calls in each, a
sample of an eval, 32 of which were under way in a node, took a twelfth less than with 50.
"""

from __future__ import annotations

import functools
import resource
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from agentlab.ground.preload import note_need

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic

_CALLS_A_LANE = 8
# A connection is made in milliseconds, but the loop that waits for it may be busy with a thousand others.
_CONNECT_S = 30.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Lanes:
    """Many small connection pools for one server and one key.

    Args:
        base_url: As the library takes it.
        api_key: The same.
        timeout: Seconds for any read.
    """

    def __init__(self, base_url: str | None, api_key: str | None, timeout: float) -> None:
        import anthropic  # here: a second and 30 MB that only those who call a model pay

        note_need("anthropic")
        self._timeout = timeout
        address = urlsplit(base_url or "")
        # A loopback server is never asked for through the environment's proxies.
        self._trust_env = address.hostname not in _LOOPBACK
        self._encrypted = self._trust_env or address.scheme == "https"
        self._most = max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 // _CALLS_A_LANE)
        self.first: AsyncAnthropic = anthropic.AsyncAnthropic(
            base_url=base_url, api_key=api_key, max_retries=0, http_client=self._pool()
        )
        self._lanes: list[AsyncAnthropic] = [self.first]
        self._calls: list[int] = [0]

    @contextmanager
    def lane(self) -> Iterator[AsyncAnthropic]:
        """The library's client to make one call with."""
        index = self._free()
        self._calls[index] += 1
        try:
            yield self._lanes[index]
        finally:
            self._calls[index] -= 1

    async def close(self) -> None:
        """Close every connection."""
        for lane in self._lanes:
            await lane.close()

    def _free(self) -> int:
        for index, calls in enumerate(self._calls):
            if calls < _CALLS_A_LANE:
                return index
        if len(self._lanes) == self._most:
            return min(range(self._most), key=self._calls.__getitem__)  # it waits there for its turn
        self._lanes.append(self.first.copy(http_client=self._pool()))
        self._calls.append(0)
        return len(self._lanes) - 1

    def _pool(self) -> Any:  # httpx2's client; its types are the library's own
        import anthropic
        import httpx2

        return anthropic.DefaultAsyncHttpxClient(
            limits=httpx2.Limits(max_connections=_CALLS_A_LANE, max_keepalive_connections=_CALLS_A_LANE),
            timeout=httpx2.Timeout(self._timeout, connect=_CONNECT_S),
            trust_env=self._trust_env,
            verify=certificates() if self._encrypted else _none(),
        )


@functools.cache
def certificates() -> ssl.SSLContext:
    """The TLS settings of all lanes: reading the certificates takes 40 ms and 5 MB."""
    import httpx2

    return httpx2.create_ssl_context()


@functools.cache
def _none() -> ssl.SSLContext:
    """Those of lanes to a server on this machine that speaks in the clear: nobody is trusted who is met on the way."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
