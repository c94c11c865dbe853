"""The simulator: a real HTTP/1.1 server on loopback that speaks the Messages API, and breaks it when told to.

    async with Simulator(seed=1) as sim:
        client = AsyncAnthropic(base_url=sim.base_url, api_key=sim.api_key)

Its answers depend on the seed and the request only. Beside the API it serves, with the same token:

=========================== =======================================================================================
``PUT /__sim/faults``       a list of rules or a ``Profile`` as JSON; replaces the one before (``scenarios``)
``GET /__sim/faults``       the profile, since when, and how often each rule struck; ``PUT`` puts it back
``DELETE /__sim/faults``    no more faults
``PUT /__sim/scripts``      ``{"sim-name": [turns]}``: models with fixed turns (``minds.script``)
``GET /__sim/log``          every request so far: how many, and the newest as a list
``DELETE /__sim/log``       forget them
=========================== =======================================================================================

The header ``x-sim-fault`` (a mode's name or a rule as JSON) spoils one request.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import secrets
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from agentlab.sim import grammar
from agentlab.sim.checks import Refused, check_request
from agentlab.sim.grammar import ERROR_TYPES, Ask, digest
from agentlab.sim.limits import Limits
from agentlab.sim.minds import MINDS, Mind, mind_of, script
from agentlab.sim.modes import MODES
from agentlab.sim.notes import Notes
from agentlab.sim.scenarios import (
    Call,
    Engine,
    read_override,
    spoiled_message,
    spoiled_reply,
    spoiled_turn,
)
from agentlab.sim.schemas import JSON
from agentlab.sim.wire import MAX_HEAD, BadRequest, Reply, Request, drain_and_close, read_request, send

if TYPE_CHECKING:
    from agentlab.sim.rules import Rule

_BACKLOG = 4096

REFUSED_SECONDS = 0.25
"""So long nobody may connect after ``connect_refused`` struck."""


class Simulator:
    """A server that answers like the Messages API.

    Args:
        seed: Which of the possible worlds this is; the same requests get the same answers.
        minds: More models: name to mind, beside ``minds.MINDS``.
        log_size: How many requests the log keeps; it counts all.
        port: Where it listens; 0: a free port.
        api_key: The token that it wants; one of its own if left out.
        notes: A file in which it remembers its log, its profile and its scripts; the next one with it goes on there.
    """

    def __init__(
        self, *, seed: int = 0, minds: Mapping[str, Mind] | None = None, log_size: int = 200_000, port: int = 0,
        api_key: str | None = None, notes: str | None = None,
    ) -> None:  # fmt: skip
        self.seed = seed
        self.api_key = api_key or f"sim-{secrets.token_hex(16)}"
        self.base_url = ""
        self._port = port
        self._notes = Notes(notes)
        self.log: deque[JSON] = deque(maxlen=log_size)
        self.requests = 0
        self.engine = Engine(seed)
        self._minds: dict[str, Mind] = {**MINDS, **(minds or {})}
        self._server: asyncio.Server | None = None
        self._listening: asyncio.Task[None] | None = None
        self._limits = Limits()
        self._paused: set[str] = set()
        self._connections: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"Simulator({self.base_url or 'not started'}, {self.requests} requests)"

    async def start(self) -> Self:
        """Recall what was noted, then listen on 127.0.0.1."""
        self._recall()
        await self._listen()
        self.base_url = f"http://127.0.0.1:{self._port}"
        return self

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._connected, "127.0.0.1", self._port, limit=MAX_HEAD, backlog=_BACKLOG
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def _stop_listening(self) -> None:
        """Accept nobody any more; who was accepted just now begins first, for a closed server would lose it."""
        if self._server is None:
            return
        for sock in self._server.sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
        for _ in range(4):
            await asyncio.sleep(0)
        self._server.close()

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._listening is not None:
            self._listening.cancel()
        await self._stop_listening()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await asyncio.sleep(0)  # in which the loop closes the sockets: it may be the last thing that it does
        self._notes.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def set_faults(self, faults: Any) -> None:  # JSON as in the table of scenarios, or a Profile
        """Replace the fault profile, or put back what ``GET`` gave; raises ``ValueError`` for a rule that cannot be."""
        self.engine.take(faults, time.time())
        self._notes.note("profile", self.engine.standing())

    def set_scripts(self, scripts: Mapping[str, Any]) -> None:  # turns, as ``minds.script`` takes them
        """Add models with fixed turns; raises ``ValueError`` for a name or turns that cannot be."""
        made = {}
        for name, turns in scripts.items():
            if not name.startswith("sim-"):
                raise ValueError(f"a scripted model's name starts with 'sim-'; got {name[:80]!r}")
            made[name] = script(turns)
        self._minds |= made
        self._notes.note("scripts", dict(scripts))

    def _recall(self) -> None:
        """Be where the one before stood: its log, its counts, its profile and its scripts."""
        rows: dict[int, JSON] = {}

        def hear(what: str, value: JSON) -> None:
            if what == "row":
                if value["n"] not in rows and "key" in value:
                    self.engine.repeat(value["key"])
                rows[value["n"]] = value
                self.engine.count(value.get("counts"))
            elif what == "profile":
                self.engine.take(value, 0.0)
            elif what == "scripts":
                self._minds |= {name: script(turns) for name, turns in value.items()}
            elif what == "paused":
                self._paused.add(value["said"])
            elif what == "forget":
                rows.clear()
                self.requests = 0

        self._notes.recall(hear)
        self.log.extend(rows.values())
        self.requests = max(rows, default=self.requests)

    # Connections

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # start_server runs this in a task
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client went away or fell asleep: its own business
        except asyncio.CancelledError:
            writer.transport.abort()  # the simulator closes, whoever reads; asyncio itself would print this as an error
        finally:
            self._connections.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keep = True
        while keep:
            try:
                request = await read_request(reader)
            except BadRequest as error:
                await send(reader, writer, self._error(error.status, str(error)), keep=False)
                await drain_and_close(reader, writer)
                return
            if request is None:
                return
            reply, entry = self._answer(request)
            keep = await self._send(reader, writer, reply, entry, keep=request.keeps_alive)

    async def _send(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reply: Reply, entry: JSON, *, keep: bool
    ) -> bool:
        try:
            if reply.end == "refuse":
                await self._refuse_connections()
            keep = await send(reader, writer, reply, keep=keep)
            await asyncio.sleep(0)  # what the connection has to say is heard
            gone = writer.is_closing() or (reader.at_eof() and keep)
            entry["ended"] = "client_gone" if gone and reply.end == "whole" else reply.end
        except OSError:
            entry["ended"] = "client_gone"
            raise
        finally:
            self._note_end(entry)
        return keep

    async def _refuse_connections(self) -> None:
        """Do not listen for a moment, which has begun when the client hears of it."""
        await self._stop_listening()
        if self._listening is None or self._listening.done():
            self._listening = asyncio.create_task(self._listen_again())

    async def _listen_again(self) -> None:
        await asyncio.sleep(REFUSED_SECONDS)
        await self._listen()

    def _note_end(self, entry: JSON) -> None:
        if "n" not in entry:
            return
        good = entry["mode"] is None or MODES[entry["mode"]].harmless
        entry["finished"] = entry["ended"] == "whole" and entry["status"] == 200 and good
        self._notes.note("row", entry)

    # Requests

    def _answer(self, request: Request) -> tuple[Reply, JSON]:
        """The reply, and the log's row about it (one that is not kept, if the path is not the API's)."""
        entry: JSON = {}
        try:
            self._authorize(request)
            if request.path.startswith("/__sim/"):
                return self._control(request), entry
            return self._api(request, entry), entry
        except Refused as error:
            entry["status"] = error.status
            return self._error(error.status, str(error)), entry
        except Exception as error:  # a mind of the user's may raise anything; one request pays for it
            entry["status"] = 500
            return self._error(500, f"the simulator failed: {type(error).__name__}: {error}"), entry

    def _authorize(self, request: Request) -> None:
        given = request.headers.get("x-api-key") or ""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not given and scheme.lower() == "bearer":
            given = token.strip()
        if not hmac.compare_digest(given.encode("latin-1", "replace"), self.api_key.encode()):
            raise Refused(401, "invalid x-api-key" if given else "x-api-key header is required")

    def _error(self, status: int, message: str) -> Reply:
        request_id = f"req_01{digest(self.seed, self.requests, message)[:22]}"
        body = grammar.error_body(ERROR_TYPES.get(status, "api_error"), message, request_id)
        return Reply.of_json(status, body, {"request-id": request_id})

    def _api(self, request: Request, entry: JSON) -> Reply:
        key = digest(self.seed, request.path, hashlib.sha256(request.body).hexdigest())
        self._note(request, key, entry)
        if request.path.startswith("/v1/models") and request.method == "GET":
            return Reply.of_json(200, self._models(request.path.removeprefix("/v1/models").strip("/")))
        if request.path not in ("/v1/messages", "/v1/messages/count_tokens"):
            raise Refused(404, f"no such path: {request.path[:200]}")
        if request.method != "POST":
            raise Refused(405, f"{request.method[:20]} is not allowed here; POST is")
        counting = request.path.endswith("count_tokens")
        body = check_request(
            _json(request.body),
            counting=counting,
            size=len(request.body),
            paused=lambda text: digest(text) in self._paused,
        )
        entry |= {"model": body["model"], "stream": bool(body.get("stream")), "messages": len(body["messages"])}
        mind = mind_of(body["model"], self._minds)
        if mind is None:
            raise Refused(404, f"model: {body['model'][:200]}")
        if counting:
            return Reply.of_json(200, {"input_tokens": grammar.tokens_in(body)})
        return self._message(request, Ask(body, int(key[:12], 16)), mind, key, entry)

    def _message(self, request: Request, ask: Ask, mind: Mind, key: str, entry: JSON) -> Reply:
        user = (ask.body.get("metadata") or {}).get("user_id")
        user = user if isinstance(user, str) else None
        request_id = f"req_01{digest(key, entry['repeat'])[:22]}"
        rule = self._rule(request, Call(ask.body["model"], ask.question, key, user), entry["repeat"])
        message = spoiled_message(grammar.answer(ask, spoiled_turn(mind(ask), rule, ask), key), rule)
        reply = spoiled_reply(self._render(ask, message, request_id), rule, request_id)
        entry |= {"prompt": ask.question[:200], "user": user, "mode": rule.mode if rule else None}
        entry |= {"status": reply.status or None, "request_id": request_id}
        entry |= grammar.billed(message) if reply.status == 200 else {"stop_reason": None}
        if self.engine.seen:
            entry["counts"] = [list(self.engine.seen), list(self.engine.struck)]
        if message["stop_reason"] == "pause_turn":
            self._pause(digest(grammar.said_last([*ask.body["messages"], message])))
        self._notes.note("row", entry)
        return reply

    def _pause(self, said: str) -> None:
        """Remember after what it paused: a conversation may end with that, and it goes on."""
        self._paused.add(said)
        self._notes.note("paused", {"said": said})

    def _rule(self, request: Request, call: Call, repeat: int) -> Rule | None:
        override = request.headers.get("x-sim-fault")
        if override is None:
            return self.engine.strike(call, repeat, time.time())
        try:
            return read_override(override)
        except ValueError as error:
            raise Refused(400, f"x-sim-fault: {error}") from None

    def _render(self, ask: Ask, message: JSON, request_id: str) -> Reply:
        (wait_s, pause_s), usage = self.engine.pauses, message.get("usage") or {}
        limits = self._limits.take(time.time(), usage.get("input_tokens", 0), usage.get("output_tokens", 0))
        headers = {**limits, "request-id": request_id, "anthropic-organization-id": "org-simulated"}
        content = None if message["content"] is None else [_whole(block) for block in message["content"]]
        whole = {**message, "content": content}
        if not ask.body.get("stream"):
            reply = Reply.of_json(200, whole, headers)
            return replace(reply, wait_s=wait_s, message=whole, limits=limits)
        headers |= {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        parts = tuple(map(grammar.frame, grammar.events(message)))
        return Reply(
            200, headers, parts, streams=True, wait_s=wait_s, pause_s=pause_s, message=whole,
            limits=limits,
        )  # fmt: skip

    def _models(self, name: str) -> JSON:
        rows = [
            {"id": each, "type": "model", "display_name": each, "created_at": "2026-01-01T00:00:00Z"}
            for each in self._minds
        ]
        if not name:
            return {"data": rows, "has_more": False, "first_id": rows[0]["id"], "last_id": rows[-1]["id"]}
        if mind_of(name, self._minds) is None:
            raise Refused(404, f"model: {name[:200]}")
        return {**rows[0], "id": name, "display_name": name}

    # What it saw, and what it is told

    def _note(self, request: Request, key: str, entry: JSON) -> None:
        self.requests += 1
        retry = request.headers.get("x-stainless-retry-count", "0")
        entry |= {
            "n": self.requests,
            "at": time.time(),
            "path": request.path,
            "model": None,
            "key": key[:16],
            "repeat": self.engine.repeat(key[:16]),
            "status": 200,
            "mode": None,
            "finished": False,
            "retry_count": int(retry) if retry.isascii() and retry.isdigit() and len(retry) < 9 else 0,
            "ended": None,
        }
        self.log.append(entry)

    def _control(self, request: Request) -> Reply:
        what = (request.method, request.path.removeprefix("/__sim/"))
        try:
            if what == ("PUT", "faults"):
                self.set_faults(_json(request.body))
            elif what == ("DELETE", "faults"):
                self.set_faults([])
            elif what == ("PUT", "scripts"):
                self.set_scripts(_json(request.body))
            elif what == ("DELETE", "log"):
                self.log.clear()
                self.requests = 0
                self._notes.note("forget", {})
            elif what not in (("GET", "faults"), ("GET", "log")):
                raise Refused(404, f"no such control: {request.method[:20]} {request.path[:200]}")
        except (ValueError, TypeError, KeyError) as error:
            raise Refused(400, f"{request.path}: {error}") from None
        if what == ("GET", "log"):
            return Reply.of_json(200, {"requests": self.requests, "log": list(self.log)})
        return Reply.of_json(200, self.engine.standing())


def _json(body: bytes) -> Any:  # whatever the client sent
    try:
        return json.loads(body)
    except json.JSONDecodeError as error:
        cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated")
        why = "unexpected end of data" if cut else error.msg
        where = f"line {error.lineno} column {error.colno} (char {error.pos})"
        raise Refused(400, f"The request body is not valid JSON: {why}: {where}") from None
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"The request body is not valid JSON: {str(error)[:200]}") from None


def _whole(block: JSON) -> JSON:
    return {name: value for name, value in block.items() if name != "partial_json"}
