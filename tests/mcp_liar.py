"""An MCP server written by hand that lies, hangs, floods and dies; ``python mcp_liar.py FOLDER``.

Each call leaves a line in FOLDER/calls, so that a test can count them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1])
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOLS: list[dict[str, Any]] = [
    {"name": "echo", "inputSchema": {"type": "object", "properties": {"text": {"type": "string"}}}},
    {"name": "lie", "inputSchema": {"type": "object"}, "outputSchema": NUMBER},
    {"name": "die", "inputSchema": {"type": "object"}},
    {"name": "die.once", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    *(
        {"name": name, "inputSchema": {"type": "object"}}
        for name in ("hang", "flood", "chatter", "nonsense", "change", "half")
    ),
]


def say(said: Any) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **said}) + "\n")
    sys.stdout.flush()


def call(number: Any, name: str, given: dict[str, Any]) -> None:
    """Carry out, or do not carry out, one call."""
    with (FOLDER / "calls").open("a") as file:
        file.write(f"{name}\n")
    result: Any = {"content": [{"type": "text", "text": given.get("text", name)}]}
    if name == "hang":
        return
    if name == "die" or (name == "die.once" and not (FOLDER / "died").exists()):
        (FOLDER / "died").touch()
        os._exit(7)
    if name == "lie":
        result["structuredContent"] = {"n": "many"}
    if name == "flood":
        result["content"][0]["text"] = "x" * 10_000_000
    if name == "half":
        result["content"][0]["text"] = "half \ud800"
    if name == "chatter":
        for n in range(500):
            say({"method": "notifications/message", "params": {"level": "info", "data": n}})
    if name == "nonsense":
        sys.stdout.write("<html>\n{\n[]\n\x00\n" + json.dumps({"jsonrpc": "2.0", "id": 99999, "result": {}}) + "\n")
        result = "what?"
    if name == "change":
        TOOLS.append({"name": "late", "inputSchema": {"type": "object"}})
        say({"method": "notifications/tools/list_changed"})
    say({"id": number, "result": result})


def answer(asked: dict[str, Any]) -> None:
    """Answer one request."""
    method, params = asked.get("method"), asked.get("params") or {}
    if "id" not in asked:
        return
    if method == "initialize":
        about = {"name": "liar", "version": "1"}
        version = params["protocolVersion"]
        say({"id": asked["id"], "result": {
            "protocolVersion": version, "capabilities": {"tools": {"listChanged": True}}, "serverInfo": about,
        }})  # fmt: skip
    elif method == "tools/list":
        say({"id": asked["id"], "result": {"tools": TOOLS}})
    elif method == "tools/call":
        call(asked["id"], params["name"], params.get("arguments") or {})
    else:
        say({"id": asked["id"], "error": {"code": -32601, "message": f"no method {method}"}})


(FOLDER / "pid.new").write_text(str(os.getpid()))
(FOLDER / "pid.new").rename(FOLDER / "pid")
for line in sys.stdin:
    answer(json.loads(line))
