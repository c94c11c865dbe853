"""As much HTTP/1.1 as the simulator needs, on asyncio streams.

A web framework cannot send broken bytes; faults need exactly that. So a reply is a plain value, ``Reply``, that says
which bytes go out, with what pauses and how it ends, and ``send`` does what it says.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MAX_HEAD = 64 * 1024
MAX_BODY = 32 * 1024 * 1024
_IDLE_SECONDS = 600.0

End = Literal["whole", "cut", "reset", "refuse", "hang", "ping", "drip"]

REASONS: Mapping[int, str] = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    411: "Length Required",
    413: "Content Too Large",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    529: "Overloaded",
}

_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_DROP = (
    b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, '
    b'"delta": {"type": "text_delta", "text": " drop"}}\n\n'
)
_ENDLESS: Mapping[str, tuple[bytes, float]] = {"ping": (_PING, 0.05), "drip": (_DROP, 1.0)}


class BadRequest(Exception):
    """Bytes that are no request we take; the connection is closed after the reply."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Request:
    """A request as it was read; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


@dataclass(frozen=True)
class Reply:
    """What goes out.

    Args:
        status: HTTP status; 0 sends no head at all.
        headers: Beside the length and the framing.
        parts: The body. A stream sends them as chunks, else they are joined.
        streams: Chunked transfer.
        end: ``whole``: as it should; ``cut``: the connection is closed inside a chunk; ``reset``: it is reset at once;
            ``refuse``: it is reset, and for a moment nobody may connect; ``hang``: nothing more comes; ``ping``:
            nothing but pings comes; ``drip``: a word a second (or each ``pause_s``) comes, for ever.
        wait_s: Seconds before the head.
        pause_s: Seconds between parts; 0 sends them in one go.
        message: What it says, for who makes another reply of it.
        limits: The rate-limit headers, which are part of every reply.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[bytes, ...] = ()
    streams: bool = False
    end: End = "whole"
    wait_s: float = 0.0
    pause_s: float = 0.0
    message: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_json(cls, status: int, value: Any, headers: Mapping[str, str] | None = None) -> Reply:  # any JSON
        body = json.dumps(value).encode()
        return cls(status, {"content-type": "application/json", **(headers or {})}, (body,))


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request of a connection, ``None`` when the client is done; raises ``BadRequest``."""
    async with asyncio.timeout(_IDLE_SECONDS):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        except asyncio.LimitOverrunError:
            raise BadRequest(431, f"request head is larger than {MAX_HEAD} bytes") from None
        method, path, headers = _parse_head(head)
        body = await reader.readexactly(_length(headers))
    return Request(method, path, headers, body)


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequest(400, f"not an HTTP/1.1 request line: {lines[0][:80]!r}")
    headers: dict[str, str] = {}
    for line in lines[1:-2]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400, f"not a header line: {line[:80]!r}")
        headers[name.lower()] = value.strip()
    return words[0], words[1].partition("?")[0], headers


def _length(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise BadRequest(411, "a request needs a content-length; chunked bodies are not taken")
    text = headers.get("content-length", "0")
    if not text.isascii() or not text.isdigit():
        raise BadRequest(400, f"content-length is not a number: {text[:80]!r}")
    if len(text) > 12 or int(text) > MAX_BODY:
        raise BadRequest(413, f"Request exceeds the maximum size: {text[:20]} bytes, at most {MAX_BODY}")
    return int(text)


async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: Reply, *, keep: bool) -> bool:
    """Send a reply; returns whether the connection may be used again."""
    if reply.wait_s:
        await asyncio.sleep(reply.wait_s)
    if reply.status:
        writer.write(_head(reply, keep=keep))
    if reply.streams:
        await _send_chunks(writer, reply)
    elif reply.status:
        body = b"".join(reply.parts)
        writer.write(body[: len(body) // 2] if reply.end in ("cut", "hang") else body)
    await writer.drain()
    if reply.end == "whole":
        return keep
    await _spoil_end(reader, writer, reply)
    return False


async def _send_chunks(writer: asyncio.StreamWriter, reply: Reply) -> None:
    parts = reply.parts if reply.pause_s else (b"".join(reply.parts),)
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if reply.end == "cut" and last:
            writer.write(b"%x\r\n%s" % (len(part) + 1, part))  # one byte is announced and never sent
        elif part:
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
        if reply.pause_s:
            await writer.drain()
            await asyncio.sleep(reply.pause_s)
    if reply.end == "whole":
        writer.write(b"0\r\n\r\n")


async def _spoil_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: Reply) -> None:
    if reply.end in ("reset", "refuse"):
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    elif reply.end == "hang":
        async with asyncio.timeout(_IDLE_SECONDS):
            await reader.read(1)  # returns when the client has had enough
    more, every = _ENDLESS.get(reply.end, (b"", 0.0))
    while more and reply.streams and not reader.at_eof():  # an answer that says how long it is ends there
        writer.write(b"%x\r\n%s\r\n" % (len(more), more))
        await writer.drain()
        await asyncio.sleep(reply.pause_s or every)


def _head(reply: Reply, *, keep: bool) -> bytes:
    framing = "transfer-encoding: chunked" if reply.streams else f"content-length: {sum(map(len, reply.parts))}"
    lines = [f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Unknown')}", framing]
    if not keep or reply.end != "whole":
        lines.append("connection: close")
    # What a client sent may come back in a header: no line of ours may be ended by it.
    lines += [f"{name}: {str(value).translate(_CLEAN)}" for name, value in reply.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


_CLEAN = dict.fromkeys((0, 10, 13))


async def drain_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close after a refusal, reading on for a moment: a reset would take the reply away from a client still sending."""
    if writer.can_write_eof():
        writer.write_eof()
    try:
        async with asyncio.timeout(2.0):
            while await reader.read(MAX_HEAD):
                pass
    except (TimeoutError, OSError):
        pass
    writer.close()
